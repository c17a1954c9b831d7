"""Several systems on the same retrieval data: encoders, the reference rows beside them, and what differs.

Reference rows answer three questions of a deployment: is plain BM25 as good (over the encoder's own tokens, over
words), what did the transfer bring (the untouched English encoder), and what do BM25 and the encoder find together
(fused by standard scores)? Where a dense encoder is given, the bridge say, a fourth: why not search with it?
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sembridge.encoders.settings import BATCH_SIZE, EncodeWith
from sembridge.errors import SembridgeError
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.dense import evaluate_dense
from sembridge.retrieval.evaluation import Evaluation, Settings, evaluate, evaluate_bm25, evaluate_run
from sembridge.retrieval.measures import DEFAULT_MEASURES, DEFAULT_TOP_K
from sembridge.retrieval.runs import BM25_WEIGHT, Run, hybrid, write_run
from sembridge.retrieval.significance import SIGNIFICANT, Comparison, QueryChange, compare_all, holm
from sembridge.retrieval.system_rows import (
    BM25_TOKENS,
    BM25_WORDS,
    BRIDGE,
    BRIDGE_HYBRID,
    BRIDGE_WEIGHT,
    ENGLISH,
    HYBRID,
    Kind,
    SystemRow,
)
from sembridge.retrieval.verdicts import Verdict, verdicts

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder

N_SHIFTS = 5
START_CHARACTERS = 200


@dataclass(frozen=True)
class EvaluationSettings:
    """How every encoder is evaluated; the arguments of `evaluate`."""

    measures: tuple[str, ...] = DEFAULT_MEASURES
    top_k: int = DEFAULT_TOP_K
    batch_size: int = BATCH_SIZE
    max_active_dims: int | None = None
    encode_with: EncodeWith = "auto"
    cache_folder: Path | None = None
    progress: bool = False


@dataclass(frozen=True)
class QueryShift:
    """A query that a system answers better or worse than the baseline, with the start of its most relevant document."""

    query_id: str
    query: str
    baseline: float
    system: float
    document_id: str
    document_start: str

    @property
    def difference(self) -> float:
        return self.system - self.baseline


@dataclass(frozen=True)
class SystemComparison:
    """A system against the baseline on one measure, and the queries it gains and loses most on, largest first.

    `result.p_holm` is corrected over all comparisons of the same call, those on other data included.
    """

    system: str
    baseline: str
    result: Comparison
    gains: tuple[QueryShift, ...]
    losses: tuple[QueryShift, ...]

    @property
    def verdict(self) -> Literal["better", "worse", "no difference shown"]:
        """What the corrected p-value allows to say at the level of .05."""
        if self.result.p_holm >= SIGNIFICANT:
            return "no difference shown"
        return "better" if self.result.difference > 0 else "worse"

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON-able values."""
        result = {name: value for name, value in asdict(self.result).items() if name != "largest_changes"}
        shifts = {"largest_gains": [asdict(s) for s in self.gains], "largest_losses": [asdict(s) for s in self.losses]}
        return {"system": self.system, "baseline": self.baseline, **result, "verdict": self.verdict, **shifts}


@dataclass(frozen=True, eq=False)
class DataReport:
    """Everything said about one retrieval data set: rows, comparisons with the baseline row, a verdict an encoder."""

    data: str
    language: str | None
    n_queries: int
    n_documents: int
    rows: tuple[SystemRow, ...]
    baseline: str | None
    comparisons: tuple[SystemComparison, ...]
    verdicts: tuple[Verdict, ...] = ()
    run_files: Mapping[str, Path] = field(default_factory=dict)

    def to_dict(self, *, per_query: bool = False) -> dict[str, object]:
        """The report as JSON-able values; see docs/evaluate.md."""
        return {
            "data": self.data,
            "language": self.language,
            "n_queries": self.n_queries,
            "n_documents": self.n_documents,
            "baseline": self.baseline,
            "systems": [self._system_dict(row, per_query=per_query) for row in self.rows],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
        }

    def _system_dict(self, row: SystemRow, *, per_query: bool) -> dict[str, object]:
        said_above = {"data", "language", "n_queries", "n_documents"}
        figures = row.evaluation.to_dict(per_query=per_query)
        run_file = self.run_files.get(row.name)
        return {
            "system": row.name,
            "kind": row.kind,
            **{name: value for name, value in figures.items() if name not in said_above | {"system"}},
            "run": None if run_file is None else str(run_file),
        }


def compare_systems(
    encoders: "Mapping[str, SparseEncoder]",
    data_sets: Sequence[RetrievalData],
    settings: EvaluationSettings | None = None,
    *,
    english: "SparseEncoder | None" = None,
    bridge: "SentenceTransformer | None" = None,
    bridge_weight: float = BRIDGE_WEIGHT,
    references: bool = True,
    baseline: str | None = None,
    run_files: Mapping[str, Mapping[str, Path]] | None = None,
) -> list[DataReport]:
    """The reports of all encoders on all data sets.

    The baseline is the first of several encoders, or `bm25-tokens` for one. Tested against it are the other encoders
    and the bridge and, where it is a BM25 row, the fusions: paired permutation tests, Holm-corrected over all of them.

    Args:
        encoders: name of the row -> encoder; the first one's tokenizer makes the terms of `bm25-tokens`.
        english: the untouched source encoder, for a row of its own.
        bridge: a dense encoder, for a row of its own and the fusion of every encoder with it.
        bridge_weight: of the bridge's standard scores in those fusions; the encoder has the rest.
        references: the rows of BM25 and of fusions, `english` and `bridge`.
        baseline: the row to test against.
        run_files: data set name -> encoder's name -> file for its run.

    Raises:
        SembridgeError: a baseline that is no row, data sets of the same name, and what `evaluate` refuses.
    """
    settings = settings or EvaluationSettings()
    beside = _References(english, bridge, bridge_weight) if references else None
    baseline = baseline_row(
        list(encoders),
        baseline,
        english=beside is not None and english is not None,
        bridge=beside is not None and bridge is not None,
        references=references,
    )
    return reports_of(data_sets, partial(_rows, encoders, settings, beside), baseline, run_files or {})


def reports_of(
    data_sets: Sequence[RetrievalData],
    rows_of: Callable[[RetrievalData, Mapping[str, Path]], Iterable[SystemRow]],
    baseline: str | None,
    run_files: Mapping[str, Mapping[str, Path]],
) -> list[DataReport]:
    """The reports of rows, which `rows_of` makes for a data set and the run files of its encoders."""
    _refuse_repetition([data.name for data in data_sets])
    reports = []
    for data in data_sets:
        files = run_files.get(data.name, {})
        reports.append(_report(data, tuple(rows_of(data, files)), baseline, files))
    judged = verdicts([report.rows for report in reports])
    corrected = _corrected_together(reports)
    return [replace(report, verdicts=found) for report, found in zip(corrected, judged, strict=True)]


@dataclass(frozen=True, eq=False)
class _References:
    """The encoders behind reference rows; None has no row."""

    english: "SparseEncoder | None"
    bridge: "SentenceTransformer | None"
    bridge_weight: float


def baseline_row(
    encoders: Sequence[str], asked_for: str | None, *, english: bool, references: bool, bridge: bool = False
) -> str | None:
    """The row that others are tested against: the one asked for, the first of several encoders, or `bm25-tokens`.

    None where there is nothing to test against.

    Raises:
        SembridgeError: no row has that name, or two rows have the same.
    """
    bm25 = [BM25_TOKENS, BM25_WORDS] if references else []
    hybrids = [HYBRID + name for name in encoders] if references else []
    hybrids += [BRIDGE_HYBRID + name for name in encoders] if bridge else []
    names = [*encoders, *bm25, *([ENGLISH] if english else []), *([BRIDGE] if bridge else []), *hybrids]
    return chosen_row(names, asked_for) or (encoders[0] if len(encoders) > 1 else BM25_TOKENS if references else None)


def chosen_row(names: Sequence[str], asked_for: str | None) -> str | None:
    """The row asked for, if any.

    Raises:
        SembridgeError: none of the rows has that name, or two rows have the same.
    """
    _refuse_repetition(names)
    if asked_for is not None and asked_for not in names:
        raise SembridgeError(f"Baseline {asked_for!r} is no row of the table; expected one of {', '.join(names)}.")
    return asked_for


def _refuse_repetition(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SembridgeError(f"{name} was given twice; give every encoder and data set once, each with its name.")


def _rows(
    encoders: "Mapping[str, SparseEncoder]",
    settings: EvaluationSettings,
    beside: _References | None,
    data: RetrievalData,
    run_files: Mapping[str, Path],
) -> Iterator[SystemRow]:
    """Encoders, BM25 twice, English, the bridge, fusions."""
    sparse: dict[str, Run] = {}
    for name, encoder in encoders.items():
        evaluation = evaluate(encoder, data, **vars(settings))
        if name in run_files:
            write_run(evaluation.run, run_files[name], system=name)
        sparse[name] = evaluation.run if beside else {}
        yield system_row(name, "encoder", evaluation)
    if beside is None:
        return
    bm25 = partial(evaluate_bm25, data, measures=settings.measures, top_k=settings.top_k)
    by_tokens = bm25(next(iter(encoders.values())).tokenizer)
    yield system_row(BM25_TOKENS, "bm25", by_tokens)
    yield system_row(BM25_WORDS, "bm25", bm25())
    if beside.english is not None:
        yield system_row(ENGLISH, "english", evaluate(beside.english, data, **vars(settings)))
    dense = None if beside.bridge is None else dense_evaluation(beside.bridge, data, settings)
    if dense is not None:
        yield system_row(BRIDGE, "dense", dense)
    for name, run in sparse.items():
        yield fusion(HYBRID + name, {BM25_TOKENS: by_tokens.run, name: run}, BM25_WEIGHT, data, settings)
    if dense is not None:
        for name, run in sparse.items():
            yield fusion(BRIDGE_HYBRID + name, {BRIDGE: dense.run, name: run}, beside.bridge_weight, data, settings)


def dense_evaluation(bridge: "SentenceTransformer", data: RetrievalData, settings: EvaluationSettings) -> Evaluation:
    return evaluate_dense(
        bridge,
        data,
        measures=settings.measures,
        top_k=settings.top_k,
        batch_size=settings.batch_size,
        progress=settings.progress,
    )


def system_row(name: str, kind: Kind, evaluation: Evaluation) -> SystemRow:
    return SystemRow(name, kind, replace(evaluation, run={}))


def fusion(
    row: str, runs: Mapping[str, Run], first: float, data: RetrievalData, settings: EvaluationSettings
) -> SystemRow:
    """The fusion of two runs, the first of which has the weight `first`."""
    run = hybrid(list(runs.values()), [first, 1 - first], n_documents=len(data.corpus), top_k=settings.top_k)
    how: Settings = {"fusion": f"standard scores, {first:g} to {1 - first:g}", "of": " and ".join(runs)}
    how["top_k"] = settings.top_k
    return system_row(row, "hybrid", evaluate_run(run, data, measures=settings.measures, system="hybrid", settings=how))


def _report(
    data: RetrievalData, rows: tuple[SystemRow, ...], baseline: str | None, run_files: Mapping[str, Path]
) -> DataReport:
    by_name = {row.name: row for row in rows}
    comparisons: list[SystemComparison] = []
    if baseline is not None:
        lexical = by_name[baseline].kind == "bm25"
        tested = [row for row in rows if row.kind in ("encoder", "dense") or (row.kind == "hybrid" and lexical)]
        compared = compare_all(
            by_name[baseline].evaluation.per_query,
            {row.name: row.evaluation.per_query for row in tested if row.name != baseline},
            n_changes=len(data.queries),
        )
        for name, by_measure in compared.items():
            comparisons += [_comparison(name, baseline, result, data) for result in by_measure.values()]
    return DataReport(
        data=data.name,
        language=data.language,
        n_queries=len(data.queries),
        n_documents=len(data.corpus),
        rows=rows,
        baseline=baseline,
        comparisons=tuple(comparisons),
        run_files=run_files,
    )


def _comparison(system: str, baseline: str, result: Comparison, data: RetrievalData) -> SystemComparison:
    better = [change for change in result.largest_changes if change.system > change.baseline]
    worse = [change for change in result.largest_changes if change.system < change.baseline]
    return SystemComparison(
        system=system,
        baseline=baseline,
        result=replace(result, largest_changes=()),
        gains=tuple(_shift(change, data) for change in better[:N_SHIFTS]),
        losses=tuple(_shift(change, data) for change in worse[:N_SHIFTS]),
    )


def _shift(change: QueryChange, data: RetrievalData) -> QueryShift:
    judged = data.qrels[change.query_id]
    best = min(judged, key=lambda document_id: (-judged[document_id], document_id))
    return QueryShift(
        query_id=change.query_id,
        query=data.queries[change.query_id],
        baseline=change.baseline,
        system=change.system,
        document_id=best,
        document_start=data.corpus[best][:START_CHARACTERS],
    )


def _corrected_together(reports: Sequence[DataReport]) -> Iterator[DataReport]:
    """The reports with p-values corrected over the comparisons of all of them."""
    p_values = iter(holm([found.result.p_permutation for report in reports for found in report.comparisons]))
    for report in reports:
        comparisons = tuple(
            replace(found, result=replace(found.result, p_holm=next(p_values))) for found in report.comparisons
        )
        yield replace(report, comparisons=comparisons)
