"""An encoder, or a corpus as it sees it, written for another program: the formats, by name."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from sembridge.deployment.export.collection import VectorCollection, open_collection
from sembridge.deployment.export.idf import export_idf
from sembridge.deployment.export.lucene import export_lucene
from sembridge.deployment.export.manifest import ExportManifest
from sembridge.deployment.export.onnx_model import export_onnx
from sembridge.deployment.export.pisa import export_pisa
from sembridge.deployment.export.seismic import export_seismic
from sembridge.errors import SembridgeError
from sembridge.retrieval.corpus import stream_corpus

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

Format = Literal["onnx", "idf", "lucene", "pisa", "seismic"]

_OF_A_CORPUS: dict[str, Callable[..., ExportManifest]] = {
    "lucene": export_lucene,
    "pisa": export_pisa,
    "seismic": export_seismic,
}


def export(
    encoder: "SparseEncoder",
    out: str | Path,
    to: Format,
    *,
    name: str,
    corpus: str | Path | None = None,
    queries: str | Path | None = None,
    overwrite: bool = False,
) -> ExportManifest:
    """The manifest of what was written to `out` for the program `to`, with the settings that its own function has.

    Args:
        to: onnx and idf are of the encoder; lucene, pisa and seismic of a corpus as it sees it.
        name: what the manifest calls the encoder.
        corpus: as of `stream_corpus`, or shards; of idf, texts that the weights are counted in.
        queries: to be written too.

    Raises:
        MissingExtraError: the packages of the format's extra are not installed.
        SembridgeError: an unknown format, no corpus for one that needs it, and as the format's own function.
    """
    out = Path(out)
    if to not in get_args(Format):
        raise SembridgeError(f"Nothing is written for {to!r}; expected one of {', '.join(get_args(Format))}.")
    if to == "onnx":
        return export_onnx(encoder, out, name=name, overwrite=overwrite)
    if to == "idf":
        texts = None if corpus is None else (document.content for document in stream_corpus(corpus))
        return export_idf(encoder, out, texts, name=name, overwrite=overwrite)
    if corpus is None:
        raise SembridgeError(f"An export to {to} writes a corpus as the encoder sees it; give `corpus`.")
    collection: VectorCollection = open_collection(encoder, corpus, queries, name=name)
    return _OF_A_CORPUS[to](collection, out, overwrite=overwrite)
