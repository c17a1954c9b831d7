"""`sembridge train`: fine-tune a transferred encoder in its language."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from sembridge.cli.options import Encoder, Json, Loading, Output, Settings, verb
from sembridge.cli.printing import console, print_json, print_table
from sembridge.files.recipe import RUNNING
from sembridge.training.recipe import TEACHING, TrainRecipe

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder

    from sembridge.retrieval.data import RetrievalData
    from sembridge.training.aligning import Aim
    from sembridge.training.data import TrainingData
    from sembridge.training.outcome import Training


@dataclass(frozen=True)
class Models:
    """What is trained, and who teaches it."""

    encoder: Encoder
    bridge: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Teacher of --distill bridge.", rich_help_panel=TEACHING)
    ] = None
    idf: Annotated[
        str | None,
        typer.Option(
            metavar="CORPUS", help="Queries become inference-free: a token's weight is its IDF in this corpus."
        ),
    ] = None

    align_to: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="The English encoder behind ENCODER, which becomes a pivot: it learns to give a text the vector that "
            "MODEL gives to its English translation. DATA holds pairs of both, or English text (corpus:PLACE). ENCODER "
            "is transferred from MODEL, or a multilingual dense one, which then reads for the pivot.",
            rich_help_panel=TEACHING,
        ),
    ] = None
    layers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="NUMBER",
            help="With --align-to and a multilingual dense ENCODER, whose body reads for the pivot: the first so many "
            "of its layers; by default three quarters.",
            rich_help_panel=TEACHING,
        ),
    ] = None

    def check(self, loading: Loading) -> None:
        if self.align_to is not None and (self.idf or self.bridge):
            raise typer.BadParameter("a pivot is taught by its source alone", param_hint="--align-to --idf --bridge")
        if self.layers is not None and self.align_to is None:
            raise typer.BadParameter("belongs to --align-to", param_hint="--layers")
        loading.check(*filter(None, (self.encoder, self.bridge, self.align_to)))

    def aimed(self, loading: Loading) -> "tuple[SparseEncoder, Aim | None]":
        """What is trained, and what a pivot is aligned to."""
        if self.align_to is None:
            return self.load(loading), None
        from sembridge.language_transfer.pivot import Pivot
        from sembridge.training.aligning import Aim

        source = loading.encoder(self.align_to)
        if loading.is_dense(self.encoder):
            bridge = cast("SentenceTransformer", loading.bridge(self.encoder))
            pivot = Pivot.of_bridge(source, bridge, name=self.align_to, n_layers=self.layers)
        else:
            pivot = Pivot.load(self.encoder, source)
        return pivot.encoder, Aim(source, pivot)

    def load(self, loading: Loading) -> "SparseEncoder":
        from sembridge.retrieval.corpus import stream_passages
        from sembridge.training.inference_free import inference_free_encoder

        start = loading.encoder(self.encoder)
        if self.idf is None:
            return start
        return inference_free_encoder(start, (passage.content for passage in stream_passages(self.idf)))


@dataclass(frozen=True)
class Data:
    """What it learns from, and what it is measured on."""

    data: Annotated[
        str,
        typer.Argument(
            help="BEIR folder, file of pairs or triplets (jsonl, csv, tsv, parquet), hub:NAME, or corpus:PLACE for "
            "text without labels."
        ),
    ]
    also: Annotated[
        list[str] | None, typer.Option(metavar="DATA", help="More data; a batch holds pairs of one source.")
    ] = None
    split: Annotated[str, typer.Option(metavar="NAME", help="Split of DATA that is trained on.")] = "train"
    pairs: Annotated[
        int | None, typer.Option(min=1, metavar="NUMBER", help="At most so many random pairs of each source.")
    ] = None
    dev: Annotated[
        str | None, typer.Option(metavar="DATA", help="BEIR folder or mini/NAME; its best checkpoint is kept.")
    ] = None
    dev_split: Annotated[str, typer.Option(metavar="NAME", help="Split of the dev data.")] = "dev"
    dev_corpus: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="With --align-to: English data with the documents that dev questions ask."),
    ] = None

    def check(self, *, aligns: bool) -> None:
        if (self.dev_corpus is not None) != (aligns and self.dev is not None):
            raise typer.BadParameter(
                "a pivot's questions ask English documents: give both or none", param_hint="--dev --dev-corpus"
            )

    def load(self, *, seed: int, aligns: bool) -> "TrainingData":
        from sembridge.training.data import joined, load_training_data, load_translations

        read = load_translations if aligns else load_training_data
        names = (self.data, *(self.also or ()))
        return joined([read(name, split=self.split, pairs=self.pairs, seed=seed) for name in names])

    def load_dev(self) -> "RetrievalData | None":
        from sembridge.retrieval.sources import load_retrieval_data

        if self.dev is None:
            return None
        dev = load_retrieval_data(self.dev, split=self.dev_split)
        if self.dev_corpus is None:
            return dev
        from sembridge.retrieval.across import across

        return across(dev, load_retrieval_data(self.dev_corpus, split=self.dev_split)).data


@verb("""Examples:

`sembridge train splade-ko pairs.jsonl splade-ko-tuned --dev my-dev-set --epochs 2`

`sembridge train splade-ko mini/faq-ko tuned --split dev --steps 20 --batch-size 8`

`sembridge train splade-ko corpus:passages.jsonl.gz tuned --distill bridge --bridge intfloat/multilingual-e5-small`

`sembridge train splade-ko parallel.tsv ko-pivot --align-to mini/splade-en --rows-learning-rate 2e-3`

`sembridge train intfloat/multilingual-e5-small corpus:english.txt e5-pivot --align-to mini/splade-en --freeze-body`

`torchrun --nproc-per-node 4 -m sembridge.cli train splade-ko hub:PaDaS-Lab/webfaq-retrieval:kor tuned`""")
def train(
    models: Models,
    data: Data,
    output: Output,
    settings: Settings[TrainRecipe],
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
    report_to: Annotated[
        list[str] | None,
        typer.Option(metavar="TRACKER", help="tensorboard, wandb, ... (installed by you).", rich_help_panel=RUNNING),
    ] = None,
    *,
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Fine-tunes a sparse encoder on query-document pairs, with the FLOPS regulariser that keeps it sparse.

    Writes a stock SparseEncoder folder with `curve.jsonl` (losses and dev measures by step), `training.json`,
    `train_recipe.yaml` and a model card. While it runs, checkpoints are in OUT.checkpoints.
    """
    recipe = settings.recipe
    data.check(aligns=models.align_to is not None)
    from sembridge.training.checkpoints import forget_finished, is_first_process

    forget_finished(output.out)
    output.check()
    models.check(loading)
    pairs, dev = data.load(seed=recipe.seed, aligns=models.align_to is not None), data.load_dev()
    from sembridge.training.fine_tuning import train as fine_tune
    from sembridge.training.trainer import RunOptions

    progress = not as_json and is_first_process()
    run = RunOptions(resume=resume, overwrite=output.overwrite, report_to=report_to or (), progress=progress)
    encoder, aim = models.aimed(loading)
    result = fine_tune(
        encoder, pairs, output.out, recipe=recipe, dev=dev, run=run,
        bridge=None if models.bridge is None else loading.bridge(models.bridge),
        start_folder=models.encoder if Path(models.encoder).is_dir() else None, aim=aim,
    )  # fmt: skip
    if as_json:
        print_json({"folder": str(output.out), "steps": result.steps, "pairs": result.n_pairs, "curve": result.curve})
    else:
        _print_training(result, output.out, recipe.dev_measure)


def _print_training(training: "Training", out: Path, dev_measure: str) -> None:
    names = {dev_measure: dev_measure, "loss": "loss", "flops": "FLOPS", "query_active_dims": "query dims",
             "document_active_dims": "document dims"}  # fmt: skip
    shown = {key: label for key, label in names.items() if any(key in row for row in training.curve)}
    evaluated = [row for row in training.curve if dev_measure in row] or training.curve[-5:]
    rows = [(f"{row['step']:.0f}", *(f"{row[key]:.4g}" if key in row else "" for key in shown)) for row in evaluated]
    print_table(("step", *shown.values()), rows, title=f"{training.n_pairs:,} pairs, {training.steps:,} steps")
    console.print(f"Written to {out}")
