"""Inverse document frequency of a corpus under a tokenizer: the query weights of an encoder without a query network.

A query is tokenized and every token gets its weight (Geng et al., arXiv 2411.04403).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNSEEN_WEIGHT = 1.0  # what OpenSearch gives a token that it has no weight for; written out, so that readers agree

_BATCH_TEXTS = 1000


@dataclass(frozen=True, eq=False)
class IdfWeights:
    """The weights with what they were counted on.

    Attributes:
        weights: (n_tokens,) float64; 0 for special tokens.
        n_documents: texts with any token.
        n_seen: tokens that occur in any of them.
    """

    weights: NDArray[np.float64]
    n_documents: int
    n_seen: int


def idf_weights(tokenizer: "PreTrainedTokenizerBase", documents: Iterable[str], *, n_tokens: int) -> IdfWeights:
    """log(1 + (N - n + .5) / (n + .5)) for a token in n of the N texts that have any token; 1 for one that is in none.

    Special tokens get 0. Texts are not cut off at the tokenizer's length.

    Raises:
        SembridgeError: no document has a token.
    """
    n_documents, n_with = document_frequencies(tokenizer, documents, n_tokens=n_tokens)
    if not n_documents:
        raise SembridgeError("No document has a token of this tokenizer; give a corpus of its language.")
    weights = np.array([_idf(n_documents, n) for n in n_with.tolist()], dtype=np.float64)
    weights[tokenizer.all_special_ids] = 0.0
    return IdfWeights(weights, n_documents, int((n_with > 0).sum()))


def document_frequencies(
    tokenizer: "PreTrainedTokenizerBase", documents: Iterable[str], *, n_tokens: int
) -> tuple[int, NDArray[np.int64]]:
    """The number of texts with any token, and (n_tokens,) in how many of them each token occurs.

    Special tokens do not count; the unknown token is one.
    """
    n_documents, n_with = 0, np.zeros(n_tokens, dtype=np.int64)
    special = set(tokenizer.all_special_ids)
    remaining = iter(documents)
    while batch := list(islice(remaining, _BATCH_TEXTS)):
        encoded: list[list[int]] = tokenizer(
            batch, add_special_tokens=False, truncation=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        for ids in encoded:
            distinct = list(set(ids) - special)
            n_documents += bool(distinct)
            n_with[distinct] += 1
    return n_documents, n_with


def _idf(n_documents: int, n_with: int) -> float:
    return math.log(1 + (n_documents - n_with + 0.5) / (n_with + 0.5)) if n_with else UNSEEN_WEIGHT
