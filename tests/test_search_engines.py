"""Embedded engines obey the laws of search; the exact one is the oracle, so its own answers are checked by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from search_laws import LAWS, N_DIMS, check_ranking, documents, expected, query, vectors

from sembridge.deployment.recipe import IndexRecipe
from sembridge.deployment.search import exact
from sembridge.deployment.search.engines import open_engine
from sembridge.deployment.search.lists import add_list, add_list_by_product
from sembridge.deployment.search.protocol import Engine, payload_of, rows, tags_of
from sembridge.deployment.search.pruning import prune
from sembridge.errors import SembridgeError
from sembridge.retrieval.corpus import Document

EMBEDDED = ("exact", "qdrant-edge")


def embedded(name: str, folder: Path) -> Engine:
    return open_engine(IndexRecipe.build({"engine": name}), folder, n_dims=N_DIMS)


@pytest.fixture(params=EMBEDDED)
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("law", LAWS)
def test_an_embedded_engine_obeys(law: str, engine_name: str, tmp_path: Path) -> None:
    engine = embedded(engine_name, tmp_path)
    engine.create()
    LAWS[law](engine, 1e-6)  # float32 sums in another order
    engine.close()


def test_an_engine_opened_again_gives_the_same_answers(engine_name: str, tmp_path: Path) -> None:
    engine = embedded(engine_name, tmp_path)
    engine.create()
    engine.add(documents(50), vectors(50))
    (vector,) = rows(vectors(1, seed=3))
    before = engine.search(vector, top_k=7)
    engine.close()
    again = embedded(engine_name, tmp_path)
    assert again.search(vector, top_k=7) == before
    assert again.count() == 50
    again.close()


def test_a_place_that_holds_documents_is_not_made_again(engine_name: str, tmp_path: Path) -> None:
    engine = embedded(engine_name, tmp_path)
    engine.create()
    engine.create()
    engine.add(documents(2), vectors(2))
    with pytest.raises(SembridgeError, match="holds 2 documents already"):
        engine.create()
    engine.drop()
    engine.create()
    assert engine.count() == 0
    engine.close()


def test_merged_segments_give_the_same_answers_as_many_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "_MAX_POSTINGS", 900)  # 45 documents of 20 dims
    engine = embedded("exact", tmp_path)
    engine.create()
    corpus, given = vectors(100), documents(100)
    for start in range(0, 100, 10):
        engine.add(given[start : start + 10], corpus[start : start + 10])
    engine.delete(["d0000", "d0055"])
    queries = rows(vectors(10, seed=1))
    before = [engine.search(vector, top_k=20, with_terms=True) for vector in queries]
    engine.finish()
    assert len(list((tmp_path / "exact" / "segments").iterdir())) == 3
    assert [engine.search(vector, top_k=20, with_terms=True) for vector in queries] == before
    assert "d0055" not in {hit.id for hits in before for hit in hits}
    engine.close()


def test_a_reader_sees_what_another_process_writes_between_its_searches(tmp_path: Path) -> None:
    writer, reader = embedded("exact", tmp_path), embedded("exact", tmp_path)
    writer.create()
    writer.add(documents(10), vectors(10))
    everything = query(*((i, 1.0) for i in range(N_DIMS)))
    assert len(reader.search(everything, top_k=99)) == 10
    writer.add([Document("d0003", "", "new", {})], vectors(1))
    writer.delete(["d0005"])
    writer.add(documents(5, start=10), vectors(5, seed=4))
    writer.finish()
    found = {hit.id: hit.text for hit in reader.search(everything, top_k=99)}
    assert set(found) == {d.id for d in documents(15)} - {"d0005"}
    assert found["d0003"] == "new"
    writer.close()
    reader.close()


def test_ties_at_the_cut_go_by_id_over_all_segments(tmp_path: Path) -> None:
    engine = embedded("exact", tmp_path)
    engine.create()
    same = csr_array(np.full((1, N_DIMS), 0.5, np.float32))
    for id_ in ("c", "a", "d", "b"):
        engine.add([Document(id_, "", "x", {})], same)
    assert [hit.id for hit in engine.search(query((0, 1.0)), top_k=2)] == ["a", "b"]
    engine.close()


@pytest.mark.parametrize("gone", [(), (3, 4, 700)])
@pytest.mark.parametrize("tags", [(), ("lang=zh",)])
def test_among_more_documents_than_a_block_holds_the_best_are_those_of_the_dense_product(
    gone: tuple[int, ...], tags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "_BLOCK", 16)
    corpus, texts = vectors(900, seed=3, n_active=6), documents(900)
    corpus.data = np.ceil(corpus.data * 2).astype(np.float32)  # many scores are equal
    engine = embedded("exact", tmp_path)
    engine.create()
    engine.add(texts[:500], corpus[:500])
    engine.add(texts[500:], corpus[500:])
    engine.delete([texts[i].id for i in gone])
    kept = [i for i in range(900) if i not in gone and (not tags or i % 3 == 1)]
    asked = vectors(12, seed=4, n_active=3)
    asked.data = np.ceil(asked.data).astype(np.float32)
    answers = expected(asked, corpus[kept], [texts[i].id for i in kept], 10)
    found = [engine.search(vector, top_k=10, tags=tags) for vector in rows(asked)]
    engine.close()
    assert [[(hit.id, hit.score) for hit in hits] for hits in found] == answers


def test_a_segment_that_no_transaction_names_is_not_searched_and_goes(tmp_path: Path) -> None:
    """What a process killed between writing a segment and committing it leaves."""
    engine = embedded("exact", tmp_path)
    engine.create()
    engine.add(documents(10), vectors(10))
    orphan = tmp_path / "exact" / "segments" / "orphan"
    exact._write_segment(orphan, np.arange(10), vectors(10, seed=9))
    (answer,) = expected(vectors(1, seed=1), vectors(10), [d.id for d in documents(10)], 10)
    found = engine.search(rows(vectors(1, seed=1))[0], top_k=10)
    assert [hit.id for hit in found] == [id_ for id_, _ in answer]
    assert [hit.score for hit in found] == pytest.approx([score for _, score in answer], rel=1e-6)
    engine.finish()
    assert not orphan.exists()
    engine.close()


def test_a_failed_addition_changes_nothing(engine_name: str, tmp_path: Path) -> None:
    engine = embedded(engine_name, tmp_path)
    engine.create()
    engine.add(documents(5), vectors(5))
    bad = [*documents(3, start=3), Document("nan", "", "x", {"price": float("nan")})]
    with pytest.raises(SembridgeError, match="'nan' has a field that is not a number"):
        engine.add(bad, vectors(4, seed=5))
    with pytest.raises(SembridgeError, match="negative or not finite"):
        engine.add(documents(1), csr_array(np.full((1, N_DIMS), -1, np.float32)))
    assert engine.count() == 5
    check = engine.search(rows(vectors(5))[4], top_k=1)
    assert check[0].id == "d0004"
    engine.close()


def test_the_laws_can_fail(tmp_path: Path) -> None:
    """An engine that loses one weight of one document is caught."""

    class Forgetful:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine

        def __getattr__(self, name: str) -> Callable[..., object]:
            method: Callable[..., object] = getattr(self.engine, name)
            return method

        def add(self, given: list[Document], corpus: csr_array) -> None:
            corpus = corpus.copy()
            corpus.data[::50] *= 0.9
            self.engine.add(given, corpus)

    engine = embedded("exact", tmp_path)
    engine.create()
    with pytest.raises(AssertionError):
        check_ranking(Forgetful(engine), tolerance=1e-6)  # type: ignore[arg-type]
    engine.close()


def test_tags_are_one_text_for_a_value_whatever_its_type() -> None:
    fields = {"a": 1, "b": 1.0, "c": 0.1, "d": True, "e": None, "f": ["x", 2], "g": {"h": 1}, "i": "y" * 255, "j": "="}
    assert tags_of(fields) == ["a=1", "b=1", "c=0.1", "d=true", "f=2", "f=x", "j=="]


def test_a_payload_is_json_whatever_the_fields_are() -> None:
    from datetime import date

    payload = payload_of(Document("1", "t", "x", {"day": date(2024, 5, 1), "n": (1, 2)}))
    assert payload["fields"] == {"day": "2024-05-01", "n": [1, 2]}


def test_pruning_keeps_the_largest_weights_and_drops_the_small() -> None:
    given = csr_array(np.array([[0.5, 0.1, 0.5, 0.9], [0, 0, 0.2, 0], [0, 0, 0, 0]], np.float32))
    kept = prune(given, max_active_dims=2, min_weight=0.0).toarray()
    np.testing.assert_array_equal(kept, np.array([[0.5, 0, 0, 0.9], [0, 0, 0.2, 0], [0, 0, 0, 0]], np.float32))
    kept = prune(given, max_active_dims=None, min_weight=0.3).toarray()
    np.testing.assert_array_equal(kept, np.array([[0.5, 0, 0.5, 0.9], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32))
    same = prune(given, max_active_dims=None, min_weight=0.0)
    np.testing.assert_array_equal(same.toarray(), given.toarray())


def test_a_recipe_asks_for_the_address_that_its_engine_needs() -> None:
    with pytest.raises(
        SembridgeError, match=r"Engine milvus is a server: give its address, e.g. --url http://localhost"
    ):
        IndexRecipe.build({"engine": "milvus"})
    with pytest.raises(SembridgeError, match="leave --url http://x away"):
        IndexRecipe.build({"engine": "exact", "url": "http://x"})
    with pytest.raises(SembridgeError, match="'localhost' is no address"):
        IndexRecipe.build({"engine": "qdrant", "url": "localhost"})
    with pytest.raises(SembridgeError, match="collection"):
        IndexRecipe.build({"collection": "a; DROP TABLE b"})


def test_both_ways_of_adding_a_list_are_the_sum_over_its_documents() -> None:
    generator = np.random.default_rng(0)
    dense = generator.random((4, 500), np.float32) * (generator.random((4, 500)) < 0.2)
    dense[2] = 0  # a dimension that no document has
    weight, start = np.array([1.7], np.float32), generator.random(500, np.float32)
    for dimension in range(4):
        found, by_product = start.copy(), start.copy()
        add_list(csr_array(dense), dimension, weight, found)
        add_list_by_product(csr_array(dense), dimension, weight, by_product)
        np.testing.assert_allclose(found, start + weight * dense[dimension], rtol=1e-6)
        np.testing.assert_array_equal(by_product, found)
