"""Tokens that a dictionary translates: they stand where their English words stand, however they are spelled.

A bridge gives one spelling one vector, so German *gift*, poison, lies where English *gift* lies and its row would be
copied. Nor does a bridge know every word of a trade. Who knows better says so in a dictionary.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sembridge.encoders.vocabulary import Vocabulary
from sembridge.files.word_pairs import translations
from sembridge.language_transfer.bridge import Embed
from sembridge.language_transfer.initialization.word_vectors import unit

Translations = Mapping[int, tuple[str, ...]]
"""Target token -> its English words."""
NOTHING: Translations = {}


def translated_tokens(dictionary: Path | None, target: Vocabulary) -> Translations:
    """The tokens that begin a word and are, up to case, a word of the dictionary; none without one.

    Raises:
        SembridgeError: as `read_dictionary`.
    """
    english = translations(dictionary) if dictionary else {}
    texts = ((i, target.texts[i].casefold()) for i in target.text_ids.tolist() if target.starts_word[i])
    return {i: tuple(dict.fromkeys(english[text])) for i, text in texts if text in english}


def at_english_words(vectors: np.ndarray, ids: np.ndarray, translated: Translations, embed: Embed) -> np.ndarray:
    """(n_ids, dim) float32: `vectors`, and for a translated token the mean of its English words', of length one.

    A token keeps its own vector, bit for bit, where the bridge knows none of its English words.
    """
    words = sorted({word for i in ids.tolist() for word in translated.get(i, ())})
    if not words:
        return vectors
    known = {word: vector for word, vector in zip(words, embed(words), strict=True) if vector.any()}
    placed = vectors.copy()
    for row, i in enumerate(ids.tolist()):
        if found := [known[word] for word in translated.get(i, ()) if word in known]:
            placed[row] = unit(np.mean(found, axis=0, keepdims=True))[0]
    return placed
