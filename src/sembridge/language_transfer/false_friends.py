"""Copied words that seem to mean something else in the target language: German *gift*, which is poison.

A bridge gives one spelling one vector, whatever the language, so it cannot part them by themselves. What a word stands
beside can: of up to eight places in a text of the language, the words around it (without it) are bridged, what all such
places have in common is taken off, and the mean is compared with the vectors of all English words, likewise centred.
Where the English word of the same spelling stands out less than nearly any other that its surroundings speak of, the
word is a suspect. A list to read, not a judgement: `docs/inspect.md` says how often it is right.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sembridge.encoders.words import words
from sembridge.language_transfer.bridge import Embed
from sembridge.language_transfer.initialization.sembridge import candidate_ids
from sembridge.language_transfer.initialization.word_vectors import unit
from sembridge.language_transfer.overlap import MatchKind, Vocabularies

FEWEST_PLACES, MOST_PLACES, MOST_WORDS = 4, 8, 1000
FEWEST_JUDGED = 10  # words; below, what all places have in common cannot be told
MOST_BELOW = 0.3
_AROUND = 12  # words on either side
_NEAREST = 10


@dataclass(frozen=True)
class FalseFriend:
    """A copied word whose surroundings speak of something else.

    Attributes:
        word: as both vocabularies spell it.
        places: of the text that were read.
        below: how far the English word's similarity with them lies below that of the ten nearest English words.
        nearest: these, as far as they are shown: what the surroundings speak of.
    """

    word: str
    places: int
    below: float
    nearest: tuple[str, ...]


@dataclass(frozen=True)
class FalseFriends:
    """Suspects among the copied words of a text, the surest first, and how many words were judged."""

    n_judged: int
    suspects: tuple[FalseFriend, ...]


def false_friends(vocabularies: Vocabularies, lines: Iterable[str], embed: Embed) -> FalseFriends:
    """The copied words that stand at four places of `lines` or more, and what their surroundings make of them.

    Args:
        embed: of the bridge.
    """
    source = vocabularies.source
    own = _copied_words(vocabularies)
    places = _places(lines, own)
    judged = sorted(sorted(places, key=lambda word: (-len(places[word]), word))[:MOST_WORDS])
    if len(judged) < FEWEST_JUDGED:
        return FalseFriends(0, ())
    texts = sorted({source.texts[i].lower() for i in candidate_ids(source, "words")} | set(judged))
    english = unit(_centred(embed(texts)))
    around = embed([place for word in judged for place in places[word][:MOST_PLACES]])
    counts = [min(len(places[word]), MOST_PLACES) for word in judged]
    starts = np.cumsum([0, *counts[:-1]])
    means = np.add.reduceat(around, starts, axis=0) / np.array(counts)[:, None]
    similarities = unit(_centred(means)) @ english.T
    row_of = {text: row for row, text in enumerate(texts)}
    suspects = [
        _judge(word, n, similarities[i], row_of[word], texts)
        for i, (word, n) in enumerate(zip(judged, counts, strict=True))
    ]
    sure = sorted((one for one in suspects if one.below >= MOST_BELOW), key=lambda one: (-one.below, one.word))
    return FalseFriends(len(judged), tuple(sure))


def _copied_words(vocabularies: Vocabularies) -> set[str]:
    """Whole words of three letters and more that both vocabularies spell alike."""
    target, overlap = vocabularies.target, vocabularies.overlap
    kinds = (overlap.kinds == MatchKind.EXACT) | (overlap.kinds == MatchKind.FUZZY)
    ids = (i for i in overlap.target_ids[kinds].tolist() if target.starts_word[i])
    return {text for text in (target.texts[i].lower() for i in ids) if len(text) > 2 and text.isalpha()}


def _places(lines: Iterable[str], wanted: set[str]) -> dict[str, list[str]]:
    """Word -> what stands around it, without it, in the lines that have it; those with too few left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        written = re.findall(r"\S+", line)
        bare = [words(token) for token in written]
        for word in {token[0] for token in bare if len(token) == 1} & wanted:
            if len(found[word]) < MOST_PLACES:
                found[word].append(_around(word, written, bare))
    return {word: some for word, some in found.items() if len(some) >= FEWEST_PLACES}


def _around(word: str, written: Sequence[str], bare: Sequence[Sequence[str]]) -> str:
    at = next(position for position, token in enumerate(bare) if list(token) == [word])
    span = range(max(0, at - _AROUND), min(len(written), at + _AROUND + 1))
    return " ".join(written[position] for position in span if word not in bare[position])


def _judge(word: str, places: int, similarities: np.ndarray, own: int, texts: Sequence[str]) -> FalseFriend:
    nearest = np.argsort(-similarities, kind="stable")[:_NEAREST]
    below = float(similarities[nearest].mean() - similarities[own])
    return FalseFriend(word, places, round(below, 3), tuple(texts[i] for i in nearest[:4]))


def _centred(vectors: np.ndarray) -> np.ndarray:
    centred: np.ndarray = vectors - vectors.mean(0, keepdims=True)
    return centred
