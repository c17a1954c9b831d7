"""OFA rows: source subwords near in a space of multilingual word vectors (Liu et al. 2024).

The vector of a subword is the mean of the vectors of the words whose tokenisation contains it; w[t, :] = softmax over
the ten nearest source subwords at temperature 0.1 ("OFA: A Framework of Initializing Unseen Subword Embeddings for
Efficient Large-scale Multilingual Continued Pretraining", section 3.2). OFA's factorisation of the source matrix is
left out: it makes another model, not other rows.
"""

from sembridge.errors import SembridgeError
from sembridge.language_transfer.entmax import TopKSoftmax
from sembridge.language_transfer.initialization.inputs import Inputs
from sembridge.language_transfer.initialization.rows import CombinedRows, PlacedTokens, combine_nearest
from sembridge.language_transfer.initialization.word_vectors import read_word_vectors, subword_vectors


def place(inputs: Inputs) -> CombinedRows:
    """The weights of the target tokens that have a vector.

    Raises:
        SembridgeError: as `place_tokens`; or none of the tokens that may lend rows has a vector.
    """
    with inputs.clock.stage("word vectors"):
        placed = place_tokens(inputs)
    return combine_nearest(placed, inputs)


def place_tokens(inputs: Inputs) -> PlacedTokens:
    """Subwords of both vocabularies by the multilingual words that contain them.

    A second file, `source_word_vectors`, holds the source subwords' words in the same space.

    Raises:
        SembridgeError: a file is no word2vec file, the widths differ, or gensim is not installed.
    """
    source, target, recipe = inputs.source, inputs.target, inputs.recipe
    words = source_words = read_word_vectors(recipe.file("word_vectors"))
    if recipe.source_word_vectors is not None:
        source_words = read_word_vectors(recipe.file("source_word_vectors"))
    if source_words.dim != words.dim:
        raise SembridgeError(
            f"{recipe.word_vectors} has vectors of width {words.dim}, {recipe.source_word_vectors} of width "
            f"{source_words.dim}; ofa needs both in one space."
        )
    progress = inputs.progress
    target_vectors = subword_vectors(inputs.target_tokenizer, words, n_tokens=len(target), progress=progress)
    source_vectors = subword_vectors(inputs.source_tokenizer, source_words, n_tokens=len(source), progress=progress)
    return PlacedTokens(
        target_ids=inputs.new_ids,
        target_vectors=target_vectors[inputs.new_ids],
        source_ids=source.text_ids,
        source_vectors=source_vectors[source.text_ids],
        source_names=[source.tokens[i] for i in source.text_ids],
        rule=TopKSoftmax(recipe.top_k, recipe.temperature),
    )
