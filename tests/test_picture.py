"""The README's picture shows what the bundled models give."""

from __future__ import annotations

import importlib.util
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytestmark = pytest.mark.numerics

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "sembridge.svg"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def test_the_picture_is_what_its_script_makes() -> None:
    """But for the last digit, in which processors differ: .02 in a weight is two pixels in a bar."""
    specification = importlib.util.spec_from_file_location("make_picture", ROOT / "benchmarks" / "make_picture.py")
    assert specification is not None
    assert specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    sys.modules["make_picture"] = script  # where dataclasses look up their annotations
    specification.loader.exec_module(script)
    made, kept = script.draw(script.compute()), PICTURE.read_text(encoding="utf-8")
    assert NUMBER.sub("#", made) == NUMBER.sub("#", kept)
    assert [float(n) for n in NUMBER.findall(made)] == pytest.approx([float(n) for n in NUMBER.findall(kept)], abs=2)
    labels = [[float(n) for n in re.findall(r">(\d\.\d\d)<", text)] for text in (made, kept)]
    assert len(labels[0]) >= 10
    assert labels[0] == pytest.approx(labels[1], abs=0.02)


def test_the_picture_is_small_and_asks_for_nothing() -> None:
    text = PICTURE.read_text(encoding="utf-8")
    assert len(text.encode()) < 40_000
    assert not re.search(r"(href|src|url\(|@import|<script|<image)", text)
    assert "prefers-color-scheme:dark" in text
    assert "학교" in "".join(ElementTree.fromstring(text).itertext())


def test_the_readme_shows_it() -> None:
    assert "](docs/images/sembridge.svg)" in (ROOT / "README.md").read_text(encoding="utf-8")
