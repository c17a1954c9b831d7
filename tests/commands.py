"""The program, run inside this process, which has the heavy packages loaded."""

import contextlib
import io
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from sembridge.cli import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line that a refusal is."""
        (line,) = self.err.splitlines()
        assert line.startswith("sembridge: ")
        assert self.out == ""
        return line


def sembridge(*arguments: object) -> Done:
    """What the program did; the handler that it sets for SIGTERM does not stay."""
    out, err = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
    finally:
        signal.signal(signal.SIGTERM, handler)
    return Done(int(exit_.value.code or 0), out.getvalue(), err.getvalue())


def run_sembridge(words: Sequence[str]) -> str:
    """What `sembridge WORDS...`, as documents and help texts show it, printed; it must end with 0."""
    done = sembridge(*words)
    assert not done.code, f"sembridge {' '.join(words)} ended with {done.code}: {done.err}"
    return done.out
