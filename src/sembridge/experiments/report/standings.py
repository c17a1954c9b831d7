"""What the measurements say to someone who has to decide: the transferred encoder beside BM25 and English, in words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sembridge.experiments.results import (
    DENSE,
    FINE_TUNED,
    MEASURE,
    ZERO_SHOT,
    Mean,
    ResultRow,
    Results,
    System,
    is_sweep,
    mean_of,
    per_query_of,
    sets_by_language,
    systems,
)
from sembridge.experiments.table_formats import Number
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.significance import bootstrap_interval

OWN = ("sembridge-default", "sembridge-paper")
N_SHIFTS = 5  # a language and direction
START_CHARACTERS = 220

Verdict = Literal["ahead", "behind", "not told apart", "not tested"]


@dataclass(frozen=True)
class Column:
    """A system of the headline: its title, what it is, and whether it is the one that is to be shipped."""

    title: str
    system: System
    stage: str
    is_own: bool = False


@dataclass(frozen=True)
class Standing:
    """A language's line: a mean for every column, and the candidate's difference to BM25 with its interval."""

    language: str
    n_queries: int
    means: tuple[Mean, ...]
    difference: float | None
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> Verdict:
        """Against BM25, by the 95 % interval of the paired difference."""
        if self.interval is None:
            return "not tested"
        low, high = self.interval
        return "ahead" if low > 0 else "behind" if high < 0 else "not told apart"


@dataclass(frozen=True)
class Shift:
    """A query that the candidate answers better or worse than BM25; texts are None where the data were not loaded."""

    data: str
    query_id: str
    bm25: float
    own: float
    query: str | None
    answer: str | None


@dataclass(frozen=True)
class Shifts:
    """The queries of a language that differ most, largest first; `rest` counts those not shown."""

    language: str
    wins: tuple[Shift, ...]
    losses: tuple[Shift, ...]
    n_wins: int
    n_losses: int
    n_ties: int


@dataclass(frozen=True)
class Headline:
    """One source encoder's standing.

    Attributes:
        averages: the mean over languages for every column.
        sentences: the same in words.
        shifts: empty without values per query.
    """

    source_encoder: str
    columns: tuple[Column, ...]
    averages: tuple[Mean, ...]
    standings: tuple[Standing, ...]
    sentences: tuple[str, ...]
    shifts: tuple[Shifts, ...]

    @property
    def highest(self) -> float:
        """The end of a scale that holds all averages."""
        return max([mean.value for mean in self.averages if mean.value is not None], default=0.0) or 1.0


def headlines(results: Results, texts: Mapping[str, RetrievalData]) -> list[Headline]:
    """One for every source encoder that was transferred."""
    encoders = sorted({row.source_encoder for row in results.rows if row.source_encoder is not None})
    found = (_headline(results, encoder, texts) for encoder in encoders)
    return [headline for headline in found if headline is not None]


def _headline(results: Results, encoder: str, texts: Mapping[str, RetrievalData]) -> Headline | None:
    rows = [row for row in results.rows if not is_sweep(row.method)]
    rows = [row for row in rows if row.source_encoder in (encoder, None) or row.method.startswith("bm25")]
    groups = list(sets_by_language(rows).values())
    columns = _columns(rows, groups)
    own = _candidate(rows, columns, groups)
    if own is None:
        return None
    bm25 = next((column for column in columns if column.system.method.startswith("bm25")), None)
    standings = tuple(
        _standing(results, rows, language, sets, columns, own, bm25)
        for language, sets in sets_by_language(rows).items()
    )
    averages = tuple(_mean(rows, column, groups) for column in columns)
    return Headline(
        source_encoder=encoder,
        columns=columns,
        averages=averages,
        standings=standings,
        sentences=tuple(_sentences(columns, averages, standings, own, bm25)),
        shifts=() if bm25 is None else tuple(_shifts(results, rows, own, bm25, texts)),
    )


def _columns(rows: Sequence[ResultRow], groups: Sequence[Sequence[str]]) -> tuple[Column, ...]:
    """The candidate, its fine-tuned form, and what it has to be compared with, best of a kind each."""
    transferred = [s for s in systems(rows) if not s.is_reference]
    own = _own(transferred)
    if own is None:
        return ()
    of_stage = {stage: [row for row in rows if row.stage == stage] for stage in (ZERO_SHOT, FINE_TUNED)}
    found = [
        Column(f"{own.method}, {stage}", own, stage, is_own=True)
        for stage, its in of_stage.items()
        if any(row.system == own for row in its)
    ]
    for stage, its in of_stage.items():
        members = systems(its)
        of_kind = {
            "BM25": [s for s in members if s.method.startswith("bm25")],
            "the bridge itself, dense": [s for s in members if s.method == DENSE],
            "English encoder, untouched": [s for s in members if s.method == "english"],
            "best other initialization": [s for s in members if s.is_baseline and s != own],
            "fused with BM25": [s for s in members if s.method == f"hybrid-{own.method}"],
        }
        for title, candidates in of_kind.items():
            best = _best(its, candidates, groups, stage)
            # What nothing trains is the same at every stage, and is shown once.
            if best and not (best.is_untrained and any(column.system == best for column in found)):
                named = title if title.startswith(("English", "fused", "the bridge")) else f"{title}: {best.method}"
                found.append(Column(named if stage == ZERO_SHOT else f"{named}, {stage}", best, stage))
    return tuple(found)


def _candidate(rows: Sequence[ResultRow], columns: Sequence[Column], groups: Sequence[Sequence[str]]) -> Column | None:
    """The last stage that every language was measured at, else the first: what is set against BM25."""
    ours = [column for column in columns if column.is_own]
    whole = [column for column in ours if _mean(rows, column, groups).complete]
    return next(iter([*whole[-1:], *ours[:1]]), None)


def _own(transferred: Sequence[System]) -> System | None:
    for name in OWN:
        for system in transferred:
            if system.method == name:
                return system
    ours = [system for system in transferred if system.method.startswith("sembridge")]
    return next(iter([*ours, *transferred]), None)


def _best(
    rows: Sequence[ResultRow], members: Sequence[System], groups: Sequence[Sequence[str]], stage: str
) -> System | None:
    """The highest mean; one over all sets goes before one over some."""

    def rank(system: System) -> tuple[bool, float]:
        mean = _mean(rows, Column("", system, stage), groups)
        return mean.complete, -1.0 if mean.value is None else mean.value

    return max(members, key=rank, default=None)


def _of(rows: Iterable[ResultRow], column: Column) -> list[ResultRow]:
    return [row for row in rows if row.system == column.system and row.stage == column.stage]


def _mean(rows: Sequence[ResultRow], column: Column, groups: Sequence[Sequence[str]]) -> Mean:
    return mean_of(_of(rows, column), groups, lambda row: row.measures.get(MEASURE))


def _standing(
    results: Results,
    rows: Sequence[ResultRow],
    language: str,
    sets: Sequence[str],
    columns: Sequence[Column],
    own: Column,
    bm25: Column | None,
) -> Standing:
    pairs = [] if bm25 is None else _pairs(results, rows, sets, own, bm25)
    strata = [[ours - theirs for _, theirs, ours in queries] for _, queries in pairs]
    n_queries = sum(max(row.n_queries for row in rows if row.data == data) for data in sets)
    ours, theirs = _mean(rows, own, [sets]), _mean(rows, bm25, [sets]) if bm25 else Mean(None)
    comparable = ours.value is not None and theirs.value is not None and ours.complete and theirs.complete
    return Standing(
        language=language,
        n_queries=n_queries,
        means=tuple(_mean(rows, column, [sets]) for column in columns),
        difference=(ours.value or 0.0) - (theirs.value or 0.0) if comparable else None,
        interval=bootstrap_interval(strata) if strata and len(strata) == len(sets) else None,
    )


_Pairs = list[tuple[str, list[tuple[str, float, float]]]]
"""Data set -> (query id, BM25's value, the candidate's)."""


def _pairs(results: Results, rows: Sequence[ResultRow], sets: Sequence[str], own: Column, bm25: Column) -> _Pairs:
    """Data sets that both were measured on, query by query."""
    ours, theirs = (per_query_of(results, _of(rows, column)) for column in (own, bm25))
    return [
        (data, [(query, theirs[data][query], ours[data][query]) for query in sorted(ours[data])])
        for data in sets
        if data in ours and data in theirs and ours[data].keys() == theirs[data].keys()
    ]


def _sentences(
    columns: Sequence[Column],
    averages: Sequence[Mean],
    standings: Sequence[Standing],
    own: Column,
    bm25: Column | None,
) -> list[str]:
    means = dict(zip(columns, averages, strict=True))
    count = f"{len(standings)} languages" if len(standings) > 1 else standings[0].language
    sentences = [
        f"{column.title}, has a mean {MEASURE} of {Number(mean.value).text()} over "
        + (f"{count}." if mean.complete else "a part of the data sets only.")
        for column, mean in means.items()
        if column.is_own and mean.value is not None
    ]
    if bm25 is None:
        sentences.append("BM25 was not measured, so nothing here says whether the encoder is worth its cost.")
    else:
        sentences.append(_against_bm25(standings, own))
    english = next((mean.value for column, mean in means.items() if column.system.method == "english"), None)
    value = means[own].value
    if english is not None and value is not None:
        brought = f"{'brought' if value >= english else 'cost'} {Number(abs(value - english)).text()}"
        what = "The transfer" if own.stage == ZERO_SHOT else "Transfer and training"
        sentences.append(f"{what} {brought} against the untouched English encoder.")
    return sentences


def _against_bm25(standings: Sequence[Standing], own: Column) -> str:
    languages: dict[Verdict, list[str]] = {}
    for standing in standings:
        languages.setdefault(standing.verdict, []).append(standing.language)
    parts = [f"{verdict} in {', '.join(names)}" for verdict, names in sorted(languages.items())]
    stage = f"{own.stage}: " if own.stage != ZERO_SHOT else ""
    return f"Against BM25: {stage}{'; '.join(parts)} (95 % interval of the difference, query by query)."


def _shifts(
    results: Results, rows: Sequence[ResultRow], own: Column, bm25: Column, texts: Mapping[str, RetrievalData]
) -> Iterable[Shifts]:
    for language, sets in sets_by_language(rows).items():
        queries = [(data, *values) for data, found in _pairs(results, rows, sets, own, bm25) for values in found]
        changed = [query for query in queries if query[3] != query[2]]
        changed.sort(key=lambda query: (-abs(query[3] - query[2]), query[:2]))
        wins, losses = ([query for query in changed if (query[3] > query[2]) == better] for better in (True, False))
        if changed:
            yield Shifts(
                language=language,
                wins=tuple(_shift(*query, texts) for query in wins[:N_SHIFTS]),
                losses=tuple(_shift(*query, texts) for query in losses[:N_SHIFTS]),
                n_wins=len(wins),
                n_losses=len(losses),
                n_ties=len(queries) - len(changed),
            )


def _shift(data: str, query_id: str, bm25: float, own: float, texts: Mapping[str, RetrievalData]) -> Shift:
    known = texts.get(data)
    if known is None or query_id not in known.queries:
        return Shift(data, query_id, bm25, own, None, None)
    return Shift(data, query_id, bm25, own, known.queries[query_id], answer_of(known, query_id)[:START_CHARACTERS])


def answer_of(data: RetrievalData, query_id: str) -> str:
    """The text of the query's most relevant document, of equals the one with the lowest id."""
    judged = data.qrels[query_id]
    return data.corpus[min(judged, key=lambda document: (-judged[document], document))]
