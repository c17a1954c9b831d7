"""BM25 over tokens or words, the reference row of every table."""

import logging
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csc_array, csr_array

from sembridge.encoders.words import has_no_spaces, words
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.runs import Run, search_collection

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BM25_METHOD = "lucene"
BM25_K1 = 1.5
BM25_B = 0.75

logger = logging.getLogger(__name__)


def bm25_run(data: RetrievalData, tokenizer: "PreTrainedTokenizerBase | None" = None, *, top_k: int = 1000) -> Run:
    """The run of BM25 (bm25s: Lucene's formula, k1 1.5, b .75) over words, or over the terms of a tokenizer.

    Without a tokenizer terms are case-folded words; scripts without spaces (Chinese, Japanese, Thai) then make one term
    of a whole phrase, so give a tokenizer for them (a warning is logged). A tokenizer's unknown token is no term.
    """
    index = bm25_index(data, tokenizer)
    return index.search(index.encode_queries(list(data.queries.values())), data, top_k=top_k)


def bm25_index(data: RetrievalData, tokenizer: "PreTrainedTokenizerBase | None" = None) -> "Bm25Index":
    """The index of the corpus that `bm25_run` searches."""
    if tokenizer is None and has_no_spaces(data.corpus.values()):
        logger.warning("%s is in a script without spaces: BM25 over words finds little; give a tokenizer.", data.name)
    return Bm25Index.of(list(data.corpus.values()), tokenizer)


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

    def search(self, query_vectors: csr_array, data: RetrievalData, *, top_k: int) -> Run:
        """The run of `query_vectors`, those of the data's queries; the documents are those of its corpus."""
        if not self.term_ids:
            return {query_id: {} for query_id in data.queries}
        return search_collection(query_vectors, self.documents, data, top_k=top_k)


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
