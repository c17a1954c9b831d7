"""Commands that documents and help texts show, run inside this process, which has the heavy packages loaded."""

import signal
from collections.abc import Sequence

import pytest

from sembridge.cli import main


def run_sembridge(words: Sequence[str]) -> None:
    """Nothing, if `sembridge WORDS...` ends with 0; the handler that the program sets for SIGTERM does not stay."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as exit_:
            main(list(words))
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert not exit_.value.code, f"sembridge {' '.join(words)} ended with {exit_.value.code}"
