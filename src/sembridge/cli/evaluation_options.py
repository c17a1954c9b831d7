"""What `sembridge evaluate` takes: data, references, how texts are encoded, and what is printed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sembridge.cli.options import Cache, HowToEncode, Json
from sembridge.encoders.settings import BATCH_SIZE
from sembridge.files.recipe import RUNNING
from sembridge.retrieval.measures import DEFAULT_MEASURES
from sembridge.retrieval.system_rows import BRIDGE_WEIGHT

if TYPE_CHECKING:
    from sembridge.retrieval.across import AcrossData
    from sembridge.retrieval.comparison import EvaluationSettings
    from sembridge.retrieval.data import RetrievalData
    from sembridge.retrieval.evaluation_plan import EvaluationPlan

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
    corpus_data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="Where the documents are, where they are in another language than --data, which then gives the "
            "questions: the same ids in the language of the encoders' source. Once for every --data.",
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

    def load_across(self, names: Sequence[str]) -> "list[AcrossData]":
        """Each of `names` with its --corpus-data."""
        from sembridge.retrieval.across import across
        from sembridge.retrieval.sources import load_retrieval_data

        places = self.corpus_data or []
        if len(places) != len(names):
            raise typer.BadParameter(
                f"{len(places)} places of documents for {len(names)} of questions", param_hint="--corpus-data"
            )
        both = [
            [load_retrieval_data(name, split=self.split) for name in pair] for pair in zip(names, places, strict=True)
        ]
        return [across(*pair).sample(self.queries, self.documents, seed=self.seed) for pair in both]


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
    bridge_weight: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.99, metavar="SHARE",
            help="Of --bridge in those fusions, the encoder has the rest; a strong bridge wants more.",
            rich_help_panel=COMPARISON,
        ),
    ] = BRIDGE_WEIGHT  # fmt: skip
    dictionary: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --corpus-data: lines of an English word, a tab and its translation, for a row of BM25 on "
            "translated questions.",
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

    def check(self, sample: Sample) -> None:
        if self.dictionary is not None and not sample.corpus_data:
            raise typer.BadParameter("translates questions for --corpus-data", param_hint="--dictionary")


@dataclass(frozen=True)
class Encoding:
    """How texts are encoded, and where vectors and runs are kept."""

    top_k: Annotated[int | None, typer.Option(min=1, metavar="NUMBER", help="Documents a query in a run.")] = None
    max_active_dims: Annotated[
        int | None, typer.Option(min=1, metavar="DIMS", help="Of every text that are kept, the largest.")
    ] = None
    encode_with: HowToEncode = "auto"
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
            progress=True,
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
