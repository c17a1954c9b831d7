"""How an export spells the dimensions: readable, without white space, at most 30 characters, no two alike.

Lucene's white-space analyzer, PISA's lexicon (one term a line) and Seismic (fixed-width strings, 30 characters in its
older versions, which cut what is longer) all take such a spelling as it is.
"""

from collections.abc import Sequence

MAX_KEY_LENGTH = 30


def token_keys(tokens: Sequence[str], *, lowercase: bool = False) -> list[str]:
    """The key of every dimension, by id: the raw token where it is safe, as nearly all are.

    White space, control and format characters, half surrogate pairs and "%" become %HEX; and a token that is empty or
    too long then becomes %#ID. No two tokens share a key: outside the escapes there is no "%", and "#" is no hex digit.
    `lowercase` escapes capital letters too, for a reader that lowercases what it looks up.
    """
    return [_key(token, token_id, lowercase) for token_id, token in enumerate(tokens)]


def _key(token: str, token_id: int, lowercase: bool) -> str:
    key = "".join(char if _is_safe(char, lowercase) else f"%{ord(char):x};" for char in token)
    return key if 0 < len(key) <= MAX_KEY_LENGTH else f"%#{token_id}"


def _is_safe(char: str, lowercase: bool) -> bool:
    return char != "%" and char.isprintable() and not char.isspace() and not (lowercase and char != char.lower())
