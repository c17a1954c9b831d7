"""Every option of every verb, given nonsense: usage or one line, never a traceback, and nothing written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from commands import sembridge

from sembridge.cli import app

NONSENSE = ("", "nonsense\u0000", "-1", "1e999", "a" * 300)


def verbs(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it, those of groups such as `export` included."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from verbs(inner, (*words, name))
    if not hasattr(command, "commands"):
        yield words, command


VERBS = dict(verbs(typer.main.get_command(app)))
OPTIONS = [
    (words, max(parameter.opts, key=len))
    for words, command in VERBS.items()
    for parameter in command.params
    if any(option.startswith("--") for option in parameter.opts) and not parameter.is_flag and parameter.name != "help"
]


def places(command: Any) -> list[str]:
    """Something for every argument, places where nothing is; the demo has none, and no language of this name."""
    given = ["./nowhere" for parameter in command.params if parameter.param_type_name == "argument"]
    return given or ["--language", "nowhere"]


def name_of(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(("words", "option"), OPTIONS, ids=name_of)
def test_nonsense_for_an_option_is_refused(
    words: tuple[str, ...], option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    needed = ["--out", "./out"] if any("--out" in p.opts for p in VERBS[words].params) and option != "--out" else []
    for value in NONSENSE:
        done = sembridge(*words, *places(VERBS[words]), *needed, f"{option}={value}")
        assert done.code in (1, 2), (value, done.code)
        if done.code == 1:
            assert len(done.err.splitlines()) == 1, value
    assert list(tmp_path.iterdir()) == []


def test_every_verb_but_the_doctor_has_options() -> None:
    assert {words[0] for words, _ in OPTIONS} == {words[0] for words in VERBS} - {"doctor"}  # it has switches only
    assert len(OPTIONS) > 100
