"""The tables of a grid of experiments, in the paper's shape."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

from sembridge.experiments.results import (
    MEASURE,
    Mean,
    ResultRow,
    Results,
    System,
    is_sweep,
    mean_of,
    per_query_of,
    pooled,
    read_results,
    sets_by_language,
    sweep_rows,
    systems,
)
from sembridge.experiments.table_formats import DASH, FORMATS, Cell, Group, Number, Table
from sembridge.files.atomic import write_file
from sembridge.retrieval.significance import bootstrap_interval, compare, compare_all, holm

__all__ = ["Results", "grid_tables", "read_results", "write_tables"]

SYSTEMS_TESTED = ("sembridge-default", "sembridge-paper")
SIGNIFICANT = 0.05
_TABLE_NAME = re.compile(r"(zero-shot|fine-tuned)(-.+)?|alpha-sweep|words|steps-to-target")
TARGET_SHARE = 0.95  # of the best dev value, in steps-to-target

Value = Callable[[ResultRow], float | None]
Mark = Literal["ahead", "behind"]


@dataclass(frozen=True)
class _Column:
    """A column of means: over the sets of each group, then over the groups."""

    head: str
    groups: Sequence[Sequence[str]]
    value: Value
    decimals: int = 3
    ranked: bool = True

    @property
    def sets(self) -> list[str]:
        return [data for group in self.groups for data in group]


def write_tables(results: Results, folder: Path, *, n_permutations: int = 9999) -> list[Path]:
    """The files written to `folder`: every table of `grid_tables` as .md, .tex and .csv.

    A table of an earlier run that they have nothing for is removed.

    Raises:
        SembridgeError: the folder cannot be written, or seeds or methods were measured on different queries.
    """
    from tqdm import tqdm

    with contextlib.suppress(OSError):  # write_file says what is wrong with the place
        Path(folder).mkdir(parents=True, exist_ok=True)
    written = []
    found = grid_tables(results, n_permutations=n_permutations)
    # Ten thousand permutations of thousands of queries take minutes; shown on a terminal only.
    for table in tqdm(found, desc="tables", unit=" tables", file=sys.stderr, disable=None, leave=False):
        for ending, render in FORMATS.items():
            written.append(write_file(Path(folder) / f"{table.name}.{ending}", [render(table)]))
    for path in Path(folder).iterdir():
        if path not in written and path.suffix[1:] in FORMATS and _TABLE_NAME.fullmatch(path.stem):
            path.unlink()
    return written


def grid_tables(results: Results, *, n_permutations: int = 9999) -> Iterator[Table]:
    """All tables that the results have something for."""
    for stage in results.stages():
        rows = results.table_rows(stage)
        if not rows:
            continue
        yield _main_table(results, rows, stage, n_permutations)
        yield from _set_tables(results, rows, stage, n_permutations)
        if any(row.least_overlapping for row in rows):
            yield _least_overlapping_table(results, rows, stage)
        yield from _significance_tables(results, rows, stage, n_permutations)
        for cost in _COSTS:
            if any(cost.value(row) is not None for row in rows):
                yield _cost_table(results, rows, stage, cost)
    if any(is_sweep(row.method) for row in results.rows):
        yield _alpha_table(results)
    if results.words:
        yield _word_table(results)
    if results.curves:
        yield _steps_table(results)


def _measure(row: ResultRow) -> float | None:
    return row.measures.get(MEASURE)


def _least(row: ResultRow) -> float | None:
    return (row.least_overlapping or {}).get(MEASURE)


def _language_columns(
    rows: Sequence[ResultRow], value: Value, *, decimals: int = 3, ranked: bool = True
) -> list[_Column]:
    languages = sets_by_language(rows)
    columns = [_Column(language, [sets], value, decimals, ranked) for language, sets in languages.items()]
    if len(columns) == 1:
        return columns  # the average would only repeat it
    return [*columns, _Column("average", list(languages.values()), value, decimals, ranked)]


def _main_table(results: Results, rows: Sequence[ResultRow], stage: str, n_permutations: int) -> Table:
    columns = _language_columns(rows, _measure)
    flops = replace(columns[-1], head="FLOPS", value=lambda row: row.flops, decimals=2, ranked=False)
    return Table(
        stage,
        f"{stage.capitalize()}: {MEASURE}, and the FLOPS statistic averaged over the languages",
        ("method", *(column.head for column in columns), flops.head),
        _score_groups(rows, [*columns, flops], _marks(results, rows, columns, n_permutations)),
        (_MEANS, _RANKS, _MARKS, _facts(results, rows)),
    )


def _set_tables(results: Results, rows: Sequence[ResultRow], stage: str, n_permutations: int) -> Iterator[Table]:
    for language, sets in sets_by_language(rows).items():
        of_language = [row for row in rows if row.language == language]
        columns = [_Column(_set_head(of_language, data), [[data]], _measure) for data in sets]
        yield Table(
            f"{stage}-sets-{language}",
            f"{stage.capitalize()}, {language}: {MEASURE} per test set",
            ("method", *(column.head for column in columns)),
            _score_groups(of_language, columns, _marks(results, of_language, columns, n_permutations)),
            (
                "Beside a set: queries, documents, lexical overlap (mean share of a query's words that occur in its "
                "best-overlapping relevant document).",
                *(_SPREADS, _RANKS, _MARKS, _facts(results, of_language)),
            ),
        )


def _set_head(rows: Iterable[ResultRow], data: str) -> str:
    of_set = [row for row in rows if row.data == data]
    overlaps = [row.lexical_overlap for row in of_set if row.lexical_overlap is not None]
    overlap = f", overlap {Number(fmean(overlaps), 2).text()}" if overlaps else ""
    return f"{data} ({of_set[0].n_queries} q, {of_set[0].n_documents} d{overlap})"


def _least_overlapping_table(results: Results, rows: Sequence[ResultRow], stage: str) -> Table:
    columns = _language_columns(rows, _least)
    return Table(
        f"{stage}-least-overlapping",
        f"{stage.capitalize()}: {MEASURE} on the least overlapping third of every set's queries",
        ("method", *(column.head for column in columns)),
        _score_groups(rows, columns, {}),
        (
            "The third of a set's queries that share the smallest part of their words with their relevant documents, "
            "over the same corpus: word identity helps least there.",
            *(_MEANS, _RANKS, _facts(results, rows)),
        ),
    )


@dataclass(frozen=True)
class _Cost:
    """What a vector costs, in one number."""

    name: str
    title: str
    value: Value
    decimals: int = 1


_COSTS = (
    _Cost("flops", "FLOPS statistic", lambda row: row.flops, 2),
    _Cost("document-dims", "active dims of documents", lambda row: row.document_active_dims),
    _Cost("query-dims", "active dims of queries", lambda row: row.query_active_dims),
)


def _cost_table(results: Results, rows: Sequence[ResultRow], stage: str, cost: _Cost) -> Table:
    of_encoders = [row for row in rows if cost.value(row) is not None]
    columns = _language_columns(of_encoders, cost.value, decimals=cost.decimals, ranked=False)
    return Table(
        f"{stage}-{cost.name}",
        f"{stage.capitalize()}: {cost.title}",
        ("method", *(column.head for column in columns)),
        _score_groups(of_encoders, columns, {}),
        (
            "Fewer cost less in an inverted index; not ranked, for a vector of zeros costs least.",
            _MEANS,
            _facts(results, rows),
        ),
    )


_SPREADS = "±: standard deviation over seeds (n - 1) of methods that draw rows."
_MEANS = f"Mean over a language's test sets; average: mean over the languages. {_SPREADS}"
_RANKS = (
    "Bold: best, underlined: second of a column among the transfers of one source encoder. "
    "†: mean over fewer sets or seeds than its neighbours, not ranked. –: not measured."
)
_MARKS = (
    "▲ ▼: significantly ahead of, behind sembridge-default of the same source encoder (paired permutation test over "
    "the column's queries, every set counting once as in the mean, seeds averaged; Holm over the source encoder's "
    f"comparisons in this table, p < {SIGNIFICANT})."
)


def _facts(results: Results, rows: Sequence[ResultRow]) -> str:
    """What the figures were measured on, with what."""
    sets = {row.data: row for row in rows}
    seeds = sorted({row.seed for row in rows if row.seed is not None})
    engines = sorted({row.engine for row in rows if row.engine})
    versions = [f"{package} {version}" for package, version in sorted(results.versions.items())]
    parts = [
        f"{_count(len(sets), 'test set')} ({', '.join(sorted({row.split for row in rows}))})",
        f"{_range(row.n_queries for row in sets.values())} queries and "
        f"{_range(row.n_documents for row in sets.values())} documents a set, as listed in the tables per set; "
        "over small or sampled corpora figures are higher than over full ones",
        *([f"seeds {', '.join(map(str, seeds))}"] if seeds else []),
        *([f"engine {', '.join(engines)}"] if engines else []),
        *([f"versions {', '.join(versions)}"] if versions else []),
    ]
    return f"Measured on {'; '.join(parts)}."


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _range(values: Iterable[int]) -> str:
    numbers = sorted(values)
    return f"{numbers[0]}" if numbers[0] == numbers[-1] else f"{numbers[0]}–{numbers[-1]}"


def _score_groups(
    rows: Sequence[ResultRow], columns: Sequence[_Column], marks: Mapping[tuple[System, str], Mark]
) -> tuple[Group, ...]:
    """References first, then a group for every source encoder."""
    grouped: dict[str, list[System]] = {}
    for system in systems(rows):
        title = (
            "References: BM25, the untouched encoder, hybrids with BM25"
            if system.is_reference
            else f"{system.source_encoder}"
        )
        grouped.setdefault(title, []).append(system)
    groups = []
    for title, members in grouped.items():
        of_system = {system: [row for row in rows if row.system == system] for system in members}
        means = {
            (system, column.head): mean_of(of_system[system], column.groups, column.value)
            for system in members
            for column in columns
        }
        cells: list[tuple[Cell, ...]] = [
            (_label(system, of_system[system]), *_numbers(system, columns, means, marks, members)) for system in members
        ]
        groups.append(Group(title, tuple(cells)))
    return tuple(groups)


def _label(system: System, rows: Iterable[ResultRow]) -> str:
    seeds = {row.seed for row in rows if row.seed is not None}
    encoder = f", {system.source_encoder}" if system.is_reference and system.source_encoder else ""
    return f"{system.method}{encoder}" + (f" ({len(seeds)} seeds)" if len(seeds) > 1 else "")


def _numbers(
    system: System,
    columns: Sequence[_Column],
    means: Mapping[tuple[System, str], Mean],
    marks: Mapping[tuple[System, str], Mark],
    members: Sequence[System],
) -> list[Number]:
    numbers = []
    for column in columns:
        mean = means[system, column.head]
        rank = None
        if column.ranked and not system.is_reference:
            rank = _rank(mean, [means[member, column.head] for member in members], column.decimals)
        numbers.append(
            Number(
                mean.value,
                column.decimals,
                spread=mean.spread,
                rank=rank,
                mark=marks.get((system, column.head)),
                partial=mean.value is not None and not mean.complete,
            )
        )
    return numbers


def _rank(mean: Mean, others: Iterable[Mean], decimals: int) -> Literal["best", "second"] | None:
    """Place among complete means; values that print alike share it."""
    if mean.value is None or not mean.complete:
        return None
    distinct = {round(other.value, decimals) for other in others if other.value is not None and other.complete}
    best = sorted(distinct, reverse=True)[:2]
    value = round(mean.value, decimals)
    if len(distinct) < 2 or value not in best:
        return None
    return "best" if value == best[0] else "second"


def _marks(
    results: Results, rows: Sequence[ResultRow], columns: Sequence[_Column], n_permutations: int
) -> dict[tuple[System, str], Mark]:
    """(system, column) -> significantly ahead of or behind sembridge-default with the same source encoder."""
    marks: dict[tuple[System, str], Mark] = {}
    transfers = [system for system in systems(rows) if not system.is_reference]
    for anchor in (system for system in transfers if system.method == SYSTEMS_TESTED[0]):
        others = [s for s in transfers if s.source_encoder == anchor.source_encoder and s != anchor]
        values = {
            system: _column_queries(results, [row for row in rows if row.system == system], columns)
            for system in (anchor, *others)
        }
        compared = {system.method: values[system] for system in others if values[system].keys() & values[anchor].keys()}
        if not compared:
            continue
        found = compare_all(values[anchor], compared, n_permutations=n_permutations, n_changes=0)
        for system in others:
            for head, comparison in found.get(system.method, {}).items():
                if comparison.p_holm < SIGNIFICANT:
                    marks[system, head] = "ahead" if comparison.difference > 0 else "behind"
    return marks


def _column_queries(
    results: Results, rows: Sequence[ResultRow], columns: Sequence[_Column]
) -> dict[str, dict[str, float]]:
    """Column -> its pooled queries' values, whose mean is the column's; columns without all their sets are left out."""
    by_set = per_query_of(results, rows)
    return {column.head: pooled(by_set, column.groups) for column in columns if by_set.keys() >= set(column.sets)}


@dataclass(frozen=True)
class _Pair:
    """A tested system against a baseline, values per data set and query; `groups` of sets as in the tables' means."""

    data: str
    groups: Sequence[Sequence[str]]
    system: System
    baseline: System
    system_values: Mapping[str, Mapping[str, float]]
    baseline_values: Mapping[str, Mapping[str, float]]


def _significance_tables(
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
                _facts(results, rows),
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
                _facts(results, rows),
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
        yield _Pair(_count(len(sets), "set"), groups, system, other, own, {data: theirs[data] for data in sets})


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


def _alpha_table(results: Results) -> Table:
    swept = sweep_rows(results)
    rows = [row for by_alpha in swept.values() for rows in by_alpha.values() for row in rows]
    columns = _language_columns(rows, _measure)
    average = replace(columns[-1], ranked=False)
    columns += [
        replace(average, head="FLOPS", value=lambda row: row.flops, decimals=2),
        replace(average, head="query dims", value=lambda row: row.query_active_dims, decimals=1),
        replace(average, head="document dims", value=lambda row: row.document_active_dims, decimals=1),
    ]
    groups = []
    for system, by_alpha in swept.items():
        steps = {alpha: System(system.source_encoder, f"{alpha:g}") for alpha in by_alpha}
        means = {
            (steps[alpha], column.head): mean_of(rows, column.groups, column.value)
            for alpha, rows in by_alpha.items()
            for column in columns
        }
        cells: list[tuple[Cell, ...]] = [
            (f"{alpha:g}", *_numbers(step, columns, means, {}, list(steps.values()))) for alpha, step in steps.items()
        ]
        groups.append(Group(f"{system.method}, {system.source_encoder}", tuple(cells)))
    notes = (
        "α: the entmax exponent (1: softmax, 2: sparsemax, 4: the paper). FLOPS and active dims: mean over languages.",
        "Chosen from this table, an α would be fitted to the test sets: it shows the shape, not a choice.",
    )
    heads = ("α", *(column.head for column in columns))
    return Table(
        "alpha-sweep",
        f"Zero-shot {MEASURE} by α",
        heads,
        tuple(groups),
        (*notes, _MEANS, _RANKS, _facts(results, rows)),
    )


def _word_table(results: Results) -> Table:
    order = {(s.source_encoder, s.method): place for place, s in enumerate(systems(results.rows))}
    grouped: dict[str, list[tuple[Cell, ...]]] = {}
    for word in sorted(
        results.words,
        key=lambda w: (w.language, w.word, w.source_encoder, order.get((w.source_encoder, w.method), 0), w.method),
    ):
        parts = ", ".join(f"{token} {weight:.2f}" for token, weight in word.parts) or word.note or DASH
        grouped.setdefault(f"{word.language}: {word.word}", []).append((word.source_encoder, word.method, parts))
    return Table(
        "words",
        "What target words are made of: top source tokens and their weights",
        ("source encoder", "method", "source tokens"),
        tuple(Group(title, tuple(rows)) for title, rows in grouped.items()),
        ("The words are those of the grid's recipe. A drawn row is made of no token; of seeds the first is shown.",),
    )


def _steps_table(results: Results) -> Table:
    about = {row.cell: row for row in results.rows}
    grouped: dict[str, dict[System, list[_DevCurve]]] = {}
    for cell, curve in sorted(results.curves.items()):
        dev = [(point.step, point.dev) for point in curve if point.dev is not None]
        if cell in about and dev:
            row = about[cell]
            title = f"{row.source_encoder}, {row.language}"
            grouped.setdefault(title, {}).setdefault(row.system, []).append(dev)
    groups = []
    for title, by_system in sorted(grouped.items()):
        targets = _targets(by_system)
        members = [system for system in systems(results.rows) if system in by_system]
        rows = tuple((system.method, *_steps(by_system[system], targets)) for system in members)
        texts = ", ".join(f"{name} {Number(value).text()}" for name, value in targets.items() if value is not None)
        groups.append(Group(f"{title}: {texts}", rows))
    return Table(
        "steps-to-target",
        f"Training steps to a dev {MEASURE}: that of random rows after all steps, and {TARGET_SHARE:.0%} of the best",
        ("method", *(head for name in _TARGETS for head in (f"to {name}", "seeds")), "first", "last", "best"),
        tuple(groups),
        (
            "random's last: the mean over the seeds of method random after its last step. "
            f"{_NEAR_BEST}: of the highest dev value among all curves of a source encoder and language. "
            "Steps: the first evaluated step at or above it (0: before training), mean over the seeds that reached it. "
            "First, last, best: dev value before training, after it, and the highest; mean over seeds.",
        ),
    )


_DevCurve = Sequence[tuple[int, float]]
_NEAR_BEST = f"{TARGET_SHARE:.0%} of the best"
_TARGETS = ("random's last", _NEAR_BEST)


def _targets(by_system: Mapping[System, Sequence[_DevCurve]]) -> dict[str, float | None]:
    """What curves of one source encoder and language are asked to reach; None without the method random."""
    ends = [max(curve)[1] for system, curves in by_system.items() if system.method == "random" for curve in curves]
    best = max(value for curves in by_system.values() for curve in curves for _, value in curve)
    return dict(zip(_TARGETS, (fmean(ends) if ends else None, TARGET_SHARE * best), strict=True))


def _steps(curves: Sequence[_DevCurve], targets: Mapping[str, float | None]) -> list[Cell]:
    cells: list[Cell] = []
    for target in targets.values():
        reached = [
            min(step for step, value in curve if value >= target)
            for curve in curves
            if target is not None and max(value for _, value in curve) >= target
        ]
        seeds = DASH if target is None else f"{len(reached)} of {len(curves)}"
        cells += [Number(fmean(reached) if reached else None, 0), seeds]
    first, last = (fmean(end(curve)[1] for curve in curves) for end in (min, max))
    best = fmean(max(value for _, value in curve) for curve in curves)
    return [*cells, Number(first), Number(last), Number(best)]
