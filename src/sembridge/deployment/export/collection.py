"""A corpus as an encoder sees it, some documents at a time: what every export of vectors starts from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from sembridge.deployment.export.settings import DEFAULT_SCALE
from sembridge.deployment.shards import SHARDS_MANIFEST, read_shards, read_shards_manifest
from sembridge.encoders.anatomy import Anatomy, check_source_encoder
from sembridge.encoders.fingerprint import sparse_encoder_fingerprint
from sembridge.encoders.names import mini_folder
from sembridge.encoders.readers import Reader
from sembridge.encoders.vectors import EncodeWith, TextEncoder
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.files.progress import Progress
from sembridge.retrieval.beir import texts_file
from sembridge.retrieval.corpus import stream_corpus

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

_BLOCK_DOCUMENTS = 1024  # held at once, with their vectors
_LARGEST_INTEGER = 2**31 - 1  # of a weight, in Lucene and PISA


@dataclass(frozen=True, eq=False)
class VectorBlock:
    """Some texts and their vectors.

    Attributes:
        ids: one a row.
        texts: one a row; "" where only the vectors are known.
        vectors: (n, n_dims), float32, or int64 after `quantized`.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    vectors: csr_array


@dataclass(frozen=True, eq=False)
class VectorCollection:
    """Documents and queries as vectors of one encoder.

    Attributes:
        encoder: its name, for the manifest.
        fingerprint: changes whenever its vectors would; None where it is not known.
        tokens: raw token of every dimension, "" where there is none.
        documents: read once.
        queries: read once; may be empty.
    """

    encoder: str
    tokens: tuple[str, ...]
    documents: Iterable[VectorBlock]
    queries: Iterable[VectorBlock] = ()
    fingerprint: str | None = None


@dataclass
class Counts:
    """What went into an export."""

    texts: int = 0
    postings: int = 0
    without_postings: int = 0

    @property
    def with_postings(self) -> int:
        return self.texts - self.without_postings

    def add(self, vectors: csr_array) -> None:
        self.texts += vectors.shape[0]
        self.postings += int(vectors.nnz)
        self.without_postings += int((np.diff(vectors.indptr) == 0).sum())


def open_collection(
    encoder: "SparseEncoder",
    corpus: str | Path,
    queries: str | Path | None = None,
    *,
    name: str,
    reader: Reader | None = None,
    encode_with: EncodeWith = "stock",
    max_active_dims: int | None = None,
    progress: bool = False,
) -> VectorCollection:
    """The collection of a corpus as of `stream_corpus`, or of its shards, and of queries as of `read_queries`.

    Args:
        reader: as of `encoded_collection`.

    Raises:
        SembridgeError: as `encoded_collection`, and while reading as `stream_corpus` or `read_shards`; shards of
            another encoder, or `max_active_dims` for shards, whose vectors are made.
    """
    query_texts = {} if queries is None else read_queries(queries)
    if (Path(corpus) / SHARDS_MANIFEST).is_file():
        _check_shards(encoder, Path(corpus), name, max_active_dims)
        return precomputed_collection(encoder, read_shards(Path(corpus)), query_texts, name=name, reader=reader)
    return encoded_collection(
        encoder,
        ((document.id, document.content) for document in stream_corpus(corpus)),
        query_texts,
        name=name,
        reader=reader,
        encode_with=encode_with,
        max_active_dims=max_active_dims,
        progress=progress,
    )


def read_queries(source: str | Path) -> dict[str, str]:
    """Query id -> text, of a file as of `stream_corpus`, a folder in BEIR layout or mini/NAME.

    Raises:
        SembridgeError: as `stream_corpus`.
    """
    if str(source).startswith("mini/"):
        source = texts_file(mini_folder(str(source)), "queries")
    elif Path(source).is_dir():
        source = texts_file(Path(source), "queries")
    return {query.id: query.content for query in stream_corpus(source)}


def encoded_collection(
    encoder: "SparseEncoder",
    documents: Iterable[tuple[str, str]],
    queries: Mapping[str, str] | None = None,
    *,
    name: str,
    reader: Reader | None = None,
    encode_with: EncodeWith = "stock",
    max_active_dims: int | None = None,
    progress: bool = False,
) -> VectorCollection:
    """The collection of (id, text) documents, encoded while it is read, about a thousand at a time.

    Args:
        encoder: over whose vocabulary the vectors are.
        documents: any iterable, read once; of any size.
        queries: id -> text.
        name: of the encoder, for the manifest.
        reader: who reads the texts: a pivot through `encoder`, or by default `encoder` itself.
        encode_with, max_active_dims: as of `encode_corpus`; the second is for documents only.
        progress: show a bar on stderr.

    Raises:
        SembridgeError: the encoder is no SPLADE, whose dimensions are tokens.
    """
    tokens = encoder_tokens(check_source_encoder(encoder))
    model = encoder if reader is None else reader.text_model
    encode = TextEncoder(model, "document", encode_with, max_active_dims=max_active_dims)
    encode_query = TextEncoder(model, "query", encode_with)
    return VectorCollection(
        encoder=name,
        tokens=tokens,
        documents=_encoded(encode, documents, "Encoding documents" if progress else None),
        queries=_encoded(encode_query, (queries or {}).items(), None),
        fingerprint=sparse_encoder_fingerprint(encoder),
    )


def precomputed_collection(
    encoder: "SparseEncoder",
    documents: Iterable[tuple[Sequence[str], csr_array]],
    queries: Mapping[str, str] | None = None,
    *,
    name: str,
    reader: Reader | None = None,
) -> VectorCollection:
    """The collection of documents whose vectors were made before by this encoder: (ids, (n, n_dims) vectors) at a time.

    Args:
        reader: of the queries, as of `encoded_collection`.

    Raises:
        SembridgeError: the encoder is no SPLADE; while it is read, vectors of another width.
    """
    collection = encoded_collection(encoder, (), queries, name=name, reader=reader)
    return replace(collection, documents=_precomputed(documents, len(collection.tokens)))


def encoder_tokens(anatomy: Anatomy) -> tuple[str, ...]:
    """The raw token of every dimension, "" for a hole or a row without a token."""
    return read_vocabulary(anatomy.encoder.tokenizer, n_rows=anatomy.n_rows).tokens


def quantized(block: VectorBlock, scale: float) -> VectorBlock:
    """The block with integer weights, round(scale x weight), those that become 0 left out.

    A weight changes by at most half a step, .5 / scale.

    Raises:
        SembridgeError: a weight that 31 bits do not hold.
    """
    vectors = block.vectors
    weights = np.rint(vectors.data.astype(np.float64) * scale)
    if weights.size and weights.max() > _LARGEST_INTEGER:
        raise SembridgeError(
            f"A weight of {vectors.data.max():g} times scale {scale:g} is more than 31 bits hold; give a smaller scale."
        )
    # copies, because eliminate_zeros works in place
    integers = csr_array((weights.astype(np.int64), vectors.indices.copy(), vectors.indptr.copy()), shape=vectors.shape)
    integers.eliminate_zeros()
    return replace(block, vectors=integers)


def with_weights(block: VectorBlock) -> VectorBlock:
    """The block without rows that have no weight."""
    kept: list[int] = np.flatnonzero(np.diff(block.vectors.indptr)).tolist()
    if len(kept) == len(block.ids):
        return block
    return VectorBlock([block.ids[row] for row in kept], [block.texts[row] for row in kept], block.vectors[kept])


def check_scale(scale: float) -> None:
    if not (np.isfinite(scale) and scale > 0):
        raise SembridgeError(f"scale is {scale}: expected a number above 0, such as {DEFAULT_SCALE:g}.")


def refuse_nothing(documents: Counts, *, scale: float | None = None) -> None:
    """Refuses an export of which every search would find nothing; `scale` where weights were rounded."""
    if not documents.texts:
        raise SembridgeError("The corpus has no document; nothing to export.")
    if not documents.postings:
        rounded = "" if scale is None else f" after rounding at scale {scale:g}"
        advice = "check the encoder" if scale is None else "give a larger --scale, or check the encoder"
        raise SembridgeError(
            f"None of the {documents.texts:,} documents has a weight above 0{rounded}; nothing to export: {advice}."
        )


def rows(block: VectorBlock, keys: Sequence[str]) -> Iterator[tuple[tuple[str, str], dict[str, float]]]:
    """((id, text), key -> weight) of every row, keys by their dimension.

    Integer weights stay integers; float weights are the shortest decimals that read back as the same float32.
    """
    vectors = block.vectors
    is_float = vectors.data.dtype.kind == "f"
    values = [float(text) for text in vectors.data.astype(str)] if is_float else vectors.data.tolist()
    row_keys = [keys[dimension] for dimension in vectors.indices.tolist()]
    bounds = vectors.indptr.tolist()
    for row, start, end in zip(zip(block.ids, block.texts, strict=True), bounds[:-1], bounds[1:], strict=True):
        yield row, dict(zip(row_keys[start:end], values[start:end], strict=True))


def checked(blocks: Iterable[VectorBlock]) -> Iterator[VectorBlock]:
    """The blocks, dimensions ascending and without stored zeros.

    Raises:
        SembridgeError: a weight below 0, which no inverted index ranks by its dot product.
    """
    for block in blocks:
        vectors = block.vectors.copy()
        vectors.eliminate_zeros()
        vectors.sort_indices()
        if vectors.nnz and vectors.data.min() < 0:
            row = int(np.searchsorted(vectors.indptr, vectors.data.argmin(), side="right")) - 1
            raise SembridgeError(
                f"{block.ids[row]!r} has a weight of {vectors.data.min():g}; an inverted index needs weights of 0 or "
                "more. Take an encoder whose activation is log1p of relu, as of SPLADE."
            )
        yield replace(block, vectors=vectors)


def refuse_white_space(ids: Iterable[str]) -> None:
    """Refuses ids that a file of lines and columns cannot hold."""
    for text_id in ids:
        if not text_id or any(char.isspace() for char in text_id):
            raise SembridgeError(
                f"The id {text_id!r} is empty or has white space, which this format has no way to write; rename it."
            )


def _check_shards(encoder: "SparseEncoder", folder: Path, name: str, max_active_dims: int | None) -> None:
    made_by = read_shards_manifest(folder)
    if made_by.fingerprint != sparse_encoder_fingerprint(encoder):
        raise SembridgeError(
            f"The shards in {folder} were made by {made_by.encoder}, not by {name} as it is now; give that encoder, or "
            "encode the corpus again."
        )
    if max_active_dims is not None:
        raise SembridgeError(
            f"The vectors in {folder} are made: max_active_dims belongs to `sembridge encode`; leave it away here."
        )


def _encoded(encode: TextEncoder, texts: Iterable[tuple[str, str]], label: str | None) -> Iterator[VectorBlock]:
    remaining = iter(texts)
    for block in _with_progress(iter(lambda: list(islice(remaining, _BLOCK_DOCUMENTS)), []), label):
        ids, contents = [text_id for text_id, _ in block], [text for _, text in block]
        yield VectorBlock(ids, contents, encode(contents))


def _precomputed(documents: Iterable[tuple[Sequence[str], csr_array]], n_dims: int) -> Iterator[VectorBlock]:
    for ids, vectors in documents:
        if vectors.shape[1] != n_dims:
            raise SembridgeError(
                f"The vectors have {vectors.shape[1]} dimensions, the encoder {n_dims}; give the one that made them."
            )
        yield VectorBlock(ids, [""] * len(ids), vectors)


def _with_progress(blocks: Iterator[list[tuple[str, str]]], label: str | None) -> Iterator[list[tuple[str, str]]]:
    """The blocks, with a counter of texts on stderr where a label is given; how many there are is not known before."""
    if label is None:
        yield from blocks
        return
    with Progress(label, unit="documents") as progress:
        for block in blocks:
            yield block
            progress.advance(len(block))
