"""What an encoder is made of: its head, routes, and every tensor with a vocabulary axis.

Model classes are known here and nowhere else; what is not understood is refused by name, because a forgotten tensor
would not fail but score wrongly.
"""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import transformers
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import MLMTransformer, SparseStaticEmbedding, SpladePooling
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sembridge.errors import SembridgeError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a source encoder's vocabulary.

    `vocabulary_tensors` are parameter names as in `encoder.named_parameters`; tied tensors appear under every name.
    `usable_positions` is the longest input in tokens, special tokens included.
    """

    architecture: str
    n_rows: int
    n_tokens: int
    hidden_size: int
    tied: bool
    vocabulary_tensors: tuple[str, ...]
    inference_free: bool
    usable_positions: int


@dataclass(frozen=True)
class SpladeRoute:
    """The modules that turn a query or a document into a sparse vector; `decoder` is a path inside the model."""

    transformer: Transformer
    decoder: str
    pooling: SpladePooling


@dataclass(frozen=True)
class _Head:
    """Where a masked-language-model class keeps its vocabulary, as paths inside the model."""

    embeddings: str
    decoder: str
    # Some classes hold the decoder bias under a second name; with an untied decoder it is a tensor of its own.
    second_bias: str | None = None
    tokens: str = "word_embeddings"
    positions_follow_pad: bool = False
    pad_id_in_code: int | None = None

    @property
    def token_weight(self) -> str:
        return f"{self.embeddings}.{self.tokens}.weight"

    @property
    def decoder_weight(self) -> str:
        return f"{self.decoder}.weight"

    @property
    def tensor_names(self) -> tuple[str, ...]:
        biases = (f"{self.decoder}.bias", self.second_bias)
        return (self.token_weight, self.decoder_weight, *(bias for bias in biases if bias is not None))


_ROBERTA = _Head("roberta.embeddings", "lm_head.decoder", "lm_head.bias", positions_follow_pad=True)
_HEADS: Mapping[str, _Head] = {
    "BertForMaskedLM": _Head("bert.embeddings", "cls.predictions.decoder", "cls.predictions.bias"),
    "DistilBertForMaskedLM": _Head("distilbert.embeddings", "vocab_projector"),
    "RobertaForMaskedLM": _ROBERTA,
    "XLMRobertaForMaskedLM": _ROBERTA,
    "MPNetForMaskedLM": _Head(
        "mpnet.embeddings", "lm_head.decoder", "lm_head.bias", positions_follow_pad=True, pad_id_in_code=1
    ),
    "ModernBertForMaskedLM": _Head("model.embeddings", "decoder", tokens="tok_embeddings"),
}


@dataclass(frozen=True)
class Parts:
    """The modules of an encoder that have to do with its vocabulary."""

    transformer: Transformer
    poolings: tuple[SpladePooling, ...]
    static_queries: tuple[SparseStaticEmbedding, ...]
    head: _Head

    @property
    def model(self) -> PreTrainedModel:
        return self.transformer.model

    @property
    def embeddings(self) -> Any:
        return self.model.get_submodule(self.head.embeddings)

    @property
    def token_embedding(self) -> nn.Embedding:
        embedding: nn.Embedding = getattr(self.embeddings, self.head.tokens)
        return embedding


def check_source_encoder(encoder: SparseEncoder) -> SourceFacts:
    """The facts about `encoder` that a transfer needs; every tensor with a vocabulary axis is among them.

    Raises:
        SembridgeError: The encoder is dense, or has a module, a masked-language-model head, a route or a tensor with a
            vocabulary axis that this module does not know, or its tokenizer does not fit its matrix.
    """
    parts = find_parts(encoder)
    parameters = vocabulary_parameters(encoder, parts)
    n_rows = parts.token_embedding.weight.shape[0]
    for name, parameter in parameters.items():
        _check_vocabulary_parameter(name, parameter, n_rows)
    _check_source_tokenizers(parts, n_rows)
    _refuse_unclaimed_tensors(encoder, parts, parameters, n_rows)
    model_parameters = dict(parts.model.named_parameters(remove_duplicate=False))
    return SourceFacts(
        architecture=type(parts.model).__name__,
        n_rows=n_rows,
        n_tokens=len(parts.transformer.tokenizer.get_vocab()),
        hidden_size=parts.token_embedding.embedding_dim,
        tied=model_parameters[parts.head.token_weight] is model_parameters[parts.head.decoder_weight],
        vocabulary_tensors=tuple(parameters),
        inference_free=bool(parts.static_queries),
        usable_positions=usable_positions(parts),
    )


def splade_route(encoder: SparseEncoder, task: str) -> SpladeRoute:
    """The masked language model and the pooling that texts of `task` ("query" or "document") go through.

    Raises:
        SembridgeError: the encoder is not understood (as `check_source_encoder`, its tensors aside), or texts of this
            task take another way through it, as queries of inference-free encoders do.
    """
    parts = find_parts(encoder)
    routes = _routes(encoder)
    router = None if "" in routes else next(encoder.children())
    modules = routes.get("" if router is None else task, [])
    if len(modules) != 2 or getattr(router, "route_mappings", None):
        raise SembridgeError(f"The encoder has no route {task!r} of Transformer -> SpladePooling for its {task} texts.")
    pooling = cast(SpladePooling, modules[1])  # as find_parts has checked
    return SpladeRoute(transformer=parts.transformer, decoder=parts.head.decoder, pooling=pooling)


def decoder_biases(encoder: SparseEncoder) -> list[nn.Parameter]:
    """The tensors that hold the decoder's bias, each (n_rows,): none, one, or two of the same numbers.

    Raises:
        SembridgeError: as `check_source_encoder` on account of the modules.
    """
    parts = find_parts(encoder)
    return _distinct_tensors(parts, [name for name in parts.head.tensor_names if name.endswith("bias")])


def vocabulary_matrices(encoder: SparseEncoder) -> list[nn.Parameter]:
    """The input embedding and, where it is not tied to it, the decoder's weight, each (n_rows, d).

    Raises:
        SembridgeError: as `check_source_encoder` on account of the modules.
    """
    parts = find_parts(encoder)
    return _distinct_tensors(parts, [parts.head.token_weight, parts.head.decoder_weight])


def _distinct_tensors(parts: Parts, names: Sequence[str]) -> list[nn.Parameter]:
    """The model's tensors of these names that are there, tied ones once."""
    found = dict(parts.model.named_parameters(remove_duplicate=False))
    return list({found[name].data_ptr(): found[name] for name in names if name in found}.values())


def find_parts(encoder: SparseEncoder) -> Parts:
    if not isinstance(encoder, SparseEncoder):
        raise SembridgeError(
            f"A {type(encoder).__name__} was given as source encoder; a SparseEncoder with SpladePooling was expected. "
            "Dense encoders have no vocabulary in their output: choose a SPLADE model."
        )
    modules = [module for name, route in _routes(encoder).items() for module in _check_route(name, route)]
    transformer = _only_transformer(modules)
    return Parts(
        transformer=transformer,
        poolings=tuple(module for module in modules if isinstance(module, SpladePooling)),
        static_queries=tuple(module for module in modules if isinstance(module, SparseStaticEmbedding)),
        head=_find_head(transformer),
    )


def _routes(encoder: SparseEncoder) -> dict[str, list[nn.Module]]:
    """The modules of every route of a Router encoder, or all modules under the empty name."""
    modules = list(encoder.children())
    if len(modules) == 1 and type(modules[0]) is Router:
        return {name: list(route) for name, route in modules[0].sub_modules.items()}
    return {"": modules}


def _check_route(name: str, modules: list[nn.Module]) -> list[nn.Module]:
    kinds = [type(module) for module in modules]
    place = f"Route {name!r} of the source encoder" if name else "The source encoder"
    known = (Transformer, MLMTransformer, SpladePooling, SparseStaticEmbedding)
    if unknown := [kind.__name__ for kind in kinds if kind not in known]:
        raise SembridgeError(
            f"{place} has unknown modules ({', '.join(unknown)}); Transformer with SpladePooling, or a Router with "
            "such a route and SparseStaticEmbedding for queries, was expected. Choose a SPLADE model."
        )
    is_splade = len(kinds) == 2 and kinds[0] in (Transformer, MLMTransformer) and kinds[1] is SpladePooling
    is_static_route = bool(name) and kinds == [SparseStaticEmbedding]
    if not (is_splade or is_static_route):
        raise SembridgeError(
            f"{place} is {' -> '.join(kind.__name__ for kind in kinds)}; Transformer -> SpladePooling"
            f"{' or SparseStaticEmbedding' if name else ''} was expected. Choose a SPLADE model."
        )
    return modules


def _only_transformer(modules: list[nn.Module]) -> Transformer:
    transformers_by_id = {id(module): module for module in modules if isinstance(module, Transformer)}
    if len(transformers_by_id) != 1:
        raise SembridgeError(
            f"The Router of the source encoder has {len(transformers_by_id)} different Transformer modules; one was "
            "expected, in one route or shared by several. Transfer encoders with one Transformer."
        )
    return next(iter(transformers_by_id.values()))


def _find_head(transformer: Transformer) -> _Head:
    model = transformer.model
    architecture = type(model).__name__
    head = _HEADS.get(architecture)
    # A subclass or remote code under a known name may hold further tensors.
    if head is None or type(model) is not getattr(transformers, architecture, None):
        raise SembridgeError(
            f"The source encoder has the head {architecture} ({type(model).__module__}); one of {', '.join(_HEADS)} of "
            "transformers was expected. Choose an encoder with one of these heads."
        )
    if transformer.transformer_task != "fill-mask":
        raise SembridgeError(
            f"The Transformer of the source encoder has the task {transformer.transformer_task!r}; 'fill-mask' was "
            "expected. Load it with transformer_task='fill-mask'."
        )
    if getattr(model, "_hf_peft_config_loaded", False):
        raise SembridgeError(
            "The source encoder carries adapters, which are saved without its vocabulary tensors; a plain model was "
            "expected. Merge the adapters into the model first."
        )
    return head


def vocabulary_parameters(encoder: SparseEncoder, parts: Parts) -> dict[str, nn.Parameter]:
    """Every parameter with a vocabulary axis by its name in `encoder`; tied parameters appear under each name."""
    prefixes = {id(module): name for name, module in encoder.named_modules()}
    model_parameters = dict(parts.model.named_parameters(remove_duplicate=False))
    found = {}
    for name in parts.head.tensor_names:
        if name in model_parameters:
            found[f"{prefixes[id(parts.model)]}.{name}"] = model_parameters[name]
        elif name.endswith(".weight"):
            raise SembridgeError(
                f"The source encoder's {type(parts.model).__name__} has no parameter {name}; a plain model of "
                "transformers was expected. Merge adapters or undo the quantization first."
            )
    for static in parts.static_queries:
        found[f"{prefixes[id(static)]}.weight"] = static.weight
    return found


def _check_vocabulary_parameter(name: str, parameter: nn.Parameter, n_rows: int) -> None:
    if parameter.shape[0] != n_rows or not parameter.is_floating_point():
        raise SembridgeError(
            f"Tensor {name} of the source encoder is {tuple(parameter.shape)} of {parameter.dtype}; floating point "
            f"with {n_rows:,} rows, as in the input embedding, was expected. Repair the checkpoint first."
        )


def _check_source_tokenizers(parts: Parts, n_rows: int) -> None:
    tokenizer = parts.transformer.processor
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise SembridgeError(
            f"The source encoder reads text through a {type(tokenizer).__name__}; a tokenizer was expected. "
            "Choose an encoder of text only."
        )
    vocabulary = tokenizer.get_vocab()
    if max(vocabulary.values()) >= n_rows:
        raise SembridgeError(
            f"The source encoder's tokenizer has {max(vocabulary.values()) + 1:,} ids but its matrix has {n_rows:,} "
            "rows; a row for every id was expected. Resize the encoder's embeddings first."
        )
    for static in parts.static_queries:
        if static.tokenizer is not tokenizer and static.tokenizer.get_vocab() != vocabulary:
            raise SembridgeError(
                "The query and document sides of the source encoder have tokenizers with different ids; one vocabulary "
                "was expected. Choose an encoder whose sides share their tokenizer."
            )


def _refuse_unclaimed_tensors(
    encoder: SparseEncoder, parts: Parts, claimed: Mapping[str, nn.Parameter], n_rows: int
) -> None:
    """Refuses a tensor with an axis of `n_rows` that is neither claimed nor explained by the stock model.

    Explained is a tensor that keeps its shape in the same model with one more row: there the axis only happens to be
    as long as the vocabulary.
    """
    understood_ids = {id(parameter) for parameter in claimed.values()}
    shapes = _shapes_with_one_more_row(parts.model)
    understood_ids |= {id(tensor) for name, tensor in _named_tensors(parts.model) if shapes.get(name) == tensor.shape}
    for name, tensor in _named_tensors(encoder):
        if n_rows in tensor.shape and id(tensor) not in understood_ids:
            raise SembridgeError(
                f"Tensor {name} {tuple(tensor.shape)} of the source encoder has an axis of the vocabulary's length "
                f"({n_rows:,}) and no known meaning; {', '.join(claimed)} were expected. Remove the tensor first."
            )


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _shapes_with_one_more_row(model: PreTrainedModel) -> dict[str, torch.Size]:
    config = copy.deepcopy(model.config)
    config.vocab_size += 1
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in _named_tensors(type(model)(config))}


def usable_positions(parts: Parts) -> int:
    n_positions: int = parts.model.config.max_position_embeddings
    # RoBERTa counts positions from the pad id + 1; the rows up to it belong to no token.
    n_before_first: int = parts.embeddings.padding_idx + 1 if parts.head.positions_follow_pad else 0
    return n_positions - n_before_first
