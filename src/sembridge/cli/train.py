"""`sembridge train`: fine-tune a transferred encoder in its language."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sembridge.cli.options import AllowPickle, Device, Json, RecipeFile, RemoteCode, read_recipe
from sembridge.cli.printing import console, print_json, print_table
from sembridge.cli.program import app, quiet_loading
from sembridge.files.atomic import check_output_folder
from sembridge.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from sembridge.training.fine_tuning import Training


@app.command(
    epilog="""Examples:

`sembridge train splade-ko pairs.jsonl splade-ko-tuned --dev my-dev-set --epochs 2`

`sembridge train splade-ko mini/faq-ko tuned --split dev --steps 20 --batch-size 8`

`sembridge train splade-ko corpus:passages.jsonl.gz tuned --distill bridge --bridge intfloat/multilingual-e5-small`

`torchrun --nproc-per-node 4 -m sembridge.cli train splade-ko hub:PaDaS-Lab/webfaq-retrieval:kor tuned`"""
)
def train(
    encoder: Annotated[str, typer.Argument(help="Sparse encoder to start from: a folder, a hub id or mini/NAME.")],
    data: Annotated[
        str,
        typer.Argument(
            help="BEIR folder, file of pairs or triplets (jsonl, csv, tsv, parquet), hub:NAME, or corpus:PLACE for "
            "text without labels."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must be new or empty.")],
    also: Annotated[list[str] | None, typer.Option(help="More data; a batch holds pairs of one source.")] = None,
    split: Annotated[str, typer.Option(help="Split of DATA that is trained on.")] = "train",
    dev: Annotated[str | None, typer.Option(help="BEIR folder or mini/NAME; its best checkpoint is kept.")] = None,
    dev_split: Annotated[str, typer.Option(help="Split of the dev data.")] = "dev",
    pairs: Annotated[int | None, typer.Option(min=1, help="At most so many random pairs of each source.")] = None,
    idf: Annotated[
        str | None, typer.Option(help="Corpus: queries become inference-free, a token's weight is its IDF there.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps, instead of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pairs a step, over all processes.")] = None,
    gradient_cache: Annotated[int | None, typer.Option(help="Texts encoded at once, for large batches.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    static_learning_rate: Annotated[
        float | None, typer.Option(help="Of inference-free query weights; 0: they stay as they are.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens a text while training.")] = None,
    document_weight: Annotated[float | None, typer.Option(help="FLOPS regulariser on documents.")] = None,
    query_weight: Annotated[float | None, typer.Option(help="FLOPS regulariser on queries.")] = None,
    regularizer_warmup: Annotated[float | None, typer.Option(help="Share of the steps.")] = None,
    freeze_body_steps: Annotated[int | None, typer.Option(help="Train only the vocabulary's rows at first.")] = None,
    combined_rows_factor: Annotated[float | None, typer.Option(help="Learning rate of new rows over the rest.")] = None,
    hard_negatives: Annotated[str | None, typer.Option(help="none, bm25 or self.")] = None,
    distill: Annotated[str | None, typer.Option(help="none or bridge: learn the bridge's scores too.")] = None,
    bridge: Annotated[str | None, typer.Option(help="Teacher of --distill bridge.")] = None,
    dev_measure: Annotated[str | None, typer.Option(help="In ir-measures notation.")] = None,
    eval_steps: Annotated[int | None, typer.Option(help="Steps between evaluations and checkpoints.")] = None,
    patience: Annotated[int | None, typer.Option(help="Evaluations without gain before it stops.")] = None,
    bf16: Annotated[str | None, typer.Option(help="auto, yes or no.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the order of the pairs and of dropout.")] = None,
    recipe_file: RecipeFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is not empty.")] = False,
    report_to: Annotated[list[str] | None, typer.Option(help="tensorboard, wandb, ... (installed by you).")] = None,
    device: Device = "cpu",
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Fine-tunes a sparse encoder on query-document pairs, with the FLOPS regulariser that keeps it sparse.

    Writes a stock SparseEncoder folder with `curve.jsonl` (losses and dev measures by step), `training.json`,
    `train_recipe.yaml` and a model card. While it runs, checkpoints are in OUT.checkpoints.
    """
    recipe = read_recipe(
        TrainRecipe, recipe_file, epochs=epochs, steps=steps, batch_size=batch_size, gradient_cache=gradient_cache,
        learning_rate=learning_rate, static_learning_rate=static_learning_rate, max_length=max_length,
        document_weight=document_weight, query_weight=query_weight, regularizer_warmup=regularizer_warmup,
        freeze_body_steps=freeze_body_steps, distill=distill, bf16=bf16,
        combined_rows_factor=combined_rows_factor, hard_negatives=hard_negatives, dev_measure=dev_measure,
        eval_steps=eval_steps, patience=patience, seed=seed,
    )  # fmt: skip
    check_output_folder(out, overwrite=overwrite)
    from sembridge.encoders import loading
    from sembridge.retrieval.sources import load_retrieval_data
    from sembridge.training.data import joined, load_training_data
    from sembridge.training.fine_tuning import train as fine_tune
    from sembridge.training.inference_free import inference_free_encoder
    from sembridge.training.pseudo_queries import stream_passages

    quiet_loading()
    sources = [
        load_training_data(source, split=split, pairs=pairs, seed=recipe.seed) for source in (data, *(also or ()))
    ]
    dev_data = None if dev is None else load_retrieval_data(dev, split=dev_split)
    safety: dict[str, Any] = {"trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
    start = loading.load_encoder(encoder, device=device, **safety)
    if idf is not None:
        texts = (passage.content for passage in stream_passages(idf))
        start = inference_free_encoder(start, texts)
    result = fine_tune(
        start, joined(sources), out, recipe=recipe, dev=dev_data, resume=resume, overwrite=overwrite,
        bridge=None if bridge is None else loading.load_bridge(bridge, device=device, **safety),
        start_folder=encoder if Path(encoder).is_dir() else None, report_to=report_to or (),
        progress=sys.stderr.isatty() and not as_json and os.environ.get("RANK", "0") == "0",
    )  # fmt: skip
    if as_json:
        print_json({"folder": str(out), "steps": result.steps, "pairs": result.n_pairs, "curve": result.curve})
    else:
        _print_training(result, out, recipe.dev_measure)


def _print_training(training: "Training", out: Path, dev_measure: str) -> None:
    names = {dev_measure: dev_measure, "loss": "loss", "flops": "FLOPS", "query_active_dims": "query dims",
             "document_active_dims": "document dims"}  # fmt: skip
    shown = {key: label for key, label in names.items() if any(key in row for row in training.curve)}
    evaluated = [row for row in training.curve if dev_measure in row] or training.curve[-5:]
    rows = [(f"{row['step']:.0f}", *(f"{row[key]:.4g}" if key in row else "" for key in shown)) for row in evaluated]
    print_table(("step", *shown.values()), rows, title=f"{training.n_pairs:,} pairs, {training.steps:,} steps")
    console.print(f"Written to {out}")
