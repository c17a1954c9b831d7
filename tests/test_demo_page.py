"""Laws of the demo page without a browser: what its columns say, and how the program begins, refuses and ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from commands import sembridge
from processes import start_talking
from transferred import transferred

from sembridge.cli import main
from sembridge.cli.demo import page, systems
from sembridge.cli.demo.systems import BM25, SEMBRIDGE, DemoCollection, Workshop, bundled_collection
from sembridge.deployment.search.explanation import ExplainedTerm
from sembridge.encoders.loading import load_encoder, load_tokenizer
from sembridge.errors import MissingExtraError, SembridgeError
from sembridge.retrieval.bm25 import bm25_run
from sembridge.retrieval.data import RetrievalData

pytestmark = pytest.mark.usefixtures("small_bundle")
N_DOCUMENTS = 16


@cache
def small_collection(language: str) -> DemoCollection:
    """The answers of the examples and a few others."""
    whole = bundled_collection(language)
    answers = set(whole.examples.values())
    kept = sorted(whole.documents, key=lambda document: document.id not in answers)[:N_DOCUMENTS]
    return replace(whole, documents=tuple(kept))


@pytest.fixture(scope="module")
def workshop(small_bundle: None) -> Workshop:
    del small_bundle
    return Workshop(small_collection)


@pytest.fixture(scope="module")
def question(small_bundle: None) -> str:
    del small_bundle
    return next(iter(small_collection("ko").examples))


@pytest.mark.parametrize("way", [SEMBRIDGE, "random", systems.ENGLISH, BM25])
def test_the_terms_add_up_to_the_score_in_every_column(workshop: Workshop, way: str) -> None:
    """An answer as the question: to find itself at least, with random rows too."""
    result = workshop.system("ko", way).search(small_collection("ko").documents[0].text)
    assert 0 < len(result.answers) <= systems.TOP_K
    for answer in result.answers:
        products = [term.product for term in answer.terms]
        assert sum(products) == pytest.approx(answer.score, rel=1e-5)
        assert products == sorted(products, reverse=True)
    scores = [answer.score for answer in result.answers]
    assert scores == sorted(scores, reverse=True)
    weights = [term.query_weight for term in result.query_terms]
    assert weights == sorted(weights, reverse=True)


def test_sembridge_scores_as_the_encoder_itself_does(workshop: Workshop, question: str) -> None:
    encoder = load_encoder(transferred("ko"))
    best = workshop.system("ko", SEMBRIDGE).search(question).answers[0]
    scores = encoder.similarity(
        encoder.encode_query([question]),
        encoder.encode_document([document.content for document in small_collection("ko").documents]),
    )
    assert best.score == pytest.approx(float(scores.max()), rel=1e-4)
    assert small_collection("ko").documents[int(scores.argmax())].id == best.document.id


def test_bm25_scores_as_the_evaluation_s_does(workshop: Workshop, question: str) -> None:
    corpus = {document.id: document.content for document in small_collection("ko").documents}
    data = RetrievalData("small", "ko", corpus, {"q": question}, {"q": {next(iter(corpus)): 1}})
    expected = bm25_run(data, load_tokenizer("mini/tokenizer-ko"), top_k=systems.TOP_K)["q"]
    found = {answer.document.id: answer.score for answer in workshop.system("ko", BM25).search(question).answers}
    assert found == pytest.approx(expected)


def test_terms_of_a_transfer_have_english_tokens_whose_weights_sum_to_one(workshop: Workshop, question: str) -> None:
    terms = workshop.system("ko", SEMBRIDGE).search(question).query_terms
    assert any(len(term.parts) > 1 for term in terms)
    assert all(sum(part.weight for part in term.parts) == pytest.approx(1, abs=1e-4) for term in terms if term.parts)
    assert not any(term.parts for term in workshop.system("ko", BM25).search(question).query_terms)


def test_systems_are_made_in_steps_once_and_only_the_last_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "N_KEPT_SYSTEMS", 2)
    workshop = Workshop(small_collection)
    shares = [step.share for step in workshop.prepare("ru", "mean")]
    assert shares == sorted(set(shares))
    assert shares
    made = workshop.system("ru", "mean")
    assert list(workshop.prepare("ru", "mean")) == []
    for language in ("ko", "zh"):
        workshop.system(language, BM25)
    assert list(workshop.prepare("zh", BM25)) == []
    assert workshop.system("ru", "mean") is not made


def test_an_unknown_way_names_the_known(workshop: Workshop) -> None:
    with pytest.raises(SembridgeError, match=r"'best' is none of sembridge, paper, .*bm25"):
        workshop.system("ko", "best")


# --- the page as text ------------------------------------------------------------------------------------------------


def cells(term: ExplainedTerm) -> list[str]:
    return [term.text, f"{term.product:.2f}", *(f"{part.weight:.2f}" for part in term.parts[: page.MAX_PARTS])]


def test_a_column_shows_answers_scores_terms_and_english_tokens(workshop: Workshop, question: str) -> None:
    result = workshop.system("ko", SEMBRIDGE).search(question)
    shown = page.column(SEMBRIDGE, small_collection("ko"), question, result)
    for answer in result.answers:
        assert answer.document.title in shown
        assert small_collection("ko").glosses[answer.document.id] in shown
        assert f"{answer.score:.2f}" in shown
        assert all(cell in shown for term in answer.terms for cell in cells(term))
    assert shown.count("the right answer") == 1
    assert "English tokens behind it" in shown


def test_a_column_without_a_transfer_promises_no_english_tokens(workshop: Workshop, question: str) -> None:
    shown = page.column(BM25, small_collection("ko"), question, workshop.system("ko", BM25).search(question))
    assert "English tokens" not in shown


@pytest.mark.parametrize(
    ("question", "said"),
    [("", "Type a question"), ("   ", "Type a question"), ("\u2603", "Nothing in this question is a term")],
)
def test_nothing_found_is_said(workshop: Workshop, question: str, said: str) -> None:
    result = workshop.system("ko", BM25).search(question)
    assert said in page.column(BM25, small_collection("ko"), question, result)


def test_markup_in_texts_stays_text(workshop: Workshop) -> None:
    evil = "<img src=x onerror=alert(1)> ${1 + 1} {{ way }}"
    collection = small_collection("ko")
    document = replace(collection.documents[0], title=evil, text=evil)
    result = workshop.system("ko", BM25).search(collection.documents[0].content)
    answers = tuple(replace(answer, document=document) for answer in result.answers)
    shown = page.column(BM25, replace(collection, glosses={document.id: evil}), "", replace(result, answers=answers))
    assert "<img" not in shown
    assert shown.count("&lt;img") >= 3
    assert "<img" not in page.refusal(BM25, evil)


def test_an_example_is_glossed_in_english_and_a_typed_question_is_not(question: str) -> None:
    assert "Wi-Fi" in page.gloss(small_collection("ko"), question)
    assert page.gloss(small_collection("ko"), "학교") == ""


# --- the program -----------------------------------------------------------------------------------------------------


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_refused_with_a_way_out(taken_port: int) -> None:
    pytest.importorskip("gradio")
    line = sembridge("demo", "--serve", "--port", taken_port).line
    assert f"Port {taken_port} of 127.0.0.1" in line
    assert "--port 0" in line


def test_without_gradio_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    from sembridge.cli.demo.server import serve

    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingExtraError, match=re.escape('pip install "sembridge[demo]"')):
        serve("ko", port=0)
    assert 'pip install "sembridge[demo]"' in sembridge("demo", "--serve", "--port", "0").line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--serve", "--language", "en"], "ar, zh, hi, ko, ru, all"),
        (["--serve", "--language", "all"], "name the one to begin with"),
        (["--serve", "--out", "folder"], "writes nothing"),
        (["--port", "7860"], "--serve"),
        (["--serve", "--port", "70000"], "65535"),
    ],
    ids=str,
)
def test_wrong_usage_is_told(arguments: list[str], said: str) -> None:
    done = sembridge("demo", *arguments)
    assert done.code == 2
    assert said in " ".join(done.err.replace("│", " ").split())


def serve_page(out: Connection, place: Path, err: Path) -> None:
    """The program in `place`, with `out` and `err` as its standard output and error."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.chdir(place)
    sys.stdout, sys.stderr = os.fdopen(os.dup(out.fileno()), "w", encoding="utf-8"), err.open("w", encoding="utf-8")
    main(["demo", "--serve", "--port", "0"])


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_page_is_served_to_this_machine_only_and_ends_at_once(end: signal.Signals, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    place, said = tmp_path / "place", tmp_path / "said"
    place.mkdir()
    served, printed = start_talking(serve_page, place, said)
    with open(printed.fileno(), encoding="utf-8", closefd=False) as out:
        (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", out.readline())
        socket.create_connection(("127.0.0.1", int(port)), timeout=10).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", int(port)), timeout=10)
        os.kill(served.pid or 0, end)
        assert out.read() == ""
    served.join()
    assert (served.exitcode, said.read_text(encoding="utf-8")) == (0, "")
    assert os.listdir(place) == []
