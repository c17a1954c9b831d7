"""Laws of the output folder: it appears whole or not at all, and an older one stays until the new one is whole."""

from __future__ import annotations

import ast
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from project import ROOT
from safetensors import SafetensorError

from sembridge.errors import SembridgeError
from sembridge.files.atomic import (
    PARTIAL,
    STALE_SECONDS,
    check_output_folder,
    remove_stale,
    replacing,
    write_folder,
)


def write_two(folder: Path) -> None:
    (folder / "a.txt").write_text("new a")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("new b")


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def failing(error: BaseException) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_two(folder)
        raise error

    return write


def refusal(function, *args, **kwargs) -> str:
    with pytest.raises(SembridgeError) as refused:
        function(*args, **kwargs)
    assert "\n" not in str(refused.value)
    return str(refused.value)


NEW = {"a.txt": "new a", "sub/b.txt": "new b"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    return folder


# --- written whole -------------------------------------------------------------------------------------------------


def test_a_new_folder_holds_what_was_written_and_nothing_stays_beside(tmp_path: Path) -> None:
    assert write_folder(tmp_path / "model", write_two) == tmp_path / "model"
    assert contents(tmp_path) == {f"model/{name}": text for name, text in NEW.items()}


def test_missing_parents_are_made(tmp_path: Path) -> None:
    write_folder(tmp_path / "x" / "y" / "model", write_two)
    assert contents(tmp_path / "x" / "y" / "model") == NEW


def test_an_empty_folder_is_filled_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write_folder(tmp_path / "model", write_two)
    assert contents(tmp_path / "model") == NEW


def test_overwrite_leaves_nothing_of_the_old_folder(old: Path) -> None:
    write_folder(old, write_two, overwrite=True)
    assert contents(old) == NEW
    assert os.listdir(old.parent) == ["model"]


def test_the_folder_can_be_read_by_others(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", write_two)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_the_current_folder_can_be_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_folder(Path("."), write_two)
    assert contents(tmp_path / "here") == NEW
    assert os.listdir(tmp_path) == ["here"]


def test_the_old_folder_is_complete_while_the_new_one_is_written(old: Path) -> None:
    def write(folder: Path) -> None:
        assert contents(old) == {"old.txt": "old"}
        assert folder.parent == old.parent  # a rename within one file system
        write_two(folder)

    write_folder(old, write, overwrite=True)


# --- or not at all -------------------------------------------------------------------------------------------------


FAILURES = [ValueError("a fault"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_failure_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises((type(error), SembridgeError)):
        write_folder(tmp_path / "x" / "y" / "model", failing(error))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_failure_keeps_the_old_folder(old: Path, error: BaseException) -> None:
    with pytest.raises((type(error), SembridgeError)):
        write_folder(old, failing(error), overwrite=True)
    assert contents(old.parent) == {"model/old.txt": "old"}
    assert os.listdir(old.parent) == ["model"]


@pytest.mark.parametrize("interrupted", ["before", "after"])
@pytest.mark.parametrize("which", [1, 2])
def test_an_interruption_between_the_renames_leaves_one_whole_folder(
    old: Path, monkeypatch: pytest.MonkeyPatch, which: int, interrupted: str
) -> None:
    """The first rename moves the old folder aside, the second moves the new one to its place."""
    rename, calls = Path.rename, iter(range(1, 10))

    def interrupt(self: Path, target: Path) -> Path:
        hit = next(calls) == which
        if hit and interrupted == "before":
            raise KeyboardInterrupt
        result = rename(self, target)
        if hit:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_folder(old, write_two, overwrite=True)
    is_done = (which, interrupted) == (2, "after")
    assert contents(old) == (NEW if is_done else {"old.txt": "old"})
    assert os.listdir(old.parent) == ["model"]


def test_a_folder_that_another_process_uses_is_not_taken_away(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (tmp_path / "x" / "other.txt").write_text("of another process")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "x" / "y" / "model", write)
    assert contents(tmp_path) == {"x/other.txt": "of another process"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device"),
        (OSError(errno.EFBIG, "File too large"), "file too large"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only file system"),
        # The Rust libraries below safetensors and tokenizers wrap the system's error in their own classes.
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "os error 28"),
        (Exception("No space left on device (os error 28)"), "os error 28"),
    ],
)
def test_a_full_disk_is_one_clear_line(tmp_path: Path, error: Exception, reason: str) -> None:
    message = refusal(write_folder, tmp_path / "model", failing(error))
    assert reason in message
    assert message.endswith("Nothing was left behind.")


def test_a_fault_of_the_program_is_not_dressed_up_as_the_disk_s(tmp_path: Path) -> None:
    with pytest.raises(SafetensorError, match="shared memory"):
        write_folder(tmp_path / "model", failing(SafetensorError("tensors share shared memory")))


# --- refused before any work ---------------------------------------------------------------------------------------


@pytest.fixture
def refused_places(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "full")
    return {
        "not empty": tmp_path / "full",
        "not a folder": tmp_path / "full" / "file",
        "is not a folder you can write to": tmp_path / "full" / "file" / "x" / "model",
        "exists and is not a folder": tmp_path / "link",
        "too long": tmp_path / ("x" * 300),
    }


def test_places_that_cannot_be_written_are_refused_before_writing(refused_places: dict[str, Path]) -> None:
    for hint, place in refused_places.items():
        assert hint in refusal(check_output_folder, place, overwrite=False)
        assert hint in refusal(write_folder, place, failing(AssertionError("wrote")))


def test_overwrite_replaces_neither_a_file_nor_a_link(refused_places: dict[str, Path]) -> None:
    for hint in ("not a folder", "exists and is not a folder"):
        refusal(write_folder, refused_places[hint], write_two, overwrite=True)
    assert refused_places["not a folder"].read_text() == "kept"


def test_the_root_of_the_file_system_is_refused() -> None:
    assert "/" in refusal(check_output_folder, Path("/"), overwrite=True)


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "unwritable"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("root may write everywhere")
    yield folder
    folder.chmod(0o755)


def test_a_parent_without_write_permission_is_refused(unwritable: Path) -> None:
    assert "can write to" in refusal(check_output_folder, unwritable / "model", overwrite=False)


# --- the only write-then-rename ------------------------------------------------------------------------------------


def test_a_file_takes_its_place_complete(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with replacing(tmp_path / "file") as partial:
        partial.write_text("new")
        assert (tmp_path / "file").read_text() == "old"
    assert contents(tmp_path) == {"file": "new"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("no")])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_beside(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "file").write_text("old")

    def write_half() -> None:
        with replacing(tmp_path / "file") as partial:
            partial.write_text("ne")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert contents(tmp_path) == {"file": "old"}


def test_what_a_killed_run_left_goes_after_a_day(tmp_path: Path) -> None:
    for name, age in (("new", 0), ("old", 2 * STALE_SECONDS)):
        (tmp_path / f"{PARTIAL}{name}").write_text("half")
        os.utime(tmp_path / f"{PARTIAL}{name}", (time.time() - age,) * 2)
    (tmp_path / "whole").write_text("whole")
    remove_stale(tmp_path)
    assert contents(tmp_path) == {f"{PARTIAL}new": "half", "whole": "whole"}


def test_no_other_module_renames_what_it_wrote() -> None:
    """A rename is `path.replace(other)` or `path.rename(other)`; that of a text has two arguments."""

    def renames(path: Path) -> bool:
        calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
        return any(
            isinstance(call.func, ast.Attribute)
            and call.func.attr in ("replace", "rename")
            and len(call.args) == 1
            and not call.keywords
            for call in calls
        )

    package = ROOT / "src" / "sembridge"
    assert {str(path.relative_to(package)) for path in package.rglob("*.py") if renames(path)} == {"files/atomic.py"}
