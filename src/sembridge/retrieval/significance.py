"""Significance: is the difference between two systems on the same queries more than chance?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sembridge.errors import SembridgeError

PerQuery = Mapping[str, Mapping[str, float]]
"""Measure -> query id -> value, as in `Evaluation.per_query`."""

SIGNIFICANT = 0.05
"""The level of every sentence that says better, worse, ahead or behind."""

_MAX_SIGNS = 2**22  # of sign flips held at once: 36 MiB
_DECIMALS = 9  # kept of a difference: measures are sums of a few double fractions, the rest is rounding noise


@dataclass(frozen=True)
class QueryChange:
    """One query's values under the two systems."""

    query_id: str
    baseline: float
    system: float


@dataclass(frozen=True)
class Comparison:
    """A system against a baseline on one measure; differences are system minus baseline.

    Attributes:
        p_permutation: two-sided paired permutation test (random sign flips; all of them when they are few).
        p_t: two-sided paired t-test; 1 where the differences are all zero or there is one query only.
        p_holm: p_permutation after Holm's correction over all comparisons made in the same call.
        largest_changes: the queries that changed most, either way, largest first.
    """

    measure: str
    n_queries: int
    baseline_mean: float
    system_mean: float
    difference: float
    p_permutation: float
    p_t: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    largest_changes: tuple[QueryChange, ...]

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON-able values."""
        return asdict(self)


def compare(
    baseline: PerQuery, system: PerQuery, *, seed: int = 0, n_permutations: int = 9999, n_changes: int = 10
) -> dict[str, Comparison]:
    """Measure -> comparison of one system with the baseline, Holm-corrected over the measures.

    Example:
        >>> before = {"nDCG@10": {"q1": 0.2, "q2": 0.5, "q3": 1.0}}
        >>> after = {"nDCG@10": {"q1": 0.9, "q2": 0.5, "q3": 0.8}}
        >>> result = compare(before, after)["nDCG@10"]
        >>> result.wins, result.ties, result.losses, round(result.difference, 3)
        (1, 1, 1, 0.167)

    Raises:
        SembridgeError: no common measure, or different queries.
    """
    return compare_all(baseline, {"": system}, seed=seed, n_permutations=n_permutations, n_changes=n_changes)[""]


def compare_all(
    baseline: PerQuery,
    systems: Mapping[str, PerQuery],
    *,
    seed: int = 0,
    n_permutations: int = 9999,
    n_changes: int = 10,
) -> dict[str, dict[str, Comparison]]:
    """System name -> measure -> comparison with the baseline, Holm-corrected over all of them together.

    Raises:
        SembridgeError: no common measure, or different queries.
    """
    paired = {
        (name, measure): _paired_values(baseline[measure], system[measure], measure)
        for name, system in systems.items()
        for measure in _common_measures(baseline, system)
    }
    p_values = [_permutation_p(values, seed, n_permutations) for values in paired.values()]
    compared: dict[str, dict[str, Comparison]] = {}
    for (name, measure), p_permutation, p_holm in zip(paired, p_values, holm(p_values), strict=True):
        query_ids = sorted(baseline[measure])
        compared.setdefault(name, {})[measure] = _comparison(
            measure, query_ids, paired[name, measure], p_permutation=p_permutation, p_holm=p_holm, n_changes=n_changes
        )
    return compared


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's step-down correction, in the given order: never smaller, at most 1."""
    adjusted = [0.0] * len(p_values)
    running_maximum = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running_maximum = max(running_maximum, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = running_maximum
    return adjusted


def bootstrap_interval(
    strata: Sequence[Sequence[float]], *, seed: int = 0, n_resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean over strata of their means, queries redrawn within a stratum.

    Args:
        strata: the values per query of every data set, each (n_queries,).

    Raises:
        SembridgeError: a stratum without queries, or no stratum.
    """
    if not strata or not all(len(values) for values in strata):
        raise SembridgeError("A bootstrap interval needs at least one query in every data set; give measured queries.")
    generator = np.random.default_rng(seed)
    means = np.zeros(n_resamples)
    for values in (np.asarray(stratum, dtype=np.float64) for stratum in strata):
        for start in range(0, n_resamples, 256):  # bounds the memory: 256 x n_queries
            part = means[start : start + 256]
            part += values[generator.integers(len(values), size=(len(part), len(values)))].mean(axis=1)
    low, high = np.quantile(means / len(strata), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _common_measures(baseline: PerQuery, system: PerQuery) -> list[str]:
    common = [measure for measure in baseline if measure in system]
    if not common:
        raise SembridgeError(
            f"No measure in common: one has {', '.join(baseline) or 'none'}, the other {', '.join(system) or 'none'}."
        )
    return common


def _paired_values(baseline: Mapping[str, float], system: Mapping[str, float], measure: str) -> NDArray[np.float64]:
    """(2, n_queries) values of baseline and system, queries in the order of their ids."""
    if not baseline or baseline.keys() != system.keys():
        raise SembridgeError(
            f"{measure}: one system has {len(baseline)} queries, the other {len(system)}, "
            f"{len(baseline.keys() & system)} in common; a paired test needs the same: evaluate both on the same data."
        )
    query_ids = sorted(baseline)
    return np.array([[values[query] for query in query_ids] for values in (baseline, system)], dtype=np.float64)


def _comparison(
    measure: str,
    query_ids: list[str],
    values: NDArray[np.float64],
    *,
    p_permutation: float,
    p_holm: float,
    n_changes: int,
) -> Comparison:
    differences = _differences(values)
    changed = [position for position in np.argsort(-np.abs(differences), kind="stable") if differences[position] != 0]
    return Comparison(
        measure=measure,
        n_queries=len(query_ids),
        baseline_mean=float(values[0].mean()),
        system_mean=float(values[1].mean()),
        difference=float((values[1] - values[0]).mean()),
        p_permutation=p_permutation,
        p_t=_t_test_p(differences),
        p_holm=p_holm,
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
        largest_changes=tuple(
            QueryChange(query_ids[position], float(values[0, position]), float(values[1, position]))
            for position in changed[:n_changes]
        ),
    )


def _differences(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_queries,) system minus baseline, equal changes exactly equal and ties exactly 0."""
    differences: NDArray[np.float64] = np.round(values[1] - values[0], _DECIMALS)
    return differences


def _permutation_p(values: NDArray[np.float64], seed: int, n_permutations: int) -> float:
    changed = _differences(values)
    changed = changed[changed != 0]  # the sign of a zero changes nothing
    if len(changed) < 2:
        return 1.0  # one sign flip, and its mirror image is as extreme
    if 2 ** len(changed) <= n_permutations:  # all sign flips, each once
        result = stats.permutation_test(
            (changed,), np.sum, permutation_type="samples", n_resamples=n_permutations, vectorized=True
        )
        return float(result.pvalue)
    return _random_flips_p(changed, np.random.default_rng(seed), n_permutations)


def _random_flips_p(changed: NDArray[np.float64], rng: np.random.Generator, n_permutations: int) -> float:
    """As scipy's permutation_test of random sign flips, whose drawing alone takes minutes for the tables of a grid."""
    observed = abs(changed.sum()) * (1 - 1e-12)  # flips that equal the observed one but for rounding count as extreme
    n_extreme, block = 0, max(1, _MAX_SIGNS // len(changed))
    for start in range(0, n_permutations, block):
        rows = min(block, n_permutations - start)
        signs = rng.integers(0, 2, size=(rows, len(changed)), dtype=np.int8) * 2 - 1
        n_extreme += int((np.abs(signs @ changed) >= observed).sum())
    return (n_extreme + 1) / (n_permutations + 1)


def _t_test_p(differences: NDArray[np.float64]) -> float:
    if len(differences) < 2 or not differences.any():
        return 1.0
    if np.ptp(differences) == 0:
        return 0.0  # the same change on every query: no spread to divide by
    t = float(differences.mean() / differences.std(ddof=1)) * math.sqrt(len(differences))
    return float(2 * stats.t.sf(abs(t), len(differences) - 1))
