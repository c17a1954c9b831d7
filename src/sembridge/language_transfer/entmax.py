"""The rules that make weights of similarities: entmax, exact on its bounded support, and the softmax of the nearest."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sembridge.errors import SembridgeError


@dataclass(frozen=True, eq=False)
class Ranked:
    """Gaps to the best of the row, ascending within each row; rows one after the other, none empty.

    numpy and not torch: its powers give the same bits wherever an element lies (torch's differ at the end of an array),
    and bincount adds in order.
    """

    gaps: NDArray[np.float64]  # (n,)
    row_ids: NDArray[np.int64]  # (n,)
    counts: NDArray[np.int64]  # (n_rows,)

    @classmethod
    def of_matrix(cls, descending: NDArray[np.float64]) -> "Ranked":
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

    def first(self, sizes: NDArray[np.int64]) -> "tuple[Ranked, NDArray[np.bool_]]":
        """The best `sizes` of every row, and where they stand here."""
        kept = self.ranks < sizes[self.row_ids]
        return Ranked(self.gaps[kept], self.row_ids[kept], sizes), kept


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


def entmax_bounds(group_maxima: Tensor, alpha: float) -> Tensor:
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
        ranked = Ranked.of_matrix(leaders)
        sizes = _support_sizes(ranked, alpha - 1)
        full = sizes == n_leaders
        first_outside = leaders[~full, sizes[~full]]
        bounds[pending[~full]] = np.maximum(bounds[pending[~full]], first_outside)
        pending = pending[full]
        if n_leaders == n_groups:
            leaders = leaders[full]
            last_weights = _entmax_on_support(Ranked.of_matrix(leaders), alpha - 1).reshape(leaders.shape)[:, -1]
            bounds[pending] = leaders[:, -1] - last_weights ** (alpha - 1) / (alpha - 1)
            break
        n_leaders *= 4
    return torch.from_numpy(bounds).to(group_maxima.device, torch.float32)


def ranked_weights(ranked: Ranked, rule: Entmax | TopKSoftmax) -> NDArray[np.float64]:
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


def _support_sizes(ranked: Ranked, exponent: float) -> NDArray[np.int64]:
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


def _entmax_on_support(support: Ranked, exponent: float) -> NDArray[np.float64]:
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


@contextmanager
def full_float32(device: str) -> Iterator[None]:
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
