"""Whether a loaded model's tokenizers fit its matrices: every id has a row, every length has positions."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sembridge.encoders.tokenizer_habits import refuse_failing_tokenizer
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


def refuse_ids_without_rows(loaded: "SparseEncoder | SentenceTransformer", name: object) -> None:
    """Refuses a model whose tokenizer gives a text an id beyond its matrix: it would end in an index error there.

    Special tokens that are only named, and that no text gets, may lie beyond it.
    """
    for tokenizer, n_rows in _tokenizers(loaded):
        added = {token for token, beyond in _added(tokenizer).items() if beyond >= n_rows}
        beyond = {id_: token for token, id_ in tokenizer.get_vocab().items() if id_ >= n_rows and token not in added}
        if beyond:
            raise SembridgeError(
                f"{name} gives the token {beyond[min(beyond)]!r} the id {min(beyond):,} but its matrix has {n_rows:,}"
                " rows; its tokenizer is of another model. Save the right one beside the weights."
            )


def refuse_failing_tokenizers(loaded: "SparseEncoder | SentenceTransformer", name: object) -> None:
    """As `refuse_failing_tokenizer`, for every tokenizer of the model."""
    for tokenizer, _ in _tokenizers(loaded):
        refuse_failing_tokenizer(tokenizer, name)


def keep_lower_casing(loaded: "SparseEncoder | SentenceTransformer") -> None:
    """Makes `do_lower_case` of a module a part of its tokenizer that is saved with it.

    Sentence Transformers puts the lower-casing into the tokenizer when it loads, and writes the setting nowhere: of a
    tokenizer class that rebuilds its normalizer, a trained or exported copy would read capitals again.
    """
    from sentence_transformers.base.modules import Transformer

    from sembridge.encoders.transplant import reloadable_copy

    for module in {id(m): m for m in loaded.modules() if isinstance(m, Transformer)}.values():
        tokenizer = module.tokenizer
        if not module.do_lower_case or tokenizer is None or module.processor is not tokenizer:
            continue
        kept = reloadable_copy(tokenizer)
        for name in ("model_max_length", "padding_side", "model_input_names"):
            setattr(kept, name, getattr(tokenizer, name))
            kept.init_kwargs[name] = getattr(tokenizer, name)
        module.processor = module.input_formatter.processor = kept


def clamp_lengths(loaded: "SparseEncoder | SentenceTransformer", name: object) -> None:
    """Lowers max_seq_length, document_length and query_length to the positions of the model, and says so."""
    from sentence_transformers.base.modules import Transformer

    for module in {id(m): m for m in loaded.modules() if isinstance(m, Transformer)}.values():
        n_positions = _n_positions(module.model)
        for setting in ("max_seq_length", "document_length", "query_length"):
            _clamp(module, setting, n_positions, name)


def _clamp(module: "Transformer", setting: str, n_positions: int | None, name: object) -> None:
    stated = getattr(module, setting)
    if n_positions is None or stated is None or stated <= n_positions:
        return
    setattr(module, setting, n_positions)
    if stated < 10**9:  # a tokenizer without a limit states 10^30
        logger.warning(
            "%s states %s %s but has %d positions; texts are cut there.", name, setting, f"{stated:,}", n_positions
        )


def _n_positions(model: "PreTrainedModel") -> int | None:
    """Rows of the learned position table that a token can have; None where positions are computed.

    RoBERTa and its kin count from the pad id + 1.
    """
    from torch import nn

    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    return None


def _tokenizers(loaded: "SparseEncoder | SentenceTransformer") -> Iterator[tuple[Any, int]]:
    """Every tokenizer of the model's modules with the number of rows that its ids point into."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    for module in loaded.modules():
        if isinstance(module, Transformer) and module.tokenizer is not None:
            embeddings = module.model.get_input_embeddings()
            if hasattr(getattr(embeddings, "weight", None), "shape"):
                yield module.tokenizer, len(embeddings.weight)
        elif isinstance(module, StaticEmbedding):
            yield module.tokenizer, module.embedding.num_embeddings
        elif isinstance(module, SparseStaticEmbedding):
            yield module.tokenizer, len(module.weight)


def _added(tokenizer: Any) -> dict[str, int]:
    """Added special tokens by their spelling; tokenizers of either library."""
    decoder = getattr(tokenizer, "added_tokens_decoder", None)
    added = decoder if isinstance(decoder, dict) else tokenizer.get_added_tokens_decoder()
    return {token.content: id_ for id_, token in added.items() if token.special}
