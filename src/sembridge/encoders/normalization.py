"""What a tokenizer's normalizer does to the words of a text: which it changes, and which become the same word."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sembridge.encoders.words import typed_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MOST_KEPT, _SHOWN = 20, 5
_OPTIONAL_SIGNS = ("ARABIC", "HEBREW", "HAMZA")  # first words of the names of marks that are mostly left unwritten


@dataclass(frozen=True)
class MergedWord:
    """Different words that are one word to the tokenizer.

    Attributes:
        becomes: what they become.
        words: with how often each stands in the text, the most frequent first. They differ in more than case, width and
            optional vowel signs.
    """

    becomes: str
    words: dict[str, int]


@dataclass(frozen=True)
class Normalization:
    """What a normalizer does to a text.

    Attributes:
        changed: share of the running words by what is changed: case, accents, vowel signs (of Arabic and Hebrew),
            width (full and half), compatibility (ﬁ, ²), digits, composition (a letter and its accent as one character
            or as two), other. A word can count under several.
        merged_rate: share of the running words that become the same as another word.
        merged: such words, the pairs seen most often first.
    """

    changed: dict[str, float]
    merged_rate: float
    merged: tuple[MergedWord, ...]


def normalization(tokenizer: "PreTrainedTokenizerBase", lines: Iterable[str]) -> Normalization | None:
    """What the tokenizer's normalizer does to the words of `lines`; None where it shows no normalizer."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    counts = Counter(word for line in lines for word in typed_words(line))
    normalizer = backend.normalizer
    becomes = {word: word if normalizer is None else _bare(normalizer.normalize_str(word)) for word in counts}
    total = max(counts.total(), 1)
    changed: Counter[str] = Counter()
    for word, count in counts.items():
        changed.update(dict.fromkeys(_kinds(word, becomes[word]), count))
    merged = _merged(counts, becomes)
    return Normalization(
        changed={kind: round(count / total, 4) for kind, count in changed.most_common()},
        merged_rate=round(sum(sum(m.words.values()) for m in merged) / total, 4),
        merged=tuple(merged[:_MOST_KEPT]),
    )


def merged_text(normalization: Normalization, *, most: int = 3) -> str:
    """The first merged words: "ma: má, mà, ma; schon: schön, schon"."""
    return "; ".join(f"{m.becomes}: {', '.join([*m.words][:_SHOWN])}" for m in normalization.merged[:most])


def _bare(normalized: str) -> str:
    """Without word marks and the spaces that a normalizer sets around Chinese characters."""
    return "".join(normalized.replace("▁", " ").split())


def _merged(counts: Counter[str], becomes: dict[str, str]) -> list[MergedWord]:
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for word, count in counts.items():
        groups[becomes[word]][_same(word)] += count
    found = [MergedWord(key, dict(group.most_common())) for key, group in groups.items() if key and len(group) > 1]
    # a pair is as frequent as the rarer of its words
    return sorted(found, key=lambda merged: (-sorted(merged.words.values())[-2], merged.becomes))


def _same(word: str) -> str:
    """What words that search wants to be one have in common: case, width and unwritten signs aside."""
    letters = unicodedata.normalize("NFKD", word).casefold()
    return unicodedata.normalize("NFC", "".join(character for character in letters if not _is_optional(character)))


def _kinds(word: str, normalized: str) -> list[str]:
    """What happened to a word that is not the same any more."""
    if word == normalized:
        return []
    found = [kind for kind, happened in _HAPPENED.items() if happened(word, normalized)]
    return found or ["other"]


def _marks(text: str) -> Counter[str]:
    return Counter(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) == "Mn")


def _lost_marks(word: str, normalized: str) -> list[str]:
    return list((_marks(word) - _marks(normalized)).elements())


def _is_optional(mark: str) -> bool:
    return unicodedata.category(mark) == "Mn" and unicodedata.name(mark, "").startswith(_OPTIONAL_SIGNS)


def _lost_forms(word: str, normalized: str, tags: tuple[str, ...]) -> bool:
    def forms(text: str) -> int:
        return sum(unicodedata.decomposition(c).startswith(tags) for c in text)

    return forms(word) > forms(normalized)


def _digits(text: str) -> list[str]:
    return [c for c in unicodedata.normalize("NFKC", text) if c.isdecimal()]


def _composition(word: str, normalized: str) -> bool:
    return not _lost_marks(word, normalized) and unicodedata.is_normalized("NFC", word) != unicodedata.is_normalized(
        "NFC", normalized
    )


_HAPPENED: dict[str, Callable[[str, str], bool]] = {
    "case": lambda word, normalized: word != word.lower() and normalized == normalized.lower(),
    "accents": lambda word, normalized: any(not _is_optional(mark) for mark in _lost_marks(word, normalized)),
    "vowel signs": lambda word, normalized: any(map(_is_optional, _lost_marks(word, normalized))),
    "width": lambda word, normalized: _lost_forms(word, normalized, ("<wide>", "<narrow>")),
    "compatibility": lambda word, normalized: _lost_forms(word, normalized, ("<compat>", "<super>", "<sub>", "<font>")),
    "digits": lambda word, normalized: _digits(word) != _digits(normalized),
    "composition": _composition,
}
