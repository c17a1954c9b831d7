"""Token texts -> vectors of a multilingual dense encoder, the bridge: deduplicated, batched, cached on disk.

The source vocabulary is the same for every target language, and a bridge such as bge-m3 needs many minutes for it on a
CPU; so each finished part is kept in a cache that later transfers, and a run after an interruption, read.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from sembridge.encoders.fingerprint import (
    default_prompt,
    model2vec_fingerprint,
    sentence_transformer_fingerprint,
    stated_fingerprint,
)
from sembridge.encoders.static_rules import unknown_to_static
from sembridge.errors import SembridgeError
from sembridge.files.progress import Progress
from sembridge.files.vector_cache import VectorCache, assets_folder
from sembridge.language_transfer.even_batches import computable, encode_evenly, is_plain

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

TIMED_TEXTS = 64  # a second on e5-small's shape
SHARD_TEXTS = 2048  # texts in one file of the cache: 8 MB at 1,024 dimensions, and the most a killed run loses


class Bridge(Protocol):
    """Anything that turns texts into dense vectors: a SentenceTransformer, a model2vec StaticModel, an own class.

    An own class may carry a `fingerprint` attribute: a text that changes whenever its vectors would. Without one its
    vectors are not kept on disk.
    """

    def encode(self, sentences: list[str], /) -> npt.ArrayLike:
        """Vectors of `sentences`, (len(sentences), dim), floats, in the same order."""
        ...


Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts -> (n, dim) unit vectors, zeros where the bridge has none: a `CachedBridge`, several joined, a function."""


@dataclass(frozen=True, eq=False)
class CachedBridge:
    """A bridge as a transfer asks it, in one call: texts to unit vectors. Arguments as of `embed_texts`."""

    bridge: Bridge
    cache_folder: Path | None = None
    progress: bool = False

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return embed_texts(self.bridge, texts, cache_folder=self.cache_folder, progress=self.progress)


def embed_texts(
    bridge: Bridge,
    texts: Sequence[str],
    *,
    cache_folder: Path | None = None,
    batch_size: int = 256,
    progress: bool = False,
) -> npt.NDArray[np.float32]:
    """Unit vectors of `texts` in the bridge's space, (n_texts, dim) float32, in the order of `texts`.

    Each distinct text is encoded once, longest first (a plain transformer's in batches of one exact length, and never
    in float16 on a CPU: module `even_batches`), and kept under `cache_folder`, so that a second call with the
    same bridge and settings encodes nothing. The vectors depend neither on the order of `texts` nor on repetitions;
    a transformer's vectors may differ in the last bits when another part of `texts` was in the cache already.
    A row of zeros means that the text has no usable vector: a static bridge gives it for a text whose pieces it does
    not know.

    Args:
        bridge: the dense encoder; a SentenceTransformer's default prompt, length limit and truncation apply.
        texts: readable token texts, without `##`, `Ġ` or `▁`.
        cache_folder: where vectors are kept, by default `default_cache_folder()`. A bridge without a fingerprint is
            not cached.
        batch_size: texts handed to the bridge at most at once.
        progress: show a progress bar on stderr.

    Raises:
        SembridgeError: the bridge is not a dense encoder, or it gave NaN or infinite values, another number of rows
            than texts, or vectors of varying width; or the cache could not be written.

    Example:
        >>> class Lengths:
        ...     def encode(self, sentences):
        ...         return [[3.0, 4.0 * len(s)] for s in sentences]
        >>> embed_texts(Lengths(), ["a", "b", "a"]).shape
        (3, 2)
    """
    _refuse_unusable(bridge)
    _refuse_bad_input(texts, batch_size)
    bridge = computable(bridge)
    first_rows: dict[str, int] = {}
    for row, text in enumerate(texts):
        first_rows.setdefault(text, row)
    name = _name(bridge)
    table = _VectorTable(name, len(texts))
    cache = _open_cache(bridge, cache_folder)
    n_distinct = len(first_rows)
    for text in unknown_to_static(bridge, list(first_rows)):
        del first_rows[text]  # its row stays zero
    for found, vectors in cache.read(first_rows) if cache else ():
        table.put([first_rows.pop(text) for text in found], vectors)
    logger.info("Bridge %s: %d of %d distinct texts to encode", name, len(first_rows), n_distinct)
    missing = sorted(first_rows, key=lambda text: (-len(text), text))  # longest first: too little memory shows at once
    with Progress("bridge vectors", total=len(missing), shown=progress) as bar, _says_how_to_go_on(cache):
        for start in range(0, len(missing), SHARD_TEXTS):
            shard = missing[start : start + SHARD_TEXTS]
            vectors = _shard_vectors(bridge, shard, batch_size, table, bar)
            if cache:
                cache.write(shard, vectors)
            table.put([first_rows[text] for text in shard], vectors)
    return table.finished(texts, width_when_empty=_dimension(bridge) or 0)


@contextlib.contextmanager
def _says_how_to_go_on(cache: VectorCache | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if cache and any(cache.folder.glob("*.safetensors")):
            logger.warning("Bridging was interrupted; what is done is kept, and the same command goes on from there")
        raise


@dataclass(frozen=True)
class Bridging:
    """How long a bridge will take on this machine.

    Attributes:
        bridge: its name.
        texts: distinct ones.
        cached: of them, how many have vectors on disk already.
        seconds: for the others, by what some of them took just now; a second run needs none.
    """

    bridge: str
    texts: int
    cached: int
    seconds: float


def time_bridging(bridge: Bridge, texts: Sequence[str], *, cache_folder: Path | None = None) -> Bridging:
    """What `embed_texts` of `texts` will cost: a few of every length are embedded, and nothing is written.

    Raises:
        SembridgeError: as `embed_texts`.
    """
    _refuse_unusable(bridge)
    _refuse_bad_input(texts, TIMED_TEXTS)
    bridge = computable(bridge)
    missing = dict.fromkeys(texts)
    for text in unknown_to_static(bridge, list(missing)):
        del missing[text]
    n_distinct, name = len(missing), _name(bridge)
    cache = _open_cache(bridge, cache_folder)
    for found, _ in cache.read(missing) if cache else ():
        for text in found:
            del missing[text]
    by_length = sorted(missing, key=lambda text: (len(text), text))
    sample = by_length[:: max(1, len(by_length) // TIMED_TEXTS)]
    seconds = 0.0
    if sample:
        bar, table = Progress("", shown=False), _VectorTable(name, len(sample))
        _shard_vectors(bridge, sample[:1], TIMED_TEXTS, table, bar)  # the first call sets things up
        start = time.perf_counter()
        _shard_vectors(bridge, sample, TIMED_TEXTS, table, bar)
        seconds = (time.perf_counter() - start) * len(missing) / len(sample)
    return Bridging(name, n_distinct, n_distinct - len(missing), seconds)


def default_cache_folder() -> Path:
    """The folder of bridge vectors in huggingface_hub's own cache."""
    return assets_folder("bridge")


def bridge_settings(bridge: Bridge) -> dict[str, str | int | None]:
    """What a report says of a bridge: name, dim, max_seq_length, prompt, fingerprint; None where it is not known."""
    _refuse_unusable(bridge)
    length = getattr(bridge, "max_seq_length", getattr(bridge, "max_length", None))
    return {
        "name": _name(bridge),
        "dim": _dimension(bridge),
        "max_seq_length": int(length) if isinstance(length, int | float) and math.isfinite(length) else None,
        "prompt": default_prompt(cast("SentenceTransformer", bridge)) if _is_sentence_transformer(bridge) else None,
        "fingerprint": bridge_fingerprint(bridge),
    }


def bridge_fingerprint(bridge: Bridge) -> str | None:
    """32 hex digits that change whenever the bridge's vectors would, or None where that cannot be told.

    Covers weights, architecture, tokenizer, length limit, default prompt, truncation and normalisation, and the minor
    versions of the libraries that compute; not the device. Reads every weight, about one second a gigabyte.
    """
    if _is_sentence_transformer(bridge):
        model = cast("SentenceTransformer", bridge)
        return sentence_transformer_fingerprint(model) if model.backend == "torch" else None  # weights lie elsewhere
    if _is_model2vec(bridge):
        return model2vec_fingerprint(bridge)
    given = getattr(bridge, "fingerprint", None)
    if given is None:
        return None
    if not isinstance(given, str) or not given:
        raise SembridgeError(
            f"Bridge {_name(bridge)} has a fingerprint of type {type(given).__name__}; expected a text that is not"
            " empty. Make `fingerprint` a str attribute, or remove it to go without a cache."
        )
    return stated_fingerprint(bridge, given)


def _is_sentence_transformer(bridge: object) -> bool:
    from sentence_transformers import SentenceTransformer

    return isinstance(bridge, SentenceTransformer)


def _is_model2vec(bridge: object) -> bool:
    return type(bridge).__module__.split(".")[0] == "model2vec" and hasattr(bridge, "embedding")


def _name(bridge: object) -> str:
    """The name the bridge was loaded by, else the folder it came from, else its class."""
    candidates = (
        getattr(getattr(bridge, "model_card_data", None), "model_id", None),
        getattr(getattr(bridge, "config", None), "_name_or_path", None),
        getattr(bridge, "base_model_name", None),
    )
    return next((c for c in candidates if isinstance(c, str) and c), type(bridge).__qualname__)


def _dimension(bridge: object) -> int | None:
    reader = getattr(bridge, "get_embedding_dimension", None)
    value = reader() if callable(reader) else getattr(bridge, "dim", None)
    return value if isinstance(value, int) else None


def _refuse_unusable(bridge: object) -> None:
    from sentence_transformers import SparseEncoder

    if isinstance(bridge, SparseEncoder):
        raise SembridgeError(
            f"Bridge {_name(bridge)} is a SparseEncoder; expected a multilingual dense encoder."
            " Give a SentenceTransformer such as intfloat/multilingual-e5-small."
        )
    if isinstance(bridge, str | type) or not callable(getattr(bridge, "encode", None)):
        raise SembridgeError(
            f"Bridge {bridge!r:.80} has no encode method; expected an object with encode(list[str])."
            " Load a model by name with sembridge.encoders.loading.load_bridge."
        )


def _refuse_bad_input(texts: Sequence[str], batch_size: int) -> None:
    if isinstance(texts, str):
        raise SembridgeError(f"texts is the single text {texts!r:.60}; expected a list of texts.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise SembridgeError(f"texts[{row}] is a {type(text).__name__}; expected a str.")
    if batch_size < 1:
        raise SembridgeError(f"batch_size is {batch_size}; expected 1 or more.")


def _batches(texts: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


def _shard_vectors(
    bridge: Bridge, shard: list[str], batch_size: int, table: "_VectorTable", bar: Progress
) -> npt.NDArray[np.float32]:
    if not is_plain(bridge):
        return np.concatenate([table.checked(_encode(bridge, b, bar), b) for b in _batches(shard, batch_size)])
    vectors: npt.NDArray[np.float32] | None = None
    for rows, found in encode_evenly(bridge, shard, batch_size):
        unit = table.checked(found, [shard[row] for row in rows])
        vectors = np.empty((len(shard), unit.shape[1]), np.float32) if vectors is None else vectors
        vectors[rows] = unit
        bar.advance(len(rows))
    return cast("npt.NDArray[np.float32]", vectors)


def _encode(bridge: Bridge, batch: list[str], bar: Progress) -> object:
    if _is_sentence_transformer(bridge):
        vectors = cast("SentenceTransformer", bridge).encode(batch, batch_size=len(batch), show_progress_bar=False)
    else:
        vectors = bridge.encode(batch)
    bar.advance(len(batch))
    return vectors


def _as_array(vectors: object) -> npt.NDArray[Any]:
    """A numpy array of what a bridge gave: arrays, lists and dense tensors of any device and precision."""
    import torch

    if isinstance(vectors, torch.Tensor):
        if vectors.layout != torch.strided:
            raise ValueError(f"a sparse tensor ({vectors.layout})")
        vectors = vectors.detach().float().cpu().numpy()
    elif isinstance(vectors, list) and vectors and isinstance(vectors[0], torch.Tensor):
        return _as_array(torch.stack(vectors))
    return np.asarray(vectors)


class _VectorTable:
    """The result in the making: one row a text, allocated when the first vectors tell the width."""

    def __init__(self, bridge_name: str, n_texts: int) -> None:
        self._bridge_name = bridge_name
        self._n_texts = n_texts
        self._rows: npt.NDArray[np.float32] | None = None
        self._width: int | None = None

    def checked(self, encoded: object, batch: list[str]) -> npt.NDArray[np.float32]:
        """Unit vectors (len(batch), width) of what the bridge gave for `batch`; zero vectors stay zero."""
        try:
            vectors = _as_array(encoded)
        except (ValueError, TypeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise self._refusal(f"gave no array of vectors: {reason}", "(n_texts, dim) floats") from error
        if not np.issubdtype(vectors.dtype, np.floating):
            raise self._refusal(f"gave vectors of type {vectors.dtype}", "floats")
        if vectors.ndim != 2 or len(vectors) != len(batch) or vectors.shape[1] == 0:
            given = f"gave an array of shape {vectors.shape} for {len(batch)} texts"
            raise self._refusal(given, f"({len(batch)}, dim)")
        self._refuse_other_width(vectors.shape[1])
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            culprit = batch[int(np.argmin(finite))]
            raise self._refusal(f"gave NaN or infinite values for the text {culprit!r:.60}", "finite numbers")
        return _unit(vectors)

    def put(self, rows: list[int], vectors: npt.NDArray[np.float32]) -> None:
        self._refuse_other_width(vectors.shape[1])
        if self._rows is None:
            self._rows = np.zeros((self._n_texts, vectors.shape[1]), dtype=np.float32)
        self._rows[rows] = vectors

    def finished(self, texts: Sequence[str], *, width_when_empty: int) -> npt.NDArray[np.float32]:
        """The vectors of all texts; a repeated text's row is copied from its first row."""
        if self._rows is None:
            return np.zeros((self._n_texts, width_when_empty), dtype=np.float32)
        first_rows: dict[str, int] = {}
        copied_from = np.array([first_rows.setdefault(text, row) for row, text in enumerate(texts)])
        repeated = np.flatnonzero(copied_from != np.arange(len(texts)))
        self._rows[repeated] = self._rows[copied_from[repeated]]
        empty = np.flatnonzero(~self._rows.any(axis=1))
        if len(empty):
            example = texts[int(empty[0])]
            logger.info("%d of %d texts have no usable vector, e.g. %.40r", len(empty), len(texts), example)
        return self._rows

    def _refuse_other_width(self, width: int) -> None:
        if self._width is None:
            self._width = width
        if width != self._width:
            raise self._refusal(f"gave vectors of {width} dimensions", f"{self._width} as in its other vectors")

    def _refusal(self, given: str, expected: str) -> SembridgeError:
        return SembridgeError(f"Bridge {self._bridge_name} {given}; expected {expected}. Check its encode method.")


def _unit(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    wide = vectors.astype(np.float64)
    wide /= np.maximum(np.abs(wide).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)  # no overflow in the squares
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (wide / np.where(norms > 0, norms, 1)).astype(np.float32)
    return unit


def _open_cache(bridge: Bridge, cache_folder: Path | None) -> VectorCache | None:
    fingerprint = bridge_fingerprint(bridge)
    if fingerprint is None:
        logger.info("Bridge %s has no fingerprint: its vectors are not kept on disk", _name(bridge))
        return None
    cache = VectorCache(Path(cache_folder or default_cache_folder()) / fingerprint, _name(bridge))
    cache.remove_stale()
    return cache
