"""A transferred encoder over its source's vocabulary, as a stock folder: for an English index, in another language."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.deployment.export.manifest import ExportManifest, write_export
from sembridge.language_transfer.bridge import Bridge, CachedBridge
from sembridge.language_transfer.pivot import Pivot

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder


def export_pivot(
    transferred: Path,
    source: "SparseEncoder",
    out: Path,
    *,
    words: Sequence[str] = (),
    bridge: Bridge | None = None,
    overwrite: bool = False,
) -> ExportManifest:
    """The manifest of the pivot in `out`: a stock SparseEncoder folder with `pivot.json`.

    Args:
        transferred: folder written by `sembridge transfer`.
        source: the encoder that it was transferred from.
        words: get tokens of their own, placed by `bridge`.

    Raises:
        SembridgeError: no such folder, another source, or a place that cannot be written.
    """
    embed = None if bridge is None else CachedBridge(bridge)
    pivot = Pivot.of_transferred(transferred, source, words=words, embed=embed)

    def fill(folder: Path) -> ExportManifest:
        pivot.write(folder)
        return {"format": "pivot", "encoder": str(transferred), **asdict(pivot.facts)}

    return write_export(out, fill, _readme, overwrite=overwrite)


def _readme(manifest: ExportManifest) -> str:
    return f"""# {manifest["language"] or "A language"} over the vocabulary of {manifest["source_encoder"]}

A stock [Sentence Transformers](https://sbert.net) `SparseEncoder`. Its vectors are over the source encoder's
vocabulary: the first {manifest["n_dims"]} dimensions are the source's tokens, the others are zero. It asks an index
that the source encoder made, and its documents can be added to one:

    sembridge search ENGLISH_INDEX "..." --query-encoder THIS_FOLDER --explain
"""
