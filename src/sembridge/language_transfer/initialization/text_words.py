"""Pieces through words: bridge vectors of tokens, helped by the words of a text whose tokenisation contains them.

A bridge was trained on words and sentences. What it makes of `##교` or of half a word says little, while the words that
a piece stands in are words that it knows. A subword as the mean over its words is the idea of OFA and WECHSEL, with
static vectors there; here the bridge reads the words.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from sembridge.encoders.words import spaced_words
from sembridge.errors import SembridgeError
from sembridge.files.lines import spread_lines
from sembridge.language_transfer.bridge import Embed
from sembridge.language_transfer.initialization.word_vectors import mean_vectors, unit, word_membership

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

N_LINES = 20_000
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


def no_words(n_tokens: int) -> TextWords:
    """None at all: every token stands for itself."""
    return TextWords((), np.zeros(0), csr_array((n_tokens, 0), dtype=np.float64))


def words_of_file(
    path: Path, tokenizer: "PreTrainedTokenizerBase", *, n_tokens: int, progress: bool = False
) -> TextWords:
    """Words of a target text, counted in lines that are spread over it.

    Where words are not set apart by spaces, what stands between two spaces is half a sentence and left out.

    Raises:
        SembridgeError: the file is damaged, or has no words between spaces.
    """
    lines = spread_lines(path, N_LINES)
    counts = Counter(word for line in lines for word in spaced_words(line))
    if not counts:
        raise SembridgeError(
            f"Target text {path} has no words between spaces, which through_words needs; leave it off "
            "for languages written without spaces."
        )
    return read_text_words(counts, tokenizer, n_tokens=n_tokens, progress=progress)


def vectors_through_words(
    own: np.ndarray,
    texts: Sequence[str],
    ids: np.ndarray,
    words: TextWords,
    embed: Embed,
) -> np.ndarray:
    """(n_ids, dim) float32: halfway between a token's own unit vector and that of the words that contain it.

    The words are the WORDS_A_TOKEN most frequent ones other than the token itself, weighted by the logarithm of their
    frequency. A token in no word that the bridge knows keeps its own vector, bit for bit; where its own is zero, the
    words stand for it alone.

    Args:
        own: (n_ids, dim) unit vectors, zeros where the bridge has none.
        texts: of the tokens `ids`.
    """
    if not words.words:
        return own
    shares = _shares(texts, ids, words)
    read = np.unique(shares.indices)
    if not len(read):
        return own
    logger.info("%d words of the text stand for the tokens that they contain", len(read))
    through = unit(mean_vectors(shares[:, read], embed([words.words[j] for j in read])))
    in_a_word = through.any(axis=1, keepdims=True)
    return np.where(in_a_word, unit(own + through), own)


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
