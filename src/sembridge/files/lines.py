"""Text files a user gives: read once, as a stream, plain or through gzip, and every line as it stands.

A line ends with a line feed, with or without a carriage return before it, and nowhere else: U+2028, U+0085 and form
feeds belong to texts. The last line needs no end, and a byte order mark at the start is no text.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sembridge.errors import SembridgeError, reason_of


def decoded_lines(path: Path, *, errors: str = "strict") -> Iterator[tuple[int, str]]:
    """(number from 1, line with its end) of a UTF-8 text (.gz allowed).

    Args:
        errors: as of `bytes.decode`, for files whose texts were cut within a character.

    Raises:
        SembridgeError: the file is missing, damaged, cannot be read, or is not UTF-8.
    """
    number = 0
    try:
        with open_file(path) as file:
            for number, line in enumerate(file, start=1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8", errors)
    except UnicodeDecodeError as error:
        raise SembridgeError(f"{path}, line {number}: not UTF-8 ({error.reason}); save it as UTF-8.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SembridgeError(
            f"{path}: broken gzip file after line {max(0, number - 1)} ({reason_of(error)}); fetch it again."
        ) from None
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> SembridgeError:
    """The refusal of a file that the system does not give."""
    return SembridgeError(f"{path} cannot be read ({reason_of(error)}); check its name, its permissions and its disk.")


def numbered_lines(path: Path, *, errors: str = "strict") -> Iterator[tuple[int, str]]:
    """The lines that are not blank, numbered from 1, without their ends.

    Raises:
        SembridgeError: as `decoded_lines`.
    """
    for number, line in decoded_lines(path, errors=errors):
        if line.strip():
            yield number, without_end(line)


def without_end(line: str) -> str:
    """A line without its line feed, and the carriage return before it."""
    return line.removesuffix("\n").removesuffix("\r")


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text (.gz allowed) that are not blank, without white space around them.

    Raises:
        SembridgeError: as `decoded_lines`.
    """
    return (line.strip() for _, line in numbered_lines(path))


def open_file(path: Path) -> Any:
    """A binary file, through gzip where its name ends in .gz."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def spread_lines(path: Path, most: int) -> list[str]:
    """At most `most` lines of a text, evenly spread over it.

    Raises:
        SembridgeError: the file is missing, damaged, not UTF-8, or has no line.
    """
    kept: list[str] = []
    step = 1
    for number, line in enumerate(read_lines(path)):
        if number % step == 0:
            kept.append(line)
        if len(kept) == 2 * most:  # every second of them, and of what follows: a file of any length, read once
            kept, step = kept[::2], 2 * step
    if not kept:
        raise SembridgeError(f"Text {path} is empty; expected one passage a line.")
    return kept[:: max(1, -(-len(kept) // most))]
