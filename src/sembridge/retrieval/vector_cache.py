"""Encoded texts on disk, kept by encoder, settings and texts: the same evaluation encodes nothing a second time."""

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sembridge.encoders.fingerprint import sparse_encoder_fingerprint, texts_fingerprint
from sembridge.files.atomic import remove_stale, replacing
from sembridge.files.vector_cache import assets_folder

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

logger = logging.getLogger(__name__)

KeySettings = Mapping[str, str | int | None]


@dataclass(frozen=True, eq=False)
class EncodedTexts:
    """Vectors (n_texts, n_dims) of texts, the seconds their encoding took, and whether that was in another run."""

    vectors: csr_array
    seconds: float
    cached: bool


@dataclass(frozen=True)
class CorpusCache:
    """A folder of encoded texts for one encoder: `SIDE-DIGEST.safetensors`, each complete or not there at all.

    The folder is named by the encoder's fingerprint and the digest covers texts and settings, so changed weights, a
    changed corpus or another number of active dims is another file; nothing is ever out of date.
    """

    folder: Path

    @classmethod
    def of(cls, encoder: "SparseEncoder", cache_folder: Path | None) -> "CorpusCache | None":
        """The cache of an encoder below `cache_folder`; None without a folder, or where weights cannot be read."""
        if cache_folder is None:
            return None
        fingerprint = sparse_encoder_fingerprint(encoder)
        if fingerprint is None:
            logger.warning("The weights of a %s encoder cannot be read: nothing is cached.", encoder.backend)
            return None
        return cls(cache_folder / fingerprint)

    def encoded(
        self, side: str, texts: Sequence[str], settings: KeySettings, encode: Callable[[], csr_array]
    ) -> EncodedTexts:
        """The vectors of `texts` under `settings`: from disk if they are there, else by `encode`, then kept.

        A disk that refuses costs the copy, never the evaluation: a line is logged and the vectors are returned.
        """
        path = self.folder / f"{side}-{_digest(texts, settings)}.safetensors"
        found = _read(path)
        if found is None or found.vectors.shape[0] != len(texts):
            found = timed(encode)
            self._keep(path, found)
        return found

    def _keep(self, path: Path, encoded: EncodedTexts) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_stale(self.folder)
            with replacing(path) as partial:
                _write(partial, encoded)
        except Exception as error:  # below safetensors a full disk is an error of its own kind
            reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
            logger.warning(
                "Encoded texts are not kept in %s: %s. Give another folder with --cache.", self.folder, reason
            )


def default_cache_folder() -> Path:
    """The folder of encoded texts in huggingface_hub's own cache."""
    return assets_folder("corpora")


def timed(encode: Callable[[], csr_array]) -> EncodedTexts:
    """The vectors that `encode` gives now, with its seconds."""
    start = time.perf_counter()
    vectors = encode()
    return EncodedTexts(vectors, time.perf_counter() - start, cached=False)


def _digest(texts: Sequence[str], settings: KeySettings) -> str:
    text = json.dumps([texts_fingerprint(texts), settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _write(path: Path, encoded: EncodedTexts) -> None:
    from safetensors.numpy import save_file

    arrays = {
        "data": encoded.vectors.data.astype(np.float32, copy=False),
        "indices": encoded.vectors.indices.astype(np.int32, copy=False),
        "indptr": encoded.vectors.indptr.astype(np.int64, copy=False),
    }
    metadata = {
        "n_dims": str(encoded.vectors.shape[1]),
        "seconds": repr(encoded.seconds),
        "checksum": _checksum(arrays),
    }
    save_file(arrays, path, metadata)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _read(path: Path) -> EncodedTexts | None:
    """What is in the file; None when there is none, or it is damaged (it is removed then) or cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in ("data", "indices", "indptr")}
            metadata = file.metadata() or {}
        if metadata["checksum"] != _checksum(arrays):
            raise ValueError("its checksum does not fit")
        shape = (len(arrays["indptr"]) - 1, int(metadata["n_dims"]))
        vectors = csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        return EncodedTexts(vectors, float(metadata["seconds"]), cached=True)
    except FileNotFoundError:
        return None
    except (SafetensorError, ValueError, KeyError) as error:
        logger.warning("Encoded texts in %s are damaged (%s) and are encoded again.", path, error)
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    except OSError as error:
        logger.warning("Encoded texts in %s cannot be read (%s) and are encoded again.", path, error)
        return None


def _checksum(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    hasher = hashlib.sha256()  # measured: 1.1 GB/s, faster than blake2b where the processor helps
    for name in sorted(arrays):
        hasher.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        hasher.update(np.ascontiguousarray(arrays[name]).data)
    return hasher.hexdigest()
