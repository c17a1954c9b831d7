"""What a pivot reads beside its language: English as its source reads it, so that names and numbers come through.

`2024`, `Wi-Fi` and `GPT-4` in a Korean question are the same in an English document. A target tokenizer has pieces of
its own for them, cut where its text cut them, and the bridge would have to guess what English pieces these are. Read
with the source's pieces they are its tokens, of full weight. (MILCO, arXiv 2510.00671, keeps a second view in the
text's own language for that; where both vocabularies are one, an echo costs no dimension.)
"""

import logging
from typing import TYPE_CHECKING

import numpy as np
import torch

from sembridge.encoders.anatomy import read_anatomy
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.alignment import Alignment
from sembridge.language_transfer.extension import extend_tokenizer
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.language_transfer.overlap import match_vocabularies
from sembridge.language_transfer.sparse_matrix import SparseWeights

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def reading_english(
    source: "SparseEncoder", tokenizer: "PreTrainedTokenizerBase", alignment: Alignment
) -> tuple["PreTrainedTokenizerBase", Alignment]:
    """The source's tokenizer with the target's own tokens behind it, and the alignment of these with English before it.

    English text is cut as the source cuts it, and each of its tokens is itself. Two tokenizers that cannot be joined
    (`extend_tokenizer` says which) leave both arguments as they are, and so does one that reads English already.

    Args:
        tokenizer: the target tokenizer that the alignment lies beside.
    """
    n_source = read_anatomy(source).n_rows
    target = read_vocabulary(tokenizer, n_rows=alignment.weights.n_rows)
    if target.tokens[:n_source] == tuple(alignment.source_tokens):
        return tokenizer, alignment
    try:
        joint = extend_tokenizer(source.tokenizer, tokenizer, first_new_id=n_source, mixed=False)
    except SembridgeError as refusal:
        logger.info("Names and numbers are read with the target's own pieces: %s", refusal)
        return tokenizer, alignment
    pairs = match_vocabularies(target, read_vocabulary(joint), fuzzy=False)
    new = pairs.target_ids >= n_source
    return joint, _behind_english(alignment, pairs.source_ids[new], pairs.target_ids[new], n_rows=len(joint))


def _behind_english(alignment: Alignment, old_ids: np.ndarray, new_ids: np.ndarray, *, n_rows: int) -> Alignment:
    """Rows `old_ids` of the alignment under `new_ids`, behind a row for every source token, which is itself."""
    old, n_source = alignment.weights, alignment.weights.n_columns
    place = torch.full((old.n_rows,), -1)
    place[torch.from_numpy(old_ids)] = torch.from_numpy(new_ids)
    rows = place[old.row_ids()]
    moved, own = rows >= 0, torch.arange(n_source)
    kinds = np.full(n_rows, RowKind.FALLBACK, np.uint8)
    kinds[:n_source], kinds[new_ids] = RowKind.EXACT, alignment.kinds[old_ids]
    weights = SparseWeights.from_rows(
        n_rows,
        torch.cat([own, rows[moved]]),
        torch.cat([own, old.col_indices[moved]]),
        torch.cat([torch.ones(n_source), old.values[moved]]),
        torch.cat([torch.full((n_source,), torch.nan), old.similarities[moved]]),
        n_source,
    )
    return Alignment(weights, kinds, alignment.source_tokens)
