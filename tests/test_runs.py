"""Exact search, BM25 and fusion give one order: score descending, then document id ascending."""

from __future__ import annotations

import logging
from pathlib import Path

import bm25s
import numpy as np
import pytest
from scipy.sparse import csr_array, random_array
from tiny import tiny_tokenizer

from sembridge.encoders.words import words
from sembridge.errors import SembridgeError
from sembridge.retrieval import runs
from sembridge.retrieval.bm25 import bm25_run
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.runs import dense_search, exact_search, hybrid, ranked, write_run
from sembridge.retrieval.sources import load_retrieval_data

TEXTS = {
    "d1": "the river runs through the city",
    "d2": "the school is in the city",
    "d3": "a teacher reads a book in the school by the river",
    "d4": "mountain and winter",
}


def data_of(corpus: dict[str, str], query: str) -> RetrievalData:
    return RetrievalData("test", "en", corpus, {"q": query}, {"q": {next(iter(corpus)): 1}})


def random_vectors(n_rows: int, *, seed: int, n_dims: int = 40) -> csr_array:
    """Weights are 1, 2 or 3, so that many scores tie."""
    generator = np.random.default_rng(seed)
    sampler = lambda size: generator.integers(1, 4, size).astype(np.float32)  # noqa: E731
    return csr_array(random_array((n_rows, n_dims), density=0.1, rng=generator, data_sampler=sampler, format="csr"))


def test_search_by_hand() -> None:
    documents = csr_array(np.array([[1, 0, 2], [0, 3, 0], [1, 1, 1], [0, 0, 0]], dtype=np.float32))
    queries = csr_array(np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]], dtype=np.float32))
    run = exact_search(queries, documents, ["q1", "q2", "q3"], ["a", "b", "c", "d"])
    assert run == {"q1": {"a": 3.0, "c": 2.0}, "q2": {"b": 3.0, "c": 1.0}, "q3": {}}
    assert list(run["q1"]) == ["a", "c"]


@pytest.mark.parametrize("top_k", [1, 5, 1000])
@pytest.mark.parametrize("max_block_scores", [1, 150, 2**24])
def test_search_equals_sorting_every_score_whatever_the_block(
    monkeypatch: pytest.MonkeyPatch, top_k: int, max_block_scores: int
) -> None:
    monkeypatch.setattr(runs, "_MAX_BLOCK_SCORES", max_block_scores)
    queries, documents = random_vectors(7, seed=1), random_vectors(60, seed=2)
    document_ids = [f"d{n}" for n in np.random.default_rng(3).permutation(60)]
    run = exact_search(queries, documents, [f"q{n}" for n in range(7)], document_ids, top_k=top_k)
    scores = queries.toarray() @ documents.toarray().T
    for row in range(7):
        by_hand = sorted((-score, doc) for score, doc in zip(scores[row].tolist(), document_ids, strict=True) if score)
        assert list(run[f"q{row}"].items()) == [(doc, -score) for score, doc in by_hand[:top_k]]


def test_ties_do_not_depend_on_the_order_of_the_corpus() -> None:
    vectors = csr_array(np.ones((12, 1), dtype=np.float32))
    ids = [f"d{n}" for n in range(12)]
    forward = exact_search(vectors[:1], vectors, ["q"], ids, top_k=3)
    backward = exact_search(vectors[:1], vectors, ["q"], ids[::-1], top_k=3)
    assert list(forward["q"]) == list(backward["q"]) == ["d0", "d1", "d10"]


def test_search_refuses_what_does_not_fit() -> None:
    one, two = csr_array(np.ones((1, 2))), csr_array(np.ones((1, 3)))
    with pytest.raises(SembridgeError, match="Query vectors have 2 dimensions, document vectors 3"):
        exact_search(one, two, ["q"], ["d"])
    with pytest.raises(SembridgeError, match="1 document vectors but 2 document ids"):
        exact_search(one, one, ["q"], ["d", "e"])
    with pytest.raises(SembridgeError, match="1 query vectors but 0 query ids"):
        exact_search(one, one, [], ["d"])
    with pytest.raises(SembridgeError, match="top_k is 0"):
        exact_search(one, one, ["q"], ["d"], top_k=0)


def test_dense_search_is_exact_search_where_every_document_has_a_score() -> None:
    generator = np.random.default_rng(1)
    queries, documents = (generator.integers(1, 4, (n, 5)).astype(np.float32) for n in (6, 30))  # with ties
    query_ids, document_ids = [f"q{n}" for n in range(6)], [f"d{n}" for n in range(30)]
    for top_k in (7, 100):
        dense = dense_search(queries, documents, query_ids, document_ids, top_k=top_k)
        sparse = exact_search(csr_array(queries), csr_array(documents), query_ids, document_ids, top_k=top_k)
        assert {q: list(found.items()) for q, found in dense.items()} == {q: list(s.items()) for q, s in sparse.items()}
    opposite = dense_search(queries[:1], -documents, ["q"], document_ids)
    assert len(opposite["q"]) == 30  # below zero is a score, too


def test_fusion_by_hand() -> None:
    """Over four documents: standard scores of 3, 1, 0, 0 (mean 1, deviation sqrt 1.5), and of 0, 0, 1, 1."""
    lexical = {"q": {"a": 3.0, "b": 1.0}}
    sparse = {"q": {"c": 1.0, "d": 1.0}, "only here": {"x": 1.0}}
    fused = hybrid([lexical, sparse], [0.7, 0.3], n_documents=4)
    step = 0.7 / 1.5**0.5
    wanted = {"a": 2 * step - 0.3, "b": -0.3, "c": 0.3 - step, "d": 0.3 - step}
    assert fused["q"] == pytest.approx(wanted, abs=1e-15)
    assert list(fused["q"]) == ["a", "c", "d", "b"]
    assert fused["only here"].keys() == {"x"}
    assert hybrid([lexical, sparse], [0.7, 0.3], n_documents=4, top_k=1)["q"].keys() == {"a"}


def test_fusion_sees_how_far_a_run_tells_documents_apart() -> None:
    clear, vague = {"q": {"a": 9.0, "b": 1.0}}, {"q": {f"d{n}": 1.0 - n / 1000 for n in range(50)} | {"b": 0.99}}
    assert next(iter(hybrid([clear, vague], [0.5, 0.5], n_documents=60)["q"])) == "a"


def test_documents_behind_the_cut_have_its_last_score() -> None:
    """Dense scores are all high: what a cut left out is not as far away as zero, or b would be nearly as good as a."""
    cut, other = {"q": {"a": 0.92, "b": 0.90}}, {"q": {"c": 1.0, "a": 0.1}}
    assert list(hybrid([cut, other], [0.5, 0.5], n_documents=10, top_k=2)["q"]) == ["a", "c"]
    assert list(hybrid([cut, other], [0.5, 0.5], n_documents=10, top_k=3)["q"]) == ["c", "a", "b"]  # nothing was cut


def test_a_run_without_differences_changes_nothing() -> None:
    run, flat = {"q": {"a": 3.0, "b": 1.0}}, {"q": {"a": 1.0, "b": 1.0, "c": 1.0}, "none": {}}
    assert list(hybrid([run, flat], [0.5, 0.5], n_documents=3)["q"]) == ["a", "b", "c"]
    assert hybrid([run, flat], [0.5, 0.5], n_documents=3)["none"] == {}


def test_fusion_does_not_depend_on_the_order_of_runs() -> None:
    generator = np.random.default_rng(0)
    many = [{"q": {f"d{doc}": float(generator.integers(9)) for doc in generator.permutation(40)}} for _ in range(5)]
    forward = hybrid(many, [1, 2, 3, 4, 5], n_documents=50)["q"]
    assert list(forward.items()) == list(hybrid(many[::-1], [5, 4, 3, 2, 1], n_documents=50)["q"].items())


def test_fusion_of_nothing_and_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SembridgeError, match="at least one"):
        hybrid([], [], n_documents=1)
    for weights in ([1.0], [1.0, 0.0]):
        with pytest.raises(SembridgeError, match="expected one above zero for each run"):
            hybrid([{"q": {"a": 1.0}}] * 2, weights, n_documents=1)


@pytest.mark.parametrize("query", ["school by the river", "city city book", "nothing known", "???"])
def test_bm25_scores_are_those_of_bm25s(query: str) -> None:
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index([words(text) for text in TEXTS.values()], show_progress=False)
    expected = dict.fromkeys(TEXTS, 0.0)
    if words(query):
        expected = dict(zip(TEXTS, index.get_scores(words(query)).tolist(), strict=True))
    run = bm25_run(data_of(TEXTS, query))["q"]
    # 1e-6: float32 sums of a few terms around 1
    assert run == pytest.approx({doc: score for doc, score in expected.items() if score}, abs=1e-6)
    assert list(run) == ranked(run)


def test_bm25_prints_nothing(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        bm25_run(data_of(TEXTS, "school"))
    captured = capsys.readouterr()
    assert (captured.out, captured.err, caplog.records) == ("", "", [])


def test_bm25_ties_go_to_the_lower_id() -> None:
    twins = {f"d{n}": "the same words" for n in range(30)}
    assert list(bm25_run(data_of(twins, "same"), top_k=3)["q"]) == ["d0", "d1", "d10"]


def test_bm25_of_one_document_and_of_none_with_a_word() -> None:
    assert bm25_run(data_of({"d": "one word"}, "word"))["q"].keys() == {"d"}
    assert bm25_run(data_of({"d": "!!!"}, "word")) == {"q": {}}


@pytest.mark.parametrize("family", ["wordpiece", "bpe", "unigram"])
def test_bm25_over_a_tokenizer_finds_pieces_and_ignores_unknown_ones(family: str) -> None:
    tokenizer = tiny_tokenizer(family)
    corpus = {"d1": "homes", "d2": "river ☃", "d3": "book 🐟"}
    run = bm25_run(data_of(corpus, "home"), tokenizer)["q"]
    assert "d1" in run
    assert "d1" not in bm25_run(data_of(corpus, "home"))["q"]
    if family != "bpe":  # bytes have no unknown token
        assert bm25_run(data_of({"d1": "☃", "d2": "home"}, "🐟"), tokenizer)["q"].keys() <= {"d1"}
        unknown = bm25_run(data_of({"d1": "☃☃", "d2": "🐟"}, "☃"), tiny_tokenizer("wordpiece"))
        assert unknown == {"q": {}}


def test_words_keep_combining_marks_and_drop_invisible_characters() -> None:
    assert words("पैंथर्स की डिफ़ेन्स") == ["पैंथर्स", "की", "डिफ़ेन्स".casefold()]
    assert words("क\u200dष") == words("कष") == ["कष"]  # a joiner
    assert words("Größe, don't snake_case 3.5 café") == ["grösse", "don", "t", "snake_case", "3", "5", "café"]
    assert words("cafe\u0301") == words("café")
    assert words("مَدْرَسَة") == ["مَدْرَسَة"]
    assert words(" … ") == []


@pytest.mark.parametrize(("text", "warned"), [("学校在城市里。", True), ("โรงเรียน", True), ("학교는 도시에", False)])
def test_words_of_a_script_without_spaces_are_warned_about(
    caplog: pytest.LogCaptureFixture, text: str, warned: bool
) -> None:
    bm25_run(data_of({"d": text}, text))
    assert bool(caplog.records) == warned
    caplog.clear()
    bm25_run(data_of({"d": text}, text), tiny_tokenizer("bpe"))
    assert not caplog.records


@pytest.mark.shared
@pytest.mark.parametrize(("language", "published"), [("en", 0.92), ("hi", 0.90)])
def test_bm25_over_words_reaches_its_known_reciprocal_rank(shared: Path, language: str, published: float) -> None:
    """xquad/en is .92 in the data's README; its .65 for hi came from words broken at combining marks."""
    data = load_retrieval_data(shared / "data" / "xquad" / language)
    run = bm25_run(data, top_k=10)
    total = 0.0
    for query_id, scores in run.items():
        ranks = [rank for rank, doc in enumerate(scores, start=1) if data.qrels[query_id].get(doc, 0) > 0]
        total += 1 / ranks[0] if ranks else 0.0
    assert total / len(data.queries) == pytest.approx(published, abs=0.01)


def test_run_file_keeps_the_order_for_every_reader(tmp_path: Path) -> None:
    """Tied scores and differences below single precision: trec_eval reads both as ties and puts the higher id first."""
    run = {"q1": {"b": 2.0, "a": 2.0, "c": 2.0 - 1e-12, "d": -1.0}, "q2": {}}
    write_run(run, tmp_path / "run.trec", system="my encoder")
    lines = [line.split(" ") for line in (tmp_path / "run.trec").read_text().splitlines()]
    assert [(line[0], line[1], line[2], line[3], line[5]) for line in lines] == [
        ("q1", "Q0", "a", "1", "my-encoder"),
        ("q1", "Q0", "b", "2", "my-encoder"),
        ("q1", "Q0", "c", "3", "my-encoder"),
        ("q1", "Q0", "d", "4", "my-encoder"),
    ]
    scores = [float(np.float32(line[4])) for line in lines]
    assert scores == sorted(set(scores), reverse=True)
    assert scores == pytest.approx([2.0, 2.0, 2.0, -1.0], rel=1e-6)


def test_run_file_replaces_an_old_one_or_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    write_run({"q": {"d": 1.0}}, path)
    old = path.read_text()
    with pytest.raises(SembridgeError, match="document id 'd 2' has white space, which a TREC run cannot hold"):
        write_run({"q": {"d": 1.0, "d 2": 0.5}}, path)
    with pytest.raises(SembridgeError, match="query id 'q 1' has white space"):
        write_run({"q 1": {"d": 1.0}}, path)
    assert path.read_text() == old
    write_run({"q": {"e": 1.0}}, path)
    assert path.read_text() == "q Q0 e 1 1 sembridge\n"
    assert [file.name for file in tmp_path.iterdir()] == ["run.trec"]
    with pytest.raises(SembridgeError, match="missing is not a folder you can write to; make it first"):
        write_run({"q": {"e": 1.0}}, tmp_path / "missing" / "run.trec")
    with pytest.raises(SembridgeError, match="is a folder; give the name of a file"):
        write_run({"q": {"e": 1.0}}, tmp_path)
