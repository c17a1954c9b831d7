"""`sembridge evaluate`: how well encoders retrieve, against references, with significance and a health check."""

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sembridge.cli.evaluation_tables import print_overview, print_report
from sembridge.cli.options import Cache, HowToEncode, Json, Loading, verb
from sembridge.cli.printing import print_json
from sembridge.encoders.settings import BATCH_SIZE
from sembridge.files.recipe import RUNNING
from sembridge.retrieval.columns import EvaluationRow
from sembridge.retrieval.measures import DEFAULT_MEASURES, DEFAULT_TOP_K

if TYPE_CHECKING:
    from sembridge.retrieval.comparison import DataReport, EvaluationSettings
    from sembridge.retrieval.data import RetrievalData
    from sembridge.retrieval.evaluation_plan import EnglishEncoder, EvaluationPlan

# Headings of its help.
COMPARISON, OUTPUT = "What they are compared with", "Output"


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True)
class Sample:
    """What the encoders are measured on, and by what."""

    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA", help="Retrieval data: BEIR folder, mini/NAME or mteb:TASK[:SUBSET]; may be repeated."
        ),
    ] = None
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="In ir-measures notation; may be repeated.", show_default=", ".join(DEFAULT_MEASURES)
        ),
    ] = None
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the data; not given: test, or an mteb task's only one.")
    ] = None
    queries: Annotated[int | None, typer.Option(metavar="NUMBER", help="Only so many, drawn by --seed.")] = None
    documents: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Only so many, drawn by --seed; relevant ones stay.")
    ] = None
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of the sample.")] = 0

    def load(self, names: Sequence[str]) -> "list[RetrievalData]":
        from sembridge.retrieval.sources import load_retrieval_data

        data_sets = (load_retrieval_data(name, split=self.split) for name in names)
        return [data.sample(self.queries, self.documents, seed=self.seed) for data in data_sets]


@dataclass(frozen=True)
class References:
    """What the encoders are compared with."""

    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="ROW",
            help="That others are tested against: the first of several encoders, else bm25-tokens.",
            rich_help_panel=COMPARISON,
        ),
    ] = None
    english: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Untouched English encoder; not given: the source in an encoder's report.json.",
            rich_help_panel=COMPARISON,
        ),
    ] = None
    bridge: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Dense encoder, for a row of its own and fusions of the encoders with it.",
            rich_help_panel=COMPARISON,
        ),
    ] = None
    no_references: Annotated[
        bool,
        typer.Option(
            "--no-references",
            help="No rows of BM25, the English encoder, the bridge and fusions.",
            rich_help_panel=COMPARISON,
        ),
    ] = False


@dataclass(frozen=True)
class Encoding:
    """How texts are encoded, and where vectors and runs are kept."""

    top_k: Annotated[int | None, typer.Option(min=1, metavar="NUMBER", help="Documents a query in a run.")] = None
    max_active_dims: Annotated[
        int | None, typer.Option(min=1, metavar="DIMS", help="Of every text that are kept, the largest.")
    ] = None
    encode_with: HowToEncode = "stock"
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="TEXTS", help="Encoded at once.", rich_help_panel=RUNNING)
    ] = BATCH_SIZE
    cache: Cache = None
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Encode anew, keep nothing.", rich_help_panel=RUNNING)
    ] = False
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="TREC run to write; of several encoders or data sets one file each.",
            rich_help_panel=OUTPUT,
        ),
    ] = None  # fmt: skip

    def settings(self, plan: "EvaluationPlan") -> "EvaluationSettings":
        from sembridge.retrieval.comparison import EvaluationSettings
        from sembridge.retrieval.vector_cache import default_cache_folder

        return EvaluationSettings(
            measures=plan.measures,
            top_k=plan.top_k,
            batch_size=self.batch_size,
            max_active_dims=self.max_active_dims,
            encode_with=self.encode_with,
            cache_folder=None if self.no_cache else self.cache or default_cache_folder(),
            progress=sys.stderr.isatty(),
        )


@dataclass(frozen=True)
class Printing:
    """What is said of the results, and where."""

    details: Annotated[
        bool,
        typer.Option(
            "--details",
            help="Print all costs, tests, the queries behind them and the health check.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    output_format: Annotated[
        Format, typer.Option("--format", metavar="table|json|csv", help="What to print.", rich_help_panel=OUTPUT)
    ] = Format.TABLE
    as_json: Json = False
    per_query: Annotated[
        bool, typer.Option("--per-query", help="Values per query, in json and csv.", rich_help_panel=OUTPUT)
    ] = False
    card: Annotated[
        bool,
        typer.Option(
            "--card",
            help="Write the measures into the model cards of encoders that are folders.",
            rich_help_panel=OUTPUT,
        ),
    ] = False

    @property
    def format(self) -> Format:
        return Format.JSON if self.as_json else self.output_format

    def check(self, encoders: Sequence[str]) -> None:
        if self.per_query and self.format is Format.TABLE:
            raise typer.BadParameter("values per query are printed by --format json or csv", param_hint="--per-query")
        if self.card and not any(Path(given).is_dir() for given in encoders):
            raise typer.BadParameter("no encoder is a folder, whose README.md could be written", param_hint="--card")


@verb("""Examples:

`sembridge evaluate splade-ko --data mini/faq-ko`

`sembridge evaluate splade-ko splade-ko-random --data mini/faq-ko --measure nDCG@10 --measure R@100`

`sembridge evaluate splade-ko --data mini/faq-ko --data korquad/ko --baseline bm25-words --format json`""")
def evaluate(
    encoders: Annotated[
        list[str], typer.Argument(metavar="ENCODER...", help="Sparse encoders: hub id, folder or mini/NAME.")
    ],
    sample: Sample,
    references: References,
    encoding: Encoding,
    printing: Printing,
    loading: Loading,
) -> None:
    """Measures retrieval, cost and health of sparse encoders, beside BM25, their English source and fusions.

    The differences are tested (paired permutation test, Holm-corrected), and the queries behind them shown.
    """
    from sembridge.retrieval import evaluation_plan

    plan = evaluation_plan.plan_evaluation(
        encoders, data=sample.data or (), measures=sample.measure or (),
        top_k=DEFAULT_TOP_K if encoding.top_k is None else encoding.top_k,
    )  # fmt: skip
    printing.check(list(plan.encoders.values()))
    bridge = None if references.no_references else references.bridge
    loading.check(*plan.encoders.values(), *(() if bridge is None else [bridge]))
    if printing.card:
        _check_cards(plan)
    data_sets = sample.load(plan.data)
    run_files = evaluation_plan.run_files(encoding.run, list(plan.encoders), [d.name for d in data_sets])
    source = evaluation_plan.EnglishEncoder(None)
    if not references.no_references:
        source = evaluation_plan.english_encoder(list(plan.encoders.values()), asked_for=references.english)
    from sembridge.retrieval import comparison

    comparison.baseline_row(
        list(plan.encoders),
        references.baseline,
        english=source.folder is not None,
        bridge=bridge is not None,
        references=not references.no_references,
    )  # refused before models are loaded
    _say_why_not(source.why_not)
    untouched = None if source.folder is None else loading.encoder(str(source.folder))
    if untouched is not None and (why_not := source.refusal(untouched)):
        _say_why_not(why_not)
        untouched = None
    reports = comparison.compare_systems(
        {name: loading.encoder(given) for name, given in plan.encoders.items()},
        data_sets,
        encoding.settings(plan),
        english=untouched,
        bridge=None if bridge is None else loading.bridge(bridge),
        references=not references.no_references,
        baseline=references.baseline,
        run_files=run_files,
    )
    if printing.card:
        _write_cards(plan, data_sets, reports)
    match printing.format:
        case Format.JSON:
            print_json(_document(plan, source, sample.split, reports, per_query=printing.per_query))
        case Format.CSV:
            csv.writer(sys.stdout, lineterminator="\n").writerows(_csv_rows(reports, per_query=printing.per_query))
        case Format.TABLE:
            for report in reports:
                print_report(report, source, details=printing.details)
            if len(reports) > 1:
                print_overview(reports)


def _say_why_not(reason: str | None) -> None:
    if reason:
        print(f"sembridge: no row of the untouched English encoder: {reason}.", file=sys.stderr)


def _check_cards(plan: "EvaluationPlan") -> None:
    """Refuses cards that could not be written at the end of the work."""
    from sembridge.encoders.model_card import read_card
    from sembridge.files.atomic import check_output_file

    for place in (Path(given) / "README.md" for given in plan.encoders.values() if Path(given).is_dir()):
        check_output_file(place)
        if place.is_file():
            read_card(place)


def _write_cards(plan: "EvaluationPlan", data_sets: "Sequence[RetrievalData]", reports: "Sequence[DataReport]") -> None:
    """Adds the measures to README.md in every encoder that is a folder."""
    from sembridge.encoders.model_card import Score, with_scores
    from sembridge.files.atomic import write_file

    for name, given in plan.encoders.items():
        if not Path(given).is_dir():
            continue
        path = Path(given) / "README.md"
        scores = [
            Score(data.name, data.split, column.name, value, column.heading)
            for data, report in zip(data_sets, reports, strict=True)
            for row in report.rows
            if (row.name, row.kind) == (name, "encoder")
            for column in row.evaluation.columns(speeds=False)
            if (value := column.of(row.evaluation)) is not None
        ]
        said = {r.data: f"by {v.measure}, {v.text}" for r in reports for v in r.verdicts if v.encoder == name}
        write_file(path, [with_scores(path.read_text(encoding="utf-8") if path.is_file() else "", scores, said)])


def _document(
    plan: "EvaluationPlan",
    source: "EnglishEncoder",
    split: str | None,
    reports: "Sequence[DataReport]",
    *,
    per_query: bool,
) -> dict[str, object]:
    return {
        "encoders": plan.encoders,
        "english": source.name,
        "split": split,
        "measures": list(reports[0].rows[0].evaluation.measures),
        "data": [report.to_dict(per_query=per_query) for report in reports],
    }


def _csv_rows(reports: "Sequence[DataReport]", *, per_query: bool) -> Iterator[list[object]]:
    """One line a row of the tables; of single queries, too, where `query_id` is not empty."""
    measures = list(reports[0].rows[0].evaluation.measures)
    figures = [column.name for column in EvaluationRow.COLUMNS]
    yield ["data", "system", "kind", "query_id", *measures, *figures]
    for report in reports:
        for row in report.rows:
            evaluation = row.evaluation
            labels = [report.data, row.name, row.kind]
            yield [*labels, "", *evaluation.measures.values(), *evaluation.figures().values()]
            for query_id in evaluation.per_query[measures[0]] if per_query else ():
                values = [evaluation.per_query[measure][query_id] for measure in measures]
                yield [*labels, query_id, *values, *([None] * len(figures))]
