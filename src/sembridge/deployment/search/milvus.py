"""Milvus, through its official client: a `SPARSE_INVERTED_INDEX` by inner product. Weights are float32.

Milvus keeps 65,536 bytes of payload a document at most, and refuses a vector without active dimensions; such a document
gets one dimension behind the encoder's last, which no query has.
"""

import json
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy.sparse import csr_array

from sembridge.deployment.search.bulk import Patience
from sembridge.deployment.search.protocol import (
    MAX_TAG_LENGTH,
    Hit,
    SparseVector,
    Term,
    hit_of,
    payload_of,
    ranked_hits,
    rows,
    shared_terms,
)
from sembridge.errors import SembridgeError, require

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from sembridge.retrieval.corpus import Document

_SECONDS = 30
_CONNECT_SECONDS = 5
_BUSY = (2, 8)  # connection failed, rate limit
_MAX_ID_BYTES = 1024
_MAX_TAGS = 1024

_Answer = TypeVar("_Answer")


class _BusyError(Exception):
    pass


class MilvusEngine:
    """A collection on a server; the connection is opened at the first call."""

    def __init__(self, url: str, collection: str, n_dims: int, *, key: str | None, patience: Patience) -> None:
        self._url = url
        self._collection = collection
        self._n_dims = n_dims
        self._key = key
        self._patience = patience
        self._opened: MilvusClient | None = None

    @classmethod
    def connect(cls, url: str, collection: str, n_dims: int, *, key: str | None, patience: Patience) -> "MilvusEngine":
        """The engine of a collection; `key` is a token, or `user:password`."""
        require("milvus", "pymilvus", what="Engine milvus")
        # It logs a page for every failed call, which is raised here as one line anyway.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        return cls(url, collection, n_dims, key=key, patience=patience)

    def create(self) -> None:
        if not self._call(lambda client: client.has_collection(self._collection, timeout=_SECONDS)):
            self._call(self._make)
        if n_documents := self.count():
            raise SembridgeError(
                f"Collection {self._collection} holds {n_documents:,} documents already; give another --collection."
            )

    def add(self, documents: "Sequence[Document]", vectors: csr_array) -> None:
        lines = []
        for document, row in zip(documents, rows(vectors), strict=True):
            payload = payload_of(document)
            weights = _weights(row) or {self._n_dims: 1e-30}
            lines.append({"id": document.id, "vector": weights, "tags": payload["tags"], "payload": payload})
        self._call(lambda client: client.upsert(self._collection, lines, timeout=_SECONDS))

    def delete(self, ids: Sequence[str]) -> None:
        # Not by its argument `ids`: the client would put them into an expression without escaping quotes.
        condition = f"id in {json.dumps(list(ids), ensure_ascii=False)}"
        self._call(lambda client: client.delete(self._collection, filter=condition, timeout=_SECONDS))

    def finish(self) -> None:
        self._call(lambda client: client.flush(self._collection, timeout=_SECONDS))

    def search(
        self, query: SparseVector, *, top_k: int, tags: Sequence[str] = (), with_terms: bool = False
    ) -> list[Hit]:
        condition = f"ARRAY_CONTAINS_ALL(tags, {json.dumps(list(tags), ensure_ascii=False)})" if tags else ""
        found = self._call(
            lambda client: client.search(
                self._collection,
                data=[_weights(query)],
                anns_field="vector",
                limit=top_k,
                filter=condition,
                output_fields=["payload", *(["vector"] if with_terms else [])],
                search_params={"metric_type": "IP", "params": {"drop_ratio_search": 0.0}},
                timeout=_SECONDS,
            )
        )
        return ranked_hits([_hit(hit, query) for hit in found[0]])

    def count(self) -> int:
        found = self._call(
            lambda client: client.query(
                self._collection, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=_SECONDS
            )
        )
        return int(found[0]["count(*)"])

    def drop(self) -> None:
        self._call(lambda client: client.drop_collection(self._collection, timeout=_SECONDS))

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    def _make(self, client: "MilvusClient") -> None:
        from pymilvus import DataType

        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=_MAX_ID_BYTES)
        schema.add_field("vector", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_field(
            "tags",
            DataType.ARRAY,
            element_type=DataType.VARCHAR,
            max_capacity=_MAX_TAGS,
            max_length=4 * MAX_TAG_LENGTH,  # in bytes
        )
        schema.add_field("payload", DataType.JSON)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
        # Strong: what was acknowledged is found by the next search, and counted.
        client.create_collection(
            self._collection, schema=schema, index_params=index, consistency_level="Strong", timeout=_SECONDS
        )

    def _call(self, action: "Callable[[MilvusClient], _Answer]") -> _Answer:
        import grpc  # type: ignore[import-untyped, import-not-found, unused-ignore]
        from pymilvus.exceptions import MilvusException

        def attempt() -> _Answer:
            try:
                return action(self._client())
            except MilvusException as error:
                if error.code in _BUSY or isinstance(error.code, grpc.StatusCode):
                    raise _BusyError(error.message) from error
                raise SembridgeError(f"Milvus refuses: {' '.join(error.message.split())[:300]}") from error

        return self._patience.call(attempt, place="Milvus", transient=(_BusyError, grpc.RpcError))

    def _client(self) -> "MilvusClient":
        if self._opened is None:
            from pymilvus import MilvusClient

            self._opened = MilvusClient(self._url, token=self._key or "", timeout=_CONNECT_SECONDS)
        return self._opened


def _weights(vector: SparseVector) -> dict[int, float]:
    return dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))


def _hit(found: Any, query: SparseVector) -> Hit:
    entity = found["entity"]
    terms: tuple[Term, ...] = ()
    if (weights := entity.get("vector")) is not None:
        pairs = sorted(weights.items())
        stored = SparseVector(
            np.array([dimension for dimension, _ in pairs], np.int32),
            np.array([weight for _, weight in pairs], np.float32),
        )
        terms = shared_terms(query, stored)
    return hit_of(entity["payload"], found["distance"], terms)
