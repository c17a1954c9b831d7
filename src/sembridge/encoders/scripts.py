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


def is_all_english(text: str) -> bool:
    """Whether English text has every character of it."""
    return all(map(is_english, text))


def has_english_letters(text: str) -> bool:
    """Whether a letter or digit of the text is one that English text has."""
    return any(char.isalnum() and is_english(char) for char in text)


def is_english(char: str) -> bool:
    """Whether English text has it: a Latin letter, a sign of general punctuation, a symbol or an emoji."""
    return any(first <= ord(char) <= last for first, last in _ENGLISH_RANGES)


_ENGLISH_RANGES = (
    (0x0000, 0x036F),  # Latin with its extensions, phonetic letters, combining accents
    (0x1D00, 0x1EFF),
    (0x2000, 0x2BFF),  # punctuation, currencies, letterlike signs, arrows, mathematics, boxes
    (0x2C60, 0x2C7F),
    (0xA720, 0xA7FF),
    (0xFB00, 0xFB06),
    (0x1F000, 0x1FAFF),
)
