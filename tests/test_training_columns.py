"""Training data of Sentence Transformers' documented formats: used for what their columns say, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sembridge.errors import SembridgeError
from sembridge.training.columns import read_rows
from sembridge.training.data import TrainingData, joined, load_training_data, pairs_data

Rows = list[dict[str, Any]]


def load(tmp_path: Path, rows: Rows) -> TrainingData:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return load_training_data(path)


def table(data: TrainingData) -> list[tuple[str, ...]]:
    return list(zip(*data.columns.values(), strict=True))


PAIR = [("q", "yes")]
USED: list[tuple[str, Rows, list[tuple[str, ...]]]] = [
    ("pair", [{"anchor": "q", "positive": "yes"}], PAIR),
    ("triplet", [{"query": "q", "answer": "yes", "negative": "no"}], [("q", "yes", "no")]),
    (
        "n-tuple",
        [{"anchor": "q", "positive": "yes", "negative_1": "a", "negative_2": "b", "negative_10": "c"}],
        [("q", "yes", "a", "b", "c")],
    ),
    ("list of negatives", [{"query": "q", "positive": "yes", "negatives": ["a", "b"]}], [("q", "yes", "a", "b")]),
    ("FlagEmbedding", [{"query": "q", "pos": ["x", "y"], "neg": ["a"]}], [("q", "x", "a"), ("q", "y", "a")]),
    (
        "labelled pairs",
        [
            {"anchor": "q", "passage": "yes", "label": 1},
            {"anchor": "q", "passage": "a", "label": 0},
            {"anchor": "q", "passage": "b", "label": 0},
        ],
        [("q", "yes", "a", "b")],
    ),
    (
        "labels as text or truth values",
        [{"query": "q", "text": "yes", "label": "1"}, {"query": "q", "text": "a", "label": False}],
        [("q", "yes", "a")],
    ),
    (
        "grades, as in qrels",
        [{"query": "q", "text": t, "score": s} for t, s in (("best", 2.0), ("good", 1.0), ("a", 0.0), ("b", -1.0))],
        [("q", "best", "a", "b"), ("q", "good", "a", "b")],
    ),
    (
        "labelled lists",
        [{"anchor": "q", "documents": ["yes", "a", "b"], "labels": [1, 0, 0]}],
        [("q", "yes", "a", "b")],
    ),
    (
        "All-NLI by class",
        [{"premise": "q", "hypothesis": h, "label": n} for n, h in enumerate(("follows", "may be", "cannot be"))],
        [("q", "follows", "cannot be")],
    ),
    (
        "All-NLI by name",
        [
            {"premise": "q", "hypothesis": "follows", "label": "entailment"},
            {"premise": "q", "hypothesis": "cannot be", "label": "contradiction"},
            {"premise": "q", "hypothesis": "whatever", "label": "-"},
        ],
        [("q", "follows", "cannot be")],
    ),
    (
        "duplicate questions",
        [{"sentence1": "q", "sentence2": "yes", "label": 1}, {"sentence1": "q", "sentence2": "a", "label": 0}],
        [("q", "yes", "a")],
    ),
]


@pytest.mark.parametrize(("rows", "expected"), [case[1:] for case in USED], ids=[case[0] for case in USED])
def test_a_documented_format_is_used_for_what_it_says(
    tmp_path: Path, rows: Rows, expected: list[tuple[str, ...]]
) -> None:
    assert table(load(tmp_path, rows)) == expected


MSE = {"query": "q", "passage_one": "a", "passage_two": "b", "label": 0.3}
REFUSED: list[tuple[str, Rows, str]] = [
    ("margin-MSE", [MSE], "column passage_one"),
    ("triplets with margins", [{"query": "q", "positive": "p", "negative": "n", "label": 1.5}], "column label"),
    ("tuples with scores", [{"query": "q", "positive": "p", "negative_1": "n", "scores": [1, 0]}], "column scores"),
    ("teacher's scores", [{"query": "q", "pos": ["p"], "neg": ["n"], "pos_scores": [0.9]}], "column pos_scores"),
    ("similarities", [{"sentence1": "a", "sentence2": "b", "score": 0.37}], "score is 0.37, which is no yes or no"),
    ("a word", [{"query": "q", "text": "t", "label": "maybe"}], "label is 'maybe'"),
    ("unclear classes", [{"premise": "a", "hypothesis": "b", "label": n} for n in (0, 1)], "entailment in All-NLI"),
    ("no label", [{"query": "q", "text": "t", "label": 1}, {"query": "q", "text": "u"}], "line 2: label is None"),
    ("lists of two lengths", [{"query": "q", "documents": ["a"], "labels": [1, 0]}], "2 labels for 1 documents"),
    ("single texts with a class", [{"text": "t", "label": 1}], "has the columns 'text', 'label'"),
    ("ids without texts", [{"query_id": 1, "positive_id": 2, "negative_id": 3}], "has the columns 'query_id'"),
    ("a list of queries", [{"query": ["a"], "positive": "b"}], "line 1: query is a list instead of a text"),
    ("a list of lists", [{"query": "a", "positive": [["b"]]}], "positive is a list instead of a text"),
    ("half a surrogate pair", [{"query": "a", "positive": "\ud83d"}], "instead of a text"),
    ("a number", [{"query": "a", "positive": 5}], "positive is 5 instead of a text"),
    ("only not relevant", [{"query": "q", "text": "t", "label": 0}], "holds no pair"),
    ("nothing", [], "is empty"),
]


@pytest.mark.parametrize(("rows", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_learned_from_is_refused_by_name(tmp_path: Path, rows: Rows, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SembridgeError, match=message) as refused:
        load_training_data(path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_negative_that_another_row_calls_relevant_is_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"query": "q", "positive": "one", "negative_1": "two", "negative_2": "far", "id": 7},
        {"query": "q", "positive": "two", "negative_1": "two", "negative_2": "off", "id": "x"},
        {"query": "r", "positive": "five", "negative_1": "two", "negative_2": "far", "id": None},
    ]
    data = load(tmp_path, rows)
    assert table(data) == [("q", "one", "far"), ("q", "two", "off"), ("r", "five", "two")]
    assert data.left_out["negatives that are relevant to their own query"] == 2
    assert data.unused_columns == ("id",)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "2 negatives that are relevant to their own query" in line
    assert "columns not used: id" in line


def test_a_negative_that_another_source_calls_relevant_is_dropped(tmp_path: Path) -> None:
    data = joined(
        [pairs_data("a", ["q", "s"], ["one", "x"], [["two"], ["y"]]), pairs_data("b", ["q"], ["two"], [["z"]])]
    )
    assert all(
        text not in data.relevant[query]
        for query, row in zip(data.queries, data.negatives, strict=True)
        for text in row
    )
    assert data.left_out == {
        "negatives that are relevant to their own query": 1,
        "rows that take another row's document as a negative": 1,
    }


def test_everything_that_is_in_no_row_is_counted(tmp_path: Path) -> None:
    rows = [
        {"premise": "q", "hypothesis": "follows", "label": 0},
        {"premise": "q", "hypothesis": "may be", "label": 1},
        {"premise": "q", "hypothesis": "unclear", "label": -1},
        {"premise": "q", "hypothesis": "cannot be", "label": 2},
        {"premise": "alone", "hypothesis": "cannot be", "label": 2},
        {"premise": "r", "hypothesis": "f" * 30_000, "label": 0},
    ]
    data = load(tmp_path, rows)
    assert table(data) == [("q", "follows", "cannot be"), ("r", "f" * 20_000, "follows")]
    assert data.left_out == {
        "pairs whose label says neither": 2,
        "not relevant documents of queries without a relevant one": 1,
        "texts cut at 20,000 characters": 1,
        "rows that take another row's document as a negative": 1,
    }


texts = st.sampled_from("abcdefgh")


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(texts, texts, st.lists(texts, max_size=4)), min_size=1, max_size=8))
def test_whatever_rows_hold_their_negatives_are_even_and_never_relevant(
    rows: list[tuple[str, str, list[str]]],
) -> None:
    queries, documents, negatives = (list(column) for column in zip(*rows, strict=True))
    every = set(documents)
    relevant = {query: {d for q, d in zip(queries, documents, strict=True) if q == query} for query in queries}
    if any(set(row) - relevant[q] for q, row in zip(queries, negatives, strict=True)) and any(
        relevant[q] == every and not set(row) - every for q, row in zip(queries, negatives, strict=True)
    ):
        with pytest.raises(SembridgeError, match="every document is relevant"):  # nothing to fill the row with
            pairs_data("any", queries, documents, negatives)
        return
    data = pairs_data("any", queries, documents, negatives)
    assert len({len(row) for row in data.negatives}) == 1
    assert joined([data]) == data
    true = [{*row} - data.relevant[query] for query, row in zip(queries, negatives, strict=True)]
    for query, given_row, row in zip(data.queries, true, data.negatives, strict=True):
        assert not data.relevant[query] & {*row}
        assert not given_row or {*row} <= given_row
    assert bool(data.negatives[0]) == any(true)


def test_a_beir_folder_counts_what_is_judged_and_not_relevant(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "text": "yes"}\n{"_id": "e", "text": "no"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "ask"}\n')
    (tmp_path / "qrels/train.tsv").write_text("q\td\t1\nq\te\t0\n")
    data = load_training_data(tmp_path)
    assert table(data) == [("ask", "yes")]
    assert data.left_out == {"judgments of documents that are not relevant": 1}


def test_places_of_rows_are_told_in_refusals() -> None:
    with pytest.raises(SembridgeError, match=r"^pairs, row 2: query is None instead of a text; remove the row\.$"):
        read_rows("pairs", [("row 1", {"query": "a", "text": "b"}), ("row 2", {"text": "c"})])


# --- a training with them ------------------------------------------------------------------------------------------


def test_every_negative_reaches_the_loss_and_the_record(tmp_path: Path) -> None:
    """A batch of four rows encodes four texts of every column, and ranks among all of its documents."""
    pytest.importorskip("datasets")
    import torch
    from tiny import tiny_encoder, tiny_tokenizer

    from sembridge.training.fine_tuning import train
    from sembridge.training.recipe import TrainRecipe

    words = ["home", "tree", "seoul", "river", "night", "book", "teacher", "school"]
    rows = [
        {"query": word, "positive": f"{word} home", **{f"negative_{k}": f"tree {n} {k}" for k in (1, 2, 3)}, "url": "x"}
        for n, word in enumerate(words)
    ]
    data = load(tmp_path, rows)
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    sizes: list[int] = []
    encoder[1].register_forward_hook(lambda module, given, made: sizes.append(len(made["sentence_embedding"])))
    recipe = TrainRecipe.build({"steps": 1, "batch_size": 4, "bf16": "no", "learning_rate": 1e-9})
    result = train(encoder, data, tmp_path / "out", recipe=recipe)
    assert sizes[:2] == [4, 4 * (1 + 3)]  # queries; documents with their three negatives
    # Ranked among 16 documents, most of them nearly alike: near log 16 = 2.8, above the log 4 = 1.4 of documents alone.
    assert result.curve[0]["base_loss"] > torch.log(torch.tensor(4.0))
    written = json.loads((tmp_path / "out" / "training.json").read_text(encoding="utf-8"))
    assert (written["negatives"], written["unused_columns"], written["left_out"]) == (3, ["url"], {})
