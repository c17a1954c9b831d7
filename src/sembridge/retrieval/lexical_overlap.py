"""Lexical overlap: how much of a query its relevant documents repeat, and the queries that they repeat least.

Where questions copy their passage's words, BM25 and an encoder of random but distinct rows score well without any
understanding. The share of repeated words stands beside every data set for that reason, and measures over the least
overlapping queries show what an encoder finds beyond the words.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from sembridge.encoders.words import UNSPACED, words
from sembridge.errors import SembridgeError
from sembridge.retrieval.data import RetrievalData

_UNSPACED_RUN = re.compile(f"({UNSPACED.pattern}+)")


def lexical_overlap(data: RetrievalData) -> dict[str, float]:
    """Query id -> share of the query's distinct terms that occur in its best-overlapping relevant document, 0 to 1.

    Terms are case-folded words (`runs.words`); in scripts without spaces, pairs of neighbouring characters. An
    inflected word is another word. A query without a term (punctuation only) has overlap 0; a query without a relevant
    document has no overlap and is left out.
    """
    overlap = {}
    for query_id, query in data.queries.items():
        relevant = [data.corpus[document] for document, score in data.qrels[query_id].items() if score > 0]
        terms = set(_terms(query))
        if relevant:
            overlap[query_id] = max(_share(terms, document) for document in relevant)
    return overlap


def least_overlapping(data: RetrievalData, share: float = 1 / 3) -> RetrievalData:
    """The same corpus with the `share` of the queries (rounded, at least one) that overlap least.

    Of equally overlapping queries the lower query id comes first. Queries without a relevant document do not count.

    Raises:
        SembridgeError: a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise SembridgeError(f"share is {share}: expected a number above 0 and at most 1, such as 0.33.")
    overlap = lexical_overlap(data)
    from_least = sorted(overlap, key=lambda query_id: (overlap[query_id], query_id))
    kept = set(from_least[: max(1, round(share * len(from_least)))])
    return RetrievalData(
        name=f"{data.name} (least overlapping {len(kept)} of {len(data.queries)} queries)",
        language=data.language,
        corpus=data.corpus,
        queries={query_id: text for query_id, text in data.queries.items() if query_id in kept},
        qrels={query_id: judged for query_id, judged in data.qrels.items() if query_id in kept},
        split=data.split,
    )


def _share(query_terms: set[str], document: str) -> float:
    if not query_terms:
        return 0.0
    # A lone character of a query is looked for anywhere, also inside a longer stretch of the document.
    document_terms = {*_terms(document), *UNSPACED.findall(document)}
    return len(query_terms & document_terms) / len(query_terms)


def _terms(text: str) -> Iterator[str]:
    """Words, cut where a script without spaces begins or ends; there, pairs of characters (or a lone character)."""
    for word in words(text):
        for stretch in filter(None, _UNSPACED_RUN.split(word)):
            if len(stretch) > 1 and UNSPACED.match(stretch):
                yield from map("".join, pairwise(stretch))
            else:
                yield stretch
