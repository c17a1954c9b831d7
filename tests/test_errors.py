"""Laws of refusals: one sentence for a package that is not installed, and one place that says it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from project import ROOT

from sembridge.errors import MissingExtraError, SembridgeError, require

SOURCES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "src" / "sembridge").rglob("*.py")}


def test_an_installed_package_is_no_refusal() -> None:
    require("train", "json", "os.path", what="Everything")


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "colorsys", None)
    with pytest.raises(MissingExtraError) as refused:
        require("demo", "json", "colorsys", what="The page")
    assert str(refused.value) == (
        'The page needs the package colorsys, which is not installed: pip install "sembridge[demo]"'
    )
    assert isinstance(refused.value, SembridgeError)


def test_the_package_that_is_missing_is_named_and_not_the_one_that_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asks.py").write_text("import nowhere_to_be_found.part")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match="needs the package nowhere_to_be_found, which is not installed"):
        require("demo", "asks", what="The page")


def test_a_package_that_is_broken_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("from json import no_such_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"cannot be imported \(cannot import name 'no_such_name' from 'json'"):
        require("demo", "broken", what="The page")


def test_every_extra_that_is_asked_for_can_be_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {extra for text in SOURCES.values() for extra in re.findall(r'require\("(\w+)"', text)}
    assert asked == set(project["optional-dependencies"]) - {"all", "seismic"}  # whose files need no package to write


def test_no_other_place_says_what_to_install() -> None:
    install = re.compile(r"pip install \\?\"?sembridge\[")
    assert {path.name for path, text in SOURCES.items() if install.search(text)} == {"errors.py"}


def test_a_message_is_one_line_and_sends_a_terminal_no_commands() -> None:
    message = str(SembridgeError("id 'a\x1b[2Jb\x85c\u2028d\ne\x1cf' of 학교"))
    assert message == r"id 'a\x1b[2Jb\x85c\u2028d\ne\x1cf' of 학교"
    assert len(message.splitlines()) == 1
