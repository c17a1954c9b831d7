"""`sembridge encode`: a corpus of any size into shards of sparse vectors."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sembridge.cli.options import AllowPickle, Device, Json, RecipeFile, RemoteCode, read_recipe
from sembridge.cli.printing import console, print_json
from sembridge.cli.program import app, quiet_loading
from sembridge.deployment.encode_recipe import EncodeRecipe

if TYPE_CHECKING:
    from sembridge.deployment.encoding import EncodingReport


@app.command(
    epilog="""Examples:

`sembridge encode splade-ko corpus.jsonl.gz --out shards --encode-with fast`

`sembridge encode splade-ko corpus.parquet --out shards-by-four --shard 2/4`

`sembridge encode splade-ko corpus.jsonl --out shards-by-ray --ray --workers 8`"""
)
def encode(
    encoder: Annotated[str, typer.Argument(help="Sparse encoder: a folder, a hub id or mini/NAME.")],
    corpus: Annotated[str, typer.Argument(help="BEIR folder, .jsonl, .jsonl.gz, .parquet or mini/NAME.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of shards; an interrupted run goes on where it stopped.")],
    shard: Annotated[
        str, typer.Option(help="i/n: every n-th shard only, from the i-th on; n machines together write all.")
    ] = "1/1",
    encode_with: Annotated[
        str | None,
        typer.Option(
            help="stock (default), or on a CPU fast: the same vectors within 1e-4 in less time; fast-bf16: bfloat16."
        ),
    ] = None,
    max_active_dims: Annotated[int | None, typer.Option(help="Keep a document's largest weights only.")] = None,
    shard_size: Annotated[int | None, typer.Option(help="Documents of a shard.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Texts encoded at once.")] = None,
    recipe: RecipeFile = None,
    ray: Annotated[bool, typer.Option("--ray", help="Encode on Ray workers, here or on a cluster.")] = False,
    workers: Annotated[int, typer.Option(help="Ray workers.", min=1)] = 1,
    device: Device = "cpu",
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Encodes a corpus of any size into Parquet shards, on one machine or many; a killed run goes on."""
    flags = {
        "encode_with": encode_with, "max_active_dims": max_active_dims, "shard_size": shard_size,
        "batch_size": batch_size,
    }  # fmt: skip
    settings = read_recipe(EncodeRecipe, recipe, **flags)
    from sembridge.deployment.encoding import encode_shards
    from sembridge.deployment.shards import Share
    from sembridge.encoders.loading import load_encoder

    share = Share.parse(shard)
    quiet_loading()
    loaded = load_encoder(encoder, device=device, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)
    with _progress(shown=sys.stderr.isatty() and not as_json) as advance:
        report = encode_shards(
            loaded, corpus, out, name=encoder, recipe=settings, share=share, ray_workers=workers if ray else None,
            on_progress=advance,
        )  # fmt: skip
    if as_json:
        print_json(asdict(report))
    else:
        _print_report(report)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[int], None] | None]:
    """Tells how many documents are done; a stream does not know its length."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} documents encoded"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda done: bar.update(task, completed=done)


def _print_report(report: "EncodingReport") -> None:
    if kept := report.n_documents - report.n_encoded:
        console.print(f"{kept:,} documents were encoded before")
    rate = f", {report.n_encoded / report.seconds:,.0f} a second" if report.n_encoded else ""
    console.print(f"{report.n_encoded:,} documents encoded in {report.seconds:.1f} s{rate}")
    part = "" if report.share == "1/1" else f" (shard {report.share} of the corpus)"
    console.print(
        f"{report.n_documents:,} documents in {report.n_shards:,} files in {report.folder}{part}, "
        f"{report.active_dims:.0f} active dims each"
    )
