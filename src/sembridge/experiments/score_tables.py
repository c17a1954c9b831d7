"""Tables of means: every system on every language or set, with its rank, its spread and who is ahead."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from sembridge.experiments.results import (
    MEASURE,
    Mean,
    ResultRow,
    Results,
    System,
    mean_of,
    per_query_of,
    pooled,
    sets_by_language,
    sweep_rows,
    systems,
)
from sembridge.experiments.table_formats import Cell, Group, Number, Table
from sembridge.retrieval.columns import COST_COLUMNS, Column, figure_column
from sembridge.retrieval.significance import SIGNIFICANT, compare_all

SYSTEMS_TESTED = ("sembridge-default", "sembridge-paper")
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


def _value_of(column: Column) -> Value:
    return lambda row: column.of(row.evaluation)


def _cost_column(average: _Column, cost: Column) -> _Column:
    """A cost averaged as the scores are."""
    return _Column(cost.heading, average.groups, _value_of(cost), cost.decimals, ranked=False)


def main_tables(results: Results, rows: Sequence[ResultRow], stage: str, n_permutations: int) -> Iterator[Table]:
    """The main table; a grid that moves bundled source encoders beside others has one for each kind."""
    bundled = {row.source_encoder for row in rows if (row.source_encoder or "").startswith("mini/")}
    others = {row.source_encoder for row in rows} - bundled - {None}
    if not bundled or not others:
        yield main_table(results, rows, stage, n_permutations)
        return
    for ending, kind, left_out in (("", "other than bundled", bundled), ("-bundled", "bundled", others)):
        table = main_table(results, [r for r in rows if r.source_encoder not in left_out], stage, n_permutations)
        caption = f"{table.caption}; source encoders {kind}"
        yield replace(table, name=f"{stage}{ending}", caption=caption)


def main_table(results: Results, rows: Sequence[ResultRow], stage: str, n_permutations: int) -> Table:
    columns = _language_columns(rows, _measure)
    flops = _cost_column(columns[-1], figure_column("flops"))
    return Table(
        stage,
        f"{stage.capitalize()}: {MEASURE}, and the FLOPS statistic averaged over the languages",
        ("method", *(column.head for column in columns), flops.head),
        _score_groups(rows, [*columns, flops], _marks(results, rows, columns, n_permutations)),
        (_MEANS, _RANKS, _MARKS, facts(results, rows)),
    )


def set_tables(results: Results, rows: Sequence[ResultRow], stage: str, n_permutations: int) -> Iterator[Table]:
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
                *(_SPREADS, _RANKS, _MARKS, facts(results, of_language)),
            ),
        )


def _set_head(rows: Iterable[ResultRow], data: str) -> str:
    of_set = [row for row in rows if row.data == data]
    overlaps = [row.lexical_overlap for row in of_set if row.lexical_overlap is not None]
    overlap = f", overlap {Number(fmean(overlaps), 2).text()}" if overlaps else ""
    return f"{data} ({of_set[0].n_queries} q, {of_set[0].n_documents} d{overlap})"


def least_overlapping_table(results: Results, rows: Sequence[ResultRow], stage: str) -> Table:
    columns = _language_columns(rows, _least)
    return Table(
        f"{stage}-least-overlapping",
        f"{stage.capitalize()}: {MEASURE} on the least overlapping third of every set's queries",
        ("method", *(column.head for column in columns)),
        _score_groups(rows, columns, {}),
        (
            "The third of a set's queries that share the smallest part of their words with their relevant documents, "
            "over the same corpus: word identity helps least there.",
            *(_MEANS, _RANKS, facts(results, rows)),
        ),
    )


def cost_table(results: Results, rows: Sequence[ResultRow], stage: str, cost: Column) -> Table:
    """What vectors cost, in one number: a column of `COST_COLUMNS`."""
    of_encoders = [row for row in rows if cost.of(row.evaluation) is not None]
    columns = _language_columns(of_encoders, _value_of(cost), decimals=cost.decimals, ranked=False)
    return Table(
        f"{stage}-{cost.key}",
        f"{stage.capitalize()}: {cost.title}",
        ("method", *(column.head for column in columns)),
        _score_groups(of_encoders, columns, {}),
        (
            "Fewer cost less in an inverted index; not ranked, for a vector of zeros costs least.",
            _MEANS,
            facts(results, rows),
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


def facts(results: Results, rows: Sequence[ResultRow]) -> str:
    """What the figures were measured on, with what."""
    sets = {row.data: row for row in rows}
    seeds = sorted({row.seed for row in rows if row.seed is not None})
    engines = sorted({row.engine for row in rows if row.engine})
    versions = [f"{package} {version}" for package, version in sorted(results.versions.items())]
    parts = [
        f"{count(len(sets), 'test set')} ({', '.join(sorted({row.split for row in rows}))})",
        f"{_range(row.n_queries for row in sets.values())} queries and "
        f"{_range(row.n_documents for row in sets.values())} documents a set, as listed in the tables per set; "
        "over small or sampled corpora figures are higher than over full ones",
        *([f"seeds {', '.join(map(str, seeds))}"] if seeds else []),
        *([f"engine {', '.join(engines)}"] if engines else []),
        *([f"versions {', '.join(versions)}"] if versions else []),
    ]
    return f"Measured on {'; '.join(parts)}."


def count(number: int, word: str) -> str:
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
            "References: BM25, dense search, the untouched encoder, hybrids with BM25"
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


def alpha_table(results: Results) -> Table:
    swept = sweep_rows(results)
    rows = [row for by_alpha in swept.values() for rows in by_alpha.values() for row in rows]
    columns = _language_columns(rows, _measure)
    costs = [cost for cost in COST_COLUMNS if any(cost.of(row.evaluation) is not None for row in rows)]
    columns += [_cost_column(columns[-1], cost) for cost in costs]
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
        (*notes, _MEANS, _RANKS, facts(results, rows)),
    )
