"""The words of a text, for scripts with and without spaces."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""A letter or mark of a script that sets no space between words: Thai, Lao, Burmese, Khmer, Kana, Han."""


def words(text: str) -> list[str]:
    """The case-folded words of a text: runs of letters, digits, underscores and combining marks.

    Python's `\\w` has no combining marks and so breaks Devanagari words at every vowel sign. Invisible format
    characters (joiners, soft hyphens, direction marks) are dropped: with or without them it is the same word.
    """
    return _split(unicodedata.normalize("NFC", text).casefold())


def written_words(text: str) -> list[str]:
    """The same words in the case in which they are written."""
    return _split(unicodedata.normalize("NFC", text))


def typed_words(text: str) -> list[str]:
    """The same words as they were typed: letters and their accents are not composed."""
    return _split(text)


def spaced_words(text: str) -> list[str]:
    """The written words that stand between spaces; what holds a letter of `UNSPACED` is half a sentence, not a word."""
    return [word for word in written_words(text) if not UNSPACED.search(word)]


def _split(text: str) -> list[str]:
    return text.translate(_word_characters()).split()


def has_no_spaces(texts: Iterable[str]) -> bool:
    """More than half of the first texts' letters are Thai, Lao, Burmese, Khmer, Kana or Han."""
    letters = [character for text in islice(texts, 100) for character in text if character.isalpha()]
    return 2 * sum(1 for letter in letters if UNSPACED.match(letter)) > len(letters)


class _WordCharacters(dict[int, int | None]):
    """A table for str.translate, filled as met: word characters stay, format characters go, others become spaces."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        category = unicodedata.category(character)
        stays = category[0] in "LMN" or character == "_"
        self[code] = code if stays else None if category == "Cf" else ord(" ")
        return self[code]


@lru_cache(maxsize=1)
def _word_characters() -> _WordCharacters:
    return _WordCharacters()
