"""The sparse matrix W: every target row's source columns, weights and similarities."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sembridge.errors import SembridgeError
from sembridge.language_transfer.sparse_rows import check_rows


@dataclass(frozen=True, eq=False)
class SparseWeights:
    """W, one row for every target token over the source tokens, in torch's names for compressed sparse rows.

    Column ids ascend within a row; zero weights are not stored. A row without entries is allowed: it stands for a token
    whose row comes from elsewhere (a fallback). All tensors live on the CPU.

    Example:
        >>> weights = SparseWeights.from_rows(
        ...     2, torch.tensor([1, 0, 0]), torch.tensor([2, 1, 0]), torch.tensor([1.0, 0.25, 0.75]), None, 3
        ... )
        >>> weights.matmul(torch.tensor([[4.0], [8.0], [1.0]]))
        tensor([[5.],
                [1.]])
    """

    crow_indices: Tensor  # (n_rows + 1,) int64
    col_indices: Tensor  # (nnz,) int64
    values: Tensor  # (nnz,) float32
    n_columns: int
    similarities: Tensor  # (nnz,) float32; nan where none was computed

    @classmethod
    def from_rows(
        cls,
        n_rows: int,
        row_ids: Tensor,
        col_ids: Tensor,
        values: Tensor,
        similarities: Tensor | None,
        n_columns: int,
    ) -> "SparseWeights":
        """W from triplets in any order; `similarities=None` stands for none computed.

        Raises:
            SembridgeError: the triplets differ in length, an id is out of range, or a place is given twice.
        """
        if similarities is None:
            similarities = torch.full((len(values),), torch.nan)
        _check_triplets(n_rows, row_ids, col_ids, values, similarities, n_columns)
        row_ids, col_ids = row_ids.to("cpu", torch.int64), col_ids.to("cpu", torch.int64)
        places, order = (row_ids * n_columns + col_ids).sort()
        twice = (places[1:] == places[:-1]).nonzero()
        if len(twice):
            row, column = divmod(int(places[twice[0]]), n_columns)
            raise SembridgeError(f"Row {row} of the weights names column {column} twice; give every place once.")
        return cls(
            crow_indices=functional.pad(torch.bincount(row_ids, minlength=n_rows).cumsum(0), (1, 0)),
            col_indices=col_ids[order],
            values=values.to("cpu", torch.float32)[order],
            n_columns=n_columns,
            similarities=similarities.to("cpu", torch.float32)[order],
        )

    @property
    def n_rows(self) -> int:
        return len(self.crow_indices) - 1

    def support_sizes(self) -> Tensor:
        """Number of weights in every row: (n_rows,) int64."""
        return self.crow_indices.diff()

    def row_ids(self) -> Tensor:
        """Row of every weight: (nnz,) int64, ascending."""
        return torch.repeat_interleave(torch.arange(self.n_rows), self.support_sizes())

    def matmul(self, source_rows: Tensor) -> Tensor:
        """`W @ source_rows`: (n_columns, d) -> (n_rows, d) float32, the same bits for any number of threads.

        A row with the single weight 1 is a copy, bit for bit; a row without weights is zero.

        Raises:
            SembridgeError: `source_rows` is not a matrix with n_columns rows.
        """
        if source_rows.ndim != 2 or len(source_rows) != self.n_columns:
            raise SembridgeError(
                f"source_rows have shape {tuple(source_rows.shape)}, but the weights need ({self.n_columns}, d); "
                "pass one row for every source token, a bias as (n, 1)."
            )
        rows = source_rows.detach().to(torch.float32)
        # A weighted bag of rows is a sparse row times a matrix; torch.sparse makes no promise on the order of its sums.
        return functional.embedding_bag(
            self.col_indices.to(rows.device),
            rows,
            self.crow_indices.to(rows.device),
            mode="sum",
            per_sample_weights=self.values.to(rows.device),
            include_last_offset=True,
        )

    def validate(self, *, allow_empty_rows: bool = False) -> None:
        """Nothing, if W is sound.

        Raises:
            SembridgeError: a malformed index, a weight that is not positive, or a row that does not sum to one.
        """
        check_rows(
            self.crow_indices.numpy(), self.col_indices.numpy(), self.values.detach().numpy(),
            self.similarities.numpy(), self.n_columns, allow_empty_rows=allow_empty_rows,
        )  # fmt: skip


def _check_triplets(
    n_rows: int, row_ids: Tensor, col_ids: Tensor, values: Tensor, similarities: Tensor, n_columns: int
) -> None:
    lengths = [len(row_ids), len(col_ids), len(values), len(similarities)]
    if len(set(lengths)) > 1:
        raise SembridgeError(f"row_ids, col_ids, values and similarities have lengths {lengths}, expected one length.")
    for name, ids, size in (("row_ids", row_ids, n_rows), ("col_ids", col_ids, n_columns)):
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < size:
            raise SembridgeError(f"{name} lie in {int(ids.min())}..{int(ids.max())}, expected 0..{size - 1}.")
