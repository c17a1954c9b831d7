"""An index of the source encoder, asked and filled in the language of an encoder transferred from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import sembridge
from scipy.sparse import csr_array
from sentence_transformers import SparseEncoder
from test_cli import transfer
from tiny import ENGLISH_WORDS, assert_same_vectors, tiny_encoder, tiny_tokenizer
from tiny_bridge import save_tiny_bridge

from sembridge.deployment.search.index import SearchIndex
from sembridge.deployment.search.indexing import index_corpus, resolve_recipe
from sembridge.encoders.fingerprint import sparse_encoder_fingerprint
from sembridge.encoders.loading import load_encoder
from sembridge.encoders.vectors import encode_corpus, encode_queries
from sembridge.errors import SembridgeError
from sembridge.language_transfer.pivot import Pivot

QUESTIONS = ["학교 책", "дом река"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`source`, `ko` transferred from it, and `stranger`, of the same vocabulary with other weights."""
    root = tmp_path_factory.mktemp("models")
    for name, seed in (("source", 1), ("stranger", 2)):
        encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), seed=seed)
        encoder.save_pretrained(str(root / name), create_model_card=False)
    tiny_tokenizer("wordpiece", language="target").save_pretrained(root / "target")
    save_tiny_bridge(root / "bridge")
    done = sembridge(*transfer(root, root / "ko"), "--language", "ko")
    assert done.code == 0, done.err
    return root


@pytest.fixture(scope="module")
def source(models: Path) -> SparseEncoder:
    return load_encoder(models / "source")


@pytest.fixture(scope="module")
def pivot(models: Path, source: SparseEncoder) -> Pivot:
    return Pivot.load(models / "ko", source)


def write_corpus(path: Path, texts: list[str]) -> Path:
    records = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)]
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [f"{a} {b}" for a, b in zip(ENGLISH_WORDS, ENGLISH_WORDS[3:], strict=False)]


@pytest.fixture
def english_index(models: Path, source: SparseEncoder, texts: list[str], tmp_path: Path) -> Path:
    recipe = resolve_recipe(tmp_path / "index", {"engine": "exact"})
    corpus = write_corpus(tmp_path / "english.jsonl", texts)
    index_corpus(source, corpus, tmp_path / "index", name=str(models / "source"), recipe=recipe)
    return tmp_path / "index"


def test_questions_in_another_language_score_english_documents(
    english_index: Path, pivot: Pivot, source: SparseEncoder, texts: list[str]
) -> None:
    expected = (pivot.encode_query(QUESTIONS) @ encode_corpus(source, texts).T).toarray()
    with SearchIndex.open(english_index) as index:
        found = index.search(pivot, QUESTIONS, top_k=5)
    for hits, scores in zip(found, expected, strict=True):
        np.testing.assert_allclose([hit.score for hit in hits], sorted(scores, reverse=True)[:5], rtol=1e-5)


def test_the_explanation_adds_up_to_the_score_and_names_the_words_asked(models: Path, english_index: Path) -> None:
    done = sembridge("search", english_index, QUESTIONS[0], "--query-encoder", models / "ko", "--explain", "--json")
    assert done.code == 0, done.err
    hits = json.loads(done.out)[0]["hits"]
    assert hits
    for hit in hits:
        assert sum(term["product"] for term in hit["terms"]) == pytest.approx(hit["score"], rel=1e-5)
        asked = {part["token"] for term in hit["terms"] for part in term["parts"]}
        assert asked <= {"[CLS]", "학교", "책", "[SEP]"}


def test_an_index_of_another_source_is_refused(models: Path, source: SparseEncoder, tmp_path: Path) -> None:
    stranger = load_encoder(models / "stranger")
    recipe = resolve_recipe(tmp_path / "index", {"engine": "exact"})
    corpus = write_corpus(tmp_path / "english.jsonl", ["home river"])
    index_corpus(stranger, corpus, tmp_path / "index", name=str(models / "stranger"), recipe=recipe)
    with (
        SearchIndex.open(tmp_path / "index") as index,
        pytest.raises(SembridgeError, match="was made with the encoder"),
    ):
        index.search(Pivot.load(models / "ko", source), QUESTIONS)


def test_a_folder_without_alignment_is_refused(models: Path, english_index: Path) -> None:
    done = sembridge("search", english_index, QUESTIONS[0], "--query-encoder", models / "stranger")
    assert done.code == 1
    assert "holds no alignment.safetensors" in done.err


def test_documents_of_two_languages_share_an_index(english_index: Path, pivot: Pivot, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "korean.jsonl", ["학교 선생님", "집 강"])
    report = index_corpus(pivot, corpus, english_index, name="ko", add=True)
    assert report.n_added == 2
    with SearchIndex.open(english_index) as index:
        assert index.count() == report.n_documents
        found = index.search(pivot, ["학교 선생님"], filters=["language=ko"])[0]
        everywhere = index.search(pivot, ["학교 선생님"], top_k=50)[0]
    assert {hit.id for hit in found} <= {"ko:d0", "ko:d1"}
    assert {"ko:d0", "d0"} <= {hit.id for hit in everywhere}


def test_an_exported_pivot_is_a_stock_encoder_that_asks_the_index(
    models: Path, source: SparseEncoder, english_index: Path, tmp_path: Path
) -> None:
    (tmp_path / "words.txt").write_text("학교들 학교들 школы\n", encoding="utf-8")
    words = ("--words", tmp_path / "words.txt", "--bridge", models / "bridge")
    done = sembridge("export", "pivot", models / "ko", tmp_path / "pivot", *words, "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["n_words"], facts["language"]) == (2, "ko")
    stock = SparseEncoder(str(tmp_path / "pivot"))
    loaded = Pivot.load(tmp_path / "pivot", source)
    expected = encode_queries(stock, QUESTIONS)[:, : loaded.n_dims]
    for way in ("stock", "fast"):
        found = loaded.encode_query(QUESTIONS, encode_with=way)
        assert found.shape == expected.shape
        assert_same_vectors(torch.from_numpy(found.toarray()), torch.from_numpy(expected.toarray()))
    done = sembridge("search", english_index, QUESTIONS[0], "--query-encoder", tmp_path / "pivot", "--json")
    assert json.loads(done.out)[0]["hits"], done.err
    with pytest.raises(SembridgeError, match="is a pivot through"):
        Pivot.load(tmp_path / "pivot", load_encoder(models / "stranger"))


def test_words_without_a_bridge_are_refused(models: Path, tmp_path: Path) -> None:
    done = sembridge("export", "pivot", models / "ko", tmp_path / "pivot", "--words", tmp_path / "words.txt")
    assert done.code == 2
    assert "together" in done.err


def test_documents_go_into_an_english_index_from_the_shell(models: Path, english_index: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "korean.jsonl", ["학교 선생님", "집 강"])
    done = sembridge("index", models / "ko", corpus, "--into", english_index, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["n_added"] == 2
    done = sembridge(
        "search", english_index, "학교", "--query-encoder", models / "ko", "--filter", "language=ko", "--json"
    )
    assert {hit["id"] for hit in json.loads(done.out)[0]["hits"]} <= {"ko:d0", "ko:d1"}
    done = sembridge("index", models / "ko", corpus, "--into", english_index, "--out", tmp_path / "other")
    assert (done.code, "give one of them" in done.err) == (2, True)


def test_shards_of_a_pivot_go_into_an_english_index(models: Path, english_index: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "korean.jsonl", ["학교 선생님", "집 강"])
    done = sembridge(
        "encode", models / "ko", corpus, "--out", tmp_path / "shards", "--into", models / "source", "--json"
    )
    assert done.code == 0, done.err
    done = sembridge("index", models / "ko", tmp_path / "shards", "--into", english_index, "--texts", corpus, "--json")
    assert json.loads(done.out)["n_added"] == 2, done.err
    done = sembridge(
        "search", english_index, "학교", "--query-encoder", models / "ko", "--filter", "language=ko", "--json"
    )
    by_shards = {hit["id"]: hit["score"] for hit in json.loads(done.out)[0]["hits"]}
    pivot = Pivot.load(models / "ko", load_encoder(models / "source"))
    expected = (pivot.encode_query(["학교"]) @ pivot.encode_document(["학교 선생님", "집 강"]).T).toarray()[0]
    assert by_shards == {f"ko:d{n}": pytest.approx(score, rel=1e-5) for n, score in enumerate(expected) if score > 0}


def test_documents_and_questions_are_exported_over_the_english_vocabulary(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "korean"
    folder.mkdir()
    write_corpus(folder / "corpus.jsonl", ["학교 선생님", "집 강"])
    write_corpus(folder / "queries.jsonl", QUESTIONS[:1])
    command = ("export", "seismic", models / "ko", folder, tmp_path / "out", "--queries", folder)
    done = sembridge(*command, "--into", models / "source", "--json")
    assert done.code == 0, done.err
    source = load_encoder(models / "source")
    manifest = json.loads(done.out)
    assert manifest["encoder_fingerprint"] == sparse_encoder_fingerprint(source)
    pivot = Pivot.load(models / "ko", source)
    tokens = source.tokenizer.convert_ids_to_tokens(range(pivot.n_dims))
    made = {"documents": pivot.encode_document(["학교 선생님", "집 강"]), "queries": pivot.encode_query(QUESTIONS[:1])}
    for side, vectors in made.items():
        lines = (tmp_path / "out" / f"{side}.jsonl").read_text(encoding="utf-8").splitlines()
        expected = [{tokens[d]: pytest.approx(float(w), rel=1e-5) for d, w in row} for row in rows_of(vectors)]
        assert [json.loads(line)["vector"] for line in lines] == expected


def rows_of(vectors: csr_array) -> list[list[tuple[int, float]]]:
    rows = (vectors[[row]] for row in range(vectors.shape[0]))
    return [list(zip(row.indices.tolist(), row.data.tolist(), strict=True)) for row in rows]
