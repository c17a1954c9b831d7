"""`sembridge export FORMAT`: an encoder, or a corpus as it sees it, in the files of other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sembridge.cli.help import Verbs
from sembridge.cli.options import Encoder, HowToEncode, Json, Loading, Only, Output, verb
from sembridge.cli.printing import console, print_json
from sembridge.cli.program import app
from sembridge.deployment.export.settings import DEFAULT_SCALE

if TYPE_CHECKING:
    from sembridge.deployment.export.collection import VectorCollection
    from sembridge.deployment.export.manifest import ExportManifest

export = typer.Typer(
    name="export",
    cls=Verbs,
    no_args_is_help=True,
    help="Writes an encoder, or a corpus encoded by it, for another program.",
)
app.add_typer(export)


@dataclass(frozen=True)
class Texts:
    """What is written as the encoder sees it."""

    encoder: Encoder
    corpus: Annotated[
        Path,
        typer.Argument(help="BEIR folder, .jsonl, .jsonl.gz or .parquet; or a folder of shards written by encode."),
    ]
    queries: Annotated[
        Path | None,
        typer.Option(metavar="TEXTS", help="Queries to export too: .jsonl, .jsonl.gz, .parquet or a BEIR folder."),
    ] = None
    max_active_dims: Annotated[
        int | None, typer.Option(min=1, metavar="DIMS", help="Of a document that are kept, the largest.")
    ] = None
    into: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="The English encoder that ENCODER was transferred from: vectors beside those of its documents.",
        ),
    ] = None
    encode_with: HowToEncode = "auto"

    def check(self, loading: Loading) -> None:
        loading.check(*filter(None, (self.encoder, self.into)))

    def collection(self, loading: Loading, *, quiet: bool) -> "VectorCollection":
        from sembridge.deployment.export.collection import open_collection

        encoder, reader = loading.encoder(self.into or self.encoder), None
        if self.into is not None:
            from sembridge.language_transfer.pivot import Pivot

            reader = Pivot.load(self.encoder, encoder)
        return open_collection(
            encoder, self.corpus, self.queries, name=self.into or self.encoder, reader=reader,
            encode_with=self.encode_with, max_active_dims=self.max_active_dims,
            progress=not quiet,
        )  # fmt: skip


Scale = Annotated[float, typer.Option(metavar="NUMBER", help="Weights become integers, round(scale x weight).")]


@verb(
    """Example:

`sembridge export onnx splade-ko splade-ko-onnx`""",
    of=export,
)
def onnx(
    encoder: Encoder,
    output: Output,
    content: Annotated[
        Literal["weights", "logits"],
        typer.Option(
            "--output",
            metavar="weights|logits",
            help="What the graph gives: a text's weights, or the logits of its tokens (for fastembed).",
        ),
    ] = "weights",
    *,
    loading: Annotated[Loading, Only(("trust_remote_code", "allow_pickle"))],
    as_json: Json = False,
) -> None:
    """The document side as an ONNX graph with its tokenizer, checked against torch."""
    output.check()
    loading.check(encoder)
    from sembridge.deployment.export.onnx_model import check_onnx, export_onnx

    check_onnx()
    loaded = loading.encoder(encoder)
    manifest = export_onnx(loaded, output.out, name=encoder, output=content, overwrite=output.overwrite)
    _print(manifest, output.out, as_json=as_json)


@verb(
    """Example:

`sembridge export lucene splade-ko mini/faq-ko lucene-ko --queries mini/faq-ko`

`sembridge export lucene splade-ko mini/faq-ko lucene-in-english --into mini/splade-en`""",
    of=export,
)
def lucene(
    texts: Texts, output: Output, scale: Scale = DEFAULT_SCALE, *, loading: Loading, as_json: Json = False
) -> None:
    """Impact vectors for Lucene: Anserini's JsonVectorCollection and topics."""
    output.check()
    texts.check(loading)
    from sembridge.deployment.export.lucene import export_lucene

    collection = texts.collection(loading, quiet=as_json)
    manifest = export_lucene(collection, output.out, scale=scale, overwrite=output.overwrite)
    _print(manifest, output.out, as_json=as_json)


@verb(
    """Example:

`sembridge export pisa splade-ko mini/faq-ko pisa-ko --queries mini/faq-ko`""",
    of=export,
)
def pisa(
    texts: Texts, output: Output, scale: Scale = DEFAULT_SCALE, *, loading: Loading, as_json: Json = False
) -> None:
    """An index of quantised weights for PISA."""
    output.check()
    texts.check(loading)
    from sembridge.deployment.export.pisa import check_pisa, export_pisa

    check_pisa()
    collection = texts.collection(loading, quiet=as_json)
    manifest = export_pisa(collection, output.out, scale=scale, overwrite=output.overwrite)
    _print(manifest, output.out, as_json=as_json)


@verb(
    """Example:

`sembridge export seismic splade-ko mini/faq-ko seismic-ko --queries mini/faq-ko`""",
    of=export,
)
def seismic(texts: Texts, output: Output, loading: Loading, as_json: Json = False) -> None:
    """JSON lines of weights for Seismic."""
    output.check()
    texts.check(loading)
    from sembridge.deployment.export.seismic import export_seismic

    collection = texts.collection(loading, quiet=as_json)
    _print(export_seismic(collection, output.out, overwrite=output.overwrite), output.out, as_json=as_json)


@verb(
    """Example:

`sembridge export idf splade-ko idf-ko --corpus mini/faq-ko`""",
    of=export,
)
def idf(
    encoder: Encoder,
    output: Output,
    corpus: Annotated[
        Path | None,
        typer.Option(
            metavar="TEXTS",
            help="Texts to compute IDF from; without it, the weights of the encoder's own query side.",
        ),
    ] = None,
    *,
    loading: Annotated[Loading, Only(("trust_remote_code", "allow_pickle"))],
    as_json: Json = False,
) -> None:
    """idf.json, the query weights of an inference-free model (OpenSearch, Sentence Transformers)."""
    output.check()
    loading.check(encoder)
    from sembridge.deployment.export.idf import export_idf
    from sembridge.retrieval.corpus import stream_corpus

    loaded = loading.encoder(encoder)
    documents = None if corpus is None else (document.content for document in stream_corpus(corpus))
    manifest = export_idf(loaded, output.out, documents, name=encoder, overwrite=output.overwrite)
    _print(manifest, output.out, as_json=as_json)


@verb(
    """Example:

`sembridge export pivot splade-ko splade-ko-pivot --words mini/faq-ko --bridge mini/bridge`""",
    of=export,
)
def pivot(
    encoder: Annotated[Path, typer.Argument(help="Folder written by `sembridge transfer`.")],
    output: Output,
    source: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The source encoder; by default the one that the folder's report names."),
    ] = None,
    words: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Text of the language (.txt, a passage a line, or a corpus): its words get own tokens."
        ),
    ] = None,
    bridge: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Multilingual dense encoder that places the words.")
    ] = None,
    *,
    loading: Annotated[Loading, Only(("trust_remote_code", "allow_pickle"))],
    as_json: Json = False,
) -> None:
    """The language of a transferred encoder over its source's vocabulary: asks an English index, a stock folder."""
    if (words is None) != (bridge is None):
        raise typer.BadParameter("words are placed by a bridge: give both together", param_hint="--words --bridge")
    output.check()
    from sembridge.deployment.export.pivot import export_pivot
    from sembridge.language_transfer.folder import read_report
    from sembridge.language_transfer.pivot_words import words_of
    from sembridge.retrieval.corpus import stream_passages

    manifest = export_pivot(
        encoder,
        loading.encoder(source or str(read_report(encoder).source_encoder)),
        output.out,
        words=() if words is None else words_of((p.content for p in stream_passages(words)), place=words),
        bridge=None if bridge is None else loading.bridge(bridge),
        overwrite=output.overwrite,
    )
    _print(manifest, output.out, as_json=as_json)


def _print(manifest: "ExportManifest", out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(out), **manifest})
        return
    for fact in ("n_documents", "n_documents_without_postings", "n_postings", "n_queries", "n_tokens", "n_words"):
        if manifest.get(fact):
            console.print(f"{manifest[fact]:,} {fact.removeprefix('n_').replace('_', ' ')}")
    if "largest_difference_from_torch" in manifest:
        console.print(f"Largest difference from torch: {manifest['largest_difference_from_torch']:.1e}")
    console.print(f"Written to {out}; {out / 'README.md'} says how to load it")
