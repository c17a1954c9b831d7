"""The start of an inference-free training: an encoder whose queries are looked up instead of computed."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from sembridge.encoders.anatomy import check_source_encoder, splade_route
from sembridge.encoders.idf import idf_weights
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder


def inference_free_encoder(encoder: "SparseEncoder", documents: Iterable[str]) -> "SparseEncoder":
    """An encoder with the document side of `encoder` and, for queries, the IDF of `documents` under its tokenizer.

    A Router of Sentence Transformers with frozen static query weights (`encoders.idf`); the document side is that of
    `encoder` itself, not a copy. An encoder that is inference-free already gets new weights.

    Raises:
        SembridgeError: the encoder is no SPLADE model or has more rows than tokens, or no document has a token.
    """
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    facts, route = check_source_encoder(encoder), splade_route(encoder, "document")
    if facts.n_rows != facts.n_tokens:
        raise SembridgeError(
            f"The encoder has {facts.n_rows:,} rows but its tokenizer {facts.n_tokens:,} tokens; static query weights "
            "are loaded with one row a token. Add tokens until they agree."
        )
    tokenizer = route.transformer.tokenizer
    found = idf_weights(tokenizer, documents, n_tokens=facts.n_rows)
    weight = torch.from_numpy(found.weights).float()
    queries = SparseStaticEmbedding(tokenizer=tokenizer, weight=weight, frozen=True)
    router = Router.for_query_document([queries], [route.transformer, route.pooling])
    return SparseEncoder(modules=[router], device=str(encoder.device), similarity_fn_name="dot").eval()
