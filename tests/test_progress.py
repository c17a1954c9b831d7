"""Laws of `sembridge.files.progress`: nothing before half a minute, then a line each, with rate and time left."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from sembridge.files.progress import EVERY_SECONDS, Progress, duration, watched


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(batch: int, seconds: float, n_batches: int, *, total: int | None, done: int = 0) -> list[str]:
    """What is said of `n_batches`, each of so many texts and seconds."""
    said, clock = io.StringIO(), Clock()
    with Progress("vectors", total=total, done=done, stream=said, clock=clock) as progress:
        for _ in range(n_batches):
            clock.now += seconds
            progress.advance(batch)
    return said.getvalue().splitlines()


def test_a_short_loop_says_nothing() -> None:
    assert lines(100, EVERY_SECONDS / 4, 3, total=300) == []


def test_a_long_one_says_every_half_minute_how_far_it_is_and_what_is_left() -> None:
    assert lines(100, 10, 8, total=800) == [
        "vectors: 300 of 800 texts (38%), 10 a second, 50 s left",
        "vectors: 600 of 800 texts (75%), 10 a second, 20 s left",
        "vectors: 800 texts in 1 min 20 s",
    ]


def test_where_nobody_knows_the_total_nothing_is_left() -> None:
    assert lines(1, 40, 1, total=None)[0] == "vectors: 1 texts, 1.5 a minute"


def test_what_was_done_before_does_not_count_for_the_rate() -> None:
    assert lines(60, 30, 1, total=1120, done=1000)[0] == "vectors: 1,060 of 1,120 texts (95%), 2.0 a second, 30 s left"


def test_a_loop_that_fails_does_not_say_that_it_is_done() -> None:
    said, clock = io.StringIO(), Clock()
    with pytest.raises(KeyboardInterrupt), Progress("vectors", stream=said, clock=clock) as progress:  # noqa: PT012
        clock.now += 31
        progress.advance(7)
        raise KeyboardInterrupt
    assert said.getvalue().splitlines() == ["vectors: 7 texts, 13.5 a minute"]


def test_a_note_ends_the_line() -> None:
    said, clock = io.StringIO(), Clock()
    with Progress("training", total=10, unit="steps", stream=said, clock=clock) as progress:
        progress.note = "loss 0.5"
        clock.now += 30
        progress.reach(5)
    assert said.getvalue().startswith("training: 5 of 10 steps (50%), 10.0 a minute, 30 s left, loss 0.5\n")


def test_on_a_terminal_it_is_a_bar_that_goes_away_and_unshown_it_is_nothing() -> None:
    terminal = Terminal()
    with Progress("vectors", total=2, stream=terminal) as progress:
        progress.advance(2)
    assert "vectors" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()
    clock, silent = Clock(), io.StringIO()
    with Progress("vectors", shown=False, stream=silent, clock=clock) as progress:
        clock.now += 100
        progress.advance()
    assert silent.getvalue() == ""


def test_items_pass_through_unchanged() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)

    assert list(watched(numbers(), "numbers", unit="numbers", shown=True)) == [0, 1, 2]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (114, "1 min 54 s"), (7500, "2 h 5 min")])
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text
