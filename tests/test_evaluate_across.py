"""`sembridge evaluate --corpus-data`: questions in one language against documents in another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands import sembridge
from test_cli import transfer
from tiny import tiny_encoder, tiny_tokenizer
from tiny_bridge import save_tiny_bridge

from sembridge.encoders.loading import load_encoder
from sembridge.encoders.vectors import encode_corpus
from sembridge.errors import SembridgeError
from sembridge.language_transfer.pivot import Pivot
from sembridge.retrieval.across import AcrossReferences, across, compare_across
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.runs import exact_search

MEASURES = ("--measure", "nDCG@10")
ENGLISH = {"d0": "school teacher", "d1": "river water", "d2": "tree garden", "d3": "book paper"}
KOREAN = {"d0": "학교 선생님", "d1": "강", "d2": "나무", "d9": "집"}
QUESTIONS = {"q0": ("school", "학교"), "q1": ("river", "강"), "q2": ("tree", "나무"), "q3": ("home", "집")}
JUDGED = {"q0": {"d0": 1}, "q1": {"d1": 1, "d9": 1}, "q2": {"d2": 1}, "q3": {"d9": 1}}


def english() -> RetrievalData:
    queries = {q: texts[0] for q, texts in QUESTIONS.items() if q != "q3"}
    return RetrievalData("en", "en", ENGLISH, queries, {"q0": {"d0": 1}, "q1": {"d1": 1}, "q2": {"d2": 1}})


def korean() -> RetrievalData:
    return RetrievalData("ko", "ko", KOREAN, {q: texts[1] for q, texts in QUESTIONS.items()}, JUDGED)


def write(folder: Path, data: RetrievalData) -> Path:
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", data.corpus), ("queries", data.queries)):
        lines = [json.dumps({"_id": id_, "text": text}, ensure_ascii=False) for id_, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    judged = [f"{q}\t{doc}\t{grade}" for q, grades in data.qrels.items() for doc, grade in grades.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("across")
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), seed=1)
    encoder.save_pretrained(str(root / "source"), create_model_card=False)
    tiny_tokenizer("wordpiece", language="target").save_pretrained(root / "target")
    save_tiny_bridge(root / "bridge")
    done = sembridge(*transfer(root, root / "splade-ko"), "--language", "ko")
    assert done.code == 0, done.err
    write(root / "data" / "en", english())
    write(root / "data" / "ko", korean())
    (root / "en-ko.tsv").write_text("school\t학교\nriver\t강\nstream\t강\ntree\t나무\n", encoding="utf-8")
    return root


def test_questions_of_one_language_meet_documents_of_the_other_by_their_ids() -> None:
    both = across(korean(), english())
    assert both.data.corpus == ENGLISH
    assert both.data.queries == {"q0": "학교", "q1": "강", "q2": "나무"}  # what q3 asks for is in Korean alone
    assert both.data.qrels == {"q0": {"d0": 1}, "q1": {"d1": 1}, "q2": {"d2": 1}}
    assert both.own_questions == {"q0": "school", "q1": "river", "q2": "tree"}
    assert across(english(), english()).own_questions == {}
    without = replace(english(), queries={"q0": "school"}, qrels={"q0": {"d0": 1}})
    assert across(korean(), without).own_questions == {"q0": "school"}
    strangers = replace(english(), corpus={"x": "school"}, queries={"q0": "school"}, qrels={"q0": {"x": 1}})
    with pytest.raises(SembridgeError, match="the same ids"):
        across(korean(), strangers)


def test_a_pivot_that_is_the_source_itself_reaches_the_ceiling(place: Path) -> None:
    source = load_encoder(place / "source")
    asked = replace(korean(), queries={q: texts[0] for q, texts in QUESTIONS.items()})
    both = replace(across(korean(), english()), data=across(asked, english()).data)
    (report,) = compare_across({"same": source}, source, [both], references=AcrossReferences())
    rows = {row.name: row.evaluation.per_query for row in report.rows}
    assert rows["same"] == rows["english-questions"] == rows["english"]


def test_a_ceiling_is_that_of_the_same_questions(place: Path) -> None:
    source = load_encoder(place / "source")
    both = across(korean(), english())
    some = replace(both, own_questions={"q0": "school"})
    for given, expected in ((both, True), (some, False), (some.sample(None, None, seed=0), False)):
        (report,) = compare_across({}, source, [given], references=AcrossReferences())
        assert ("english-questions" in [row.name for row in report.rows]) is expected


def test_rows_are_the_pivot_its_ceiling_a_dictionary_the_source_and_the_bridge(place: Path, tmp_path: Path) -> None:
    command = (
        "evaluate", place / "splade-ko", "--data", place / "data" / "ko", "--corpus-data", place / "data" / "en",
        *MEASURES, "--no-cache", "--json",
    )  # fmt: skip
    beside = ("--bridge", place / "bridge", "--dictionary", place / "en-ko.tsv", "--run", tmp_path / "run.trec")
    done = sembridge(*command, *beside)
    assert done.code == 0, done.err
    (report,) = json.loads(done.out)["data"]
    assert report["data"] == "data/ko in data/en"
    rows = {row["system"]: row for row in report["systems"]}
    assert list(rows) == [
        "splade-ko",
        "bridge",
        "hybrid-bridge-splade-ko",
        "english-questions",
        "dictionary",
        "english",
    ]
    assert rows["dictionary"]["measures"]["nDCG@10"] == 1.0
    assert {test["baseline"] for test in report["comparisons"]} == {"dictionary"}
    (verdict,) = report["verdicts"]
    assert "the dictionary" in verdict["sentence"]
    source = load_encoder(place / "source")
    both, pivot = across(korean(), english()).data, Pivot.load(place / "splade-ko", source)
    queries = pivot.encode_query(list(both.queries.values()))
    expected = exact_search(queries, encode_corpus(source, list(both.corpus.values())), [*both.queries], [*both.corpus])
    written = [line.split() for line in (tmp_path / "run.trec").read_text().splitlines()]
    assert [(q, doc) for q, _, doc, *_ in written] == [(q, doc) for q, docs in expected.items() for doc in docs]


def test_what_does_not_belong_together_is_refused_in_one_line(place: Path) -> None:
    questions = ("--data", place / "data" / "ko")
    documents = ("--corpus-data", place / "data" / "en")
    done = sembridge("evaluate", place / "splade-ko", *questions, "--dictionary", place / "en-ko.tsv")
    assert (done.code, "--dictionary" in done.err) == (2, True)
    done = sembridge("evaluate", place / "splade-ko", *questions, *documents, *documents)
    assert (done.code, "2 places of documents for 1 of questions" in done.err) == (2, True)
    done = sembridge("evaluate", place / "source", *questions, *documents)
    assert "give it by --english" in done.line
    done = sembridge("evaluate", place / "splade-ko", *questions, *documents, "--baseline", "bm25-tokens")
    assert "is no row of the table" in done.line
