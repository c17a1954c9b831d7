"""The start of an inference-free training: an encoder whose queries are looked up instead of computed."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from sembridge.encoders.anatomy import check_source_encoder
from sembridge.encoders.idf import idf_weights
from sembridge.encoders.transplant import with_static_queries
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder


def inference_free_encoder(encoder: "SparseEncoder", documents: Iterable[str]) -> "SparseEncoder":
    """An encoder with the document side of `encoder` and, for queries, the IDF of `documents` under its tokenizer.

    A Router of Sentence Transformers with frozen static query weights (`encoders.idf`); the document side is that of
    `encoder` itself, not a copy, with its prompt, active dims and similarity. An encoder that is inference-free already
    gets new weights.

    Raises:
        SembridgeError: the encoder is no SPLADE model or has more rows than tokens, or no document has a token.
    """
    anatomy = check_source_encoder(encoder)
    if anatomy.n_rows != anatomy.n_tokens:
        raise SembridgeError(
            f"The encoder has {anatomy.n_rows:,} rows but its tokenizer {anatomy.n_tokens:,} tokens; static query "
            "weights are loaded with one row a token. Add tokens until they agree."
        )
    found = idf_weights(anatomy.transformer.tokenizer, documents, n_tokens=anatomy.n_rows)
    return with_static_queries(anatomy, torch.from_numpy(found.weights).float())
