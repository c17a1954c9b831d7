"""Which script a character or a token is written in."""

import unicodedata


def script_of(character: str) -> str:
    """The script of a letter, as the first word of its Unicode name: LATIN, HANGUL, CJK, ..."""
    return unicodedata.name(character, "UNNAMED").split(" ", 1)[0]


def token_script(text: str) -> str:
    """The script of a token's first letter in lower case; `other` for digits, punctuation and tokens without text."""
    return script_of(text[0]).lower() if text and text[0].isalpha() else "other"
