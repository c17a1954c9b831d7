"""What surrounds a run: terminals without Korean, disks that refuse, broken cards, names that mean another thing."""

from __future__ import annotations

import errno
import io
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from sembridge.cli import program
from sembridge.cli.printing import print_json, print_table
from sembridge.encoders.model_card import read_card
from sembridge.encoders.names import lasting_name
from sembridge.errors import SembridgeError
from sembridge.files.atomic import machine_failure
from sembridge.files.digests import file_digest, folder_digest

# --- terminals -----------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """terminal(encoding, asked_for): stdout in an encoding, set up by the program; `.text()` is what was printed."""

    def make(encoding: str, *, asked_for: bool) -> io.TextIOWrapper:
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.delenv("PYTHONIOENCODING", raising=False)
        if asked_for:
            monkeypatch.setenv("PYTHONIOENCODING", encoding)
        program._print_any_text()
        return stream

    return make


def printed(stream: io.TextIOWrapper) -> bytes:
    stream.flush()
    return stream.buffer.getvalue()  # type: ignore[attr-defined]


def test_ascii_that_nobody_asked_for_prints_utf8(terminal: Any) -> None:
    stream = terminal("ascii", asked_for=False)
    print_table(("token", "made of"), [("학교", "school 0.9")])
    assert "학교" in printed(stream).decode()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1251"])
def test_what_an_encoding_cannot_print_is_replaced(terminal: Any, encoding: str) -> None:
    stream = terminal(encoding, asked_for=True)
    print_table(("token", "made of"), [("학교", "school 0.9"), ("\ud83d", "half a pair")])
    text = printed(stream).decode(encoding)
    assert "??" in text
    assert "school 0.9" in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_loses_nothing_in_any_encoding(terminal: Any, encoding: str) -> None:
    stream = terminal(encoding, asked_for=True)
    print_json({"학교": "дом \U0001f600"})
    text = printed(stream).decode(encoding)
    assert json.loads(text) == {"학교": "дом \U0001f600"}
    assert ("학교" in text) == (encoding == "utf-8")


def test_arguments_of_a_locale_without_letters_are_read_as_utf8() -> None:
    given = ["explain", "학교".encode().decode("ascii", "surrogateescape"), "дом"]
    assert program._as_utf8(given) == ["explain", "학교", "дом"]


# --- disks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOSPC])
def test_what_the_machine_refuses_is_one_line_with_path_and_remedy(
    code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program._report(OSError(code, os.strerror(code), "/data/index/.lock")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sembridge: /data/index/.lock: ")
    assert "another place" in line


def test_a_fault_of_the_program_stays_one() -> None:
    assert machine_failure(FileNotFoundError(errno.ENOENT, "gone", "x")) is None
    assert machine_failure(sqlite3.OperationalError("no such table")) is None
    with pytest.raises(ZeroDivisionError):
        program._report(ZeroDivisionError())


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_index_that_cannot_be_locked_says_what_to_do(tmp_path: Path) -> None:
    from sembridge.deployment.search.indexing import acquired

    tmp_path.chmod(0o555)
    try:
        with pytest.raises(SembridgeError, match=r"cannot be written \(permission denied\), .* --engine exact"):
            acquired(tmp_path)
    finally:
        tmp_path.chmod(0o755)


def test_a_lock_in_a_folder_that_is_a_file_says_what_to_do(tmp_path: Path) -> None:
    """For root too: nobody makes a lock below a file."""
    from sembridge.deployment.search.indexing import acquired

    (tmp_path / "index").write_text("")
    with pytest.raises(SembridgeError, match=r"Index .*index cannot be written \(.*\), .* --engine exact"):
        acquired(tmp_path / "index")


# --- cards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"---\nlanguage: [ko\n---\n", b"---\n- a list\n---\n", b"---\nlicense: \xff\n---\n", b"---\na: b: c\n---\n"],
    ids=["unclosed", "list", "latin", "two colons"],
)
def test_a_card_with_a_broken_front_matter_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "README.md").write_bytes(content)
    with pytest.raises(SembridgeError, match=r"The model card .*README\.md cannot be read \(.+\); mend") as refused:
        read_card(tmp_path / "README.md")
    assert "\n" not in str(refused.value)


def test_a_card_without_front_matter_is_a_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Mine\n")
    assert read_card(tmp_path / "README.md") == "# Mine\n"


# --- names ---------------------------------------------------------------------------------------------------------


def test_a_folder_keeps_its_name_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "mini" / "splade-en").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert lasting_name("source") == lasting_name("./source/") == str(tmp_path / "source")
    assert lasting_name("mini/splade-en") == "mini/splade-en"  # bundled, whatever lies here
    assert lasting_name("naver/splade-v3") == "naver/splade-v3"


def test_a_digest_is_that_of_names_and_contents(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x.json").write_text("one")
        (tmp_path / name / ".cache").write_text(name)
    assert folder_digest(tmp_path / "a") == folder_digest(tmp_path / "b")
    before = file_digest(tmp_path / "b" / "sub" / "x.json")
    (tmp_path / "b" / "sub" / "x.json").write_text("other")
    assert file_digest(tmp_path / "b" / "sub" / "x.json") != before
    assert folder_digest(tmp_path / "a") != folder_digest(tmp_path / "b")
    (tmp_path / "a" / "sub" / "x.json").rename(tmp_path / "a" / "sub" / "y.json")
    assert folder_digest(tmp_path / "a", counts=lambda path: path.suffix == ".none") == folder_digest(tmp_path / "none")
