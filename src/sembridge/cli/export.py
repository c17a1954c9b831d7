"""`sembridge export FORMAT`: an encoder, or a corpus as it sees it, in the files of other programs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sembridge.cli.options import AllowPickle, Device, HowToEncode, Json, RemoteCode
from sembridge.cli.printing import console, print_json
from sembridge.cli.program import app, quiet_loading
from sembridge.deployment.export.settings import DEFAULT_SCALE
from sembridge.files.atomic import check_output_folder

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

    from sembridge.deployment.export.collection import Collection
    from sembridge.deployment.export.manifest import Manifest

export = typer.Typer(
    name="export", no_args_is_help=True, help="Writes an encoder, or a corpus encoded by it, for another program."
)
app.add_typer(export)

Encoder = Annotated[str, typer.Argument(help="Sparse encoder: a hub id, a folder or mini/NAME.")]
Corpus = Annotated[
    Path,
    typer.Argument(help="BEIR folder, .jsonl, .jsonl.gz or .parquet; or a folder of shards written by encode."),
]
Out = Annotated[Path, typer.Argument(help="Folder to write; it must be new or empty.")]
Queries = Annotated[
    Path | None, typer.Option(help="Queries to export too: .jsonl, .jsonl.gz, .parquet or a BEIR folder.")
]
Scale = Annotated[float, typer.Option(help="Weights become integers, round(scale x weight).")]
MaxActiveDims = Annotated[int | None, typer.Option(min=1, help="Largest weights of a document that are kept.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is not empty.")]


@export.command(
    epilog="""Example:

`sembridge export onnx splade-ko splade-ko-onnx`"""
)
def onnx(
    encoder: Encoder,
    out: Out,
    output: Annotated[
        Literal["weights", "logits"],
        typer.Option(help="What the graph gives: a text's weights, or the logits of its tokens (for fastembed)."),
    ] = "weights",
    overwrite: Overwrite = False,
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """The document side as an ONNX graph with its tokenizer, checked against torch."""
    check_output_folder(out, overwrite=overwrite)
    from sembridge.deployment.export.onnx_model import check_onnx, export_onnx

    check_onnx()
    loaded = _load(encoder, "cpu", trust_remote_code, allow_pickle)
    _print(export_onnx(loaded, out, name=encoder, output=output, overwrite=overwrite), out, as_json=as_json)


@export.command(
    epilog="""Example:

`sembridge export lucene splade-ko mini/faq-ko lucene-ko --queries mini/faq-ko`"""
)
def lucene(
    encoder: Encoder,
    corpus: Corpus,
    out: Out,
    queries: Queries = None,
    scale: Scale = DEFAULT_SCALE,
    max_active_dims: MaxActiveDims = None,
    encode_with: HowToEncode = "stock",
    device: Device = "cpu",
    overwrite: Overwrite = False,
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Impact vectors for Lucene: Anserini's JsonVectorCollection and topics."""
    check_output_folder(out, overwrite=overwrite)
    from sembridge.deployment.export.lucene import export_lucene

    loaded = _load(encoder, device, trust_remote_code, allow_pickle)
    collection = _collection(loaded, encoder, corpus, queries, encode_with, max_active_dims, quiet=as_json)
    _print(export_lucene(collection, out, scale=scale, overwrite=overwrite), out, as_json=as_json)


@export.command(
    epilog="""Example:

`sembridge export pisa splade-ko mini/faq-ko pisa-ko --queries mini/faq-ko`"""
)
def pisa(
    encoder: Encoder,
    corpus: Corpus,
    out: Out,
    queries: Queries = None,
    scale: Scale = DEFAULT_SCALE,
    max_active_dims: MaxActiveDims = None,
    encode_with: HowToEncode = "stock",
    device: Device = "cpu",
    overwrite: Overwrite = False,
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """An index of quantised weights for PISA."""
    check_output_folder(out, overwrite=overwrite)
    from sembridge.deployment.export.pisa import check_pisa, export_pisa

    check_pisa()
    loaded = _load(encoder, device, trust_remote_code, allow_pickle)
    collection = _collection(loaded, encoder, corpus, queries, encode_with, max_active_dims, quiet=as_json)
    _print(export_pisa(collection, out, scale=scale, overwrite=overwrite), out, as_json=as_json)


@export.command(
    epilog="""Example:

`sembridge export seismic splade-ko mini/faq-ko seismic-ko --queries mini/faq-ko`"""
)
def seismic(
    encoder: Encoder,
    corpus: Corpus,
    out: Out,
    queries: Queries = None,
    max_active_dims: MaxActiveDims = None,
    encode_with: HowToEncode = "stock",
    device: Device = "cpu",
    overwrite: Overwrite = False,
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """JSON lines of weights for Seismic."""
    check_output_folder(out, overwrite=overwrite)
    from sembridge.deployment.export.seismic import export_seismic

    loaded = _load(encoder, device, trust_remote_code, allow_pickle)
    collection = _collection(loaded, encoder, corpus, queries, encode_with, max_active_dims, quiet=as_json)
    _print(export_seismic(collection, out, overwrite=overwrite), out, as_json=as_json)


@export.command(
    epilog="""Example:

`sembridge export idf splade-ko idf-ko --corpus mini/faq-ko`"""
)
def idf(
    encoder: Encoder,
    out: Out,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Texts to compute IDF from; without it, the weights of the encoder's own query side."),
    ] = None,
    overwrite: Overwrite = False,
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """idf.json, the query weights of an inference-free model (OpenSearch, Sentence Transformers)."""
    check_output_folder(out, overwrite=overwrite)
    from sembridge.deployment.export.idf import export_idf
    from sembridge.retrieval.corpus import stream_corpus

    loaded = _load(encoder, "cpu", trust_remote_code, allow_pickle)
    documents = None if corpus is None else (document.content for document in stream_corpus(corpus))
    _print(export_idf(loaded, out, documents, name=encoder, overwrite=overwrite), out, as_json=as_json)


@export.command(
    epilog="""Example:

`sembridge export pivot splade-ko splade-ko-pivot --words korean.txt --bridge mini/bridge`"""
)
def pivot(
    encoder: Annotated[Path, typer.Argument(help="Folder written by `sembridge transfer`.")],
    out: Out,
    source: Annotated[
        str | None, typer.Option(help="The source encoder; by default the one that the folder's report names.")
    ] = None,
    words: Annotated[
        Path | None, typer.Option(help="Text of the language, a passage a line: its words get tokens of their own.")
    ] = None,
    bridge: Annotated[str | None, typer.Option(help="Multilingual dense encoder that places the words.")] = None,
    overwrite: Overwrite = False,
    trust_remote_code: RemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """The language of a transferred encoder over its source's vocabulary: asks an English index, a stock folder."""
    if (words is None) != (bridge is None):
        raise typer.BadParameter("words are placed by a bridge: give both together", param_hint="--words --bridge")
    check_output_folder(out, overwrite=overwrite)
    from sembridge.deployment.export.pivot import export_pivot
    from sembridge.encoders.loading import load_bridge
    from sembridge.language_transfer.folder import read_report
    from sembridge.language_transfer.pivot_words import words_of

    name = source or read_report(encoder).source_encoder
    loaded = _load(name, "cpu", trust_remote_code, allow_pickle)
    manifest = export_pivot(
        encoder,
        loaded,
        out,
        words=() if words is None else words_of(words),
        bridge=None if bridge is None else load_bridge(bridge, allow_pickle=allow_pickle),
        overwrite=overwrite,
    )
    _print(manifest, out, as_json=as_json)


def _load(name: str, device: str, trust_remote_code: bool, allow_pickle: bool) -> "SparseEncoder":
    from sembridge.encoders.loading import load_encoder

    quiet_loading()
    return load_encoder(name, device=device, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)


def _collection(
    encoder: "SparseEncoder",
    name: str,
    corpus: Path,
    queries: Path | None,
    encode_with: HowToEncode,
    max_active_dims: int | None,
    *,
    quiet: bool,
) -> "Collection":
    from sembridge.deployment.export.collection import open_collection

    progress = sys.stderr.isatty() and not quiet
    return open_collection(
        encoder, corpus, queries, name=name, encode_with=encode_with, max_active_dims=max_active_dims, progress=progress
    )


def _print(manifest: "Manifest", out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(out), **manifest})
        return
    for fact in ("n_documents", "n_documents_without_postings", "n_postings", "n_queries", "n_tokens", "n_words"):
        if manifest.get(fact):
            console.print(f"{manifest[fact]:,} {fact.removeprefix('n_').replace('_', ' ')}")
    if "largest_difference_from_torch" in manifest:
        console.print(f"Largest difference from torch: {manifest['largest_difference_from_torch']:.1e}")
    console.print(f"Written to {out}; {out / 'README.md'} says how to load it")
