"""Pages in Debian's Chromium, watched: every complaint and every request that leaves its place is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt install chromium, or set CHROMIUM")
WIDTHS = (390, 1280)
TIMEOUT = 180_000  # ms; a busy machine takes its time
HOSTILE = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"
HOSTILE_TOKEN = "</script><script>window.pwned=1</script>"


def was_harmless(page: Any) -> bool:
    """Whether nothing of the hostile texts that the page shows became markup or ran."""
    return page.evaluate("window.pwned === undefined && document.querySelector('img[src=x]') === null") is True


@contextmanager
def started_browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=TIMEOUT)
        yield found
        found.close()


@contextmanager
def watched_page(browser: Any, width: int, *, leaves: Callable[[str], bool]) -> Iterator[Any]:
    """A page of this width; afterwards it must have had no error, no failed answer and no address that `leaves`."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="light")
    context.set_default_timeout(TIMEOUT)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda asked: complaints.append(asked.url) if leaves(asked.url) else None)
    opened.on("response", lambda got: complaints.append(f"{got.status} {got.url}") if got.status >= 400 else None)
    yield opened
    assert complaints == []
    context.close()
