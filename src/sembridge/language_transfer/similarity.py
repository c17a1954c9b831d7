"""Similarities -> sparse weights W, block by block and exact (the hot kernel of a transfer).

A block of rows costs one float32 product with all source vectors and one pass over its result. The pass takes the
maximum of every group of 64 columns. A few of the largest maxima bound the entmax threshold from below (a subset of a
row has a lower threshold than the row), so only groups that reach the bound are looked at again.

What a matrix library returns depends, in the last bits, on the shape of the block and the number of threads. At alpha 4
that matters: near the edge of the support a weight moves like the cube root of a similarity, 1e-7 in, 5e-3 out. So the
product only nominates candidates, with a margin above its rounding error. The similarity of a candidate is a dot
product in float64 summed in one fixed order, and its weight is solved from that. Blocks and threads leave no trace.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sembridge.errors import SembridgeError
from sembridge.language_transfer.entmax import Entmax, Ranked, TopKSoftmax, entmax_bounds, full_float32, ranked_weights
from sembridge.language_transfer.sparse_matrix import SparseWeights

_GROUP_WIDTH = 64  # columns; wider groups make the second look dearer, narrower ones the first
_MOST_BLOCK_ROWS = {"cpu": 1024, "cuda": 8192}  # more rows do not make the product faster
_BYTES_PER_CANDIDATE = 128  # while it is looked at: value, ids, float64 copies inside the solver
_BYTES_PER_WEIGHT = 16  # column id, value, similarity


def sparse_weights(
    target_vectors: Tensor,
    source_vectors: Tensor,
    *,
    rule: Entmax | TopKSoftmax,
    memory_budget: int = 2**30,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> SparseWeights:
    """W with `rule` applied to every row of `target_vectors @ source_vectors.T`, which never exists as a whole.

    On one machine bit for bit independent of the memory budget and the number of threads; a new order of the source
    rows only renames the columns (TopKSoftmax: except where the k-th best is tied). `similarities` are dot products in
    float64, rounded once to float32, and the weights are exact for them. The dot product is the cosine if the vectors
    have unit length; a correction per source token is one more dimension (1 in the target vectors, the correction in
    the source vectors).

    Args:
        target_vectors: (n_target, dim), any floating type.
        source_vectors: (n_source, dim), any floating type.
        rule: `Entmax(alpha)` or `TopKSoftmax(k, temperature)`.
        memory_budget: bytes of working memory beside W, and the largest W that is built.
        device: where products are computed; the result is on the CPU.
        progress: called after every block with the number of target rows done so far.

    Raises:
        SembridgeError: vectors that are not finite or differ in width, no source vectors, no such device, or a W
            larger than the memory budget.

    Example:
        >>> target, source = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
        >>> sparse_weights(target, source, rule=Entmax(2.0)).values
        tensor([0.6000, 0.4000])
    """
    return weights_and_nearest(
        target_vectors, source_vectors, rule=rule, n_nearest=0, memory_budget=memory_budget, device=device,
        progress=progress,
    )[0]  # fmt: skip


def weights_and_nearest(
    target_vectors: Tensor,
    source_vectors: Tensor,
    *,
    rule: Entmax | TopKSoftmax,
    n_nearest: int,
    memory_budget: int = 2**30,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> tuple[SparseWeights, NDArray[np.float32]]:
    """`sparse_weights`, and from the same product (n_target, n_nearest) the largest similarities of every row.

    Descending, with a weight or without; as many columns as there are source vectors, if these are fewer.
    """
    _check_vectors(target_vectors, source_vectors)
    _check_machine(memory_budget, device)
    n_target, n_source = len(target_vectors), len(source_vectors)
    _check_result_size(n_target * n_source if rule == Entmax(1.0) else 0, n_target, n_target, rule, memory_budget)
    n_nearest = min(n_nearest, n_source)
    with torch.no_grad(), full_float32(device):
        kernel = _Kernel(source_vectors, rule, n_nearest, memory_budget, device)
        parts: list[_Rows] = []
        n_weights = 0
        for start in range(0, n_target, kernel.block_rows):
            block = target_vectors[start : start + kernel.block_rows]
            for part in kernel.rows(block):
                n_weights += len(part.values)
                parts.append(part)
            done = start + len(block)
            _check_result_size(n_weights, done, n_target, rule, memory_budget)
            if progress is not None:
                progress(done)
    nearest = np.concatenate([np.empty((0, n_nearest), np.float32), *(part.nearest for part in parts)])
    return _joined(parts, n_source), nearest


@dataclass(frozen=True, eq=False)
class _Rows:
    """Weights of consecutive rows: `counts` (n_rows,), `nearest` (n_rows, n_nearest), the rest (nnz,)."""

    counts: NDArray[np.int64]
    col_ids: NDArray[np.int64]
    values: NDArray[np.float32]
    similarities: NDArray[np.float32]
    nearest: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Every place of some consecutive rows that may hold a weight or be among the nearest, by row, then column."""

    n_rows: int
    row_ids: Tensor  # (n,) int64
    col_ids: Tensor  # (n,) int64


class _Kernel:
    """The source side of a transfer, ready for any number of target blocks."""

    def __init__(
        self, source_vectors: Tensor, rule: Entmax | TopKSoftmax, n_nearest: int, memory_budget: int, device: str
    ) -> None:
        self.rule, self.n_nearest = rule, n_nearest
        self.source = source_vectors.to(device, torch.float32)
        n_source, dim = self.source.shape
        # A bound from group maxima needs several times more groups than it looks at.
        leaders = max(n_nearest, rule.k if isinstance(rule, TopKSoftmax) else 16)
        self.group_width = max(1, min(_GROUP_WIDTH, n_source // (4 * leaders)))
        n_groups = -(-n_source // self.group_width)
        bytes_per_row = 4 * n_groups * self.group_width
        most = _MOST_BLOCK_ROWS.get(self.source.device.type, 1024)
        self.block_rows = max(1, min(most, memory_budget // 4 // bytes_per_row))
        self.slice_candidates = max(1, memory_budget // 4 // _BYTES_PER_CANDIDATE)
        # Padding columns stay at -inf: the product is written beside them.
        self.buffer = torch.full((self.block_rows, n_groups, self.group_width), -torch.inf, device=device)
        self.source_norm = float(torch.linalg.vector_norm(self.source, dim=1).max())
        self.product_columns = max(1, memory_budget // 32 // (8 * dim))

    def rows(self, target_block: Tensor) -> Iterator[_Rows]:
        """The weights of a block, in slices small enough for the budget."""
        target = target_block.to(self.source.device, torch.float32)
        products = self.buffer[: len(target)]
        torch.mm(target, self.source.T, out=products.view(len(target), -1)[:, : len(self.source)])
        group_maxima = products.amax(2)
        norms = torch.linalg.vector_norm(target, dim=1) * self.source_norm
        # A float32 dot product in any order of summation errs by dim * 2^-24 * norms at most. Twice for threshold and
        # value, and once more for the arithmetic on them.
        margins = norms * (3 * (target.shape[1] + 4) * 2.0**-24)
        bounds = self._bounds(group_maxima) - margins
        chosen = group_maxima > bounds[:, None]
        for part in _slices(chosen.sum(1).cpu().numpy() * self.group_width, self.slice_candidates):
            candidates = _candidates(products[part], chosen[part], bounds[part])
            similarities = self._exact_similarities(target[part], candidates, float(norms[part].max()))
            yield _weighted(candidates, similarities, self.rule, self.n_nearest)

    def _bounds(self, group_maxima: Tensor) -> Tensor:
        """(n_rows,) what every column with a weight, and every one of the nearest, reaches."""
        if isinstance(self.rule, Entmax):
            bounds = entmax_bounds(group_maxima, self.rule.alpha)
        else:
            bounds = _bounds_of_best(group_maxima, self.rule.k)
        if not self.n_nearest:
            return bounds
        return torch.minimum(bounds, _bounds_of_best(group_maxima, self.n_nearest))

    def _exact_similarities(self, target: Tensor, candidates: _Candidates, norm: float) -> NDArray[np.float32]:
        """Dot products (n,) of the candidates: float64 sums in an order set by the width alone, rounded once."""
        row_ids, col_ids = candidates.row_ids, candidates.col_ids
        if len(row_ids) <= len(target) * len(self.source) // 128:
            return _pair_dots(target, self.source, row_ids, col_ids).to(torch.float32).cpu().numpy()
        # A pair costs about as much as 128 cells of a whole float64 product. The order of summation there is unknown:
        # where it could change the rounding, sum again in ours.
        dots = self._dots_from_product(target, candidates)
        slack = 4 * target.shape[1] * 2.0**-53 * norm  # the error of each of the two sums, twice
        similarities = dots.to(torch.float32)
        (unsure,) = ((dots - slack).to(torch.float32) != (dots + slack).to(torch.float32)).nonzero(as_tuple=True)
        again = _pair_dots(target, self.source, row_ids[unsure], col_ids[unsure])
        similarities[unsure] = again.to(torch.float32)
        return similarities.cpu().numpy()

    def _dots_from_product(self, target: Tensor, candidates: _Candidates) -> Tensor:
        """Dot products (n,) float64 of the candidates, picked from products with a few thousand columns at a time."""
        dots = torch.empty(len(candidates.row_ids), dtype=torch.float64, device=target.device)
        for start in range(0, len(self.source), self.product_columns):
            columns = self.source[start : start + self.product_columns]
            product = target.double() @ columns.double().T
            offsets = candidates.col_ids - start
            (here,) = ((offsets >= 0) & (offsets < len(columns))).nonzero(as_tuple=True)
            dots[here] = product[candidates.row_ids[here], offsets[here]]
        return dots


def _bounds_of_best(group_maxima: Tensor, k: int) -> Tensor:
    """(n_rows,): k columns are at least as large as the k-th group maximum, so the k-th column is."""
    if k > group_maxima.shape[1]:
        return torch.full_like(group_maxima[:, 0], -torch.inf)
    return group_maxima.topk(k, dim=1).values[:, -1]


def _slices(sizes: NDArray[np.int64], most: int) -> Iterator[slice]:
    """Consecutive rows whose sizes add up to `most`, or one row where it is larger alone."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        done = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, done + most, side="right")))
        yield slice(start, end)
        start = end


def _candidates(products: Tensor, chosen: Tensor, bounds: Tensor) -> _Candidates:
    """Columns above the bound of their row.

    Args:
        products: (n_rows, n_groups, group_width).
        chosen: (n_rows, n_groups), the groups to look at.
        bounds: (n_rows,).
    """
    row_ids, group_ids = chosen.nonzero(as_tuple=True)
    picked, offsets = (products[row_ids, group_ids] > bounds[row_ids, None]).nonzero(as_tuple=True)
    return _Candidates(len(products), row_ids[picked], group_ids[picked] * products.shape[2] + offsets)


def _pair_dots(target: Tensor, source: Tensor, row_ids: Tensor, col_ids: Tensor) -> Tensor:
    """Dot products (n,) float64 of pairs of rows, by adding halves until one column is left.

    Two float32 multiply without error in float64, and sums entry by entry are the same on every device.
    """
    dots = torch.empty(len(row_ids), dtype=torch.float64, device=source.device)
    chunk = max(1, 2**18 // source.shape[1])  # 2 MiB of float64: about a core's own cache
    for start in range(0, len(row_ids), chunk):
        pairs = slice(start, start + chunk)
        terms = target[row_ids[pairs]].double().mul_(source[col_ids[pairs]])
        width = terms.shape[1]
        while width > 1:
            half = (width + 1) // 2
            terms[:, : width - half] += terms[:, half:width]
            width = half
        dots[pairs] = terms[:, 0]
    return dots


def _weighted(
    candidates: _Candidates, similarities: NDArray[np.float32], rule: Entmax | TopKSoftmax, n_nearest: int
) -> _Rows:
    """The non-zero weights of rows whose candidates are known with their similarities, and their nearest."""
    row_ids, col_ids = candidates.row_ids.cpu().numpy(), candidates.col_ids.cpu().numpy()
    order = np.argsort(_sort_keys(row_ids, similarities), kind="stable")  # equal similarities stay in column order
    counts = np.bincount(row_ids, minlength=candidates.n_rows)
    descending, starts = similarities[order], np.cumsum(counts) - counts
    best = descending[starts].astype(np.float64)
    ranked = Ranked(best[row_ids] - descending, row_ids, counts)
    weights = np.empty(len(order), dtype=np.float32)
    weights[order] = ranked_weights(ranked, rule)
    kept = weights > 0
    return _Rows(
        counts=np.bincount(row_ids[kept], minlength=candidates.n_rows),
        col_ids=col_ids[kept],
        values=weights[kept],
        similarities=similarities[kept],
        nearest=descending[starts[:, None] + np.arange(n_nearest)],
    )


def _sort_keys(row_ids: NDArray[np.int64], similarities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers (n,) that ascend by row, then from the best similarity; sorting them takes a third of a lexsort."""
    bits = (0.0 - similarities).view(np.int32).astype(np.int64)  # 0.0 - x: one zero, where -x has two
    return (row_ids << 32) + np.where(bits < 0, -(2**31) - bits, bits)


def _joined(parts: list[_Rows], n_columns: int) -> SparseWeights:
    none, zero = np.empty(0, np.int64), np.empty(0, np.float32)
    parts = [_Rows(none, none, zero, zero, zero), *parts]
    counts = torch.from_numpy(np.concatenate([part.counts for part in parts]))
    return SparseWeights(
        crow_indices=functional.pad(counts.cumsum(0), (1, 0)),
        col_indices=torch.from_numpy(np.concatenate([part.col_ids for part in parts])),
        values=torch.from_numpy(np.concatenate([part.values for part in parts])),
        n_columns=n_columns,
        similarities=torch.from_numpy(np.concatenate([part.similarities for part in parts])),
    )


def _check_vectors(target_vectors: Tensor, source_vectors: Tensor) -> None:
    for name, vectors in (("target_vectors", target_vectors), ("source_vectors", source_vectors)):
        if vectors.ndim != 2 or vectors.shape[1] == 0 or not vectors.is_floating_point():
            raise SembridgeError(
                f"{name} are {vectors.dtype} of shape {tuple(vectors.shape)}, expected floating point numbers (n, dim)."
            )
        finite = torch.linalg.vector_norm(vectors.detach(), dim=1, dtype=torch.float32).isfinite()
        if not bool(finite.all()):
            raise SembridgeError(
                f"{name} row {int((~finite).nonzero()[0])} is not finite (NaN or infinity; {int((~finite).sum())} such "
                "rows); leave those tokens to the fallback."
            )
    if len(source_vectors) == 0:
        raise SembridgeError(
            "source_vectors are empty, expected one vector for every source token that may have weight."
        )
    if target_vectors.shape[1] != source_vectors.shape[1]:
        raise SembridgeError(
            f"target_vectors are {target_vectors.shape[1]} wide, source_vectors {source_vectors.shape[1]}; "
            "encode both with the same bridge."
        )


def _check_machine(memory_budget: int, device: str) -> None:
    if memory_budget < 1:
        raise SembridgeError(f"memory_budget is {memory_budget}, expected bytes above zero such as 2**30.")
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise SembridgeError(f"device is {device}, but torch finds no CUDA device here; use cpu.")


def _check_result_size(
    n_weights: int, n_done: int, n_target: int, rule: Entmax | TopKSoftmax, memory_budget: int
) -> None:
    n_bytes = n_weights * _BYTES_PER_WEIGHT
    if n_bytes > memory_budget:
        raise SembridgeError(
            f"{rule} keeps {n_weights // n_done:,} source tokens a row: {n_done:,} of {n_target:,} rows take "
            f"{n_bytes / 2**30:.3g} GiB, the memory budget is {memory_budget / 2**30:.3g} GiB; "
            "raise memory_budget, or take a larger alpha (a smaller k)."
        )
