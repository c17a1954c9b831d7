"""mteb tasks are read as mteb evaluates them: same texts, same judgments, the same nDCG@10."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sembridge.errors import MissingExtraError, SembridgeError
from sembridge.retrieval.evaluation import measure_run
from sembridge.retrieval.sources import load_retrieval_data

REVISION = "0123456789abcdef0123456789abcdef01234567"


def records(*texts: tuple[str, ...]) -> list[dict[str, object]]:
    return [dict(zip(("_id", "text", "title"), text, strict=False)) for text in texts]


def write_dataset(folder: Path, **configs: list[dict[str, object]]) -> Path:
    """A data set repository as on the hub: a README that names configs, each one JSON-lines file."""
    folder.mkdir()
    header = ["---", "configs:"]
    for config, rows in configs.items():
        name = config.replace("__", "-")
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        header += [f"- config_name: {name}", "  data_files:", "  - split: test", f"    path: {name}.jsonl"]
    (folder / "README.md").write_text("\n".join([*header, "---", ""]))
    return folder


def judgments(*lines: tuple[str, str, int]) -> list[dict[str, object]]:
    return [dict(zip(("query-id", "corpus-id", "score"), line, strict=True)) for line in lines]


@pytest.fixture
def make_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a retrieval task over a local folder, of the class that every mteb retrieval task has."""
    mteb = pytest.importorskip("mteb")
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def make(folder: Path | str, **changes: Any) -> Any:
        facts = {
            "name": "LocalRetrieval",
            "dataset": {"path": str(folder), "revision": REVISION},
            "eval_langs": ["eng-Latn"],
            "eval_splits": ["test"],
        }
        metadata = mteb.get_task("XQuADRetrieval").metadata.model_copy(update=facts | changes)
        return type("LocalRetrieval", (AbsTaskRetrieval,), {"metadata": metadata})()

    return make


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_dataset(
        tmp_path / "plain",
        corpus=records(("d1", " of Korea ", "Capital"), ("d2", "no title", ""), ("d3", "", "")),
        queries=records(("q1", "first"), ("q2", "second"), ("q9", "not judged")),
        default=judgments(("q1", "d1", 2), ("q1", "d2", 0), ("q2", "d2", 1)),
    )


def test_task_becomes_retrieval_data_and_stays_as_it_is(
    make_task: Callable[..., Any], plain: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sembridge.retrieval.mteb import read_task

    task = make_task(plain)
    with caplog.at_level(logging.WARNING, logger="sembridge"):
        data = read_task(task)
    assert data.corpus == {"d1": "Capital  of Korea", "d2": "no title", "d3": ""}
    assert data.queries == {"q1": "first", "q2": "second"}
    assert data.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert (data.name, data.language) == ("mteb:LocalRetrieval (test, revision 0123456)", "eng")
    assert "1 of 3 texts are empty; they stay" in caplog.text
    assert not task.data_loaded
    assert read_task(task, language="en").language == "en"
    task.load_data()
    assert read_task(task).corpus == data.corpus


def test_documents_are_the_texts_that_mteb_encodes(make_task: Callable[..., Any], plain: Path) -> None:
    from mteb._create_dataloaders import _retrieval_texts
    from mteb.types import PromptType

    from sembridge.retrieval.mteb import read_task

    task = make_task(plain)
    data = read_task(task)
    task.load_data()
    corpus = task.dataset["default"]["test"]["corpus"]
    assert list(data.corpus.values()) == list(_retrieval_texts(corpus, PromptType.document))


def test_instruction_follows_the_query_as_in_mteb(make_task: Callable[..., Any], tmp_path: Path) -> None:
    from sembridge.retrieval.mteb import read_task

    folder = write_dataset(
        tmp_path / "instructed",
        corpus=records(("d1", "text")),
        queries=records(("q1", "ask")),
        default=judgments(("q1", "d1", 1)),
        instruction=[{"query-id": "q1", "instruction": "in short"}],
    )
    assert read_task(make_task(folder, type="InstructionRetrieval")).queries == {"q1": "ask in short"}


@pytest.fixture
def bilingual(tmp_path: Path) -> Path:
    parts: dict[str, list[dict[str, object]]] = {}
    for language in ("ko", "kor"):
        parts[f"{language}__corpus"] = records(("d1", f"{language} text"))
        parts[f"{language}__queries"] = records(("q1", "ask"))
        parts[f"{language}__qrels"] = judgments(("q1", "d1", 1))
    return write_dataset(tmp_path / "bilingual", **parts)


SUBSETS = {"ko": ["kor-Kore"], "kor": ["kor-Kore"], "eng-kor": ["eng-Latn", "kor-Kore"]}


def test_subset_is_chosen_by_name(make_task: Callable[..., Any], bilingual: Path) -> None:
    from sembridge.retrieval.mteb import read_task

    task = make_task(bilingual, eval_langs=SUBSETS)
    for subset in ("ko", "kor"):
        data = read_task(task, subset=subset)
        assert (data.corpus, data.language) == ({"d1": f"{subset} text"}, subset)
        assert data.name == f"mteb:LocalRetrieval:{subset} (test, revision 0123456)"


@pytest.mark.parametrize(
    ("chosen", "changes", "message"),
    [
        ({}, {}, r"several subsets; choose one as mteb:LocalRetrieval:ko\. It has: ko, kor, eng-kor\.$"),
        ({"subset": "kr"}, {}, r"no subset 'kr'; did you mean kor\? It has: ko, kor, eng-kor\.$"),
        ({"subset": "xx"}, {}, r"no subset 'xx'\. It has: ko, kor, eng-kor\.$"),
        ({"subset": "ko", "split": "dev"}, {}, r"no split 'dev'\. It has: test\.$"),
        ({"subset": "ko"}, {"eval_splits": ["dev", "validation"]}, r"several splits; choose one as --split dev\."),
        ({}, {"eval_langs": {f"l{n}": ["eng-Latn"] for n in range(99)}}, r"l19, \.\.\. \(99 in all\)\.$"),
        ({}, {"type": "Reranking"}, r"of type Reranking; expected Retrieval or InstructionRetrieval\.$"),
        ({}, {"modalities": ["image", "text"]}, r"about image, text; expected a task of text alone\.$"),
    ],
)  # fmt: skip
def test_unclear_or_unfit_choice_is_refused_with_what_there_is(
    make_task: Callable[..., Any], bilingual: Path, chosen: dict[str, str], changes: dict[str, object], message: str
) -> None:
    from sembridge.retrieval.mteb import read_task

    with pytest.raises(SembridgeError, match=message) as refusal:
        read_task(make_task(bilingual, **({"eval_langs": SUBSETS} | changes)), **chosen)
    assert "\n" not in str(refusal.value)


def test_classification_is_no_retrieval_and_an_unknown_task_has_neighbours() -> None:
    pytest.importorskip("mteb")
    with pytest.raises(SembridgeError, match="Banking77Classification is of type Classification"):
        load_retrieval_data("mteb:Banking77Classification")
    with pytest.raises(SembridgeError, match="has no task 'MIRACLRetrieva'; did you mean MIRACLRetrieval or "):
        load_retrieval_data("mteb:MIRACLRetrieva:ko")
    with pytest.raises(SembridgeError, match="has no task ''"):
        load_retrieval_data("mteb:")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mteb:MIRACLRetrieval", r"subset; choose one as mteb:MIRACLRetrieval:ar"),
        ("mteb:MIRACLRetrievalHardNegatives.v2:kor", r"no subset 'kor'; did you mean ko"),
        ("mteb:WebFAQRetrieval:ko", r"no subset 'ko'; did you mean kor"),
        ("mteb:XQuADRetrieval:ko", r"no subset 'ko'.*It has: ar, de, el"),
        ("mteb:BelebeleRetrieval:kor", r"did you mean kor_Hang-kor_Hang"),
    ],
)
def test_published_tasks_are_known_and_their_subsets_listed(name: str, message: str) -> None:
    pytest.importorskip("mteb")
    with pytest.raises(SembridgeError, match=message.replace("subset;", "several subsets;")):
        load_retrieval_data(name)


def test_test_is_taken_of_several_splits(make_task: Callable[..., Any], bilingual: Path) -> None:
    from sembridge.retrieval.mteb import read_task

    data = read_task(make_task(bilingual, eval_langs=SUBSETS, eval_splits=["dev", "test"]), subset="ko")
    assert data.split == "test"


def test_only_split_is_taken_and_another_one_refused() -> None:
    """MIRACL has dev alone: --split test is an error, and no --split means dev."""
    pytest.importorskip("mteb")
    with pytest.raises(SembridgeError, match=r"no split 'test'\. It has: dev\."):
        load_retrieval_data("mteb:MIRACLRetrieval:ko", split="test")


def test_task_out_of_reach_is_one_line(make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from sembridge.retrieval.mteb import read_task

    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        SembridgeError, match=r"nobody/nothing is not in the cache of datasets.*connect once"
    ) as refusal:
        read_task(make_task("nobody/nothing"))
    assert "\n" not in str(refusal.value)


def test_broken_data_set_is_one_line(make_task: Callable[..., Any], plain: Path) -> None:
    from sembridge.retrieval.mteb import read_task

    (plain / "corpus.jsonl").write_text("{not json")
    with pytest.raises(SembridgeError, match=r"LocalRetrieval: .*plain cannot be loaded: ") as refusal:
        read_task(make_task(plain))
    assert "\n" not in str(refusal.value)


def test_missing_mteb_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(MissingExtraError, match=r'not installed: pip install "sembridge\[mteb\]"$'):
        load_retrieval_data("mteb:MIRACLRetrieval:ko")


def loaded(task: Any, **parts: Any) -> Any:
    """The task with parts of its data replaced, in mteb's present form."""
    task.load_data()
    task.dataset["default"]["test"].update(parts)
    return task


def test_data_of_a_former_form_are_read(make_task: Callable[..., Any], plain: Path) -> None:
    """Belebele and others still fill `queries`, `corpus` and `relevant_docs`."""
    from sembridge.retrieval.mteb import read_task

    task = make_task(plain)
    task.queries = {"test": {"q": "ask"}}
    task.corpus = {"test": {"d": {"title": "Title", "text": "text"}, "e": {"text": "alone"}}}
    task.relevant_docs = {"test": {"q": {"d": 1}}}
    task.data_loaded = True
    for _ in range(2):
        assert read_task(task).corpus == {"d": "Title text", "e": "alone"}


def test_data_that_mteb_measures_otherwise_or_that_contradict_themselves_are_refused(
    make_task: Callable[..., Any], plain: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from datasets import Dataset

    from sembridge.retrieval.mteb import read_task

    def refused(message: str, task: Any) -> None:
        with pytest.raises(SembridgeError, match=message):
            read_task(task)

    twice = Dataset.from_list([{"id": "d1", "text": "one"}, {"id": "d1", "text": "two"}, {"id": "d2", "text": "x"}])
    refused("id 'd1' has two different texts", loaded(make_task(plain), corpus=twice))
    refused(
        "no column 'text'; found id, body",
        loaded(make_task(plain), corpus=Dataset.from_list([{"id": "1", "body": "x"}])),
    )
    talk = Dataset.from_list([{"id": "q1", "text": ["hello", "hi"]}])
    refused("a list instead of a text; conversations are not read", loaded(make_task(plain), queries=talk))
    refused("ranks given candidates", loaded(make_task(plain), top_ranked={"q1": ["d1"]}))
    refused(
        "'d8' as relevant, which is not in the corpus",
        loaded(make_task(plain), relevant_docs={"q1": {"d1": 1, "d8": 1}}),
    )
    refused("a score is 0.5; expected whole", loaded(make_task(plain), relevant_docs={"q1": {"d1": 0.5}}))
    task = make_task(plain)
    task.skip_first_result = True
    refused("leaves every query's own document out", task)
    with caplog.at_level(logging.WARNING, logger="sembridge"):
        data = read_task(loaded(make_task(plain), relevant_docs={"q1": {"d1": 1, "d8": 0}, "gone": {"d1": 1}}))
    assert data.qrels == {"q1": {"d1": 1}}
    assert "1 judgments name documents outside" in caplog.text


def test_queries_own_documents_matter_only_where_there_are_any(make_task: Callable[..., Any], plain: Path) -> None:
    from datasets import Dataset

    from sembridge.retrieval.mteb import read_task

    task = make_task(plain)
    task.ignore_identical_ids = True
    assert len(read_task(task).queries) == 2
    own = Dataset.from_list([{"id": "d1", "text": "asks with a document"}])
    data = read_task(loaded(task, queries=own, relevant_docs={"d1": {"d2": 1}}))
    assert data.own_documents == {"d1"}
    run = {"d1": {"d1": 9.0, "d2": 1.0}}
    assert measure_run(run, data, ["nDCG@10", "RR@10"]) == {"nDCG@10": {"d1": 1.0}, "RR@10": {"d1": 1.0}}


@pytest.mark.parametrize("graded", [False, True], ids=("binary", "graded"))
def test_ndcg_equals_the_one_mteb_computes(make_task: Callable[..., Any], tmp_path: Path, graded: bool) -> None:
    """Per query to 1e-6, where ten documents share a dimension with the query and no two of them tie (mteb ranks
    documents of score 0 too, and ties the other way)."""
    import mteb

    from sembridge import evaluate, load_encoder
    from sembridge.retrieval.mteb import read_task

    faq = load_retrieval_data("mini/faq-en").sample(20, 60)
    lines = [(q, d, 1 + (graded and n % 2)) for n, (q, judged) in enumerate(faq.qrels.items()) for d in judged]
    if graded:
        other = next(iter(faq.corpus))
        lines += [(q, other, 3) for q in list(faq.qrels)[:5] if other not in faq.qrels[q]]
    folder = write_dataset(
        tmp_path / "faq",
        corpus=records(*((doc, text, "A title") for doc, text in faq.corpus.items())),
        queries=records(*faq.queries.items()),
        default=judgments(*lines),
    )
    task = make_task(folder)
    exact: dict[str, float] = {}

    def keep_scores(scores: dict[str, dict[str, float]], *_: object, **__: object) -> dict[str, float]:
        exact.update({query: values["ndcg_cut_10"] for query, values in scores.items()})
        return {}

    task.task_specific_scores = keep_scores
    encoder = load_encoder("mini/splade-en")
    theirs = mteb.evaluate(encoder, task, cache=None, co2_tracker=False, show_progress_bar=False)
    ours = evaluate(encoder, read_task(make_task(folder)), measures=["nDCG@10"])
    for scores in ours.run.values():
        best = sorted(scores.values(), reverse=True)[:11]
        assert len(set(best)) == 11
    assert ours.per_query["nDCG@10"] == pytest.approx(exact, abs=1e-6)
    assert len(exact) == 20
    assert len(set(exact.values())) > 3
    assert theirs.task_results[0].scores["test"][0]["ndcg_at_10"] == pytest.approx(ours.measures["nDCG@10"], abs=5.1e-6)
