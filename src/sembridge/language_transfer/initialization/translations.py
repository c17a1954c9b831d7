"""Tokens that a dictionary translates: they stand where their English words stand, however they are spelled.

A bridge gives one spelling one vector, so German *gift*, poison, lies where English *gift* lies and its row would be
copied. Nor does a bridge know every word of a trade. Who knows better says so in a dictionary.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sembridge.encoders.vocabulary import Vocabulary
from sembridge.files.word_pairs import read_dictionary
from sembridge.language_transfer.bridge import Embed

Translations = Mapping[int, tuple[str, ...]]
"""Target token -> its English words."""
NOTHING: Translations = {}


def translated_tokens(dictionary: Path | None, target: Vocabulary) -> Translations:
    """The tokens that begin a word and are, up to case, a word of the dictionary; none without one.

    Raises:
        SembridgeError: as `read_dictionary`.
    """
    english: dict[str, list[str]] = defaultdict(list)
    for word, foreign in read_dictionary(dictionary) if dictionary else ():
        english[foreign.lower()].append(word)
    texts = ((i, target.texts[i].lower()) for i in target.text_ids.tolist() if target.starts_word[i])
    return {i: tuple(dict.fromkeys(english[text])) for i, text in texts if text in english}


def at_english_words(vectors: np.ndarray, ids: np.ndarray, translations: Translations, embed: Embed) -> np.ndarray:
    """(n_ids, dim) float32: `vectors`, and for a translated token the mean of its English words', of length one.

    A token keeps its own vector, bit for bit, where the bridge knows none of its English words.
    """
    words = sorted({word for i in ids.tolist() for word in translations.get(i, ())})
    if not words:
        return vectors
    known = {word: vector for word, vector in zip(words, embed(words), strict=True) if vector.any()}
    placed = vectors.copy()
    for row, i in enumerate(ids.tolist()):
        if found := [known[word] for word in translations.get(i, ()) if word in known]:
            mean = found[0] if len(found) == 1 else np.mean(found, axis=0)
            placed[row] = mean / (np.linalg.norm(mean) or 1)
    return placed
