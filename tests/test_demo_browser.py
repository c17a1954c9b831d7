"""The demo page in a browser: it asks no other machine for anything, and typing, clicking, keys and dark mode work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from browsing import HOSTILE, WIDTHS, needs_chromium, was_harmless, watched_page
from bundle import small_bundle_installed
from test_demo_page import small_collection

from sembridge.cli.demo.systems import DemoCollection, Workshop
from sembridge.retrieval.corpus import Document

pytest.importorskip("gradio", reason='needs gradio: pip install "sembridge[demo]"')
pytestmark = needs_chromium
PICTURES = os.environ.get("SEMBRIDGE_PICTURES")  # a folder: what the tests saw is kept there, to be looked at


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    from sembridge.cli.demo.server import serve

    with (
        small_bundle_installed(whole_tokenizers=True),
        serve("ko", port=0, workshop=Workshop(with_hostile_document)) as server,
    ):
        yield server.url


@cache
def with_hostile_document(language: str) -> DemoCollection:
    """The small collection and a document that nobody finds who does not ask for its number."""
    whole = small_collection(language)
    document = Document(HOSTILE, f"40961 {HOSTILE}", f"40961 40961 {HOSTILE}", {HOSTILE: HOSTILE})
    return replace(whole, documents=(*whole.documents, document), glosses={**whole.glosses, HOSTILE: HOSTILE})


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Any, url: str) -> Iterator[Any]:
    """The open page; every complaint and every request that leaves 127.0.0.1 fails the test."""
    with watched_page(browser, request.param, leaves=lambda asked: leaves(asked, url)) as opened:
        opened.goto(url)
        opened.wait_for_selector("#sb-columns .sb-column")
        yield opened
        if PICTURES:
            name = f"{request.node.name}.png".replace("[", "-").replace("]", "")
            opened.screenshot(path=Path(PICTURES) / name, full_page=True)


def leaves(asked: str, url: str) -> bool:
    return not asked.startswith((url, "data:", "blob:"))


def question(page: Any) -> Any:
    return page.get_by_label("Question")


def search(page: Any) -> None:
    page.get_by_role("button", name="Search", exact=True).click()
    wait_for_answers(page)


def wait_for_answers(page: Any, *, ways: int = 3) -> None:
    done = "n => document.querySelectorAll('.sb-answers, .sb-empty').length === n"
    page.wait_for_function(done, arg=ways)
    page.wait_for_function("document.querySelector('[aria-busy]') === null")


def column(page: Any, name: str) -> Any:
    return page.get_by_role("region", name=name, exact=True)


def test_what_leaves_is_told_from_what_stays() -> None:
    assert leaves("https://fonts.googleapis.com/css2", "http://127.0.0.1:7860/")
    assert not leaves("http://127.0.0.1:7860/assets/index.js", "http://127.0.0.1:7860/")


def test_a_question_is_answered_in_three_columns(page: Any) -> None:
    search(page)
    for name in ("SemBridge", "Random", "BM25"):
        assert column(page, name).locator(".sb-answers > li").count() > 0
    first = column(page, "SemBridge").locator(".sb-answers > li").first
    assert first.locator(".sb-badge").inner_text() == "the right answer"
    assert "Wi-Fi" in first.locator(".sb-gloss").inner_text()
    assert float(first.locator(".sb-score").inner_text().split()[-1]) > 0
    assert first.locator(".sb-part b").count() > 1
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_a_typed_question_is_searched_by_the_return_key(page: Any) -> None:
    question(page).fill("개가 초콜릿을 먹었어요")
    question(page).press("Enter")
    wait_for_answers(page)
    assert "dogs" in column(page, "BM25").locator(".sb-answers > li .sb-gloss").first.inner_text()
    assert page.locator(".sb-badge").count() == 0  # only an example has a right answer
    assert page.locator(".sb-gloss", has_text="In English").count() == 0


def test_an_example_is_searched_by_a_click(page: Any) -> None:
    text = list(small_collection("ko").examples)[1]
    page.get_by_role("button", name=text).click()
    page.wait_for_function("document.querySelector('.sb-answers') !== null")
    wait_for_answers(page)
    assert question(page).input_value() == text
    assert page.get_by_text(f"In English: {small_collection('ko').example_glosses[text]}").is_visible()


def test_another_initialisation_takes_the_place_beside_it(page: Any) -> None:
    search(page)
    page.get_by_label("Beside it").click()
    page.get_by_role("option", name="English encoder").click()
    page.wait_for_selector("section[aria-label='English encoder'] .sb-answers, .sb-empty")
    wait_for_answers(page)
    assert column(page, "Random").count() == 0
    assert "English tokens behind it" not in column(page, "English encoder").inner_text()


def test_another_language_brings_its_examples_and_its_direction(page: Any) -> None:
    search(page)
    page.get_by_label("Arabic").check()
    arabic = list(small_collection("ar").examples)
    page.wait_for_function(
        "text => document.querySelector('#sb-ask textarea, #sb-ask input').value === text", arg=arabic[0]
    )
    assert page.locator(".sb-answers").count() == 0
    assert page.get_by_role("button", name=arabic[1]).is_visible()
    search(page)
    title = column(page, "SemBridge").locator("h4").first
    assert title.evaluate("one => getComputedStyle(one).direction") == "rtl"
    assert question(page).evaluate("one => getComputedStyle(one).direction") == "rtl"
    assert (
        column(page, "SemBridge").locator(".sb-gloss").first.evaluate("one => getComputedStyle(one).direction") == "ltr"
    )


def test_terms_open_and_close(page: Any) -> None:
    search(page)
    summary = column(page, "SemBridge").locator("summary").nth(1)
    details = summary.locator("xpath=..")
    assert not details.evaluate("one => one.open")
    summary.click()
    assert details.evaluate("one => one.open")
    assert details.locator("tbody tr").first.is_visible()


def test_markup_in_a_question_stays_text(page: Any) -> None:
    question(page).fill("<img src=x onerror=alert(1)> ${1+1}")
    search(page)
    assert page.locator("#sb-columns img").count() == 0


def test_markup_in_documents_and_their_glosses_stays_text(page: Any) -> None:
    question(page).fill(f"40961 {HOSTILE}")
    search(page)
    first = column(page, "BM25").locator(".sb-answers > li").first
    assert HOSTILE in first.inner_text()
    assert HOSTILE in first.locator(".sb-gloss").inner_text()
    assert was_harmless(page)


def test_the_switch_turns_the_page_dark_and_is_remembered(page: Any) -> None:
    def colours() -> list[str]:
        asked = "selector => getComputedStyle(document.querySelector(selector)).backgroundColor"
        return [page.evaluate(asked, selector) for selector in ("body", ".sb-column")]

    light = colours()
    page.get_by_role("button", name="Dark mode").click()
    page.wait_for_selector("#sb-theme[aria-pressed=true]")
    dark = colours()
    assert all(a != b for a, b in zip(light, dark, strict=True))
    page.reload()
    page.wait_for_selector("#sb-theme[aria-pressed=true]")
    assert colours() == dark
    page.get_by_role("button", name="Dark mode").click()
    page.wait_for_selector("#sb-theme[aria-pressed=false]")
    assert colours() == light


def test_the_keyboard_goes_from_the_question_to_an_answer_s_terms(page: Any) -> None:
    question(page).focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent.trim()") == "Search"
    page.keyboard.press("Enter")
    wait_for_answers(page)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    summary = page.evaluate_handle("document.activeElement")
    before = summary.evaluate("one => one.parentElement.open")
    page.keyboard.press("Enter")
    assert summary.evaluate("one => one.parentElement.open") != before
