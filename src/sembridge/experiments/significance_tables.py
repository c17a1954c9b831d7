"""Tables of paired tests: sembridge against the best baseline of a set, and against every other method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from sembridge.experiments.results import (
    MEASURE,
    ResultRow,
    Results,
    System,
    per_query_of,
    pooled,
    sets_by_language,
    systems,
)
from sembridge.experiments.score_tables import SYSTEMS_TESTED, count, facts
from sembridge.experiments.table_formats import Cell, Group, Number, Table
from sembridge.retrieval.significance import bootstrap_interval, compare, holm


@dataclass(frozen=True)
class _Pair:
    """A tested system against a baseline, values per data set and query; `groups` of sets as in the tables' means."""

    data: str
    groups: Sequence[Sequence[str]]
    system: System
    baseline: System
    system_values: Mapping[str, Mapping[str, float]]
    baseline_values: Mapping[str, Mapping[str, float]]


def significance_tables(
    results: Results, rows: Sequence[ResultRow], stage: str, n_permutations: int
) -> Iterator[Table]:
    values = {system: per_query_of(results, [r for r in rows if r.system == system]) for system in systems(rows)}
    tested = [system for system in values if system.method in SYSTEMS_TESTED]
    common = (
        "Difference: the system minus the baseline, seeds averaged per query; 95 % percentile bootstrap interval over "
        "queries; p: paired permutation test; Holm: corrected over all rows of this table; W/T/L: queries won, tied, "
        "lost."
    )
    if per_set := [pair for system in tested for pair in _best_baselines(system, values)]:
        yield Table(
            f"{stage}-significance-sets",
            f"{stage.capitalize()}: sembridge against the best baseline of every test set, {MEASURE}",
            _PAIR_HEADS,
            _pair_groups(per_set, n_permutations),
            (
                common,
                "The best baseline is chosen by its mean on the same test queries: that favours the baseline.",
                facts(results, rows),
            ),
        )
    if overall := [pair for system in tested for pair in _all_baselines(system, values, sets_by_language(rows))]:
        yield Table(
            f"{stage}-significance",
            f"{stage.capitalize()}: sembridge against every other method, all test sets, {MEASURE}",
            _PAIR_HEADS,
            _pair_groups(overall, n_permutations),
            (
                common,
                "Means as in the other tables: over a language's sets, then over languages. Queries count as "
                "independent; those of parallel sets (one question in several languages) are not: p is too low there.",
                facts(results, rows),
            ),
        )


_PAIR_HEADS = (
    *("system", "data", "baseline", "queries", "system mean", "baseline mean"),
    *("difference", "95 % from", "to", "p", "Holm", "W/T/L"),
)
_Values = Mapping[System, Mapping[str, Mapping[str, float]]]


def _best_baselines(system: System, values: _Values) -> Iterator[_Pair]:
    for data, own in values[system].items():
        rivals = {
            other: fmean(by_set[data].values())
            for other, by_set in values.items()
            if other.is_baseline and other.source_encoder == system.source_encoder and data in by_set
        }
        if rivals:
            best = max(rivals, key=rivals.__getitem__)
            yield _Pair(data, [[data]], system, best, {data: own}, {data: values[best][data]})


def _all_baselines(system: System, values: _Values, languages: Mapping[str, Sequence[str]]) -> Iterator[_Pair]:
    for other, theirs in values.items():
        comparable = other.source_encoder in (system.source_encoder, None)
        sets = [data for data in values[system] if data in theirs]
        if other == system or not comparable or not sets:
            continue
        common = [[data for data in its if data in sets] for its in languages.values()]
        groups = [group for group in common if group]
        own = {data: values[system][data] for data in sets}
        yield _Pair(count(len(sets), "set"), groups, system, other, own, {data: theirs[data] for data in sets})


def _pair_groups(pairs: Sequence[_Pair], n_permutations: int) -> tuple[Group, ...]:
    compared = []
    for pair in pairs:
        own, theirs = (pooled(values, pair.groups) for values in (pair.system_values, pair.baseline_values))
        compared.append(compare({"": theirs}, {"": own}, n_permutations=n_permutations, n_changes=0)[""])
    corrected = holm([comparison.p_permutation for comparison in compared])
    grouped: dict[str, list[tuple[Cell, ...]]] = {}
    for pair, comparison, p_holm in zip(pairs, compared, corrected, strict=True):
        low, high = bootstrap_interval(list(_strata(pair)))
        grouped.setdefault(str(pair.system.source_encoder), []).append(
            (
                *(pair.system.method, pair.data, pair.baseline.method, Number(comparison.n_queries, 0)),
                *(Number(comparison.system_mean), Number(comparison.baseline_mean)),
                *(Number(comparison.difference), Number(low), Number(high)),
                *(Number(comparison.p_permutation, 4), Number(p_holm, 4)),
                f"{comparison.wins}/{comparison.ties}/{comparison.losses}",
            )
        )
    return tuple(Group(title, tuple(rows)) for title, rows in grouped.items())


def _strata(pair: _Pair) -> Iterator[list[float]]:
    """The differences of every set, scaled so that the mean over sets is that over groups of the means over sets."""
    n_sets = sum(len(group) for group in pair.groups)
    for group in pair.groups:
        scale = n_sets / (len(pair.groups) * len(group))
        for data in group:
            own, theirs = pair.system_values[data], pair.baseline_values[data]
            yield [scale * (own[query] - theirs[query]) for query in own]
