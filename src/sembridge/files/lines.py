"""Text files a user gives, a passage a line: read once, as a stream, plain or through gzip."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sembridge.errors import SembridgeError, reason_of


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text (.gz allowed) that are not blank.

    Raises:
        SembridgeError: the file is missing, damaged, or not UTF-8.
    """
    number = 0
    try:
        with open_file(path) as file:
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    yield text
    except UnicodeDecodeError:
        raise SembridgeError(f"{path}, line {number}: not UTF-8; convert it first.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise SembridgeError(f"{path} cannot be read: {reason_of(error)}.") from None


def open_file(path: Path) -> Any:
    """A binary file, through gzip where its name ends in .gz."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def spread_lines(path: Path, most: int) -> list[str]:
    """At most `most` lines of a text, evenly spread over it.

    Raises:
        SembridgeError: the file is missing, damaged, or not UTF-8.
    """
    kept: list[str] = []
    step = 1
    for number, line in enumerate(read_lines(path)):
        if number % step == 0:
            kept.append(line)
        if len(kept) == 2 * most:  # every second of them, and of what follows: a file of any length, read once
            kept, step = kept[::2], 2 * step
    return kept[:: max(1, -(-len(kept) // most))]
