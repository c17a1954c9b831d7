"""Sparse vectors: texts encoded to scipy CSR rows in bounded memory, and the FLOPS statistic of two sets of them."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from sembridge.encoders.settings import BATCH_SIZE
from sembridge.encoders.settings import EncodeWith as EncodeWith
from sembridge.encoders.stated import Task, scores_by_cosine
from sembridge.errors import SembridgeError
from sembridge.files.progress import Progress

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

    from sembridge.encoders.anatomy import Anatomy
    from sembridge.encoders.fast_head import FastEncoder

logger = logging.getLogger(__name__)

EncodeBatch = Callable[[list[str]], csr_array]

_MAX_LOGIT_BYTES = 2**30  # of one batch's masked-language-model logits; pooling takes about twice that again
_WINDOW_BATCHES = 8  # the fast way tokenizes this many batches at a time and sorts them by their number of tokens


def encode_corpus(
    encoder: "SparseEncoder",
    texts: Sequence[str],
    *,
    encode_with: EncodeWith = "stock",
    batch_size: int = BATCH_SIZE,
    max_active_dims: int | None = None,
    progress: bool = False,
) -> csr_array:
    """(n_texts, n_dims) float32 document vectors, rows in the order of the texts.

    `encode_with` "stock" is the encoder's own `encode_document`; "fast" gives the same vectors within 1e-4 in less time
    on a CPU; "auto" is fast where it knows the encoder, else stock; "fast-bf16" computes in bfloat16, which moved
    nDCG@10 by .003 at most where it was measured, and pays where the processor multiplies bfloat16 matrices. An encoder
    that the fast ways do not know goes through its own, with a logged warning unless "auto" chose.
    `batch_size` is an upper limit: a batch of long texts and a large vocabulary is cut to 1 GiB of logits.
    `max_active_dims` keeps that many largest weights a text; None is the encoder's own setting.

    Raises:
        SembridgeError: no texts, a batch size below 1, an unknown way to encode, or weights that are not finite.
    """
    encode = TextEncoder(encoder, "document", encode_with, batch_size=batch_size, max_active_dims=max_active_dims)
    return encode(texts, "Encoding documents" if progress else None)


def encode_queries(
    encoder: "SparseEncoder",
    texts: Sequence[str],
    *,
    encode_with: EncodeWith = "stock",
    batch_size: int = BATCH_SIZE,
    max_active_dims: int | None = None,
    progress: bool = False,
) -> csr_array:
    """(n_texts, n_dims) float32 query vectors; as `encode_corpus`, through the encoder's query side and prompt."""
    encode = TextEncoder(encoder, "query", encode_with, batch_size=batch_size, max_active_dims=max_active_dims)
    return encode(texts, "Encoding queries" if progress else None)


class TextEncoder:
    """One side of an encoder with a way to encode, prepared once for many calls; arguments as in `encode_corpus`.

    Vectors follow the encoder's rows where these are changed in place; of an encoder that states the similarity cosine
    they have unit length, so that a dot product is its score.

    Args:
        anatomy: of `encoder`, where it has been read already.

    Attributes:
        way: how it encodes: one of `EncodeWith`, never auto.

    Raises:
        SembridgeError: a batch size below 1, an unknown way to encode, or an encoder that is to be compared by a
            distance.
    """

    def __init__(
        self,
        encoder: "SparseEncoder",
        task: Task,
        encode_with: EncodeWith = "stock",
        *,
        batch_size: int = BATCH_SIZE,
        max_active_dims: int | None = None,
        anatomy: "Anatomy | None" = None,
    ) -> None:
        if batch_size < 1:
            raise SembridgeError(f"batch_size is {batch_size}: expected 1 or more.")
        if encode_with not in get_args(EncodeWith):
            expected = ", ".join(get_args(EncodeWith))
            raise SembridgeError(f"encode_with is {encode_with!r}: expected one of {expected}.")
        self._encoder, self._batch_size = encoder, batch_size
        fast = None if encode_with == "stock" else _fast(encoder, anatomy, task, encode_with)
        self.way: EncodeWith = "stock" if fast is None else "fast" if encode_with == "auto" else encode_with
        if fast is None:
            self._encode_batch = _stock(encoder, task, max_active_dims)
        else:
            self._encode_batch = partial(fast.encode, batch_size=batch_size, max_active_dims=max_active_dims)
        self._to_unit = scores_by_cosine(encoder)

    def __call__(self, texts: Sequence[str], progress_label: str | None = None) -> csr_array:
        """(n_texts, n_dims) float32 vectors, rows in the order of the texts.

        Raises:
            SembridgeError: no texts, or weights that are not finite.
        """
        if not texts:
            raise SembridgeError("No texts to encode: give at least one.")
        order = sorted(range(len(texts)), key=lambda position: -len(texts[position]))  # alike lengths: little padding
        blocks = []
        for batch in _with_progress(self._batches(texts, order), len(texts), progress_label):
            batch_texts = [texts[position] for position in batch]
            block = self._encode_batch(batch_texts)
            check_finite(block, batch_texts)
            blocks.append(unit_rows(block) if self._to_unit else block)
        return vstack(blocks, format="csr")[np.argsort(order)]

    def _batches(self, texts: Sequence[str], order: list[int]) -> Iterator[list[int]]:
        if self.way == "stock":
            return _batches(self._encoder, texts, order, self._batch_size)
        size = self._batch_size * _WINDOW_BATCHES
        return (order[start : start + size] for start in range(0, len(order), size))


def unit_rows(vectors: csr_array) -> csr_array:
    """The rows at length one; those that are zero stay."""
    norms = np.sqrt(vectors.multiply(vectors).sum(axis=1))
    scale = np.where(norms > 0, norms, 1).astype(vectors.dtype)
    return csr_array(
        (vectors.data / np.repeat(scale, np.diff(vectors.indptr)), vectors.indices, vectors.indptr), vectors.shape
    )


def _stock(encoder: "SparseEncoder", task: Task, max_active_dims: int | None) -> EncodeBatch:
    """The encoder's own way for queries or for documents."""
    encode = encoder.encode_query if task == "query" else encoder.encode_document

    def encode_batch(texts: list[str]) -> csr_array:
        # Dense on the way: a batch becomes CSR in one pass, while torch would stack one sparse tensor a text.
        vectors = encode(
            texts,
            batch_size=len(texts),
            max_active_dims=max_active_dims,
            convert_to_sparse_tensor=False,
            save_to_cpu=True,
            show_progress_bar=False,
        )
        return csr_array(vectors.float().numpy())

    return encode_batch


def _fast(
    encoder: "SparseEncoder",
    anatomy: "Anatomy | None",
    task: Task,
    encode_with: EncodeWith,
) -> "FastEncoder | None":
    """The fast way, or None and a warning where there is none and it was asked for."""
    from sembridge.encoders.anatomy import read_anatomy
    from sembridge.encoders.fast_head import fast_encoder

    try:
        return fast_encoder(anatomy or read_anatomy(encoder), task, half=encode_with == "fast-bf16")
    except SembridgeError as refusal:
        level = logging.INFO if encode_with == "auto" else logging.WARNING
        logger.log(level, "--encode-with %s is not used for the %s texts: %s", encode_with, task, refusal)
        return None


def flops(query_vectors: csr_array, document_vectors: csr_array) -> float:
    """The FLOPS statistic: sum over dimensions of (share of queries) x (share of documents) that activate it.

    It is `avg_flops` of sentence-transformers' SparseInformationRetrievalEvaluator, and the expected number of
    multiplications to score one document for one query.
    """
    query_shares = active_counts(query_vectors) / query_vectors.shape[0]
    document_shares = active_counts(document_vectors) / document_vectors.shape[0]
    return float(query_shares @ document_shares)


def active_counts(vectors: csr_array) -> NDArray[np.int64]:
    """(n_dims,) the number of rows in which each dimension is active."""
    return np.bincount(vectors.indices, minlength=vectors.shape[1])


def _batches(encoder: "SparseEncoder", texts: Sequence[str], order: list[int], batch_size: int) -> Iterator[list[int]]:
    """Positions in the given order, at most `batch_size` at a time and fewer where logits would pass the limit."""
    n_dims = encoder.get_embedding_dimension() or 0
    start = 0
    while start < len(order):
        longest = max(len(texts[position].encode()) for position in order[start : start + batch_size])
        n_tokens = min(longest + 2, encoder.max_seq_length or longest + 2)  # no token is shorter than a byte
        size = max(1, min(batch_size, _MAX_LOGIT_BYTES // max(1, 4 * n_dims * n_tokens)))
        yield order[start : start + size]
        start += size


def check_finite(block: csr_array, texts: Sequence[str]) -> None:
    """Refuses weights that are no numbers, by the text that gave them."""
    broken = np.flatnonzero(~np.isfinite(block.data))
    if len(broken):
        row = int(np.searchsorted(block.indptr, broken[0], side="right")) - 1
        raise SembridgeError(
            f"The encoder gives weights that are not finite for the text {texts[row][:60]!r}: its parameters are "
            "broken (diverged training, or half precision that overflows); take another checkpoint or float32."
        )


def _with_progress(batches: Iterable[list[int]], n_texts: int, label: str | None) -> Iterator[list[int]]:
    """The batches, with a bar on stderr that counts texts where a label is given."""
    if label is None:
        yield from batches
        return
    with Progress(label, total=n_texts) as progress:
        for batch in batches:
            yield batch
            progress.advance(len(batch))
