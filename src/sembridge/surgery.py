"""Every parameter and config value with a vocabulary axis: found, checked and replaced.

`transplant` gives an encoder another vocabulary: each tensor with a vocabulary axis goes through the same row builder,
ids and sizes in configs follow, and nothing else changes, bit for bit. What is not understood is refused by name,
because a forgotten tensor would not fail but score wrongly.
"""

import copy
import json
import logging
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import transformers
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.model_card import SparseEncoderModelCardData
from sentence_transformers.sparse_encoder.modules import MLMTransformer, SparseStaticEmbedding, SpladePooling
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from sembridge.errors import SembridgeError

logger = logging.getLogger(__name__)

RowBuilder = Callable[[Tensor], Tensor]
"""(n_source, d) float32 on the CPU -> (n_target, d); called once for every tensor with a vocabulary axis."""


@dataclass(frozen=True)
class SourceFacts:
    """What the surgery knows about a source encoder.

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
class _Parts:
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
    parts = _find_parts(encoder)
    parameters = _vocabulary_parameters(encoder, parts)
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
        usable_positions=_usable_positions(parts),
    )


def splade_route(encoder: SparseEncoder, task: str) -> SpladeRoute:
    """The masked language model and the pooling that texts of `task` ("query" or "document") go through.

    Raises:
        SembridgeError: the encoder is not understood (as `check_source_encoder`, its tensors aside), or texts of this
            task take another way through it, as queries of inference-free encoders do.
    """
    parts = _find_parts(encoder)
    routes = _routes(encoder)
    router = None if "" in routes else next(encoder.children())
    modules = routes.get("" if router is None else task, [])
    if len(modules) != 2 or getattr(router, "route_mappings", None):
        raise SembridgeError(f"The encoder has no route {task!r} of Transformer -> SpladePooling for its {task} texts.")
    pooling = cast(SpladePooling, modules[1])  # as _find_parts has checked
    return SpladeRoute(transformer=parts.transformer, decoder=parts.head.decoder, pooling=pooling)


def decoder_biases(encoder: SparseEncoder) -> list[nn.Parameter]:
    """The tensors that hold the decoder's bias, each (n_rows,): none, one, or two of the same numbers.

    Raises:
        SembridgeError: as `check_source_encoder` on account of the modules.
    """
    parts = _find_parts(encoder)
    return _distinct_tensors(parts, [name for name in parts.head.tensor_names if name.endswith("bias")])


def vocabulary_matrices(encoder: SparseEncoder) -> list[nn.Parameter]:
    """The input embedding and, where it is not tied to it, the decoder's weight, each (n_rows, d).

    Raises:
        SembridgeError: as `check_source_encoder` on account of the modules.
    """
    parts = _find_parts(encoder)
    return _distinct_tensors(parts, [parts.head.token_weight, parts.head.decoder_weight])


def _distinct_tensors(parts: _Parts, names: Sequence[str]) -> list[nn.Parameter]:
    """The model's tensors of these names that are there, tied ones once."""
    found = dict(parts.model.named_parameters(remove_duplicate=False))
    return list({found[name].data_ptr(): found[name] for name in names if name in found}.values())


def check_target_tokenizer(encoder: SparseEncoder, target_tokenizer: PreTrainedTokenizerBase, *, n_target: int) -> None:
    """Nothing, if `transplant` can give `encoder` this tokenizer; for callers with long work before it.

    Raises:
        SembridgeError: as `transplant` on account of the tokenizer.
    """
    _check_target_tokenizer(target_tokenizer, _find_parts(encoder), n_target)


def transplant(
    encoder: SparseEncoder, target_tokenizer: PreTrainedTokenizerBase, rows: RowBuilder, *, n_target: int
) -> SparseEncoder:
    """A new encoder over the vocabulary of `target_tokenizer`; `encoder` and `target_tokenizer` stay as they are.

    `rows` builds the new rows of the input embedding, of an untied decoder, of the decoder bias (as one column) and of
    the static query weights (as one column); it always sees float32 on the CPU, and its result is cast to the dtype and
    moved to the device of the tensor. Tied tensors stay tied and are built once. `n_target` may exceed the size of the
    tokenizer. The text keeps its position rows where the pad id changes the counting (RoBERTa): position rows then move
    with the pad id, the only other tensor that can change. The new encoder gives every text the type ids 0, whatever
    the tokenizer emits, and its maximal length is the source's, at most the usable positions.

    Example:
        Keep the source vocabulary and append tokens, each a copy of the row of id 5::

            tokenizer = copy.deepcopy(encoder.tokenizer)
            n_new = tokenizer.add_tokens(["학교", "나무"])
            extended = transplant(
                encoder, tokenizer, lambda x: torch.cat([x, x[[5] * n_new]]), n_target=len(encoder.tokenizer) + n_new
            )

    Raises:
        SembridgeError: The source encoder is not understood, the tokenizer does not fit `n_target` or the encoder, or
            `rows` gives rows of another shape or rows that are not finite.
    """
    check_source_encoder(encoder)
    _check_target_tokenizer(target_tokenizer, _find_parts(encoder), n_target)

    target = _copy_encoder(encoder)
    parts = _find_parts(target)
    _replace_vocabulary_parameters(target, parts, rows, n_target)
    _set_vocabulary_sizes(parts, n_target)
    _set_pad_id(parts, target_tokenizer.pad_token_id)
    _set_special_ids(parts.model, target_tokenizer)
    _set_tokenizers(parts, target_tokenizer)
    return target


def _find_parts(encoder: SparseEncoder) -> _Parts:
    if not isinstance(encoder, SparseEncoder):
        raise SembridgeError(
            f"A {type(encoder).__name__} was given as source encoder; a SparseEncoder with SpladePooling was expected. "
            "Dense encoders have no vocabulary in their output: choose a SPLADE model."
        )
    modules = [module for name, route in _routes(encoder).items() for module in _check_route(name, route)]
    transformer = _only_transformer(modules)
    return _Parts(
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


def _vocabulary_parameters(encoder: SparseEncoder, parts: _Parts) -> dict[str, nn.Parameter]:
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


def _check_source_tokenizers(parts: _Parts, n_rows: int) -> None:
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
    encoder: SparseEncoder, parts: _Parts, claimed: Mapping[str, nn.Parameter], n_rows: int
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


def _usable_positions(parts: _Parts) -> int:
    n_positions: int = parts.model.config.max_position_embeddings
    # RoBERTa counts positions from the pad id + 1; the rows up to it belong to no token.
    n_before_first: int = parts.embeddings.padding_idx + 1 if parts.head.positions_follow_pad else 0
    return n_positions - n_before_first


def _check_target_tokenizer(tokenizer: PreTrainedTokenizerBase, parts: _Parts, n_target: int) -> None:
    if tokenizer.pad_token_id is None:
        raise SembridgeError(
            "The target tokenizer has no pad token; one was expected, because texts are encoded in padded batches. "
            "Name one first: tokenizer.pad_token = ..."
        )
    vocabulary = tokenizer.get_vocab()
    n_ids = max(vocabulary.values()) + 1
    if n_ids > n_target:
        raise SembridgeError(
            f"The target tokenizer has {n_ids:,} ids but n_target is {n_target:,}; a row for every id was expected. "
            f"Pass n_target={n_ids} or more."
        )
    if parts.static_queries and n_target != len(vocabulary):
        raise SembridgeError(
            f"n_target is {n_target:,} and the target tokenizer has {len(vocabulary):,} tokens; the same number was "
            "expected, because static query weights are loaded with one row a token. Add tokens until they agree."
        )
    pad_id_in_code = parts.head.pad_id_in_code
    if pad_id_in_code is not None and tokenizer.pad_token_id != pad_id_in_code:
        raise SembridgeError(
            f"The target tokenizer's pad token has the id {tokenizer.pad_token_id}; {pad_id_in_code} was expected, "
            f"because {type(parts.model).__name__} holds it in its code. Choose another tokenizer or source encoder."
        )


def _copy_encoder(encoder: SparseEncoder) -> SparseEncoder:
    """A second encoder with the same modules and settings and a fresh model card that keeps licence and origin."""
    card = SparseEncoderModelCardData(
        license=encoder.model_card_data.license, local_files_only=encoder.model_card_data.local_files_only
    )
    card.base_model = encoder.model_card_data.base_model
    card.base_model_revision = encoder.model_card_data.base_model_revision
    copied = SparseEncoder(
        modules=OrderedDict(copy.deepcopy(dict(encoder.named_children()))),
        device=str(encoder.device),
        prompts=dict(encoder.prompts),
        default_prompt_name=encoder.default_prompt_name,
        # Reading the property sets an unset name; the shallow copy keeps that away from the given encoder.
        similarity_fn_name=copy.copy(encoder).similarity_fn_name,
        max_active_dims=encoder.max_active_dims,
        model_card_data=card,
    )
    copied.module_kwargs = copy.deepcopy(encoder.module_kwargs)
    copied.training = encoder.training
    return copied


def _replace_vocabulary_parameters(target: SparseEncoder, parts: _Parts, rows: RowBuilder, n_target: int) -> None:
    parameters = _vocabulary_parameters(target, parts)
    built: dict[int, nn.Parameter] = {}
    for name, parameter in parameters.items():
        if id(parameter) not in built:
            built[id(parameter)] = _build_parameter(name, parameter, rows, n_target)
        owner, _, leaf = name.rpartition(".")
        setattr(target.get_submodule(owner), leaf, built[id(parameter)])


@torch.no_grad()
def _build_parameter(name: str, parameter: nn.Parameter, rows: RowBuilder, n_target: int) -> nn.Parameter:
    # A copy: the builder may write into its argument or return it.
    source_rows = parameter.to("cpu", torch.float32, copy=True)
    target_rows = rows(source_rows.unsqueeze(1) if parameter.ndim == 1 else source_rows)
    n_columns = 1 if parameter.ndim == 1 else parameter.shape[1]
    if target_rows.shape != (n_target, n_columns):
        raise SembridgeError(
            f"The row builder gave {tuple(target_rows.shape)} for tensor {name}; {(n_target, n_columns)} was expected. "
            "Build one row for every target id."
        )
    data = torch.empty((n_target, *parameter.shape[1:]), dtype=parameter.dtype, device=parameter.device)
    data.copy_(target_rows.reshape(data.shape))
    if not bool(torch.isfinite(data).all()):
        first = int((~torch.isfinite(data.reshape(n_target, -1)).all(dim=1)).nonzero()[0])
        raise SembridgeError(
            f"The row builder gave no finite {parameter.dtype} numbers for target id {first} in tensor {name}; finite "
            "rows were expected for every id. Check the weights and the source rows of this id."
        )
    return nn.Parameter(data, requires_grad=parameter.requires_grad)


def _set_vocabulary_sizes(parts: _Parts, n_target: int) -> None:
    parts.token_embedding.num_embeddings = n_target
    parts.model.get_submodule(parts.head.decoder).out_features = n_target
    parts.model.config.vocab_size = n_target
    for pooling in parts.poolings:
        pooling.embedding_dimension = n_target
    for static in parts.static_queries:
        static.num_dimensions = n_target


def _set_pad_id(parts: _Parts, pad_id: int) -> None:
    parts.token_embedding.padding_idx = pad_id
    if parts.head.positions_follow_pad:
        _move_positions(parts.embeddings, parts.model.config, pad_id)


def _move_positions(embeddings: Any, config: PretrainedConfig, pad_id: int) -> None:
    """Moves the position rows so that the first token has the same row although counting starts at another pad id."""
    source_pad_id = embeddings.padding_idx
    if pad_id == source_pad_id:
        return
    positions = embeddings.position_embeddings
    used_rows = positions.weight.detach()[source_pad_id:]
    # Grown or shrunk by the difference, so that no position is lost; rows before the pad id are never read.
    weight = used_rows.new_zeros(pad_id + len(used_rows), used_rows.shape[1])
    weight[pad_id:] = used_rows
    sizes = (pad_id, source_pad_id, positions.num_embeddings, len(weight))
    logger.info("The pad id is %d instead of %d; the position matrix goes from %d to %d rows.", *sizes)
    positions.weight = nn.Parameter(weight, requires_grad=positions.weight.requires_grad)
    positions.num_embeddings = config.max_position_embeddings = len(weight)
    positions.padding_idx = embeddings.padding_idx = pad_id
    embeddings.position_ids = torch.arange(len(weight), device=weight.device).expand((1, -1))
    if hasattr(embeddings, "token_type_ids"):
        embeddings.token_type_ids = torch.zeros_like(embeddings.position_ids)


def _set_special_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Replaces every special id that the configs hold by the target tokenizer's id of that role, or by None."""
    ids = {role: getattr(tokenizer, f"{role}_token_id") for role in ("pad", "cls", "sep", "bos", "eos", "mask", "unk")}
    for role, substitute in (("bos", "cls"), ("cls", "bos"), ("eos", "sep"), ("sep", "eos")):
        if ids[role] is None:
            ids[role] = ids[substitute]
    for config in (model.config, getattr(model, "generation_config", None)):
        if config is None:
            continue
        held = [key for key, value in config.to_dict().items() if key.endswith("_token_id") and value is not None]
        for key in held:
            setattr(config, key, ids.get(key.removesuffix("_token_id")))
    model.config.pad_token_id = tokenizer.pad_token_id
    # A class named here would be used for a tokenizer that does not name its own.
    if getattr(model.config, "tokenizer_class", None) is not None:
        model.config.tokenizer_class = None


def _set_tokenizers(parts: _Parts, tokenizer: PreTrainedTokenizerBase) -> None:
    transformer = parts.transformer
    source_tokenizer = transformer.tokenizer
    usable = _usable_positions(parts)
    document_tokenizer = _prepare_tokenizer(tokenizer, min(source_tokenizer.model_max_length, usable))
    transformer.processor = transformer.input_formatter.processor = document_tokenizer
    # Lengths of prompts were counted with the source tokenizer; flattened inputs count positions from the pad id.
    transformer._prompt_length_mapping.clear()
    transformer.unpad_inputs = transformer.unpad_inputs
    for static in parts.static_queries:
        if static.tokenizer is source_tokenizer:
            static.tokenizer = document_tokenizer
        else:
            static.tokenizer = _prepare_tokenizer(tokenizer, static.tokenizer.model_max_length)
        static.max_seq_length = static.tokenizer.model_max_length


def _prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, model_max_length: int) -> PreTrainedTokenizerBase:
    prepared = _reloadable_copy(tokenizer)
    prepared.model_max_length = model_max_length
    # Absolute positions start at the left.
    prepared.padding_side = "right"
    # Without type ids every head reads zeros, its own for a single text; given ones can be out of its range.
    prepared.model_input_names = [name for name in prepared.model_input_names if name != "token_type_ids"]
    # Only what is among init_kwargs is saved.
    prepared.init_kwargs |= {"padding_side": "right", "model_input_names": prepared.model_input_names}
    return prepared


def _reloadable_copy(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy that is the same after saving and loading.

    Named classes rebuild parts of the pipeline from their code when loaded (XLMRobertaTokenizer: unknown id 3 and no
    normalizer but its own). Where that changes anything, the copy is of the generic class, which reads all from file.
    """
    copied = copy.deepcopy(tokenizer)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return copied
    # A class from outside transformers could not be loaded without trust_remote_code.
    if type(tokenizer).__module__.startswith("transformers.") and _pipeline(_reload(copied)) == _pipeline(copied):
        return copied
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        **tokenizer.special_tokens_map,
        extra_special_tokens=tokenizer.extra_special_tokens,
        truncation_side=tokenizer.truncation_side,
        clean_up_tokenization_spaces=tokenizer.clean_up_tokenization_spaces,
    )


def _reload(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return type(tokenizer).from_pretrained(folder)


def _pipeline(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """All that decides over tokens and ids; padding and truncation are set anew at every call."""
    pipeline: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return {key: value for key, value in pipeline.items() if key not in ("padding", "truncation")}
