"""Files of word pairs: an English word and one of another language that means the same."""

from pathlib import Path

from sembridge.errors import SembridgeError
from sembridge.files.lines import read_lines


def read_dictionary(path: Path) -> list[tuple[str, str]]:
    """(English word, target word) of every line.

    Raises:
        SembridgeError: the file cannot be read, a line is no pair, or there is none.
    """
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        parts = line.split("\t") if "\t" in line else line.split(" ")
        parts = [part.strip() for part in parts if part.strip()]
        if len(parts) != 2:
            raise SembridgeError(
                f"Dictionary {path}, entry {number}: {len(parts)} columns; expected an English word, a tab, and a "
                "target word."
            )
        pairs.append((parts[0], parts[1]))
    if not pairs:
        raise SembridgeError(f"Dictionary {path} is empty; expected lines of an English word, a tab, a target word.")
    return pairs


def translations(path: Path) -> dict[str, list[str]]:
    """Word of the other language, without case -> its English words, as the file has them.

    Raises:
        SembridgeError: as `read_dictionary`.
    """
    found: dict[str, list[str]] = {}
    for english, other in read_dictionary(path):
        found.setdefault(other.casefold(), []).append(english)
    return found
