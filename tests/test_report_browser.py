"""The report in a browser: it loads without a complaint, and typing, sorting, filtering, keys and dark mode work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import synthetic_results
from browsing import HOSTILE, HOSTILE_TOKEN, WIDTHS, needs_chromium, was_harmless, watched_page
from tiny import tiny_encoder, tiny_tokenizer
from tiny_bridge import TinyBridge

from sembridge.experiments.report.writing import ReportSettings, write_report
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.folder import Origin

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on a transfer and a grid."""
    root = tmp_path_factory.mktemp("report")
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    names = (f"{name} {HOSTILE}" for name in ("tiny-en", "tiny-ko", "tiny-bridge", "ko", "apache-2.0"))
    target = tiny_tokenizer("wordpiece", language="target")
    target.add_tokens([HOSTILE_TOKEN])
    made = transfer(source, target, TinyBridge(), origin=Origin(*names))
    made.save(root / "ko")
    grid = synthetic_results.realistic(root / "grid")
    settings = ReportSettings(measure=False, title=f"Report {HOSTILE}", texts=[f"학교 {HOSTILE}"])
    return write_report([root / "ko", grid], root / "report.html", settings=settings)


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Any, page_file: Path) -> Iterator[Any]:
    """The open page, with its explorer filled; every complaint and every request beyond the file fails the test."""
    with watched_page(browser, request.param, leaves=lambda asked: not asked.startswith("file:")) as opened:
        opened.goto(page_file.as_uri())
        opened.wait_for_selector("#x-rows tr")
        yield opened


def tokens(page: Any) -> list[str]:
    texts: list[str] = page.locator("#x-rows th bdi").all_inner_texts()
    return texts


def numbers(page: Any, label: str) -> list[float]:
    return [float(text) for text in page.locator(f'#x-rows td[data-label="{label}"]').all_inner_texts() if text != "–"]


def wait_for_count(page: Any, text: str) -> None:
    page.wait_for_function("text => document.getElementById('x-count').textContent.startsWith(text)", arg=text)


def test_nothing_is_wider_than_the_window(page: Any) -> None:
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_a_typed_token_shows_its_english_tokens_and_those_lead_back(page: Any) -> None:
    page.get_by_label("Token", exact=True).fill("학교")
    wait_for_count(page, "1 of")
    assert tokens(page) == ["학교"]
    part = page.locator("#x-rows .part").first
    assert part.locator("bdi").inner_text() == "school"
    part.click()
    page.wait_for_function("document.querySelectorAll('#x-rows tr').length > 1")
    assert {"학교", "школа"} <= set(tokens(page))
    assert page.evaluate("document.activeElement.id") == "x-query"


def test_a_token_that_is_not_there_is_said_not_to_be(page: Any) -> None:
    page.get_by_label("Token", exact=True).fill("<img src=x>")
    wait_for_count(page, "No token fits")
    assert page.locator("img").count() == 0


def test_markup_in_names_and_texts_and_tokens_stays_text(page: Any) -> None:
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.title() == f"Report {HOSTILE}"
    page.get_by_label("Token", exact=True).fill(HOSTILE_TOKEN)
    wait_for_count(page, "1 of")
    assert tokens(page) == [HOSTILE_TOKEN]
    shown = page.locator("body").inner_text()
    assert all(name in shown for name in (f"Report {HOSTILE}", f"tiny-en {HOSTILE}", f"학교 {HOSTILE}"))
    assert was_harmless(page)


def test_orders_sort_by_certainty_and_support(page: Any) -> None:
    order = page.locator("#x-sort")
    order.select_option("unsure")
    page.wait_for_function("document.querySelector('[aria-sort=ascending]') !== null")
    found = numbers(page, "similarity")
    assert len(found) > 3
    assert found == sorted(found)
    order.select_option("wide")
    page.wait_for_function("document.querySelector('[aria-sort=descending]') !== null")
    supports = numbers(page, "support")
    assert supports == sorted(supports, reverse=True)


def test_a_click_on_a_head_sorts_and_a_second_turns_it_round(page: Any) -> None:
    if page.viewport_size["width"] < 640:
        pytest.skip("a phone has no heads, but the list of orders")
    head = page.get_by_role("columnheader", name="similarity")
    head.get_by_role("button").click()
    page.wait_for_function("document.querySelector('[aria-sort=ascending]') !== null")
    rising = numbers(page, "similarity")
    head.get_by_role("button").click()
    page.wait_for_function("document.querySelector('[aria-sort=descending]') !== null")
    assert rising == sorted(rising)
    assert numbers(page, "similarity") == sorted(rising, reverse=True)


def test_filters_narrow_by_script_and_kind(page: Any) -> None:
    page.locator("#x-kind").select_option("")
    page.locator("#x-script").select_option("cyrillic")
    page.wait_for_function("!document.querySelector('#x-rows').textContent.includes('학')")
    assert set(page.locator('#x-rows td[data-label="script"]').all_inner_texts()) == {"cyrillic"}
    page.locator("#x-kind").select_option("combined")
    page.wait_for_function("!document.querySelector('#x-rows').textContent.includes('drawn')")
    assert "школа" in tokens(page)


def test_the_switch_turns_the_page_and_its_charts_dark_and_back(page: Any) -> None:
    def paper() -> list[str]:
        asked = "[document.body, document.querySelector('.panel')].map((one) => getComputedStyle(one).backgroundColor)"
        chart = "getComputedStyle(document.querySelector('.sembridge-figure .paper')).fill"
        return [*page.evaluate(asked), page.evaluate(chart)]

    light = paper()
    switch = page.get_by_role("button", name="Dark mode")
    assert switch.get_attribute("aria-pressed") == "false"
    switch.click()
    dark = paper()
    assert all(a != b for a, b in zip(light, dark, strict=True))
    assert switch.get_attribute("aria-pressed") == "true"
    page.reload()
    page.wait_for_selector("#x-rows tr")
    assert paper() == dark  # it is remembered
    switch.click()
    assert paper() == light


def test_the_readers_colour_scheme_is_followed(page: Any) -> None:
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("#theme[aria-pressed=true]")  # the event of the change comes a moment later
    fill = "getComputedStyle(document.querySelector('.sembridge-figure .paper')).fill"
    assert page.evaluate(fill) == page.evaluate("getComputedStyle(document.querySelector('.panel')).backgroundColor")


def test_the_keyboard_reaches_everything(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "x-query"
    page.keyboard.type("학교")
    wait_for_count(page, "1 of")
    unreachable = page.evaluate(
        "[...document.querySelectorAll('a, button, input, select, summary, .scroll')]"
        ".filter((one) => one.tabIndex < 0).length"
    )
    assert unreachable == 0
    summary = page.locator("#results summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert summary.evaluate("one => one.parentElement.open")
