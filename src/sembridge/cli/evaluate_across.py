"""`sembridge evaluate --corpus-data`: questions in one language, documents in another."""

from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.errors import SembridgeError
from sembridge.retrieval import evaluation_plan

if TYPE_CHECKING:
    from sembridge.cli.evaluation_options import Encoding, References, Sample
    from sembridge.cli.options import Loading
    from sembridge.retrieval.across import AcrossData
    from sembridge.retrieval.comparison import DataReport
    from sembridge.retrieval.evaluation_plan import EnglishEncoder, EvaluationPlan


def compare(
    plan: "EvaluationPlan", sample: "Sample", references: "References", encoding: "Encoding", loading: "Loading"
) -> "tuple[list[AcrossData], EnglishEncoder, list[DataReport]]":
    """The data, the source encoder and the reports."""
    from sembridge.language_transfer.pivot import Pivot
    from sembridge.retrieval.across import AcrossReferences, across_baseline, compare_across

    data_sets = sample.load_across(plan.data)
    bridge = None if references.no_references else references.bridge
    across_baseline(
        list(plan.encoders), references.baseline, references=not references.no_references,
        dictionary=references.dictionary is not None, bridge=bridge is not None,
    )  # fmt: skip
    run_files = evaluation_plan.run_files(encoding.run, list(plan.encoders), [each.data.name for each in data_sets])
    found = evaluation_plan.english_encoder(list(plan.encoders.values()), asked_for=references.english)
    if found.folder is None:
        raise SembridgeError(
            f"Questions in another language are asked through the source encoder: {found.why_not or 'none is named'}; "
            "give it by --english."
        )
    source = loading.encoder(str(found.folder))
    pivots = {name: Pivot.load(Path(given), source).text_model for name, given in plan.encoders.items()}
    beside = AcrossReferences(
        None if bridge is None else loading.bridge(bridge), references.dictionary, references.bridge_weight
    )
    reports = compare_across(
        pivots,
        source,
        data_sets,
        encoding.settings(plan),
        references=None if references.no_references else beside,
        baseline=references.baseline,
        run_files=run_files,
    )
    return data_sets, found, reports
