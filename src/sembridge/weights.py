"""Similarities -> sparse weights W, block by block and exact (the hot kernel of a transfer).

A block of rows costs one float32 product with all source vectors and one pass over its result. The pass takes the
maximum of every group of 64 columns. A few of the largest maxima bound the entmax threshold from below (a subset of a
row has a lower threshold than the row), so only groups that reach the bound are looked at again.

What a matrix library returns depends, in the last bits, on the shape of the block and the number of threads. At alpha 4
that matters: near the edge of the support a weight moves like the cube root of a similarity, 1e-7 in, 5e-3 out. So the
product only nominates candidates, with a margin above its rounding error. The similarity of a candidate is a dot
product in float64 summed in one fixed order, and its weight is solved from that. Blocks and threads leave no trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sembridge.errors import SembridgeError

_GROUP_WIDTH = 64  # columns; wider groups make the second look dearer, narrower ones the first
_MOST_BLOCK_ROWS = {"cpu": 1024, "cuda": 8192}  # more rows do not make the product faster
_BYTES_PER_CANDIDATE = 128  # while it is looked at: value, ids, float64 copies inside the solver
_BYTES_PER_WEIGHT = 16  # column id, value, similarity


@dataclass(frozen=True)
class Entmax:
    """The rule `w = entmax_alpha(similarities)`.

    Alpha 1 is softmax, 2 sparsemax; infinity gives all weight to the best, shared equally by ties.

    Raises:
        SembridgeError: alpha is below 1.
    """

    alpha: float = 4.0

    def __post_init__(self) -> None:
        if not self.alpha >= 1:
            raise SembridgeError(f"Entmax: alpha is {self.alpha}, expected 1 (softmax) or more; the paper uses 4.")


@dataclass(frozen=True)
class TopKSoftmax:
    """The rule `w = softmax(similarities / temperature)` over the k best columns, or all where there are fewer.

    Where the k-th best is tied, lower column ids are kept.

    Raises:
        SembridgeError: k is below 1, or the temperature is not a positive number.
    """

    k: int = 10
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise SembridgeError(f"TopKSoftmax: k is {self.k}, expected 1 or more.")
        if not 0 < self.temperature < math.inf:
            raise SembridgeError(
                f"TopKSoftmax: temperature is {self.temperature}, expected a positive number such as 0.1."
            )


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
    ) -> SparseWeights:
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
        sizes, n_weights = self.support_sizes(), len(self.values)
        if int(self.crow_indices[0]) != 0 or int(self.crow_indices[-1]) != n_weights or bool((sizes < 0).any()):
            raise SembridgeError(f"crow_indices do not ascend from 0 to {n_weights}; build W with from_rows().")
        if not len(self.col_indices) == len(self.similarities) == n_weights:
            raise SembridgeError("col_indices, values and similarities differ in length; build W with from_rows().")
        row_ids = self.row_ids()
        out_of_range = (self.col_indices < 0) | (self.col_indices >= self.n_columns)
        if bool(out_of_range.any()) or bool(((row_ids * self.n_columns + self.col_indices).diff() <= 0).any()):
            raise SembridgeError(f"Column ids do not ascend within 0..{self.n_columns - 1}; build W with from_rows().")
        if not bool((self.values > 0).all()):
            raise SembridgeError("The weights hold values that are not above zero; leave zeros out, refuse negatives.")
        sums = torch.zeros(self.n_rows, dtype=torch.float64).index_add_(0, row_ids, self.values.double())
        wrong = ((sums - 1).abs() > 1e-5) & ~((sizes == 0) & allow_empty_rows)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise SembridgeError(
                f"Row {row} of the weights sums to {float(sums[row]):.6g}, expected 1 (in {int(wrong.sum())} rows)."
            )


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

    Bit for bit independent of the memory budget and the number of threads; a new order of the source rows only renames
    the columns (TopKSoftmax: except where the k-th best is tied). `similarities` are dot products in float64, rounded
    once to float32, and the weights are exact for them. The dot product is the cosine if the vectors have unit length;
    a correction per source token is one more dimension (1 in the target vectors, the correction in the source vectors).

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
    _check_vectors(target_vectors, source_vectors)
    _check_machine(memory_budget, device)
    n_target, n_source = len(target_vectors), len(source_vectors)
    _check_result_size(n_target * n_source if rule == Entmax(1.0) else 0, n_target, n_target, rule, memory_budget)
    with torch.no_grad(), _full_float32(device):
        kernel = _Kernel(source_vectors, rule, memory_budget, device)
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
    return _joined(parts, n_source)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Weights of consecutive rows: `counts` (n_rows,), the rest (nnz,)."""

    counts: NDArray[np.int64]
    col_ids: NDArray[np.int64]
    values: NDArray[np.float32]
    similarities: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Every place of some consecutive rows that may hold a weight, ordered by row, then column."""

    n_rows: int
    row_ids: Tensor  # (n,) int64
    col_ids: Tensor  # (n,) int64


class _Kernel:
    """The source side of a transfer, ready for any number of target blocks."""

    def __init__(self, source_vectors: Tensor, rule: Entmax | TopKSoftmax, memory_budget: int, device: str) -> None:
        self.rule = rule
        self.source = source_vectors.to(device, torch.float32)
        n_source, dim = self.source.shape
        # A bound from group maxima needs several times more groups than it looks at.
        leaders = rule.k if isinstance(rule, TopKSoftmax) else 16
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
            yield _weighted(candidates, similarities, self.rule)

    def _bounds(self, group_maxima: Tensor) -> Tensor:
        if isinstance(self.rule, Entmax):
            return _entmax_bounds(group_maxima, self.rule.alpha)
        if self.rule.k > group_maxima.shape[1]:
            return torch.full_like(group_maxima[:, 0], -torch.inf)
        # k columns are at least as large as the k-th group maximum, so the k-th column is.
        return group_maxima.topk(self.rule.k, dim=1).values[:, -1]

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


def _entmax_bounds(group_maxima: Tensor, alpha: float) -> Tensor:
    """Lower bounds (n_rows,) of the entmax threshold, in similarities: what lies below has no weight.

    An entry outside the support of a subset of the row is outside the support of the row. Rows whose subset is all
    support get a larger subset, and in the end the threshold of all group maxima.
    """
    n_rows, n_groups = group_maxima.shape
    if alpha == 1:
        return torch.full_like(group_maxima[:, 0], -torch.inf)
    bounds = (group_maxima.amax(1).double() - 1 / (alpha - 1)).cpu().numpy()
    pending, n_leaders = np.arange(n_rows if alpha < math.inf else 0), 16
    while len(pending):
        n_leaders = min(n_leaders, n_groups)
        leaders = group_maxima[torch.from_numpy(pending)].topk(n_leaders, dim=1).values.double().cpu().numpy()
        ranked = _Ranked.of_matrix(leaders)
        sizes = _support_sizes(ranked, alpha - 1)
        full = sizes == n_leaders
        first_outside = leaders[~full, sizes[~full]]
        bounds[pending[~full]] = np.maximum(bounds[pending[~full]], first_outside)
        pending = pending[full]
        if n_leaders == n_groups:
            leaders = leaders[full]
            last_weights = _entmax_on_support(_Ranked.of_matrix(leaders), alpha - 1).reshape(leaders.shape)[:, -1]
            bounds[pending] = leaders[:, -1] - last_weights ** (alpha - 1) / (alpha - 1)
            break
        n_leaders *= 4
    return torch.from_numpy(bounds).to(group_maxima.device, torch.float32)


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


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Gaps to the best of the row, ascending within each row; rows one after the other, none empty.

    numpy and not torch: its powers give the same bits wherever an element lies (torch's differ at the end of an array),
    and bincount adds in order.
    """

    gaps: NDArray[np.float64]  # (n,)
    row_ids: NDArray[np.int64]  # (n,)
    counts: NDArray[np.int64]  # (n_rows,)

    @classmethod
    def of_matrix(cls, descending: NDArray[np.float64]) -> _Ranked:
        n_rows, width = descending.shape
        gaps = (descending[:, :1] - descending).ravel()
        return cls(gaps, np.repeat(np.arange(n_rows), width), np.full(n_rows, width))

    @property
    def starts(self) -> NDArray[np.int64]:
        return np.cumsum(self.counts) - self.counts

    @property
    def ranks(self) -> NDArray[np.int64]:
        return np.arange(len(self.gaps)) - self.starts[self.row_ids]

    def row_sums(self, terms: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(self.row_ids, terms, minlength=len(self.counts)).astype(np.float64, copy=False)

    def first(self, sizes: NDArray[np.int64]) -> tuple[_Ranked, NDArray[np.bool_]]:
        """The best `sizes` of every row, and where they stand here."""
        kept = self.ranks < sizes[self.row_ids]
        return _Ranked(self.gaps[kept], self.row_ids[kept], sizes), kept


def _weighted(candidates: _Candidates, similarities: NDArray[np.float32], rule: Entmax | TopKSoftmax) -> _Rows:
    """The non-zero weights of rows whose candidates are known with their similarities."""
    row_ids, col_ids = candidates.row_ids.cpu().numpy(), candidates.col_ids.cpu().numpy()
    order = np.argsort(_sort_keys(row_ids, similarities), kind="stable")  # equal similarities stay in column order
    counts = np.bincount(row_ids, minlength=candidates.n_rows)
    best = similarities[order][np.cumsum(counts) - counts].astype(np.float64)
    ranked = _Ranked(best[row_ids] - similarities[order], row_ids, counts)
    weights = np.empty(len(order), dtype=np.float32)
    weights[order] = _weights(ranked, rule)
    kept = weights > 0
    return _Rows(
        counts=np.bincount(row_ids[kept], minlength=candidates.n_rows),
        col_ids=col_ids[kept],
        values=weights[kept],
        similarities=similarities[kept],
    )


def _sort_keys(row_ids: NDArray[np.int64], similarities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers (n,) that ascend by row, then from the best similarity; sorting them takes a third of a lexsort."""
    bits = (0.0 - similarities).view(np.int32).astype(np.int64)  # 0.0 - x: one zero, where -x has two
    return (row_ids << 32) + np.where(bits < 0, -(2**31) - bits, bits)


def _weights(ranked: _Ranked, rule: Entmax | TopKSoftmax) -> NDArray[np.float64]:
    """Weights (n,) in the order of `ranked`, zero outside the support; every row sums to one."""
    if isinstance(rule, TopKSoftmax):
        weights = np.where(ranked.ranks < rule.k, np.exp(-ranked.gaps / rule.temperature), 0.0)
    elif rule.alpha == 1:
        weights = np.exp(-ranked.gaps)
    elif rule.alpha == math.inf:
        weights = (ranked.gaps == 0).astype(np.float64)
    else:
        # Everything after the support is known sees the support only, so candidates without weight leave no trace.
        support, kept = ranked.first(_support_sizes(ranked, rule.alpha - 1))
        weights = np.zeros_like(ranked.gaps)
        weights[kept] = _entmax_on_support(support, rule.alpha - 1)
    return weights / ranked.row_sums(weights)[ranked.row_ids]


def _support_sizes(ranked: _Ranked, exponent: float) -> NDArray[np.int64]:
    """Number of non-zero weights (n_rows,) of entmax with `exponent = alpha - 1`, by bisection over the rank.

    An entry has weight if the weights of those before it, with the threshold at the entry, stay below one:
    `sum_j (exponent * (gap - gap_j))^(1 / exponent) < 1`. One leader and alpha 4: `gap < 1/3`.
    """
    inside, outside = np.ones_like(ranked.counts), ranked.counts + 1
    while np.any(outside - inside > 1):
        middle = (inside + outside) // 2
        gaps = ranked.gaps[ranked.starts + middle - 1]
        reach = np.maximum(exponent * (gaps[ranked.row_ids] - ranked.gaps), 0)
        has_weight = ranked.row_sums(reach ** (1 / exponent)) < 1
        inside, outside = np.where(has_weight, middle, inside), np.where(has_weight, outside, middle)
    return inside


def _entmax_on_support(support: _Ranked, exponent: float) -> NDArray[np.float64]:
    """Weights (n,) of rows that are all support, by Newton's method on the weight x of one entry of the row.

    With `a = alpha - 1`, weights are `w_i = (x^a + a (s_i - s_x))^(1/a)`. Their sum is convex in x if x belongs to the
    last entry and a >= 1, or to the first and a <= 1; from the right Newton then falls to the solution, never past it.
    """
    from_last = exponent >= 1
    if from_last:
        last_gaps = support.gaps[support.starts + support.counts - 1]
        offsets = exponent * (last_gaps[support.row_ids] - support.gaps)
        x = 1 / support.counts
    else:
        offsets = -exponent * support.gaps
        x = 1 / support.row_sums((support.gaps == 0).astype(np.float64))
    while True:
        per_entry = x[support.row_ids]
        weights = _shifted(per_entry, offsets, exponent)
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 only where the offset is 0
            slopes = np.where(offsets == 0, 1.0, (weights / per_entry) ** (1 - exponent))
        lower = np.maximum(x - (support.row_sums(weights) - 1) / support.row_sums(slopes), 0)
        if not np.any(lower < x):
            return weights
        x = np.minimum(x, lower)


def _shifted(x: NDArray[np.float64], offsets: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """`max(x^exponent + offset, 0)^(1 / exponent)`, precise for exponents near zero and for large ones."""
    if exponent >= 1:  # offsets >= 0
        return np.where(offsets == 0, x, (x**exponent + offsets) ** (1 / exponent))
    with np.errstate(divide="ignore"):  # log1p(-1): weight zero
        return x * np.exp(np.log1p(np.maximum(offsets / x**exponent, -1)) / exponent)


def _joined(parts: list[_Rows], n_columns: int) -> SparseWeights:
    nothing = _Rows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32))
    parts = [nothing, *parts]
    counts = torch.from_numpy(np.concatenate([part.counts for part in parts]))
    return SparseWeights(
        crow_indices=functional.pad(counts.cumsum(0), (1, 0)),
        col_indices=torch.from_numpy(np.concatenate([part.col_ids for part in parts])),
        values=torch.from_numpy(np.concatenate([part.values for part in parts])),
        n_columns=n_columns,
        similarities=torch.from_numpy(np.concatenate([part.similarities for part in parts])),
    )


@contextmanager
def _full_float32(device: str) -> Iterator[None]:
    """Matrix products without bfloat16 or TF32 short cuts, whatever the caller has allowed; restored afterwards."""
    # The backends' own switches: they also hold where the caller used torch.set_float32_matmul_precision.
    switches = (torch.backends.mkldnn.matmul, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        with torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


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


def _check_triplets(
    n_rows: int, row_ids: Tensor, col_ids: Tensor, values: Tensor, similarities: Tensor, n_columns: int
) -> None:
    lengths = [len(row_ids), len(col_ids), len(values), len(similarities)]
    if len(set(lengths)) > 1:
        raise SembridgeError(f"row_ids, col_ids, values and similarities have lengths {lengths}, expected one length.")
    for name, ids, size in (("row_ids", row_ids, n_rows), ("col_ids", col_ids, n_columns)):
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < size:
            raise SembridgeError(f"{name} lie in {int(ids.min())}..{int(ids.max())}, expected 0..{size - 1}.")
