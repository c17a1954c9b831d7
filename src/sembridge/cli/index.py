"""`sembridge index`: documents into an index folder, embedded or on a server."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sembridge.cli.options import AllowPickle, Device, Json, RemoteCode
from sembridge.cli.printing import console, print_json
from sembridge.cli.program import app, quiet_loading

if TYPE_CHECKING:
    from sembridge.deployment.search.indexing import IndexReport


@app.command(
    epilog="""Examples:

`sembridge index splade-ko corpus.jsonl.gz --out my-index`

`sembridge index splade-ko news.jsonl --out my-index --add`

`sembridge index --out my-index --delete doc-17 --delete doc-18`

`sembridge index splade-ko corpus.parquet --out my-index --engine opensearch --url http://localhost:9200`"""
)
def index(
    encoder: Annotated[str | None, typer.Argument(help="Sparse encoder: a folder, a hub id or mini/NAME.")] = None,
    corpus: Annotated[
        str | None,
        typer.Argument(help="BEIR folder, .jsonl, .jsonl.gz, .parquet, mini/NAME, or shards of `sembridge encode`."),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Index folder; an interrupted run goes on where it stopped.")],
    engine: Annotated[
        str | None,
        typer.Option(
            help="qdrant-edge (default) or exact, in this process; qdrant, opensearch, opensearch-ann, elasticsearch, "
            "milvus or pgvector, servers."
        ),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address of the server.")] = None,
    collection: Annotated[str | None, typer.Option(help="Its collection, index or table.")] = None,
    texts: Annotated[
        str | None, typer.Option(help="With shards: the corpus they were encoded from, for titles, texts and fields.")
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Add to a finished index; a known id is updated.")] = False,
    delete: Annotated[list[str] | None, typer.Option(help="Delete this document; may be repeated.")] = None,
    max_active_dims: Annotated[int | None, typer.Option(help="Keep a document's largest weights only.")] = None,
    min_weight: Annotated[float | None, typer.Option(help="Drop a document's smaller weights.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Texts encoded at once.")] = None,
    encode_with: Annotated[str | None, typer.Option(help="stock, fast or fast-bf16.")] = None,
    device: Device = "cpu",
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Build an index again from nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Puts a corpus into an index folder: builds it, goes on after an interruption, adds, updates or deletes."""
    if delete:
        if encoder is not None or add or overwrite:
            raise typer.BadParameter("goes without ENCODER, CORPUS, --add and --overwrite", param_hint="--delete")
        _delete(out, delete, url, as_json=as_json)
        return
    if encoder is None or corpus is None:
        raise typer.BadParameter("give ENCODER and CORPUS, or --delete ID", param_hint="ENCODER CORPUS")
    if add and overwrite:
        raise typer.BadParameter("adds to an index, --overwrite begins a new one; give one of them", param_hint="--add")
    from sembridge.deployment.index_recipe import IndexRecipe
    from sembridge.deployment.search.indexing import index_corpus, resolve_recipe

    flags = {
        "engine": engine, "url": url, "collection": collection, "max_active_dims": max_active_dims,
        "min_weight": min_weight, "batch_size": batch_size, "encode_with": encode_with,
    }  # fmt: skip
    recipe = IndexRecipe.build(flags, origin="options") if overwrite else resolve_recipe(out, flags)
    from sembridge.encoders.loading import load_encoder

    quiet_loading()
    loaded = load_encoder(encoder, device=device, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)
    with _progress(shown=sys.stderr.isatty() and not as_json) as advance:
        report = index_corpus(
            loaded,
            corpus,
            out,
            name=encoder,
            recipe=recipe,
            add=add,
            overwrite=overwrite,
            texts=texts,
            on_progress=advance,
        )
    if as_json:
        print_json(asdict(report))
    else:
        _print_report(report)


def _delete(folder: Path, ids: list[str], url: str | None, *, as_json: bool) -> None:
    from sembridge.deployment.search.index import SearchIndex

    with SearchIndex.open(folder, url=url, writing=True) as opened:
        n_deleted = opened.delete(ids)
        n_documents = opened.count()
    if as_json:
        print_json({"folder": str(folder), "n_deleted": n_deleted, "n_documents": n_documents})
    else:
        console.print(f"{n_deleted:,} of {len(ids):,} documents deleted, {n_documents:,} left in {folder}")


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[int], None] | None]:
    """Tells how many documents are in; a stream does not know its length."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} documents indexed"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda done: bar.update(task, completed=done)


def _print_report(report: "IndexReport") -> None:
    if report.n_continued:
        console.print(f"Went on after {report.n_continued:,} documents of an earlier run")
    mean = report.n_postings / report.n_added if report.n_added else 0.0
    console.print(
        f"{report.n_added:,} documents indexed in {report.seconds:.1f} s, {mean:.0f} active dims each; "
        f"{report.n_documents:,} in {report.folder} ({report.engine})"
    )
