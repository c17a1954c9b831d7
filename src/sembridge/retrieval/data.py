"""Retrieval data: a corpus, queries and judgments."""

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sembridge.errors import SembridgeError
from sembridge.retrieval.beir import Qrels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetrievalData:
    """A test collection.

    Attributes:
        name: what tables and saved results call it.
        language: language code such as "ko", or None where it is not known.
        corpus: document id -> document text (title and text joined by a space).
        queries: query id -> query text; every one of them is judged in `qrels`.
        qrels: query id -> document id -> relevance (0 or less: not relevant).
        split: that of the qrels, or None where it is not known.
        same_ids_are_own: a query with the id of a document is that document, whatever their texts.
    """

    name: str
    language: str | None
    corpus: dict[str, str]
    queries: dict[str, str]
    qrels: Qrels
    split: str | None = None
    same_ids_are_own: bool = False

    def __post_init__(self) -> None:
        if not self.corpus or not self.queries:
            raise SembridgeError(
                f"Retrieval data {self.name!r} has {len(self.corpus)} documents and {len(self.queries)} queries: "
                "expected at least one of each."
            )
        if self.queries.keys() != self.qrels.keys():
            odd_one = min(self.queries.keys() ^ self.qrels.keys())
            raise SembridgeError(
                f"Retrieval data {self.name!r}: query {odd_one!r} is in only one of queries and qrels; give both."
            )
        for query_id, judged in self.qrels.items():
            if unknown := judged.keys() - self.corpus.keys():
                raise SembridgeError(
                    f"Retrieval data {self.name!r}: the qrels of query {query_id!r} name document {min(unknown)!r}, "
                    "which is not in the corpus; add it or drop the line."
                )
        if not any(score > 0 for judged in self.qrels.values() for score in judged.values()):
            raise SembridgeError(
                f"Retrieval data {self.name!r} has no relevant document: expected a qrel with a score above 0."
            )

    @cached_property
    def own_documents(self) -> frozenset[str]:
        """Ids of queries that are documents of the corpus too, which are no answers to themselves (ArguAna).

        BEIR's evaluator and mteb's tasks of that kind drop every result with the query's own id. Here the text decides
        as well, so that queries and documents that are both called 1, 2, 3 stay apart: the document holds the query's
        text, and no judgment calls it relevant.
        """
        shared = self.queries.keys() & self.corpus.keys()
        return frozenset(
            query
            for query in shared
            if self.qrels[query].get(query, 0) <= 0
            and (self.same_ids_are_own or _plain(self.queries[query]) in _plain(self.corpus[query]))
        )

    def warn_of_own_documents(self) -> None:
        """Says so where queries are documents of the corpus."""
        if own := self.own_documents:
            logger.warning(
                "%s: %d of %d queries are documents of the corpus too; a query's own document is left out of its "
                "results, as BEIR and mteb do.", self.name, len(own), len(self.queries),
            )  # fmt: skip

    def sample(self, n_queries: int | None = None, n_documents: int | None = None, *, seed: int = 0) -> "RetrievalData":
        """A smaller collection for quick runs: random queries, their relevant documents, random other documents.

        Both numbers are caps; None or a number above the size keeps everything. Its measures are higher than those of
        the whole collection (fewer documents compete), so its name says that it is a sample.

        Raises:
            SembridgeError: a cap below 1, or fewer documents than the chosen queries have relevant ones.
        """
        for label, cap in (("n_queries", n_queries), ("n_documents", n_documents)):
            if cap is not None and cap < 1:
                raise SembridgeError(f"{label} is {cap}: expected 1 or more, or None for all.")
        generator = np.random.default_rng(seed)
        query_ids = _random_subset(sorted(self.queries), n_queries, generator)
        gold = {doc for query in query_ids for doc, score in self.qrels[query].items() if score > 0}
        document_ids = self._with_fillers(gold, n_documents, generator)
        if len(query_ids) == len(self.queries) and len(document_ids) == len(self.corpus):
            return self
        return RetrievalData(
            name=f"{self.name} ({len(query_ids)} queries, {len(document_ids)} documents, seed {seed})",
            language=self.language,
            corpus={doc: text for doc, text in self.corpus.items() if doc in document_ids},
            queries={query: text for query, text in self.queries.items() if query in query_ids},
            qrels={
                query: {doc: score for doc, score in judged.items() if doc in document_ids}
                for query, judged in self.qrels.items()
                if query in query_ids
            },
            split=self.split,
            same_ids_are_own=self.same_ids_are_own,
        )

    def _with_fillers(self, gold: set[str], n_documents: int | None, generator: np.random.Generator) -> set[str]:
        if n_documents is not None and n_documents < len(gold):
            raise SembridgeError(
                f"n_documents is {n_documents}, but the chosen queries have {len(gold)} relevant documents: "
                f"give n_documents={len(gold)} or more, or fewer queries."
            )
        n_fillers = None if n_documents is None else n_documents - len(gold)
        return gold | _random_subset(sorted(self.corpus.keys() - gold), n_fillers, generator)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _random_subset(ids: list[str], size: int | None, generator: np.random.Generator) -> set[str]:
    if size is None or size >= len(ids):
        return set(ids)
    return {ids[position] for position in generator.choice(len(ids), size=size, replace=False)}
