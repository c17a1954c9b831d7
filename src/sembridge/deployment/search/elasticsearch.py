"""Elasticsearch, through its official client: a `sparse_vector` field, queried by weights with pruning off.

The field keeps nine significant bits of a weight, a relative error of up to 0.4 %; a score of non-negative terms has
the same bound. Explained terms show the weights as they were sent.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sembridge.deployment.search import lucene
from sembridge.deployment.search.bulk import Patience
from sembridge.deployment.search.protocol import Hit, SparseVector
from sembridge.deployment.search.token_keys import to_keys
from sembridge.errors import SembridgeError, require

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


_Answer = TypeVar("_Answer")


class ElasticsearchEngine(lucene.LuceneEngine):
    """An index on a cluster."""

    def __init__(self, client: "Elasticsearch", index: str, *, patience: Patience) -> None:
        super().__init__(client, index)
        self._patience = patience

    @classmethod
    def connect(cls, url: str, index: str, *, key: str | None, patience: Patience) -> "ElasticsearchEngine":
        """The engine of an index; `key` is an API key."""
        require("elasticsearch", "elasticsearch", what="Engine elasticsearch")
        from elasticsearch import Elasticsearch

        client = Elasticsearch(url, api_key=key, request_timeout=lucene.SECONDS, max_retries=0, retry_on_timeout=False)
        return cls(client, index, patience=patience)

    def _create_index(self) -> None:
        mapping = {"dynamic": False, "properties": lucene.properties({"type": "sparse_vector"})}
        self._client.indices.create(index=self._index, mappings=mapping)

    def search(
        self, query: SparseVector, *, top_k: int, tags: Sequence[str] = (), with_terms: bool = False
    ) -> list[Hit]:
        # The server's default drops query tokens that are frequent and light, which is right for its own model only.
        scoring = {"sparse_vector": {"field": lucene.VECTOR, "query_vector": to_keys(query), "prune": False}}
        answer = self._call(
            lambda: self._client.search(
                index=self._index,
                query=lucene.filtered(scoring, tags),
                size=top_k,
                source=["id", "title", "text", "fields"],
                fields=[lucene.VECTOR] if with_terms else None,  # newer versions leave vectors out of the source
            )
        )
        return lucene.hits_of(answer.body, query)

    def drop(self) -> None:
        self._call(lambda: self._client.indices.delete(index=self._index, ignore_unavailable=True))

    def _bulk(self, lines: list[dict[str, Any]]) -> None:
        self._call(lambda: lucene.check_bulk(self._client.bulk(index=self._index, operations=lines).body))

    def _call(self, action: Callable[[], _Answer]) -> _Answer:
        from elasticsearch import ApiError, ConnectionError, ConnectionTimeout, UnsupportedProductError

        def attempt() -> _Answer:
            try:
                return action()
            except UnsupportedProductError as error:
                raise SembridgeError(f"What answers is no Elasticsearch ({error}); check the address.") from error
            except ApiError as error:
                if error.status_code in lucene.BUSY:
                    raise lucene.BusyError(str(error)) from error
                raise SembridgeError(f"Elasticsearch refuses: {' '.join(str(error).split())[:300]}") from error

        transient = (ConnectionError, ConnectionTimeout, lucene.BusyError)
        return self._patience.call(attempt, place="Elasticsearch", transient=transient)
