"""Which script a character or a token is written in."""

import unicodedata


def script_of(character: str) -> str:
    """The script of a letter, as the first word of its Unicode name: LATIN, HANGUL, CJK, ...

    What a transfer decides by. Names of letters that stand for others begin otherwise (MASCULINE ORDINAL INDICATOR);
    `letter_script` sees through them.
    """
    return unicodedata.name(character, "UNNAMED").split(" ", 1)[0]


def letter_script(character: str) -> str:
    """The script of a letter for people, in lower case: of º, ª, Ａ, 𝐀 and ﾞ that of the letter they stand for."""
    plain = unicodedata.normalize("NFKC", character).strip() or character
    found = script_of(plain[0])
    return _SAME_SCRIPT.get(found, found).lower()


_SAME_SCRIPT = {"IDEOGRAPHIC": "CJK", "KATAKANA-HIRAGANA": "KATAKANA"}  # 々 and ー


def token_script(text: str) -> str:
    """The script of a token's first letter in lower case; `other` for digits, punctuation and tokens without text."""
    return letter_script(text[0]) if text and text[0].isalpha() else "other"
