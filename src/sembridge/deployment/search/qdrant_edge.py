"""Qdrant in this process: qdrant-edge-py, the Rust engine of Qdrant without a server. The default.

One process owns the files; a second one is refused by a lock of the engine itself. Weights are float32.
"""

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
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
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from qdrant_edge import EdgeShard, ScoredPoint

    from sembridge.retrieval.corpus import Document

VECTOR = "sparse"
_NAMESPACE = uuid.UUID("6f8a9a0e-6a43-5d0b-8c51-3c7e0a3d9b52")  # never change it: it decides which point a document is


def point_id(document_id: str) -> str:
    """The point of a document: Qdrant names points by UUID, so the id becomes one of version 5 (122 bits of SHA-1)."""
    return str(uuid.uuid5(_NAMESPACE, document_id))


class QdrantEdgeEngine:
    """A Qdrant shard below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: EdgeShard | None = None

    def create(self) -> None:
        if not (self._folder / "edge_config.json").exists():
            self._make()
        if self.count():
            raise SembridgeError(f"{self._folder} holds {self.count():,} documents already; give a new folder.")

    def add(self, documents: "Sequence[Document]", vectors: csr_array) -> None:
        from qdrant_edge import Point, UpdateOperation
        from qdrant_edge import SparseVector as EdgeVector

        points = [
            Point(
                point_id(document.id),
                {VECTOR: EdgeVector(row.indices.tolist(), row.values.tolist())},
                payload_of(document),
            )
            for document, row in zip(documents, rows(vectors), strict=True)
        ]
        self._shard.update(UpdateOperation.upsert_points(points))
        self._shard.flush()

    def delete(self, ids: Sequence[str]) -> None:
        from qdrant_edge import UpdateOperation

        self._shard.update(UpdateOperation.delete_points([point_id(id_) for id_ in ids]))
        self._shard.flush()

    def finish(self) -> None:
        self._shard.optimize()
        self._shard.flush()

    def search(
        self, query: SparseVector, *, top_k: int, tags: Sequence[str] = (), with_terms: bool = False
    ) -> list[Hit]:
        from qdrant_edge import Query, QueryRequest
        from qdrant_edge import SparseVector as EdgeVector

        nearest = Query.Nearest(EdgeVector(query.indices.tolist(), query.values.tolist()), using=VECTOR)
        request = QueryRequest(
            limit=top_k, query=nearest, filter=_filter(tags), with_payload=True, with_vector=with_terms
        )
        return ranked_hits([_hit(point, query, with_terms) for point in self._shard.query(request)])

    def count(self) -> int:
        from qdrant_edge import CountRequest

        return self._shard.count(CountRequest())

    def drop(self) -> None:
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    def _make(self) -> None:
        from qdrant_edge import EdgeConfig, EdgeShard, EdgeSparseVectorParams, PayloadSchemaType, UpdateOperation

        self._folder.mkdir(parents=True, exist_ok=True)
        config = EdgeConfig(sparse_vectors={VECTOR: EdgeSparseVectorParams()})
        self._opened = EdgeShard.create(str(self._folder), config)
        self._opened.update(UpdateOperation.create_field_index("tags", PayloadSchemaType.Keyword))

    @property
    def _shard(self) -> "EdgeShard":
        if self._opened is None:
            from qdrant_edge import EdgeShard

            try:
                self._opened = EdgeShard.load(str(self._folder))
            except Exception as error:  # the binding raises plain Exception for everything
                raise SembridgeError(_refusal(self._folder, str(error))) from error
        return self._opened


def _refusal(folder: Path, reason: str) -> str:
    if "WouldBlock" in reason:
        return f"{folder} is open in another process, and one process owns an embedded index; wait until it ends."
    return f"{folder} cannot be opened: {' '.join(reason.split())[:200]}; build the index again."


def _filter(tags: Sequence[str]) -> Any:
    from qdrant_edge import FieldCondition, Filter, MatchValue

    return Filter(must=[FieldCondition("tags", match=MatchValue(tag)) for tag in tags]) if tags else None


def _hit(point: "ScoredPoint", query: SparseVector, with_terms: bool) -> Hit:
    terms: tuple[Term, ...] = ()
    if with_terms:
        stored: Any = point.vector
        vector = stored[VECTOR]
        terms = shared_terms(
            query, SparseVector(np.array(vector.indices, np.int32), np.array(vector.values, np.float32))
        )
    return hit_of(point.payload or {}, point.score, terms)
