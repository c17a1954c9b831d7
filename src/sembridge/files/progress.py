"""How far a long loop is, on stderr: a bar on a terminal, a line every half minute elsewhere (logs, pipes, CI)."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self, TextIO, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

EVERY_SECONDS = 30.0


class Progress:
    """Told how far a loop is, says so; as a context it also says when the loop ended, where it had said something.

    Args:
        name: what is done, such as "bridge vectors".
        total: how many there are; None where nobody knows.
        unit: what is counted, in the plural.
        done: how many were done before.
        shown: False says nothing at all.
        stream: sys.stderr by default.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        *,
        total: int | None = None,
        unit: str = "texts",
        done: int = 0,
        shown: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.total, self.unit, self.done, self.note = name, total, unit, done, ""
        self._stream = sys.stderr if stream is None else stream
        self._clock, self._first = clock, done
        self._start = self._said = clock()
        self._has_spoken = False
        self._lines = shown and not self._stream.isatty()
        self._bar = self._new_bar() if shown and not self._lines else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close(finished=error[0] is None)

    def close(self, *, finished: bool = True) -> None:
        """The loop has ended, as it should or broken off."""
        if self._bar is not None:
            self._bar.close()
        elif self._has_spoken and finished:
            self._say(f"{self.name}: {self.done:,} {self.unit} in {duration(self._clock() - self._start)}")

    def advance(self, n: int = 1) -> None:
        """So many more are done."""
        self.reach(self.done + n)

    def reach(self, done: int) -> None:
        """So many are done in all."""
        step, self.done = done - self.done, done
        if self._bar is not None:
            self._bar.set_description(self.name, refresh=False)
            self._bar.set_postfix_str(self.note, refresh=False)
            self._bar.update(step)
        elif self._lines and (now := self._clock()) - self._said >= EVERY_SECONDS:
            self._said = now
            self._say(self._line(now - self._start))

    def _new_bar(self) -> "tqdm[Any]":
        from tqdm import tqdm

        return tqdm(
            total=self.total, initial=self.done, desc=self.name, unit=f" {self.unit}", file=self._stream, leave=False,
            dynamic_ncols=True,
        )  # fmt: skip

    def _say(self, line: str) -> None:
        self._has_spoken = True
        print(line, file=self._stream, flush=True)

    def _line(self, seconds: float) -> str:
        """bridge vectors: 12,288 of 36,251 texts (34%), 210 a second, 1 min 54 s left"""
        of_total = "" if self.total is None else f" of {self.total:,}"
        share = f" ({self.done / self.total:.0%})" if self.total else ""
        rate = (self.done - self._first) / seconds
        parts = [f"{self.name}: {self.done:,}{of_total} {self.unit}{share}", _rate(rate)]
        if self.total is not None and rate > 0:
            parts.append(f"{duration(max(self.total - self.done, 0) / rate)} left")
        return ", ".join([*parts, *([self.note] if self.note else [])])


def watched(items: Iterable[T], name: str, *, total: int | None = None, unit: str, shown: bool) -> Iterator[T]:
    """The items, and how many of them are done, as by `Progress`."""
    with Progress(name, total=total, unit=unit, shown=shown) as progress:
        for item in items:
            yield item
            progress.advance()


def _rate(a_second: float) -> str:
    if a_second >= 10:
        return f"{a_second:,.0f} a second"
    return f"{a_second:.1f} a second" if a_second >= 1 else f"{60 * a_second:.1f} a minute"


def duration(seconds: float) -> str:
    """3 s, 1 min 54 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
