"""`sembridge evaluate`: how well encoders retrieve, against references, with significance and a health check."""

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sembridge.cli.evaluation_options import Encoding, Format, Printing, References, Sample
from sembridge.cli.evaluation_tables import print_overview, print_report
from sembridge.cli.options import Loading, verb
from sembridge.cli.printing import print_json
from sembridge.retrieval.columns import EvaluationRow
from sembridge.retrieval.measures import DEFAULT_TOP_K

if TYPE_CHECKING:
    from sembridge.retrieval.comparison import DataReport
    from sembridge.retrieval.data import RetrievalData
    from sembridge.retrieval.evaluation_plan import EnglishEncoder, EvaluationPlan


@verb("""Examples:

`sembridge evaluate splade-ko --data mini/faq-ko`

`sembridge evaluate splade-ko splade-ko-random --data mini/faq-ko --measure nDCG@10 --measure R@100`

`sembridge evaluate splade-ko --data mini/faq-ko --corpus-data mini/faq-en --bridge mini/bridge`

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
    references.check(sample)
    bridge = None if references.no_references else references.bridge
    loading.check(*plan.encoders.values(), *(() if bridge is None else [bridge]))
    if printing.card:
        _check_cards(plan)
    if sample.corpus_data:
        from sembridge.cli.evaluate_across import compare

        across, source, reports = compare(plan, sample, references, encoding, loading)
        _finish(plan, source, sample, printing, [each.data for each in across], reports)
        return
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
        bridge_weight=references.bridge_weight,
        references=not references.no_references,
        baseline=references.baseline,
        run_files=run_files,
    )
    _finish(plan, source, sample, printing, data_sets, reports)


def _finish(
    plan: "EvaluationPlan",
    source: "EnglishEncoder",
    sample: Sample,
    printing: Printing,
    data_sets: "Sequence[RetrievalData]",
    reports: "Sequence[DataReport]",
) -> None:
    """What was found goes into cards and is printed."""
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
