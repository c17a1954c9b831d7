"""The bundled package made smaller, for tests that follow a whole verb: its models, and of the rest a part.

The English encoders and the bridge are as they are. Of a WordPiece tokenizer there are the first 10,000 tokens, the
letters and the most frequent pieces: a transfer takes half the time, and finds less. Of every FAQ there is a quarter.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from sembridge.encoders.names import MINI_PACKAGE, mini_folder

WHOLE = mini_folder("mini/bridge").parent
N_TOKENS = 10_000
# What pages and the demo ask for is among them. 01 and 02 are in the dev split, the other numbers in the test split.
TOPICS = ("devices", "health", "home", "money", "pets", "travel", "weather")
NUMBERS = ("01", "02", "03", "04", "05", "08")
KEPT = {f"{topic}-{number}" for topic in TOPICS for number in NUMBERS}


@contextlib.contextmanager
def small_bundle_installed(*, whole_tokenizers: bool = False) -> Iterator[None]:
    """Within it mini/NAME is the small one, here and in the processes that a test starts."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(small_bundle(whole_tokenizers))
        patch.delitem(sys.modules, MINI_PACKAGE, raising=False)
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
        yield


def small_bundle(whole_tokenizers: bool) -> Path:
    """The folder to put before others on Python's path, made once a test run."""
    place = Path(os.environ["SEMBRIDGE_TEST_RUN"]) / ("small-data" if whole_tokenizers else "small-bundle")
    with FileLock(place.with_suffix(".lock")):
        if not place.exists():
            unfinished = place.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _write(unfinished / MINI_PACKAGE, whole_tokenizers)
            unfinished.rename(place)
    return place


def _write(package: Path, whole_tokenizers: bool) -> None:
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for source in (path for path in WHOLE.iterdir() if path.is_dir() and not path.name.startswith("_")):
        target = package / source.name
        if target.name.startswith("faq-"):
            _write_part(source, target)
        elif re.fullmatch("tokenizer-[a-z]{2}", target.name) and not whole_tokenizers:
            _write_frequent(source, target)
        else:
            target.symlink_to(source)


def _write_frequent(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    file = target / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {token: id_ for token, id_ in vocabulary.items() if id_ < N_TOKENS}
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def _write_part(source: Path, target: Path) -> None:
    (target / "qrels").mkdir(parents=True)
    shutil.copy(source / "README.md", target)
    _write_lines(source, target, "corpus.jsonl", lambda line: json.loads(line)["_id"] in KEPT)
    _write_lines(source, target, "queries.jsonl", lambda line: json.loads(line)["_id"][:-2] in KEPT)
    for judged in (source / "qrels").iterdir():
        _write_lines(source, target, f"qrels/{judged.name}", lambda line: line.split("\t")[1] in {*KEPT, "corpus-id"})


def _write_lines(source: Path, target: Path, name: str, keep: Callable[[str], bool]) -> None:
    with (source / name).open(encoding="utf-8") as lines:
        (target / name).write_text("".join(line for line in lines if keep(line)), encoding="utf-8")
