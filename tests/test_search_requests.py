"""The exact requests that Qdrant, Elasticsearch and OpenSearch get through their official clients.

No such server runs here: a local one records what arrives and answers as the real ones do. What it cannot show, that a
real server takes the requests, is for `pytest -m live` (see test_search_servers.py).
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from search_laws import query

from sembridge.deployment.search.bulk import Patience
from sembridge.deployment.search.elasticsearch import ElasticsearchEngine
from sembridge.deployment.search.opensearch import OpenSearchEngine
from sembridge.deployment.search.protocol import EngineUnavailableError, SparseVector
from sembridge.deployment.search.qdrant import QdrantEngine
from sembridge.deployment.search.token_keys import from_keys, to_keys
from sembridge.encoders.loading import load_tokenizer
from sembridge.errors import SembridgeError
from sembridge.retrieval.corpus import Document

PATIENCE = Patience(3, 0.01)
DOCUMENT = Document("a.1/b", "제목", "글", {"lang": "ko", "year": 2020})
VECTOR = csr_array(np.array([[0, 0.5, 0, 1.25]], np.float32))
SOURCE = {"id": "a.1/b", "title": "제목", "text": "글", "fields": {"lang": "ko", "year": 2020}}
KEPT = {**SOURCE, "tags": ["lang=ko", "year=2020"]}


@dataclass
class Recorder:
    """A server on this machine: what it was asked, and what it answers to a method and path."""

    answers: dict[str, tuple[int, Any]]
    seen: list[tuple[str, Any]] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)  # statuses to answer first
    url: str = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        self.seen.append((f"{method} {path}", lines[0] if len(lines) == 1 else lines or None))
        if self.broken:
            return self.broken.pop(0), {"error": {"type": "overloaded", "reason": "try later"}, "status": 503}
        for pattern, answer in self.answers.items():
            if re.fullmatch(pattern, f"{method} {path.partition('?')[0]}"):
                return answer
        return 404, {"error": "no such thing", "status": 404}

    def taken(self) -> list[tuple[str, Any]]:
        seen, self.seen = self.seen, []
        return seen


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    record = Recorder({})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, answer = record.answer(self.command, self.path, body)
            content = b"" if self.command == "HEAD" else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("content-type", self.headers.get("accept") or "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _reply

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    record.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield record
    server.shutdown()
    server.server_close()


def bulk_answer(*statuses: int) -> dict[str, Any]:
    items = [
        {"index": {"_id": f"d{n}", "status": status, "error": {"reason": f"reason {n}"}}}
        for n, status in enumerate(statuses)
    ]
    return {"errors": any(status >= 300 for status in statuses), "items": items}


LUCENE_ANSWERS = {
    r"HEAD /news": (404, None),
    r"PUT /news": (200, {"acknowledged": True}),
    r"(GET|POST) /news/_refresh": (200, {}),
    r"(GET|POST) /news/_count": (200, {"count": 0}),
    r"(PUT|POST) /news/_bulk": (200, bulk_answer(201)),
    r"DELETE /news": (200, {}),
}
KEPT_TEXT = {"type": "text", "index": False}


def lucene_properties(vector: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": {"type": "keyword", "index": False, "doc_values": False},
        "title": KEPT_TEXT,
        "text": KEPT_TEXT,
        "fields": {"type": "object", "enabled": False},
        "tags": {"type": "keyword"},
        "vector": vector,
    }


@pytest.fixture
def elastic(recorder: Recorder) -> ElasticsearchEngine:
    pytest.importorskip("elasticsearch")
    recorder.answers.update(LUCENE_ANSWERS)
    return ElasticsearchEngine.connect(recorder.url, "news", key=None, patience=PATIENCE)


@pytest.fixture(params=[False, True], ids=["rank_features", "sparse_vector"])
def ann(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def opensearch(recorder: Recorder, ann: bool) -> OpenSearchEngine:
    pytest.importorskip("opensearchpy")
    recorder.answers.update(LUCENE_ANSWERS)
    return OpenSearchEngine.connect(recorder.url, "news", key=None, ann=ann, patience=PATIENCE)


def test_elasticsearch_gets_a_sparse_vector_field_and_numbered_tokens(
    elastic: ElasticsearchEngine, recorder: Recorder
) -> None:
    elastic.create()
    assert recorder.taken() == [
        ("HEAD /news", None),
        ("PUT /news", {"mappings": {"dynamic": False, "properties": lucene_properties({"type": "sparse_vector"})}}),
        ("POST /news/_refresh", None),
        ("POST /news/_count", None),
    ]
    elastic.add([DOCUMENT], VECTOR)
    assert recorder.taken() == [
        ("PUT /news/_bulk", [{"index": {"_id": "a.1/b"}}, {**KEPT, "vector": {"1": 0.5, "3": 1.25}}])
    ]
    elastic.delete(["a.1/b", "x"])
    assert recorder.taken() == [("PUT /news/_bulk", [{"delete": {"_id": "a.1/b"}}, {"delete": {"_id": "x"}}])]
    elastic.drop()
    assert recorder.taken() == [("DELETE /news?ignore_unavailable=true", None)]


def test_elasticsearch_is_asked_with_weights_and_without_pruning(
    elastic: ElasticsearchEngine, recorder: Recorder
) -> None:
    hit = {"_id": "a.1/b", "_score": 2.5, "_source": SOURCE, "fields": {"vector": [{"1": 0.5, "3": 1.25}]}}
    recorder.answers[r"POST /news/_search"] = (200, {"hits": {"hits": [hit]}})
    (found,) = elastic.search(query((3, 2.0), (7, 0.1)), top_k=5, tags=["lang=ko", "year=2020"], with_terms=True)
    scoring = {"sparse_vector": {"field": "vector", "query_vector": {"3": 2.0, "7": 0.1}, "prune": False}}
    tags = [{"term": {"tags": "lang=ko"}}, {"term": {"tags": "year=2020"}}]
    assert recorder.taken() == [
        (
            "POST /news/_search",
            {
                "query": {"bool": {"must": [scoring], "filter": tags}},
                "size": 5,
                "_source": ["id", "title", "text", "fields"],
                "fields": ["vector"],
            },
        )
    ]
    assert (found.id, found.title, found.fields, found.score) == ("a.1/b", "제목", {"lang": "ko", "year": 2020}, 2.5)
    assert [(t.dimension, t.query_weight, t.document_weight) for t in found.terms] == [(3, 2.0, 1.25)]
    elastic.search(query((3, 2.0)), top_k=1)
    ((_, body),) = recorder.taken()
    assert body["query"] == {"sparse_vector": {"field": "vector", "query_vector": {"3": 2.0}, "prune": False}}
    assert "fields" not in body


def test_opensearch_gets_the_field_of_its_kind(opensearch: OpenSearchEngine, ann: bool, recorder: Recorder) -> None:
    opensearch.create()
    vector = {"type": "sparse_vector", "method": {"name": "seismic"}} if ann else {"type": "rank_features"}
    body: dict[str, Any] = {"mappings": {"dynamic": False, "properties": lucene_properties(vector)}}
    if ann:
        body["settings"] = {"index": {"sparse": True}}
    assert recorder.taken() == [
        ("HEAD /news", None),
        ("PUT /news", body),
        ("POST /news/_refresh", None),
        ("POST /news/_count", None),
    ]
    opensearch.add([DOCUMENT], VECTOR)
    assert recorder.taken() == [
        ("POST /news/_bulk", [{"index": {"_id": "a.1/b"}}, {**KEPT, "vector": {"1": 0.5, "3": 1.25}}])
    ]
    opensearch.delete(["x"])
    assert recorder.taken() == [("POST /news/_bulk", {"delete": {"_id": "x"}})]
    opensearch.drop()
    assert recorder.taken() == [("DELETE /news?ignore_unavailable=true", None)]


def test_opensearch_is_asked_by_neural_sparse_with_weights(
    opensearch: OpenSearchEngine, ann: bool, recorder: Recorder
) -> None:
    hit = {"_id": "a.1/b", "_score": 2.5, "_source": {**SOURCE, "vector": {"1": 0.5, "3": 1.25}}}
    recorder.answers[r"POST /news/_search"] = (200, {"hits": {"hits": [hit]}})
    (found,) = opensearch.search(query((3, 2.0), (7, 0.1)), top_k=5, tags=["lang=ko"], with_terms=True)
    tags = [{"term": {"tags": "lang=ko"}}]
    field_query: dict[str, Any] = {"query_tokens": {"3": 2.0, "7": 0.1}}
    if ann:
        parameters = {"top_n": 2, "k": 10, "heap_factor": 1.2, "filter": {"bool": {"filter": tags}}}
        field_query["method_parameters"] = parameters
    scoring = {"neural_sparse": {"vector": field_query}}
    assert recorder.taken() == [
        (
            "POST /news/_search",
            {
                "query": {"bool": {"must": [scoring], "filter": tags}},
                "size": 5,
                "_source": ["id", "title", "text", "fields", "vector"],
            },
        )
    ]
    assert [(t.dimension, t.product) for t in found.terms] == [(3, 2.5)]


def lucene_engine(recorder: Recorder, name: str) -> Any:
    recorder.answers.update(LUCENE_ANSWERS)
    if name == "elasticsearch":
        pytest.importorskip("elasticsearch")
        return ElasticsearchEngine.connect(recorder.url, "news", key=None, patience=PATIENCE)
    pytest.importorskip("opensearchpy")
    return OpenSearchEngine.connect(recorder.url, "news", key=None, ann=False, patience=PATIENCE)


@pytest.mark.parametrize("name", ["elasticsearch", "opensearch"])
def test_an_overloaded_cluster_is_asked_again_and_a_refused_document_is_named(name: str, recorder: Recorder) -> None:
    engine = lucene_engine(recorder, name)
    recorder.broken = [503, 429]
    engine.add([DOCUMENT], VECTOR)
    assert len(recorder.taken()) == 3
    recorder.broken = [503, 503, 503]
    with pytest.raises(EngineUnavailableError, match="does not answer after 3 tries"):
        engine.add([DOCUMENT], VECTOR)
    assert len(recorder.taken()) == 3
    bulk = r"(PUT|POST) /news/_bulk"
    recorder.answers[bulk] = (200, bulk_answer(201, 429))  # one line turned away: the request is sent again
    with pytest.raises(EngineUnavailableError, match="1 documents turned away with status 429"):
        engine.add([DOCUMENT], VECTOR)
    recorder.answers[bulk] = (200, bulk_answer(201, 400))
    with pytest.raises(SembridgeError, match="Document 'd1' is refused by the server: reason 1"):
        engine.add([DOCUMENT], VECTOR)
    recorder.answers[bulk] = (200, bulk_answer(404))  # a deletion of what is not there
    engine.delete(["d0"])
    recorder.answers[r"POST /news/_search"] = (400, {"error": {"reason": "unknown query"}, "status": 400})
    with pytest.raises(SembridgeError, match="refuses") as failure:
        engine.search(query((3, 2.0)), top_k=5)
    assert "\n" not in str(failure.value)
    recorder.answers[r"HEAD /news"] = (200, None)
    recorder.answers[r"(GET|POST) /news/_count"] = (200, {"count": 7})
    with pytest.raises(SembridgeError, match="Index news holds 7 documents already"):
        engine.create()
    engine.close()


def test_qdrant_gets_points_named_by_uuid_and_sparse_vectors(recorder: Recorder) -> None:
    pytest.importorskip("qdrant_client")
    done = {"result": {"operation_id": 1, "status": "completed"}, "status": "ok", "time": 0.1}
    payload = {**SOURCE, "tags": []}
    point = {"id": "4b5d5c2e-7a77-5a39-8f6b-0d1f6e0d9a11", "version": 1, "score": 2.5, "payload": payload}
    vector = {"sparse": {"indices": [1, 3], "values": [0.5, 1.25]}}
    recorder.answers = {
        r"GET /collections/news/exists": (200, {"result": {"exists": False}, "status": "ok", "time": 0.1}),
        r"PUT /collections/news": (200, {"result": True, "status": "ok", "time": 0.1}),
        r"PUT /collections/news/index": (200, done),
        r"POST /collections/news/points/count": (200, {"result": {"count": 0}, "status": "ok", "time": 0.1}),
        r"PUT /collections/news/points": (200, done),
        r"POST /collections/news/points/delete": (200, done),
        r"POST /collections/news/points/query": (
            200,
            {"result": {"points": [{**point, "vector": vector}]}, "status": "ok", "time": 0.1},
        ),
    }
    engine = QdrantEngine.connect(recorder.url, "news", key=None, patience=PATIENCE)
    engine.create()
    seen = recorder.taken()
    assert [path for path, _ in seen] == [
        "GET /collections/news/exists",
        "PUT /collections/news",
        "PUT /collections/news/index?wait=true",
        "POST /collections/news/points/count",
    ]
    assert seen[1][1] == {"vectors": {}, "sparse_vectors": {"sparse": {}}}
    assert seen[2][1] == {"field_name": "tags", "field_schema": "keyword"}
    recorder.broken = [503]
    engine.add([DOCUMENT], VECTOR)
    first, again = recorder.taken()
    assert first == again
    point_id = str(uuid.uuid5(uuid.UUID("6f8a9a0e-6a43-5d0b-8c51-3c7e0a3d9b52"), "a.1/b"))
    added = {"id": point_id, "vector": vector, "payload": KEPT}
    assert again == ("PUT /collections/news/points?wait=true", {"points": [added]})
    engine.delete(["a.1/b"])
    assert recorder.taken() == [("POST /collections/news/points/delete?wait=true", {"points": [point_id]})]
    (hit,) = engine.search(query((3, 2.0)), top_k=4, tags=["lang=ko"], with_terms=True)
    ((path, body),) = recorder.taken()
    assert path == "POST /collections/news/points/query"
    assert body == {
        "query": {"nearest": {"indices": [3], "values": [2.0]}},
        "using": "sparse",
        "filter": {"must": [{"key": "tags", "match": {"value": "lang=ko"}}]},
        "limit": 4,
        "with_vector": True,
        "with_payload": True,
    }
    assert [(t.dimension, t.product) for t in hit.terms] == [(3, 2.5)]
    engine.close()


TOKENIZERS = ("splade-en", "tokenizer-ko", "tokenizer-ko-bpe", "tokenizer-ko-unigram", "tokenizer-zh", "tokenizer-ru")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_keys_are_safe_and_distinct_where_spellings_are_not(name: str) -> None:
    """Over every dimension of a real vocabulary."""
    vocabulary = load_tokenizer(f"mini/{name}").get_vocab()
    n_dims = max(vocabulary.values()) + 1
    vector = SparseVector(np.arange(n_dims, dtype=np.int32), np.linspace(0.01, 3, n_dims, dtype=np.float32))
    keys = to_keys(vector)
    assert len(keys) == n_dims
    assert all(re.fullmatch(r"0|[1-9][0-9]*", key) for key in keys)
    back = from_keys(json.loads(json.dumps(keys)))
    np.testing.assert_array_equal(back.indices, vector.indices)
    np.testing.assert_array_equal(back.values, vector.values)
    assert any("." in token for token in vocabulary)  # what both engines refuse in a feature's name
