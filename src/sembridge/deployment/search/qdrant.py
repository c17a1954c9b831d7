"""A Qdrant server, through qdrant-client: a collection with one sparse vector a point. Weights are float32."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy.sparse import csr_array

from sembridge.deployment.search.bulk import Patience
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
from sembridge.deployment.search.qdrant_edge import VECTOR, point_id
from sembridge.errors import SembridgeError, require

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from sembridge.retrieval.corpus import Document

_SECONDS = 60
_BUSY = (429, 500, 502, 503, 504)  # answers after which the same call may succeed

_Answer = TypeVar("_Answer")


class _BusyError(Exception):
    pass


class QdrantEngine:
    """A collection on a server; points have the same names as in the embedded engine, so its snapshots fit."""

    def __init__(self, client: "QdrantClient", collection: str, *, patience: Patience) -> None:
        self._client = client
        self._collection = collection
        self._patience = patience

    @classmethod
    def connect(cls, url: str, collection: str, *, key: str | None, patience: Patience) -> "QdrantEngine":
        """The engine of a collection; `key` is the server's API key."""
        require("qdrant", "qdrant_client", what="Engine qdrant")
        from qdrant_client import QdrantClient

        client = QdrantClient(url=url, api_key=key, timeout=_SECONDS, check_compatibility=False)
        return cls(client, collection, patience=patience)

    def create(self) -> None:
        from qdrant_client import models

        if not self._call(lambda: self._client.collection_exists(self._collection)):
            self._call(
                lambda: self._client.create_collection(
                    self._collection, vectors_config={}, sparse_vectors_config={VECTOR: models.SparseVectorParams()}
                )
            )
            self._call(
                lambda: self._client.create_payload_index(
                    self._collection, "tags", field_schema=models.PayloadSchemaType.KEYWORD, wait=True
                )
            )
        if n_documents := self.count():
            raise SembridgeError(
                f"Collection {self._collection} holds {n_documents:,} documents already; give another --collection."
            )

    def add(self, documents: "Sequence[Document]", vectors: csr_array) -> None:
        from qdrant_client import models

        points = [
            models.PointStruct(id=point_id(document.id), vector={VECTOR: _sparse(row)}, payload=payload_of(document))
            for document, row in zip(documents, rows(vectors), strict=True)
        ]
        self._call(lambda: self._client.upsert(self._collection, points=points, wait=True))

    def delete(self, ids: Sequence[str]) -> None:
        from qdrant_client import models

        points: list[Any] = [point_id(id_) for id_ in ids]
        selector = models.PointIdsList(points=points)
        self._call(lambda: self._client.delete(self._collection, points_selector=selector, wait=True))

    def finish(self) -> None:
        """Nothing: a point is searched from its acknowledgement on, and the server optimizes by itself."""

    def search(
        self, query: SparseVector, *, top_k: int, tags: Sequence[str] = (), with_terms: bool = False
    ) -> list[Hit]:
        from qdrant_client import models

        conditions: list[Any] = [models.FieldCondition(key="tags", match=models.MatchValue(value=tag)) for tag in tags]
        found = self._call(
            lambda: self._client.query_points(
                self._collection,
                query=_sparse(query),
                using=VECTOR,
                limit=top_k,
                query_filter=models.Filter(must=conditions) if conditions else None,
                with_payload=True,
                with_vectors=with_terms,
            )
        )
        return ranked_hits([_hit(point, query) for point in found.points])

    def count(self) -> int:
        return int(self._call(lambda: self._client.count(self._collection, exact=True)).count)

    def drop(self) -> None:
        self._call(lambda: self._client.delete_collection(self._collection))

    def close(self) -> None:
        self._client.close()

    def _call(self, action: Callable[[], _Answer]) -> _Answer:
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        def attempt() -> _Answer:
            try:
                return action()
            except UnexpectedResponse as error:
                if error.status_code in _BUSY:
                    raise _BusyError(str(error)) from error
                raise SembridgeError(f"Qdrant refuses: {' '.join(str(error).split())[:300]}") from error

        return self._patience.call(attempt, place="Qdrant", transient=(ResponseHandlingException, _BusyError))


def _sparse(vector: SparseVector) -> Any:
    from qdrant_client import models

    return models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())


def _hit(point: Any, query: SparseVector) -> Hit:
    terms: tuple[Term, ...] = ()
    if point.vector is not None:
        stored = point.vector[VECTOR]
        vector = SparseVector(np.array(stored.indices, np.int32), np.array(stored.values, np.float32))
        terms = shared_terms(query, vector)
    return hit_of(point.payload or {}, point.score, terms)
