"""A run that is killed at any touch of the disk, started again, ends with the bytes of a run that nobody disturbed.

The process kills itself (SIGKILL: nothing is cleaned up) when it opens, renames or removes its n-th file at the place
of its output, so every run of the test kills at the same moments. By default three moments a verb, spread over the
run; `SEMBRIDGE_KILLS=20` tries twenty.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import sembridge
from processes import exit_code, kill_this_process

N_KILLS = int(os.environ.get("SEMBRIDGE_KILLS", "3"))
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}
CHANGING = ("seconds", "created", "versions")  # keys of JSON files that tell of a run, not of its result

Arguments = tuple[Any, ...]


def touch_counted(place: Path, kill_at: int | None, count: Path | None, *arguments: Any) -> None:
    """Runs the program and dies at the n-th touch of the disk below `place`; without n, counts the touches."""
    touches = 0

    def watch(event: str, values: tuple[Any, ...]) -> None:
        nonlocal touches
        if event not in EVENTS or not values or not str(values[0]).startswith(str(place)):
            return
        touches += 1
        if touches == kill_at:
            kill_this_process()

    sys.addaudithook(watch)
    done = sembridge(*arguments)
    if count is not None:
        count.write_text(f"{done.code} {touches}", encoding="utf-8")


def bytes_of(folder: Path) -> dict[str, str]:
    """Checksum of every file, JSON without what tells of the run; names that begin with a dot are no result."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            content = path.read_bytes()
            if path.suffix == ".json":
                content = json.dumps(stripped(json.loads(content))).encode()
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: stripped(inner) for key, inner in value.items() if key not in CHANGING}
    return [stripped(inner) for inner in value] if isinstance(value, list) else value


def result_of(verb: str, folder: Path) -> Any:
    """What must be the same: of an index its answers, as its segments have names by chance; of all others the bytes."""
    if verb != "index":
        return bytes_of(folder)
    done = sembridge("search", folder, "학교", "дом река", "--json")
    assert done.code == 0, done.err
    return done.out, len(list((folder / "exact" / "segments").iterdir()))


def transfer_command(world: Path, out: Path) -> Arguments:
    return ("transfer", world / "source", world / "target", out, "--bridge", world / "bridge")


def encode_command(world: Path, out: Path) -> Arguments:
    return ("encode", world / "ko", world / "data", "--out", out, "--shard-size", "2")


def index_command(world: Path, out: Path) -> Arguments:
    return ("index", world / "ko", world / "data", "--out", out, "--engine", "exact")


def export_command(world: Path, out: Path) -> Arguments:
    return ("export", "lucene", world / "ko", world / "data", out)


COMMANDS: dict[str, Callable[[Path, Path], Arguments]] = {
    "transfer": transfer_command,
    "encode": encode_command,
    "index": index_command,
    "export": export_command,
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_killed_run_started_again_ends_as_an_undisturbed_one(
    verb: str,
    specimens: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    place = tmp_path / "place"
    place.mkdir()
    arguments = COMMANDS[verb](specimens, place / "out")
    assert exit_code(touch_counted, place, None, tmp_path / "count", *arguments) == 0
    code, touches = map(int, (tmp_path / "count").read_text(encoding="utf-8").split())
    assert code == 0
    expected = result_of(verb, place / "out")
    assert expected
    for n in range(N_KILLS):
        shutil.rmtree(place)
        place.mkdir()
        kill_at = 1 + (touches - 1) * (2 * n + 1) // (2 * N_KILLS)
        assert exit_code(touch_counted, place, kill_at, None, *arguments) == -signal.SIGKILL, (kill_at, touches)
        if not (place / "out").is_dir() or verb in ("encode", "index"):  # the others had come to their end
            done = sembridge(*arguments)
            finished = "is finished" in done.err  # the index was complete when the run died
            assert done.code == 0 or finished, (kill_at, done.err)
        assert result_of(verb, place / "out") == expected, kill_at
        left = {path.name for path in place.rglob(".sembridge.*")}
        assert not left, (kill_at, left)
