"""The demo in the terminal: which questions it shows, and a headline that is made of the figures below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import sembridge

from sembridge.cli.demo import walk
from sembridge.cli.demo.systems import EXAMPLES, bundled_collection
from sembridge.cli.demo.verb import activation
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import Evaluation, evaluate_run

# Of q4 both find the wrong document; q0 repeats its answer's words, so others of its kind come first.
FIRST = {"q0": "oo", "q1": "ox", "q2": "oo", "q3": "xo", "q4": "xx"}
DATA = RetrievalData(
    name="hand-made",
    language="en",
    corpus={"right": "a red boat on the lake", "wrong": "nothing of the kind"},
    queries={"q0": "red boat", **{query: f"question {query}" for query in ("q1", "q2", "q3", "q4")}},
    qrels={query: {"right": 1} for query in FIRST},
)


def evaluation(system: int, data: RetrievalData = DATA) -> Evaluation:
    run = {query: {"right" if FIRST[query][system] == "o" else "wrong": 1.0} for query in data.queries}
    return evaluate_run(run, data, measures=[walk.MEASURE])


def test_questions_are_told_apart_by_who_answers_them_right() -> None:
    outcomes = walk.questions_by_outcome(DATA, evaluation(0), evaluation(1))
    assert outcomes == {
        (True, False): ["q1"], (True, True): ["q2", "q0"], (False, True): ["q3"], (False, False): ["q4"]
    }  # fmt: skip


def test_a_question_that_only_the_encoder_answers_comes_first_and_one_that_it_gets_wrong_last() -> None:
    outcomes = walk.questions_by_outcome(DATA, evaluation(0), evaluation(1))
    assert walk.telling(outcomes) == ["q1", "q2", "q3"]
    assert walk.telling({**outcomes, (True, False): [], (False, True): []}) == ["q2", "q4"]


def test_a_question_without_any_answer_found_is_wrong() -> None:
    nothing = evaluate_run({}, DATA, measures=[walk.MEASURE])
    assert walk.questions_by_outcome(DATA, nothing, nothing)[False, False] == ["q1", "q2", "q3", "q4", "q0"]


def constant(right: float) -> Evaluation:
    """An evaluation of twenty questions, the first share of which is answered right."""
    queries = {f"q{i:02}": f"question {i}" for i in range(20)}
    data = RetrievalData(
        name="twenty",
        language="en",
        corpus=DATA.corpus,
        queries=queries,
        qrels={query: {"right": 1} for query in queries},
    )
    run = {query: {"right" if i < right * 20 else "wrong": 1.0} for i, query in enumerate(queries)}
    return evaluate_run(run, data, measures=[walk.MEASURE])


@pytest.mark.parametrize(
    ("ours", "bm25", "said"),
    [
        (0.9, 0.2, "better than BM25 (+.700"),
        (0.5, 0.9, "worse than BM25 (-.400"),
        (0.6, 0.5, "not told apart from BM25 (+.100"),
    ],
)
def test_the_headline_says_what_the_figures_allow(ours: float, bm25: float, said: str) -> None:
    shown = {walk.OURS: constant(ours), walk.BM25: constant(bm25), walk.FUSED: constant(0), walk.ENGLISH: constant(0)}
    sentence = walk.headline(shown)
    assert sentence.startswith(f"{walk.OURS}: {said}")
    assert f"better than English (+{ours:.3f}".replace("0.", ".") in sentence
    assert "fused with BM25: worse than" in sentence


def test_a_language_that_is_not_bundled_is_told_what_is_there_and_where_to_go() -> None:
    done = sembridge("demo", "--language", "de")
    said = " ".join(done.err.replace("│", " ").split())
    assert done.code == 2
    assert "'de' is none of ar, zh, hi, ko, ru, all" in said
    assert "docs/bring-your-language.md" in said


def test_every_language_has_every_example_with_an_answer_and_english_words() -> None:
    for language in walk.LANGUAGES:
        collection = bundled_collection(language)
        ids = {document.id for document in collection.documents}
        assert len(collection.examples) == len(collection.example_glosses) == len(EXAMPLES)
        assert set(collection.examples.values()) <= ids == set(collection.glosses)


def test_the_line_that_activates_an_environment_is_as_short_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert activation(tmp_path / ".venv") == "source .venv/bin/activate"
    assert activation(Path("/elsewhere/env")) == "source /elsewhere/env/bin/activate"
