"""Digests of files and folders: what a name led to, so that another thing under the same name is told apart."""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from sembridge.files.lines import unreadable


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, read once in a process while its size and time stay (1.1 GB a second).

    Raises:
        SembridgeError: the file cannot be read.
    """
    try:
        facts = path.stat()
        return _digest(path.absolute(), facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise unreadable(path, error) from error


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, time: int) -> str:
    del size, time  # parts of the key
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path, *, counts: Callable[[Path], bool] = lambda path: True) -> str:
    """Of the names and contents of the files below a folder for which `counts`; hidden ones never do.

    Raises:
        SembridgeError: a file cannot be read.
    """
    hasher = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts) and counts(path):
            hasher.update(f"{name.as_posix()}\0{file_digest(path)}\n".encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()
