"""A bridge's vectors of a vocabulary, carried from one machine's cache to another's in one file.

The source vocabulary is the same for every target language and for everybody who moves the same encoder, so that one
person may compute its vectors for all.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from sembridge.encoders.vocabulary import Vocabulary
from sembridge.errors import SembridgeError
from sembridge.files.atomic import check_output_file
from sembridge.files.vector_cache import VectorCache, carry, read_carried
from sembridge.language_transfer.bridge import (
    Bridge,
    bridge_fingerprint,
    bridge_settings,
    default_cache_folder,
    embed_texts,
)

LIBRARIES = ("sentence-transformers", "transformers")  # whose minor versions are part of a fingerprint


def texts_of(vocabulary: Vocabulary) -> list[str]:
    """The distinct texts of a vocabulary that a transfer, under any settings, may ask a bridge for."""
    return sorted({vocabulary.texts[i] for i in vocabulary.text_ids})


def export_vectors(
    bridge: Bridge, texts: Sequence[str], path: Path, *, cache_folder: Path | None = None, progress: bool = False
) -> int:
    """The number of texts whose vectors were written to `path`; those that are not in the cache are computed first.

    Raises:
        SembridgeError: the bridge has no fingerprint, so that nobody could tell whose vectors these are; `path` cannot
            be written; or as `embed_texts`.
    """
    check_output_file(path)
    fingerprint, distinct = _fingerprint(bridge), list(dict.fromkeys(texts))
    vectors = embed_texts(bridge, distinct, cache_folder=cache_folder, progress=progress)
    carry(path, distinct, vectors, owner=_name(bridge), fingerprint=fingerprint, versions=_versions())
    return len(distinct)


def import_vectors(bridge: Bridge, path: Path, *, cache_folder: Path | None = None) -> int:
    """The number of texts whose vectors were taken from `path` into the bridge's cache.

    Raises:
        SembridgeError: the vectors are of another bridge, or of the same under other settings, dtype or library
            versions; or the file is none of vectors.
    """
    carried, fingerprint = read_carried(path), _fingerprint(bridge)
    if carried.fingerprint != fingerprint:
        raise SembridgeError(
            f"{path} holds vectors of {carried.owner} (fingerprint {carried.fingerprint[:8]}, {carried.versions}); "
            f"{_name(bridge)} has {fingerprint[:8]} here ({_versions()}). Weights, prompt, length limit, dtype and "
            "library versions must be the same; export them again with these."
        )
    cache = VectorCache(Path(cache_folder or default_cache_folder()) / fingerprint, _name(bridge))
    cache.take_in(carried)
    return len(carried.vectors)


def _fingerprint(bridge: Bridge) -> str:
    fingerprint = bridge_fingerprint(bridge)
    if fingerprint is None:
        raise SembridgeError(
            f"Bridge {_name(bridge)} has no fingerprint, so its vectors cannot be carried; give it the attribute."
        )
    return fingerprint


def _name(bridge: Bridge) -> str:
    return str(bridge_settings(bridge)["name"])


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
