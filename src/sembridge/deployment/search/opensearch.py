"""OpenSearch, through its official client: weights in a `rank_features` field, searched by `neural_sparse`.

`rank_features` is exact over weights of nine significant bits (a relative error of up to 0.4 %, in a score too).
`opensearch-ann` uses a `sparse_vector` field (OpenSearch 3.3 and later, index setting `index.sparse`) instead: Seismic,
approximate, with weights of eight bits up to a ceiling.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sembridge.deployment.search import lucene
from sembridge.deployment.search.bulk import Patience
from sembridge.deployment.search.protocol import Hit, SparseVector
from sembridge.deployment.search.token_keys import to_keys
from sembridge.errors import SembridgeError, require

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


_Answer = TypeVar("_Answer")


class OpenSearchEngine(lucene.LuceneEngine):
    """An index on a cluster; `ann` takes the approximate field."""

    def __init__(self, client: "OpenSearch", index: str, *, ann: bool, patience: Patience) -> None:
        super().__init__(client, index)
        self._ann = ann
        self._patience = patience

    @classmethod
    def connect(cls, url: str, index: str, *, key: str | None, ann: bool, patience: Patience) -> "OpenSearchEngine":
        """The engine of an index; `key` is `user:password`, if they do not stand in the address."""
        require("opensearch", "opensearchpy", what="Engine opensearch")
        from opensearchpy import OpenSearch

        user = None if key is None else tuple(key.split(":", 1))
        client = OpenSearch(url, http_auth=user, timeout=lucene.SECONDS, max_retries=0, retry_on_timeout=False)
        return cls(client, index, ann=ann, patience=patience)

    def _create_index(self) -> None:
        self._client.indices.create(index=self._index, body=self._body())

    def search(
        self, query: SparseVector, *, top_k: int, tags: Sequence[str] = (), with_terms: bool = False
    ) -> list[Hit]:
        # Weights, not text: the query was encoded here, be it by a model or by the table of an inference-free one.
        scoring: dict[str, Any] = {"neural_sparse": {lucene.VECTOR: {"query_tokens": to_keys(query)}}}
        if self._ann:
            # All query tokens and room for every candidate: closer to exact, at a cost.
            parameters: dict[str, Any] = {"top_n": len(query.indices), "k": max(top_k, 10), "heap_factor": 1.2}
            if tags:
                parameters["filter"] = {"bool": {"filter": [{"term": {"tags": tag}} for tag in tags]}}
            scoring["neural_sparse"][lucene.VECTOR]["method_parameters"] = parameters
        source = ["id", "title", "text", "fields", *([lucene.VECTOR] if with_terms else [])]
        body = {"query": lucene.filtered(scoring, tags), "size": top_k, "_source": source}
        answer = self._call(lambda: self._client.search(index=self._index, body=body))
        return lucene.hits_of(answer, query)

    def drop(self) -> None:
        self._call(lambda: self._client.indices.delete(index=self._index, params={"ignore_unavailable": "true"}))

    def _body(self) -> dict[str, Any]:
        if not self._ann:
            properties = lucene.properties({"type": "rank_features"})
            return {"mappings": {"dynamic": False, "properties": properties}}
        vector = {"type": "sparse_vector", "method": {"name": "seismic"}}
        return {
            "settings": {"index": {"sparse": True}},
            "mappings": {"dynamic": False, "properties": lucene.properties(vector)},
        }

    def _bulk(self, lines: list[dict[str, Any]]) -> None:
        self._call(lambda: lucene.check_bulk(self._client.bulk(body=lines, index=self._index)))

    def _call(self, action: Callable[[], _Answer]) -> _Answer:
        from opensearchpy import ConnectionError, TransportError

        def attempt() -> _Answer:
            try:
                return action()
            except ConnectionError:  # a TransportError too, without a status
                raise
            except TransportError as error:
                if error.status_code in lucene.BUSY:
                    raise lucene.BusyError(str(error)) from error
                raise SembridgeError(f"OpenSearch refuses: {' '.join(str(error).split())[:300]}") from error

        return self._patience.call(attempt, place="OpenSearch", transient=(ConnectionError, lucene.BusyError))
