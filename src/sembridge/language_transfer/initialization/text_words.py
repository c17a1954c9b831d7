"""Pieces through words: bridge vectors of tokens, helped by the words of a text whose tokenisation contains them.

A bridge was trained on words and sentences. What it makes of `##교` or of half a word says little, while the words that
a piece stands in are words that it knows. A subword as the mean over its words is the idea of OFA and WECHSEL, with
static vectors there; here the bridge reads the words.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from sembridge.language_transfer.initialization.word_vectors import mean_vectors, word_membership

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

MOST_WORDS = 50_000
WORDS_A_TOKEN = 50
_MOST_CHARACTERS = 30  # longer ones are addresses and file names


@dataclass(frozen=True, eq=False)
class TextWords:
    """Words of a text, the most frequent first, and the tokens that they are cut into.

    Attributes:
        words: the text of each.
        counts: (n_words,) how often the text has it.
        membership: (n_tokens, n_words) positive where a word's tokenisation contains a token.
    """

    words: tuple[str, ...]
    counts: np.ndarray
    membership: csr_array


def read_text_words(
    counts: Counter[str], tokenizer: "PreTrainedTokenizerBase", *, n_tokens: int, progress: bool = False
) -> TextWords:
    """The MOST_WORDS most frequent of counted words; the order in which they were counted leaves no trace."""
    short = ((word, count) for word, count in counts.items() if len(word) <= _MOST_CHARACTERS)
    ranked = sorted(short, key=lambda item: (-item[1], item[0]))[:MOST_WORDS]
    words = tuple(word for word, _ in ranked)
    membership = word_membership(tokenizer, words, n_tokens, progress=progress)
    return TextWords(words, np.array([count for _, count in ranked], dtype=np.float64), membership)


def vectors_through_words(
    own: np.ndarray,
    texts: Sequence[str],
    ids: np.ndarray,
    words: TextWords,
    embed: Callable[[Sequence[str]], np.ndarray],
) -> np.ndarray:
    """(n_ids, dim) float32: halfway between a token's own unit vector and that of the words that contain it.

    The words are the WORDS_A_TOKEN most frequent ones other than the token itself, weighted by the logarithm of their
    frequency. A token in no word that the bridge knows keeps its own vector, bit for bit; where its own is zero, the
    words stand for it alone.

    Args:
        own: (n_ids, dim) unit vectors, zeros where the bridge has none.
        texts: of the tokens `ids`.
    """
    shares = _shares(texts, ids, words)
    read = np.unique(shares.indices)
    if not len(read):
        return own
    logger.info("%d words of the text stand for the tokens that they contain", len(read))
    through = _unit(mean_vectors(shares[:, read], embed([words.words[j] for j in read])))
    in_a_word = through.any(axis=1, keepdims=True)
    return np.where(in_a_word, _unit(own + through), own)


def _shares(texts: Sequence[str], ids: np.ndarray, words: TextWords) -> csr_array:
    """(n_ids, n_words) what each of a token's words weighs."""
    table = words.membership[ids]
    rows, columns = np.repeat(np.arange(len(ids)), np.diff(table.indptr)), table.indices
    name_of: dict[str, int] = {}
    word_names = np.array([name_of.setdefault(word.casefold(), len(name_of)) for word in words.words], dtype=np.int64)
    token_names = np.array([name_of.get(text.casefold(), -1) for text in texts], dtype=np.int64)
    others = np.flatnonzero(token_names[rows] != word_names[columns])
    rank = np.arange(len(others)) - np.searchsorted(rows[others], np.arange(len(ids)))[rows[others]]
    kept = others[rank < WORDS_A_TOKEN]
    values = table.data[kept] * np.log1p(words.counts[columns[kept]])
    return csr_array((values, (rows[kept], columns[kept])), shape=table.shape)


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)
