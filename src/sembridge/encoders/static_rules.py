"""What dense models do with pieces that their tokenizer does not know."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer


def unknown_id(tokenizer: "Tokenizer") -> int | None:
    """The id that the tokenizer gives to what it does not know; None where there is none."""
    model = tokenizer.model
    if hasattr(model, "unk_token"):  # WordPiece, WordLevel, BPE
        return None if model.unk_token is None else tokenizer.token_to_id(model.unk_token)
    id_: int | None = json.loads(tokenizer.to_str())["model"].get("unk_id")  # Unigram
    return id_


def unknown_texts(tokenizer: object, texts: Sequence[str]) -> list[str] | None:
    """Those of `texts` of which `tokenizer` knows no piece; None where that cannot be told.

    A dense model gives all of them one vector, that of its unknown token, so they count as translations of one another.
    """
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        return None
    nothing = {unknown_id(backend), backend.token_to_id("▁")}  # the mark of a word's start stands alone before it
    encodings = backend.encode_batch(list(texts), add_special_tokens=False)
    return [
        text
        for text, encoding in zip(texts, encodings, strict=True)
        if nothing.issuperset(id_ for id_, real in zip(encoding.ids, encoding.attention_mask, strict=True) if real)
    ]


def unknown_to_static(model: object, texts: Sequence[str]) -> list[str]:
    """Those of `texts` of which a static `model` knows no piece; none of a model of another kind.

    Their mean is the unknown token's row, whatever they say: as vectors of a bridge, all would be translations of one
    another. model2vec gives them none, and neither does a bridge.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    if not isinstance(model, SentenceTransformer) or not isinstance(model[0], StaticEmbedding):
        return []
    return unknown_texts(model[0].tokenizer, texts) or []


def leave_out_unknown_pieces(bridge: "SentenceTransformer") -> None:
    """Gives every StaticEmbedding of `bridge` model2vec's rule, `StaticModel.tokenize` there: without the unknown id.

    The mean is over the known pieces; a text without one has the vector zero.
    """
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from torch import nn

    for module in bridge.modules():
        if isinstance(module, StaticEmbedding):
            # The padding entry of a bag counts neither in its sum nor in its number.
            module.embedding = nn.EmbeddingBag.from_pretrained(
                module.embedding.weight, mode=module.embedding.mode, padding_idx=unknown_id(module.tokenizer)
            )
