"""A model card in a browser, as a reader of Markdown that lets HTML through would show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import HOSTILE, needs_chromium, was_harmless, watched_page

from sembridge.encoders.model_card import CardContent, Score, render_model_card, with_scores, with_training

markdown = pytest.importorskip("markdown_it", reason="needs markdown-it-py: pip install markdown-it-py")
pytestmark = needs_chromium
NAMES = {
    "name": HOSTILE,
    "backticks": f"a ` {HOSTILE} `` b",
    "table": f"a | {HOSTILE} | b",
    "lines": f"a\n\n{HOSTILE}\n# b",
    "link": "[a](javascript:window.pwned=1)",
}


def hostile_card(name: str) -> str:
    content = CardContent(
        title=name, language=name, license="other", license_name=name, source_encoder=name, target_tokenizer=name,
        bridge=name, method=name, n_target=1, counts={"exact": 1}, recipe={"target_text": name},
        versions={"torch": "2"}, tuned_on=name,
    )  # fmt: skip
    trained = with_training(render_model_card(content), {"data": name, "dev": name}, {"loss": 0.5})
    scored = with_scores(trained, [Score(name, name, "nDCG@10", 0.5)], {name: f"Better than {name}."})
    return with_scores(scored, [Score(name, name, "nDCG@10", 0.75)], {name: f"Best of {name}."})


def test_a_name_with_markup_is_shown_as_it_is(browser: Any, tmp_path: Path) -> None:
    render = markdown.MarkdownIt("commonmark", {"html": True}).enable("table").render
    path = tmp_path / "card.html"
    with watched_page(browser, 1280, leaves=lambda asked: not asked.startswith("file:")) as page:
        for name in NAMES.values():
            body = hostile_card(name).split("\n---\n", 1)[1]
            path.write_text(f"<!doctype html><meta charset=utf-8>{render(body)}", encoding="utf-8")
            page.goto(path.as_uri())
            shown, line = page.locator("body").inner_text(), " ".join(name.split())
            assert page.locator("h1").inner_text() == line
            assert page.locator("h1").count() == 1
            assert page.locator("td", has_text=line).count() >= 7
            assert f"Best of {line}." in shown
            assert f"Better than {line}." not in shown
            assert page.locator("a[href^=javascript]").count() == 0
            assert was_harmless(page)
