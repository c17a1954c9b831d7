"""The bundled English encoder in a bundled language, as the README's command makes it: once a test run.

The processes of pytest-xdist share it. The same inputs give the same bytes, which is a law of
tests/test_language_transfer.py, so it does not matter which test comes first.
"""

from __future__ import annotations

import os
from pathlib import Path

from commands import run_sembridge
from filelock import FileLock

from sembridge.encoders.names import mini_folder


def transfer_command(language: str, out: str | Path) -> list[str]:
    return ["transfer", "mini/splade-en", f"mini/tokenizer-{language}", str(out), "--bridge", "mini/bridge"]


def transferred(language: str) -> Path:
    """The folder of the encoder; not to be written to. With a small tokenizer it is another (tests/bundle.py)."""
    tokenizer = mini_folder(f"mini/tokenizer-{language}").resolve()
    folder = Path(os.environ["SEMBRIDGE_TEST_RUN"]) / f"transferred-{tokenizer.parents[1].name}" / f"splade-{language}"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            run_sembridge(transfer_command(language, folder))
    return folder
