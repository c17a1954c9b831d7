"""A run that is killed at any touch of the disk, started again, ends with the bytes of a run that nobody disturbed.

The process kills itself (SIGKILL: nothing is cleaned up) when it opens, renames or removes its n-th file at the place
of its output, so every run of the test kills at the same moments. By default two moments a verb, spread over the
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import sembridge
from processes import exit_code, kill_this_process
from specimens import json_lines

from sembridge.files.atomic import PARTIAL, replacing

N_KILLS = int(os.environ.get("SEMBRIDGE_KILLS", "2"))
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}
CHANGING = ("seconds", "created", "versions")  # keys of JSON files that tell of a run, not of its result
ITS_END = ("is finished", "is not empty")  # what a verb says that is asked for what it has made

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
    assert done.code == 0, done.err
    if count is not None:
        count.write_text(str(touches), encoding="utf-8")


def bytes_of(folder: Path) -> dict[str, str]:
    """Checksum of every file, JSON without what tells of the run; names that begin with a dot are no result."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            content = path.read_bytes()
            if path.suffix in (".json", ".jsonl"):
                lines = [content] if path.suffix == ".json" else content.splitlines()
                content = json.dumps([stripped(json.loads(line)) for line in lines]).encode()
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: stripped(inner) for key, inner in value.items() if key not in CHANGING}
    return [stripped(inner) for inner in value] if isinstance(value, list) else value


def answers_of(index: Path) -> Any:
    """What must be the same of an index: its answers, manifest and files; its segments have names by chance."""
    done = sembridge("search", index, "학교", "дом река", "나무", "--json")
    assert done.code == 0, done.err
    names = sorted(str(path.relative_to(index)) for path in index.rglob("*"))
    segments = [name for name in names if name.startswith("exact/segments/")]
    manifest = json.loads((index / "index.json").read_text(encoding="utf-8"))
    return done.out, manifest, [name for name in names if name not in segments], len(segments)


def grid_file(world: Path, place: Path) -> Path:
    settings = {
        "source_encoders": [str(world / "source")],
        "data": str(world),
        "languages": {"ko": {"target_tokenizer": str(world / "target"), "test_sets": ["data"]}},
        "methods": {"mean": {"method": "mean"}},
        "references": ["bm25-tokens"],
        "measures": ["nDCG@10"],
    }
    path = place.parent / "grid.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def more_documents(place: Path) -> Path:
    """A corpus to add: one document that the index has under other words, and two new ones."""
    path = place.parent / "more.jsonl"
    texts = {"d2": "школа", "e1": "나무 книга", "e2": "学校 дом"}
    path.write_text(json_lines([{"_id": id_, "text": text} for id_, text in texts.items()]), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Verb:
    """A command over the specimens that writes `out`, below `place`.

    Attributes:
        result: what must be the same of `out`.
        begun: whether there is something at `out` before the command, and what: the index of the specimens.
    """

    command: Callable[[Path, Path], Arguments]
    result: Callable[[Path], Any] = bytes_of
    begun: bool = False

    def prepare(self, world: Path, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if self.begun:
            shutil.copytree(world / "index", place / "out")


VERBS = {
    "transfer": Verb(
        lambda world, place: (
            "transfer", world / "source", world / "target", place / "out", "--bridge", world / "bridge",
            "--cache", place / "cache",
        )
    ),
    "train": Verb(
        lambda world, place: (
            "train", world / "ko", world / "pairs.jsonl", place / "out", "--batch-size", "2", "--steps", "4",
            "--eval-steps", "1", "--bf16", "no", "--collapse", "warn",
        )
    ),
    "encode": Verb(
        lambda world, place: ("encode", world / "ko", world / "data", "--out", place / "out", "--shard-size", "2")
    ),
    "index": Verb(
        lambda world, place: (
            "index", world / "ko", world / "data", "--out", place / "out", "--engine", "exact", "--bulk-size", "2",
        ),
        answers_of,
    ),
    "index --add": Verb(
        lambda world, place: (
            "index", world / "ko", more_documents(place), "--out", place / "out", "--add", "--bulk-size", "2",
        ),
        answers_of,
        begun=True,
    ),
    "index --delete": Verb(
        lambda world, place: ("index", "--out", place / "out", "--delete", "d2", "--delete", "d4"),
        answers_of,
        begun=True,
    ),
    "export": Verb(lambda world, place: ("export", "lucene", world / "ko", world / "data", place / "out")),
    "reproduce": Verb(lambda world, place: ("reproduce", grid_file(world, place), "--out", place / "out")),
}  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
def test_a_killed_run_started_again_ends_as_an_undisturbed_one(name: str, specimens: Path, tmp_path: Path) -> None:
    verb, place = VERBS[name], tmp_path / "place"
    arguments = verb.command(specimens, place)
    verb.prepare(specimens, place)
    assert exit_code(touch_counted, place, None, tmp_path / "count", *arguments) == 0
    touches = int((tmp_path / "count").read_text(encoding="utf-8"))
    expected = verb.result(place / "out")
    assert expected
    for n in range(N_KILLS):
        verb.prepare(specimens, place)
        kill_at = 1 + (touches - 1) * (2 * n + 1) // (2 * N_KILLS)
        assert exit_code(touch_counted, place, kill_at, None, *arguments) == -signal.SIGKILL, (kill_at, touches)
        run_again(arguments, (kill_at, touches))
        assert verb.result(place / "out") == expected, (kill_at, touches)
        left = {path.name for path in place.rglob(".sembridge.*")} | {path.name for path in place.iterdir()}
        assert left <= {"out", "cache"}, (kill_at, touches)


def run_again(arguments: Arguments, moment: tuple[int, int]) -> None:
    """Starts the same command, with --resume where it asks for that; a run may have died after all its work."""
    done = sembridge(*arguments)
    if "continue with --resume" in done.err:
        done = sembridge(*arguments, "--resume")
    assert done.code == 0 or any(end in done.err for end in ITS_END), (moment, done.err)


def test_an_index_that_was_killed_before_its_first_manifest_was_whole_is_built(specimens: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".lock").touch()
    half = write_half_a_file(out / "index.json")
    done = sembridge("index", specimens / "ko", specimens / "data", "--out", out, "--engine", "exact")
    assert (done.code, half.exists()) == (0, False), done.err
    half.touch()
    (tmp_path / "out" / "thesis.txt").touch()
    (tmp_path / "out" / "index.json").unlink()
    refused = sembridge("index", specimens / "ko", specimens / "data", "--out", out, "--engine", "exact")
    assert "is not empty" in refused.line


def write_half_a_file(path: Path) -> Path:
    """What a process that is no more has left of `path`."""
    assert exit_code(_die_while_writing, path) == -signal.SIGKILL
    (half,) = path.parent.glob(f"{PARTIAL}*")
    return half


def _die_while_writing(path: Path) -> None:
    with replacing(path) as partial:
        partial.write_text('{"format": ', encoding="utf-8")
        kill_this_process()
