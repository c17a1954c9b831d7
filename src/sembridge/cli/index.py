"""`sembridge index`: documents into an index folder, embedded or on a server."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sembridge.cli.options import Json, Loading, Settings, verb
from sembridge.cli.printing import console, print_json
from sembridge.deployment.recipe import IndexRecipe
from sembridge.errors import SembridgeError
from sembridge.files.progress import Progress

if TYPE_CHECKING:
    from sembridge.deployment.search.indexing import IndexReport
    from sembridge.language_transfer.pivot import Pivot


@dataclass(frozen=True)
class Documents:
    """What goes in."""

    encoder: Annotated[str | None, typer.Argument(help="Sparse encoder: a hub id, a folder or mini/NAME.")] = None
    corpus: Annotated[
        str | None,
        typer.Argument(help="BEIR folder, .jsonl, .jsonl.gz, .parquet, mini/NAME, or shards of `sembridge encode`."),
    ] = None
    texts: Annotated[
        str | None,
        typer.Option(metavar="CORPUS", help="With shards: what they were encoded from, for titles, texts and fields."),
    ] = None


@dataclass(frozen=True)
class Change:
    """Which index, and what happens to one that is there."""

    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The index; an interrupted run goes on where it stopped.")
    ] = None
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Instead of --out: an index of the encoder that ENCODER was transferred from, for documents of its "
            "language beside those that are there.",
        ),
    ] = None
    language: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="With --into: of the documents, where ENCODER reads several languages."),
    ] = None
    add: Annotated[bool, typer.Option("--add", help="Add to a finished index; a known id is updated.")] = False
    delete: Annotated[list[str] | None, typer.Option(metavar="ID", help="Delete this document; may be repeated.")] = (
        None
    )
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Build an index again from nothing.")] = False

    @property
    def folder(self) -> Path:
        folder = self.into or self.out
        if folder is None or (self.into and self.out):
            raise typer.BadParameter("give one of them", param_hint="--out --into")
        return folder

    def check(self, documents: Documents) -> None:
        if self.into and (self.delete or self.overwrite):
            raise typer.BadParameter("adds to an index; give --out for anything else", param_hint="--into")
        if self.language and not self.into:
            raise typer.BadParameter("belongs to --into", param_hint="--language")
        if self.delete and (documents.encoder is not None or self.add or self.overwrite):
            raise typer.BadParameter("goes without ENCODER, CORPUS, --add and --overwrite", param_hint="--delete")
        if not self.delete and (documents.encoder is None or documents.corpus is None):
            raise typer.BadParameter("give ENCODER and CORPUS, or --delete ID", param_hint="ENCODER CORPUS")
        if self.add and self.overwrite:
            raise typer.BadParameter(
                "adds to an index, --overwrite begins a new one; give one of them", param_hint="--add"
            )


@verb("""Examples:

`sembridge index splade-ko corpus.jsonl.gz --out my-index`

`sembridge index splade-ko news.jsonl --out my-index --add`

`sembridge index --out my-index --delete doc-17 --delete doc-18`

`sembridge index splade-ko korean.jsonl --into english-index`

`sembridge index splade-ko corpus.parquet --out my-index --engine opensearch --url http://localhost:9200`""")
def index(
    documents: Documents,
    change: Change,
    settings: Settings[IndexRecipe],
    loading: Loading,
    as_json: Json = False,
) -> None:
    """Puts a corpus into an index folder: builds it, goes on after an interruption, adds, updates or deletes."""
    change.check(documents)
    out = change.folder
    if change.delete:
        _delete(out, change.delete, settings.said.get("url"), as_json=as_json)
        return
    encoder, corpus = str(documents.encoder), str(documents.corpus)
    loading.check(encoder)
    from sembridge.deployment.search.indexing import index_corpus, resolve_recipe
    from sembridge.retrieval.corpus import count_documents

    recipe = settings.recipe if change.overwrite else resolve_recipe(out, settings.said)
    loaded = loading.encoder(encoder) if change.into is None else _pivot(encoder, change.into, change.language, loading)
    add = change.add or change.into is not None
    with Progress("index", total=count_documents(corpus), unit="documents", shown=not as_json) as progress:
        report = index_corpus(
            loaded, corpus, out, name=encoder, recipe=recipe, add=add, overwrite=change.overwrite,
            texts=documents.texts, on_progress=progress.reach,
        )  # fmt: skip
    if as_json:
        print_json(asdict(report))
    else:
        _print_report(report)


def _pivot(encoder: str, index: Path, language: str | None, loading: Loading) -> "Pivot":
    """Reads the documents, and says which language marks them."""
    pivot = loading.pivot(encoder, _index_encoder(index))
    pivot = pivot if language is None else pivot.speaking(language)
    if pivot.language is None:
        raise SembridgeError(f"{encoder} reads several languages; say by --language which the documents are in.")
    return pivot


def _index_encoder(index: Path) -> str:
    from sembridge.deployment.search.manifest import read_index_manifest

    return read_index_manifest(index).encoder.name


def _delete(folder: Path, ids: list[str], url: str | None, *, as_json: bool) -> None:
    from sembridge.deployment.search.index import SearchIndex

    with SearchIndex.open(folder, url=url, writing=True) as opened:
        n_deleted = opened.delete(ids)
        n_documents = opened.count()
    if as_json:
        print_json({"folder": str(folder), "n_deleted": n_deleted, "n_documents": n_documents})
    else:
        console.print(f"{n_deleted:,} of {len(ids):,} documents deleted, {n_documents:,} left in {folder}")


def _print_report(report: "IndexReport") -> None:
    if report.n_continued:
        console.print(f"Went on after {report.n_continued:,} documents of an earlier run")
    way = "" if report.encoded_with is None else f", encoded with {report.encoded_with}"
    mean = report.n_postings / report.n_added if report.n_added else 0.0
    console.print(
        f"{report.n_added:,} documents indexed in {report.seconds:.1f} s, {mean:.0f} active dims each{way}; "
        f"{report.n_documents:,} in {report.folder} ({report.engine})"
    )
