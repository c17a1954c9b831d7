"""How a tokenizer cuts a text of its language, and what is wrong with it."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.encoders.normalization import Normalization, merged_text, normalization
from sembridge.encoders.scripts import letter_script
from sembridge.encoders.tokenizer_habits import warn_once
from sembridge.encoders.vocabulary import TokenKind, Vocabulary
from sembridge.encoders.words import typed_words
from sembridge.files.lines import spread_lines

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_UNKNOWN, MOST_WITHOUT_ACCENTS, MOST_MERGED = 0.01, 0.01, 0.005
_SHOWN = 5
_LINES_LOOKED_AT = 2000


@dataclass(frozen=True)
class TextStatistics:
    """How a tokenizer cuts a text.

    Attributes:
        words: between white space.
        fertility: tokens a word.
        tokens_per_character: for scripts without spaces the figure to compare.
        unknown_rate: share of tokens that are the unknown token.
        byte_rate: share of tokens that are fragments of characters.
        scripts: share of the text's letters by script.
        unknown: words in which the unknown token stands, the most frequent first.
        normalization: what is done to the words before they are cut; None where the tokenizer does not show it.
    """

    words: int
    fertility: float
    tokens_per_character: float
    unknown_rate: float
    byte_rate: float
    scripts: dict[str, float]
    unknown: tuple[str, ...] = ()
    normalization: Normalization | None = None


def text_statistics(tokenizer: "PreTrainedTokenizerBase", vocabulary: Vocabulary, text: str) -> TextStatistics:
    """Fertility, unknown rate and scripts of `text` under `tokenizer`, and what its normalizer does to it."""
    lines = [line for line in text.split("\n") if line.strip()]
    encodings = tokenizer(lines, add_special_tokens=False)["input_ids"]
    ids = [token_id for encoding in encodings for token_id in encoding]
    counts = Counter(ids)
    n_words = sum(len(line.split()) for line in lines)
    n_characters = sum(not character.isspace() for line in lines for character in line)
    n_bytes = sum(count for i, count in counts.items() if vocabulary.kinds[i] == TokenKind.BYTES)
    letters = Counter(letter_script(c) for line in lines for c in line if c.isalpha())
    unknown_id = vocabulary.roles.get("unk", -1)
    return TextStatistics(
        words=n_words,
        fertility=round(len(ids) / max(n_words, 1), 3),
        tokens_per_character=round(len(ids) / max(n_characters, 1), 3),
        unknown_rate=round(counts[unknown_id] / max(len(ids), 1), 4),
        byte_rate=round(n_bytes / max(len(ids), 1), 4),
        scripts={script: round(n / letters.total(), 4) for script, n in letters.most_common(8)},
        unknown=tuple(itertools.islice(_unknown_words(tokenizer, unknown_id, lines), _SHOWN))
        if counts[unknown_id]
        else (),
        normalization=normalization(tokenizer, lines),
    )


def _unknown_words(tokenizer: "PreTrainedTokenizerBase", unknown_id: int, lines: Sequence[str]) -> Iterator[str]:
    """Words with the unknown token, the most frequent first; of signs and pictures that are no words, nothing."""
    counts = Counter(word for line in lines for word in typed_words(line))
    words = [word for word, _ in counts.most_common()]
    for start in range(0, len(words), 1000):
        block = words[start : start + 1000]
        encodings = tokenizer(block, add_special_tokens=False)["input_ids"]
        yield from (word for word, ids in zip(block, encodings, strict=True) if unknown_id in ids)


def text_warnings(statistics: TextStatistics) -> list[str]:
    """What makes a tokenizer unfit for the text, a line each."""
    found = []
    if statistics.unknown_rate > MOST_UNKNOWN:
        where = f", first in {', '.join(statistics.unknown)}" if statistics.unknown else ""
        found.append(
            f"{statistics.unknown_rate:.1%} of the text's tokens are unknown ({MOST_UNKNOWN:.0%} at most is good)"
            f"{where}; what is unknown cannot be found. Take a tokenizer that knows these letters, or make one: "
            "sembridge tokenizer."
        )
    if warning := statistics.normalization and _merging(statistics.normalization):
        found.append(warning)
    return found


def warn_of_text(tokenizer: "PreTrainedTokenizerBase", vocabulary: Vocabulary, path: Path) -> None:
    """Logs what makes a tokenizer unfit for the text in a file, told from lines all over it, once a process."""
    lines = spread_lines(path, _LINES_LOOKED_AT)
    for warning in text_warnings(text_statistics(tokenizer, vocabulary, "\n".join(lines))):
        warn_once(f"{path}: {warning}")


def _merging(normalization: Normalization) -> str:
    """One line where words of the language can no longer be told apart."""
    accents = normalization.changed.get("accents", 0.0)
    if accents <= MOST_WITHOUT_ACCENTS and normalization.merged_rate <= MOST_MERGED:
        return ""
    lost = [f"{accents:.1%} of the text's words lose their accents"] if accents > MOST_WITHOUT_ACCENTS else []
    if normalization.merged:
        lost.append(f"{normalization.merged_rate:.1%} become one with another word ({merged_text(normalization)})")
    return (
        f"The tokenizer's normalizer makes different words the same: {', '.join(lost)}; no bridge parts them "
        "again. Take a tokenizer that keeps accents, or make one: sembridge tokenizer."
    )
