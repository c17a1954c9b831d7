"""Whole words for a pivot: words of a text get tokens and rows of their own, beside the pieces of the vocabulary.

A question is a handful of words, and to an English index only their English counts. Cut into pieces, a word reaches it
through half-words that the bridge can hardly place; whole, it is what a bridge knows best. A pivot's output vocabulary
does not grow by words that go in, so they cost one input row each. (The mean over the words of a question instead of
over its pieces is what cross-lingual query translation does with a dictionary.)
"""

import copy
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from tokenizers import AddedToken

from sembridge.encoders.anatomy import read_anatomy
from sembridge.encoders.scripts import has_english_letters
from sembridge.encoders.vocabulary import Vocabulary, read_vocabulary
from sembridge.encoders.words import spaced_words
from sembridge.errors import SembridgeError
from sembridge.language_transfer.alignment import Alignment
from sembridge.language_transfer.bridge import Embed
from sembridge.language_transfer.initialization.inputs import Inputs
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.language_transfer.initialization.sembridge import place
from sembridge.language_transfer.overlap import MatchKind, Overlap, Vocabularies, match_vocabularies
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.language_transfer.sparse_matrix import SparseWeights

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from transformers import PreTrainedTokenizerBase

MOST_WORDS = 50_000
MOST_TEXTS = 200_000
FEWEST_FOR_HUBS = 1_000  # words; what lies near everything is not told from fewer
# Chosen on dev questions (benchmarks/across_languages.py): 4 before 6 and 10, as more English words may match.
_RECIPE = {"preset": "default", "alpha": 4.0, "evidence": False, "residual": 0.0, "match_activity": False}


def words_of(texts: Iterable[str], *, place: str, most: int = MOST_WORDS) -> list[str]:
    """The most frequent words of texts, in lower case where the script has one.

    Words of scripts without spaces are left out: there a piece is mostly a word. So are those with a letter or digit of
    English: a pivot reads these as they are, and a bridge would have to guess.

    Args:
        place: names the texts in a refusal.

    Raises:
        SembridgeError: there are no words between spaces.
    """
    counts = Counter(
        word.lower()
        for text in islice(texts, MOST_TEXTS)
        for word in spaced_words(text)
        if len(word) > 1 and not has_english_letters(word)
    )
    if not counts:
        raise SembridgeError(
            f"{place} has no words between spaces; leave words off for languages that are written without them."
        )
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]


def with_words(
    source: "SparseEncoder",
    tokenizer: "PreTrainedTokenizerBase",
    alignment: Alignment,
    words: Iterable[str],
    embed: Embed,
) -> tuple["PreTrainedTokenizerBase", Alignment]:
    """The tokenizer with a token for every word that is none yet, and the alignment with their rows behind its own.

    A word that is an English token is that token; every other is a few English words of near meaning.

    Args:
        source: the encoder that the alignment's columns belong to.
        tokenizer: the target tokenizer that the alignment lies beside; it stays as it is.
        embed: the bridge's vectors of texts.

    Raises:
        SembridgeError: as `place` of method sembridge.
    """
    source_vocabulary = read_vocabulary(source.tokenizer, n_rows=read_anatomy(source).n_rows)
    longer, word_ids = _with_tokens(tokenizer, words)
    target = read_vocabulary(longer, n_rows=max([alignment.weights.n_rows, *(word_ids + 1)]))
    recipe = TransferRecipe.build(_RECIPE | ({} if len(word_ids) >= FEWEST_FOR_HUBS else {"hub_neighbours": 0}))
    found = match_vocabularies(source_vocabulary, target)
    copied = _only(found, word_ids)
    left = Vocabularies(source_vocabulary, target, _all_but(found, target, word_ids))
    combined = place(Inputs(left, source.tokenizer, longer, recipe, embed))
    weights = _joined(alignment, word_ids, copied, combined.target_ids, combined.weights, n_target=len(target))
    kinds = np.full(len(target), RowKind.FALLBACK, np.uint8)
    kinds[: alignment.weights.n_rows] = alignment.kinds
    kinds[word_ids] = RowKind.FALLBACK
    kinds[copied.target_ids], kinds[combined.target_ids] = copied.kinds, RowKind.COMBINED
    return longer, Alignment(weights, kinds, alignment.source_tokens)


def _with_tokens(
    tokenizer: "PreTrainedTokenizerBase", words: Iterable[str]
) -> tuple["PreTrainedTokenizerBase", np.ndarray]:
    """A copy with a token a word, and their ids; a word that is one token already needs none."""
    longer = copy.deepcopy(tokenizer)
    new = [word for word in dict.fromkeys(words) if not _is_one_token(word, longer)]
    longer.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in new])
    after = longer.get_vocab()
    return longer, np.array(sorted(after[word] for word in new), dtype=np.int64)


def _is_one_token(word: str, tokenizer: "PreTrainedTokenizerBase") -> bool:
    tokens = tokenizer.tokenize(word)
    return len(tokens) == 1 and tokens != [tokenizer.unk_token]


def _only(overlap: Overlap, ids: np.ndarray) -> Overlap:
    kept = np.isin(overlap.target_ids, ids)
    return Overlap(overlap.source_ids[kept], overlap.target_ids[kept], overlap.kinds[kept])


def _all_but(overlap: Overlap, target: Vocabulary, word_ids: np.ndarray) -> Overlap:
    """As if every token but the new words were found: what is left to the bridge are words."""
    ids = np.union1d(np.setdiff1d(np.arange(len(target)), word_ids), _only(overlap, word_ids).target_ids)
    return Overlap(np.zeros(len(ids), np.int64), ids, np.full(len(ids), MatchKind.EXACT, np.uint8))


def _joined(
    alignment: Alignment,
    word_ids: np.ndarray,
    copied: Overlap,
    combined_ids: np.ndarray,
    combined: SparseWeights,
    *,
    n_target: int,
) -> SparseWeights:
    old = alignment.weights
    rows = old.row_ids()
    kept = ~torch.from_numpy(np.isin(rows.numpy(), word_ids))  # rows of ids that no text had and a word has now
    n_copied = len(copied.target_ids)
    return SparseWeights.from_rows(
        n_target,
        torch.cat(
            [rows[kept], torch.from_numpy(copied.target_ids), torch.from_numpy(combined_ids)[combined.row_ids()]]
        ),
        torch.cat([old.col_indices[kept], torch.from_numpy(copied.source_ids), combined.col_indices]),
        torch.cat([old.values[kept], torch.ones(n_copied), combined.values]),
        torch.cat([old.similarities[kept], torch.full((n_copied,), torch.nan), combined.similarities]),
        old.n_columns,
    )
