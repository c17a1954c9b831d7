"""What Elasticsearch and OpenSearch have in common: documents, bulk requests and answers as JSON."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from scipy.sparse import csr_array

from sembridge.deployment.search.protocol import (
    Hit,
    SparseVector,
    Term,
    hit_of,
    payload_of,
    ranked_hits,
    rows,
    shared_terms,
)
from sembridge.deployment.search.token_keys import from_keys, to_keys
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sembridge.retrieval.corpus import Document

_Answer = TypeVar("_Answer")

VECTOR = "vector"
BUSY = (429, 502, 503, 504)  # answers after which the same call may succeed
SECONDS = 60

Json = dict[str, Any]


class BusyError(Exception):
    """The server, or a shard of it, is overloaded or restarting."""


def properties(vector: Json) -> Json:
    """The mapping of an index whose sparse vectors have the type `vector`; texts are kept, not analysed."""
    kept = {"type": "text", "index": False}
    return {
        "id": {"type": "keyword", "index": False, "doc_values": False},
        "title": kept,
        "text": kept,
        "fields": {"type": "object", "enabled": False},
        "tags": {"type": "keyword"},
        VECTOR: vector,
    }


def additions(documents: "Sequence[Document]", vectors: csr_array) -> list[Json]:
    """Lines of a bulk request; a document of a known id is replaced."""
    lines: list[Json] = []
    for document, row in zip(documents, rows(vectors), strict=True):
        lines += [{"index": {"_id": document.id}}, {**payload_of(document), VECTOR: to_keys(row)}]
    return lines


def deletions(ids: Sequence[str]) -> list[Json]:
    return [{"delete": {"_id": id_}} for id_ in ids]


def filtered(scoring: Json, tags: Sequence[str]) -> Json:
    """A query that scores by `scoring` the documents that carry all the tags."""
    if not tags:
        return scoring
    return {"bool": {"must": [scoring], "filter": [{"term": {"tags": tag}} for tag in tags]}}


def check_bulk(answer: Mapping[str, Any]) -> None:
    """Refuses a bulk answer in which a line failed; a missing document is no failure of a deletion.

    Raises:
        BusyError: lines were turned away for the moment; the whole request may be sent again.
        SembridgeError: a line was refused for good.
    """
    if not answer["errors"]:
        return
    outcomes = [outcome for item in answer["items"] for outcome in item.values()]
    failed = [outcome for outcome in outcomes if outcome["status"] >= 300 and outcome["status"] != 404]
    for outcome in failed:
        reason = outcome.get("error", {}).get("reason", outcome.get("error"))
        if outcome["status"] not in BUSY:
            raise SembridgeError(f"Document {outcome['_id']!r} is refused by the server: {str(reason)[:300]}")
    if failed:
        raise BusyError(f"{len(failed):,} documents turned away with status {failed[0]['status']}")


def hits_of(answer: Mapping[str, Any], query: SparseVector) -> list[Hit]:
    """The hits of a search answer; terms where it brings vectors, as `fields` or in the source."""
    hits = []
    for found in answer["hits"]["hits"]:
        stored = next(iter(found.get("fields", {}).get(VECTOR, [])), None) or found["_source"].get(VECTOR)
        terms: tuple[Term, ...] = () if stored is None else shared_terms(query, from_keys(stored))
        hits.append(hit_of(found["_source"], found["_score"], terms))
    return ranked_hits(hits)


class LuceneEngine(ABC):
    """An index on a cluster, through a client whose methods and answers both servers share."""

    def __init__(self, client: Any, index: str) -> None:
        self._client = client
        self._index = index

    @abstractmethod
    def _create_index(self) -> None:
        """Makes the index with its mapping."""

    @abstractmethod
    def _bulk(self, lines: list[Json]) -> None:
        """Sends the lines of a bulk request and checks the answer."""

    @abstractmethod
    def _call(self, action: Callable[[], _Answer]) -> _Answer:
        """The answer of `action`, tried again where the server is busy; its errors in the words of this package."""

    def create(self) -> None:
        if not self._call(lambda: self._client.indices.exists(index=self._index)):
            self._call(self._create_index)
        if n_documents := self.count():
            raise SembridgeError(
                f"Index {self._index} holds {n_documents:,} documents already; give another --collection."
            )

    def add(self, documents: "Sequence[Document]", vectors: csr_array) -> None:
        self._bulk(additions(documents, vectors))

    def delete(self, ids: Sequence[str]) -> None:
        self._bulk(deletions(ids))

    def finish(self) -> None:
        self._call(lambda: self._client.indices.refresh(index=self._index))

    def count(self) -> int:
        self.finish()
        return int(self._call(lambda: self._client.count(index=self._index))["count"])

    def close(self) -> None:
        self._client.close()
