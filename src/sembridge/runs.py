"""Runs: the documents a system returns for every query, from exact search over sparse vectors, BM25 or a fusion.

One order holds everywhere: score descending, then document id ascending (code points), as in the evaluators of
sentence-transformers. trec_eval orders ties the other way, by id descending; `evaluation.measure_run` hands it ranks
in place of scores, so that every measure sees the order of this module. A document that shares no active dimension
with the query is not in the run: no inverted index would return it.

A run file is in TREC format. Readers sort it by score, each with its own rule for ties, so `write_run` lowers the
scores of tied documents by the smallest steps of single precision: every reader then sees this module's order.
"""

import logging
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from sembridge.errors import SembridgeError
from sembridge.output import write_file
from sembridge.retrieval_data import RetrievalData

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Run = dict[str, dict[str, float]]
"""Query id -> document id -> score, every query's documents from best to worst."""

BM25_METHOD = "lucene"
BM25_K1 = 1.5
BM25_B = 0.75

_logger = logging.getLogger(__name__)
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""A letter or mark of a script that sets no space between words: Thai, Lao, Burmese, Khmer, Kana, Han."""
_MAX_BLOCK_SCORES = 2**24  # scores held at once: 8 bytes each (value and column), 128 MiB


def ranked(scores: Mapping[str, float]) -> list[str]:
    """The document ids from best to worst: score descending, then id ascending."""
    return sorted(scores, key=lambda document_id: (-scores[document_id], document_id))


def exact_search(
    query_vectors: csr_array,
    document_vectors: csr_array,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    *,
    top_k: int = 1000,
) -> Run:
    """The run of every query's best documents by dot product, without approximation.

    Args:
        query_vectors: (n_queries, n_dims), rows in the order of `query_ids`.
        document_vectors: (n_documents, n_dims), rows in the order of `document_ids`.

    Raises:
        SembridgeError: vectors of different widths, ids that are not as many as vectors, or top_k below 1.
    """
    _check_search(query_vectors, document_vectors, query_ids, document_ids, top_k)
    order = sorted(range(len(document_ids)), key=document_ids.__getitem__)
    ids_by_column = [document_ids[position] for position in order]
    inverted_index = document_vectors[order].T.tocsr()  # (n_dims, n_documents)
    block_rows = max(1, _MAX_BLOCK_SCORES // len(document_ids))
    run: Run = {}
    for start in range(0, len(query_ids), block_rows):
        scores = query_vectors[start : start + block_rows] @ inverted_index
        for row, query_id in enumerate(query_ids[start : start + block_rows]):
            span = slice(scores.indptr[row], scores.indptr[row + 1])
            columns, best_scores = _best(scores.indices[span], scores.data[span], top_k)
            run[query_id] = dict(zip((ids_by_column[column] for column in columns), best_scores, strict=True))
    return run


def _check_search(
    query_vectors: csr_array,
    document_vectors: csr_array,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    top_k: int,
) -> None:
    if top_k < 1:
        raise SembridgeError(f"top_k is {top_k}: expected 1 or more.")
    for what, vectors, ids in (("query", query_vectors, query_ids), ("document", document_vectors, document_ids)):
        if vectors.shape[0] != len(ids):
            raise SembridgeError(f"{vectors.shape[0]} {what} vectors but {len(ids)} {what} ids: expected one id a row.")
    if query_vectors.shape[1] != document_vectors.shape[1]:
        raise SembridgeError(
            f"Query vectors have {query_vectors.shape[1]} dimensions, document vectors {document_vectors.shape[1]}: "
            "encode both with the same encoder."
        )


def _best(columns: NDArray[np.int32], scores: NDArray[np.float32], top_k: int) -> tuple[list[int], list[float]]:
    """The columns and scores of the best `top_k`; columns count documents by id, so the lower column wins a tie."""
    if len(scores) > top_k:
        kept = scores >= np.partition(scores, -top_k)[-top_k]  # every score tied with the last one stays until sorted
        columns, scores = columns[kept], scores[kept]
    order = np.lexsort((columns, -scores))[:top_k]
    return columns[order].tolist(), scores[order].tolist()


def hybrid(runs: Sequence[Run], *, k: int = 60, top_k: int = 1000) -> Run:
    """The reciprocal rank fusion of several runs: score(d) = sum over runs of 1 / (k + rank of d), ranks from 1.

    Cormack, Clarke and Buettcher (SIGIR 2009), who set k = 60. A document that a run does not return adds nothing.
    The order of the runs makes no difference.
    """
    if not runs:
        raise SembridgeError("No run to fuse: give hybrid() at least one.")
    shares: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        for query_id, scores in run.items():
            of_query = shares.setdefault(query_id, {})
            for rank, document_id in enumerate(ranked(scores), start=1):
                of_query.setdefault(document_id, []).append(1 / (k + rank))
    fused = {query: {doc: math.fsum(parts) for doc, parts in docs.items()} for query, docs in shares.items()}
    return {query: {doc: scores[doc] for doc in ranked(scores)[:top_k]} for query, scores in fused.items()}


def write_run(run: Run, path: Path, *, system: str = "sembridge") -> None:
    """Writes `query Q0 document rank score system` lines; a file that stands there is replaced, or stays on failure.

    Scores are single precision and strictly falling within a query (see the top of this module). A query without
    documents has no line.

    Raises:
        SembridgeError: an id with white space, which the format cannot hold; a folder that is missing, a full disk.
    """
    write_file(path, chain.from_iterable(_run_lines(query, scores, system) for query, scores in run.items()))


def _run_lines(query_id: str, scores: Mapping[str, float], system: str) -> Iterator[str]:
    previous = np.float32(np.inf)
    for rank, document_id in enumerate(ranked(scores), start=1):
        for what, text in (("query", query_id), ("document", document_id)):
            if text.split() != [text]:
                raise SembridgeError(
                    f"The {what} id {text!r} has white space, which a TREC run cannot hold; give other ids."
                )
        previous = min(np.float32(scores[document_id]), np.nextafter(previous, np.float32(-np.inf)))
        yield f"{query_id} Q0 {document_id} {rank} {previous:.9g} {'-'.join(system.split())}\n"


def bm25_run(data: RetrievalData, tokenizer: "PreTrainedTokenizerBase | None" = None, *, top_k: int = 1000) -> Run:
    """The run of BM25 (bm25s: Lucene's formula, k1 1.5, b .75) over words, or over the terms of a tokenizer.

    Without a tokenizer terms are case-folded words; scripts without spaces (Chinese, Japanese, Thai) then make one term
    of a whole phrase, so give a tokenizer for them (a warning is logged). A tokenizer's unknown token is no term.
    """
    if tokenizer is None and _has_no_spaces(data.corpus.values()):
        _logger.warning("%s is in a script without spaces: BM25 over words finds little; give a tokenizer.", data.name)
    index = Bm25Index.of(list(data.corpus.values()), tokenizer)
    if not index.term_ids:
        return {query_id: {} for query_id in data.queries}
    query_vectors = index.encode_queries(list(data.queries.values()))
    return exact_search(query_vectors, index.documents, list(data.queries), list(data.corpus), top_k=top_k)


@dataclass(frozen=True, eq=False)
class Bm25Index:
    """BM25 as one more sparse encoder: a score is the dot product of counts and contributions.

    Attributes:
        term_ids: term (a word, or a token id) -> its dimension.
        documents: (n_documents, n_terms) contribution of every term to its document.
        tokenizer: whose ids the terms are; None where they are words.
    """

    term_ids: Mapping[Hashable, int]
    documents: csr_array
    tokenizer: "PreTrainedTokenizerBase | None"

    @classmethod
    def of(cls, texts: list[str], tokenizer: "PreTrainedTokenizerBase | None" = None) -> "Bm25Index":
        """The index of these documents; without a single term in them it has no dimension."""
        document_terms = _terms(texts, tokenizer)
        term_ids = {term: number for number, term in enumerate(dict.fromkeys(chain.from_iterable(document_terms)))}
        if not term_ids:
            return cls({}, csr_array((len(texts), 0)), tokenizer)
        numbers = [[term_ids[term] for term in terms] for terms in document_terms]
        return cls(term_ids, _bm25_vectors(numbers, len(term_ids)), tokenizer)

    def encode_queries(self, texts: list[str]) -> csr_array:
        """(n_texts, n_terms) how often every known term occurs."""
        return _count_vectors(_terms(texts, self.tokenizer), self.term_ids)


def _bm25_vectors(document_term_ids: list[list[int]], n_terms: int) -> csr_array:
    """(n_documents, n_terms) BM25 contribution of every term to its document: BM25 as one more sparse encoder."""
    from bm25s import BM25

    index = BM25(method=BM25_METHOD, k1=BM25_K1, b=BM25_B)
    columns = index.build_index_from_ids(list(range(n_terms)), document_term_ids, show_progress=False)
    shape = (len(document_term_ids), n_terms)
    return csc_array((columns["data"], columns["indices"], columns["indptr"]), shape=shape).tocsr()


def _count_vectors(texts: Sequence[Sequence[Hashable]], term_ids: Mapping[Hashable, int]) -> csr_array:
    """(n_texts, n_terms) how often every known term occurs."""
    counts = [Counter(term_ids[term] for term in terms if term in term_ids) for terms in texts]
    indptr = np.cumsum([0, *map(len, counts)])
    columns = np.fromiter(chain.from_iterable(counts), dtype=np.int32)
    values = np.fromiter(chain.from_iterable(count.values() for count in counts), dtype=np.float32)
    return csr_array((values, columns, indptr), shape=(len(texts), len(term_ids)))


def _terms(texts: list[str], tokenizer: "PreTrainedTokenizerBase | None") -> Sequence[Sequence[Hashable]]:
    if tokenizer is None:
        return [words(text) for text in texts]
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return [[token_id for token_id in token_ids if token_id != tokenizer.unk_token_id] for token_ids in encoded]


def words(text: str) -> list[str]:
    """The case-folded words of a text: runs of letters, digits, underscores and combining marks.

    Python's `\\w` has no combining marks and so breaks Devanagari words at every vowel sign. Invisible format
    characters (joiners, soft hyphens, direction marks) are dropped: with or without them it is the same word.
    """
    return _split(unicodedata.normalize("NFC", text).casefold())


def written_words(text: str) -> list[str]:
    """The same words in the case in which they are written."""
    return _split(unicodedata.normalize("NFC", text))


def _split(text: str) -> list[str]:
    return text.translate(_word_characters()).split()


def _has_no_spaces(texts: Iterable[str]) -> bool:
    """More than half of the first texts' letters are Thai, Lao, Burmese, Khmer, Kana or Han."""
    letters = [character for text in islice(texts, 100) for character in text if character.isalpha()]
    return 2 * sum(1 for letter in letters if UNSPACED.match(letter)) > len(letters)


class _WordCharacters(dict[int, int | None]):
    """A table for str.translate, filled as met: word characters stay, format characters go, others become spaces."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        category = unicodedata.category(character)
        stays = category[0] in "LMN" or character == "_"
        self[code] = code if stays else None if category == "Cf" else ord(" ")
        return self[code]


@lru_cache(maxsize=1)
def _word_characters() -> _WordCharacters:
    return _WordCharacters()
