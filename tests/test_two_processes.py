"""Two processes that write to one place at once: the second is told so in one line, and what is there is whole.

The first is a process of its own that stops at a touch of the disk below that place, mostly just before the first name
is given to what it has written, until the second, this one, has ended.
"""

from __future__ import annotations

import shutil
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from commands import Done, sembridge
from processes import start_talking
from test_kill_anywhere import EVENTS, VERBS, Arguments

from sembridge.files.atomic import PARTIAL

FIRST_RENAME, SECOND_RENAME = "os.rename 1", "os.rename 2"
MEANWHILE = "was filled by another process meanwhile, which stays"
# Of VERBS: the touch where the first stops, which of the two is refused, and what it is told.
SAME_OUTPUT: dict[str, tuple[int | str, int, str]] = {
    "transfer": (FIRST_RENAME, 0, MEANWHILE),
    "export": (FIRST_RENAME, 0, MEANWHILE),
    "train": (FIRST_RENAME, 1, "Another training writes"),
    "train, after a checkpoint": (40, 1, "Another training writes"),
    "train, before it has made its folder": (1, 0, "is not empty"),
    "train, before it has locked its folder": (3, 0, "is not empty"),
    "encode": (SECOND_RENAME, 1, "Another process is encoding shard 1/1"),
    "index": (FIRST_RENAME, 1, "is open in another process"),
    "index --add": (FIRST_RENAME, 1, "is open in another process"),
    "index --delete": (FIRST_RENAME, 1, "is open in another process"),
    "reproduce": (FIRST_RENAME, 1, "Another run computes in"),
}


def stopped_at(pipe: Connection, touch: int | str, place: Path, *arguments: Any) -> None:
    """Runs the program, says where it stops, goes on when it is told to, and says how it ended.

    Touches count of what has the name `place`, or begins with it, and of what is going to have it.
    """
    touches: list[str] = []
    places = (str(place), str(place.with_name(f"{PARTIAL}{place.name}")))

    def watch(event: str, values: tuple[Any, ...]) -> None:
        if event in EVENTS and values and str(values[0]).startswith(places):
            touches.append(event)
            if touch in (len(touches), f"{event} {touches.count(event)}"):
                pipe.send(f"{event} {values[0]}")
                pipe.recv()

    sys.addaudithook(watch)
    pipe.send(sembridge(*arguments))


def run_twice(
    place: Path, first: Arguments, second: Arguments, *, touch: int | str = FIRST_RENAME
) -> tuple[Done, Done]:
    """How the first and the second ended, which ran while the first stood still."""
    process, pipe = start_talking(stopped_at, touch, place, *first)
    stopped = pipe.recv()
    assert isinstance(stopped, str), stopped
    later = sembridge(*second)
    pipe.send("go on")
    earlier = pipe.recv()
    process.join()
    return earlier, later


@pytest.mark.parametrize("case", SAME_OUTPUT)
def test_of_two_runs_that_write_one_output_one_is_refused_in_a_line_and_the_other_is_whole(
    case: str, specimens: Path, tmp_path: Path
) -> None:
    (touch, refused, said), verb, place = SAME_OUTPUT[case], VERBS[case.split(",")[0]], tmp_path / "place"
    arguments = verb.command(specimens, place)
    verb.prepare(specimens, place)
    ends = run_twice(place / "out", arguments, arguments, touch=touch)
    assert [end.code for end in ends] == ([1, 0] if refused == 0 else [0, 1]), [end.err for end in ends]
    assert said in ends[refused].line
    found = verb.result(place / "out")
    assert {path.name for path in place.iterdir()} <= {"out", "cache"}
    assert not list(place.rglob(".sembridge.*"))
    verb.prepare(specimens, place)
    assert sembridge(*arguments).code == 0
    assert found
    assert found == verb.result(place / "out")


def test_of_two_that_replace_one_folder_the_last_stays_whole(specimens: Path, tmp_path: Path) -> None:
    verb = VERBS["transfer"]
    arguments = (*verb.command(specimens, tmp_path), "--overwrite")
    assert sembridge(*arguments).code == 0
    expected = verb.result(tmp_path / "out")
    assert [end.code for end in run_twice(tmp_path / "out", arguments, arguments)] == [0, 0]
    assert verb.result(tmp_path / "out") == expected
    assert {path.name for path in tmp_path.iterdir()} == {"out", "cache"}


def test_two_that_share_the_cache_of_a_bridge_do_not_disturb_each_other(specimens: Path, tmp_path: Path) -> None:
    verb, cache = VERBS["transfer"], tmp_path / "cache"
    commands = [
        tuple(tmp_path / name if part == tmp_path / "out" else part for part in verb.command(specimens, tmp_path))
        for name in ("one", "two")
    ]
    ends = run_twice(cache, *commands)
    assert [end.code for end in ends] == [0, 0], [end.err for end in ends]
    assert verb.result(tmp_path / "one") == verb.result(tmp_path / "two")
    assert not list(cache.rglob(".sembridge.*"))


def test_two_evaluations_that_share_a_cache_and_a_run_file_give_the_same(specimens: Path, tmp_path: Path) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run.trec"
    evaluate = (
        "evaluate",
        specimens / "ko",
        "--data",
        specimens / "data",
        "--measure",
        "nDCG@10",
    )
    arguments = (*evaluate, "--cache", cache, "--run", run)
    ends = run_twice(tmp_path, arguments, arguments)
    assert [end.code for end in ends] == [0, 0], [end.err for end in ends]
    written = run.read_text(encoding="utf-8")
    assert not list(tmp_path.rglob(".sembridge.*"))
    shutil.rmtree(cache)
    assert sembridge(*arguments).code == 0
    assert run.read_text(encoding="utf-8") == written
