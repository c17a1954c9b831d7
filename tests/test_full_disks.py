"""A disk that is full, or that may only be read, at every verb that writes: a line that says so, and nothing half.

The disk is a small tmpfs, which root alone may mount; elsewhere these tests are skipped. What is on it leaves a quarter
of the room that the verb needs; `SEMBRIDGE_ROOMS=6` tries six sizes of room, up to half.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import sembridge
from test_kill_anywhere import VERBS, Arguments, run_again

N_ROOMS = int(os.environ.get("SEMBRIDGE_ROOMS", "1"))
SAID = ("no space left on device", "read-only file system", "you can write to", "could not be written", "os error 28")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def remount(disk: Path, way: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{way}", disk], check=True)


def used(disk: Path) -> int:
    facts = os.statvfs(disk)
    return (facts.f_blocks - facts.f_bfree) * facts.f_bsize


def fill(disk: Path, room: int) -> Path:
    """A file that leaves `room` bytes."""
    facts, path = os.statvfs(disk), disk / "other"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, facts.f_bavail * facts.f_bsize - room)
    return path


def names(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def refused(arguments: Arguments) -> None:
    done = sembridge(*arguments)
    assert done.code == 1, done
    *_, line = done.err.splitlines()
    assert line.startswith("sembridge: "), done.err
    assert any(said in line.lower() for said in SAID), line
    assert done.out == ""


@pytest.mark.parametrize("name", VERBS)
def test_a_full_disk_is_said_and_with_room_the_same_command_ends_as_on_an_empty_one(
    name: str, specimens: Path, disk: Path
) -> None:
    verb, place = VERBS[name], disk / "place"
    arguments = verb.command(specimens, place)
    verb.prepare(specimens, place)
    before = used(disk)
    assert sembridge(*arguments).code == 0
    expected, needed = verb.result(place / "out"), used(disk) - before
    if (
        name == "reproduce"
    ):  # nine tenths are tables and figures, and one that cannot be drawn is said and fails nothing
        needed //= 10
    for n in range(N_ROOMS):
        verb.prepare(specimens, place)
        other = fill(disk, max(0, needed) * (2 * n + 1) // (4 * N_ROOMS))
        refused(arguments)
        assert not [left for left in names(place) if ".sembridge." in left]
        other.unlink()
        run_again(arguments, (n, N_ROOMS))
        assert verb.result(place / "out") == expected


@pytest.mark.parametrize("name", VERBS)
def test_a_disk_that_may_only_be_read_is_said_and_stays_as_it_is(name: str, specimens: Path, disk: Path) -> None:
    verb, place = VERBS[name], disk / "place"
    arguments = verb.command(specimens, place)
    verb.prepare(specimens, place)
    before = names(disk)
    remount(disk, "ro")
    refused(arguments)
    assert names(disk) == before
    remount(disk, "rw")


def test_a_cache_on_a_full_disk_costs_an_evaluation_nothing(
    specimens: Path, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = ("evaluate", specimens / "ko", "--data", specimens / "data", "--measure", "nDCG@10", "--format", "json")
    expected = sembridge(*command, "--cache", disk / "cache")
    assert expected.code == 0
    shutil.rmtree(disk / "cache")
    fill(disk, 0)
    done = sembridge(*command, "--cache", disk / "cache")
    assert done.code == 0, done.err
    assert "Encoded texts are not kept" in caplog.text
    run = sembridge(*command, "--run", disk / "run.trec")
    assert run.code == 1
    assert "no space left on device" in run.err
    assert not [left for left in names(disk) if ".sembridge." in left or "run.trec" in left]
