"""WECHSEL rows: source subwords near in two word vector spaces aligned on a dictionary (Minixhofer et al. 2022).

English vectors are turned into the target space by orthogonal Procrustes on the dictionary's pairs; a subword's vector
is the mean of the words that contain it, weighted by their frequency; w[t, :] = softmax over the ten nearest source
subwords at temperature 0.1 ("WECHSEL: Effective initialization of subword embeddings for cross-lingual transfer of
monolingual language models", section 3). As in the authors' package, vectors are neither centred nor normalised before
the alignment, and a pair counts once for every spelling (as it is, lower case, title case) that both files know.
"""

import numpy as np

from sembridge.errors import SembridgeError
from sembridge.files.word_pairs import read_dictionary
from sembridge.language_transfer.entmax import TopKSoftmax
from sembridge.language_transfer.initialization.inputs import Inputs
from sembridge.language_transfer.initialization.rows import CombinedRows, PlacedTokens, combine_nearest
from sembridge.language_transfer.initialization.word_vectors import (
    WordVectors,
    read_word_vectors,
    subword_vectors,
)


def place(inputs: Inputs) -> CombinedRows:
    """The weights of the target tokens that have a vector.

    Raises:
        SembridgeError: as `place_tokens`; or none of the tokens that may lend rows has a vector.
    """
    with inputs.clock.stage("word vectors"):
        placed = place_tokens(inputs)
    return combine_nearest(placed, inputs)


def place_tokens(inputs: Inputs) -> PlacedTokens:
    """Subwords of both vocabularies by the words of their own language, in the target language's space.

    Raises:
        SembridgeError: a file is unusable, the widths differ, no pair is known to both files, or gensim is missing.
    """
    source, target, recipe, progress = inputs.source, inputs.target, inputs.recipe, inputs.progress
    pairs = read_dictionary(recipe.file("dictionary"))
    source_words = read_word_vectors(recipe.file("source_word_vectors"))
    words = read_word_vectors(recipe.file("word_vectors"))
    if source_words.dim != words.dim:
        raise SembridgeError(
            f"{recipe.source_word_vectors} has vectors of width {source_words.dim}, {recipe.word_vectors} of width "
            f"{words.dim}; give two files of one width."
        )
    rotation = alignment(source_words, words, pairs)
    source_vectors = subword_vectors(
        inputs.source_tokenizer,
        source_words,
        n_tokens=len(source),
        word_weights=frequencies(source_words),
        progress=progress,
    )
    target_vectors = subword_vectors(
        inputs.target_tokenizer, words, n_tokens=len(target), word_weights=frequencies(words), progress=progress
    )
    return PlacedTokens(
        target_ids=inputs.new_ids,
        target_vectors=target_vectors[inputs.new_ids],
        source_ids=source.text_ids,
        source_vectors=source_vectors[source.text_ids].astype(np.float64) @ rotation,
        source_names=[source.tokens[i] for i in source.text_ids],
        rule=TopKSoftmax(recipe.top_k, recipe.temperature),
    )


def frequencies(words: WordVectors) -> np.ndarray:
    """(n_words,) relative frequencies by Zipf's law: 1 / rank.

    A word2vec file holds no counts, but its words are sorted by them.
    """
    return 1 / np.arange(1, len(words.words) + 1)


def alignment(source_words: WordVectors, target_words: WordVectors, pairs: list[tuple[str, str]]) -> np.ndarray:
    """(dim, dim) float64 rotation R that brings `source vectors @ R` nearest to the target vectors of the pairs.

    Raises:
        SembridgeError: no pair is known to both.
    """
    from scipy.linalg import orthogonal_procrustes

    known = sorted(
        (source_words.row_of[english], target_words.row_of[other])  # sorted: the order of the lines leaves no trace
        for pair in pairs
        for english in _spellings(pair[0])
        for other in _spellings(pair[1])
        if english in source_words.row_of and other in target_words.row_of
    )
    if not known:
        raise SembridgeError(
            f"None of the dictionary's {len(pairs):,} pairs is known to both word vector files; check the order "
            "(English, then target) and the languages."
        )
    rows = np.array(known)
    rotation, _ = orthogonal_procrustes(
        source_words.vectors[rows[:, 0]].astype(np.float64), target_words.vectors[rows[:, 1]].astype(np.float64)
    )
    return np.asarray(rotation)


def _spellings(word: str) -> tuple[str, str, str]:
    return word, word.lower(), word.title()
