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
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router
from sentence_transformers.sparse_encoder.model_card import SparseEncoderModelCardData
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from sembridge.encoders.anatomy import Anatomy, read_anatomy
from sembridge.encoders.stated import prompt_of, scores_by_cosine
from sembridge.encoders.tokenizer_habits import refuse_failing_tokenizer
from sembridge.errors import SembridgeError

logger = logging.getLogger(__name__)

RowBuilder = Callable[[Tensor], Tensor]
"""(n_source, d) float32 on the CPU -> (n_target, d); called once for every tensor with a vocabulary axis."""


def transplant(
    source: Anatomy, target_tokenizer: PreTrainedTokenizerBase, rows: RowBuilder, *, n_target: int
) -> Anatomy:
    """A new encoder over the vocabulary of `target_tokenizer`; `source` and `target_tokenizer` stay as they are.

    `rows` builds the new rows of the input embedding, of an untied decoder, of the decoder bias (as one column) and of
    the static query weights (as one column); it always sees float32 on the CPU, and its result is cast to the dtype and
    moved to the device of the tensor. Tied tensors stay tied and are built once. `n_target` may exceed the size of the
    tokenizer. The text keeps its position rows where the pad id changes the counting (RoBERTa): position rows then move
    with the pad id, the only other tensor that can change. The new encoder gives every text the type ids 0, whatever
    the tokenizer emits, and its maximal length is the source's, at most the usable positions.

    Example:
        Keep the source vocabulary and append tokens, each a copy of the row of id 5::

            source, tokenizer = check_source_encoder(encoder), copy.deepcopy(encoder.tokenizer)
            n_new = tokenizer.add_tokens(["학교", "나무"])
            extended = transplant(
                source, tokenizer, lambda x: torch.cat([x, x[[5] * n_new]]), n_target=source.n_tokens + n_new
            ).encoder

    Raises:
        SembridgeError: The source encoder is not understood, the tokenizer does not fit `n_target` or the encoder, or
            `rows` gives rows of another shape or rows that are not finite.
    """
    source.check_tensors()
    check_target_tokenizer(source, target_tokenizer, n_target=n_target)

    target = read_anatomy(_copy_encoder(source.encoder))
    _replace_vocabulary_parameters(target, rows, n_target)
    _fit_to_tokenizer(target, target_tokenizer, n_target)
    return target


def transplant_inputs(
    source: Anatomy, target_tokenizer: PreTrainedTokenizerBase, rows: RowBuilder, *, n_target: int
) -> Anatomy:
    """A new encoder that reads `target_tokenizer` and still writes over its own vocabulary.

    The input embedding goes through `rows`; decoder and biases stay as they are, bit for bit, untied from it. Stock
    classes have one vocabulary size for both, the larger one: the other side is filled up with zero rows, which no text
    reads and which never fire. So dimension i < n_source is source token i, and all dimensions from there on are zero.

    Raises:
        SembridgeError: as `transplant`; or queries are looked up in static weights, which have no inputs to replace.
    """
    source.check_tensors()
    if source.inference_free:
        raise SembridgeError(
            "The source encoder looks its queries up in static weights, one for each of its own tokens; texts of "
            "another language have no such weights. Map their vectors with `in_source_vocabulary` instead."
        )
    n_rows = max(source.n_rows, n_target)
    check_target_tokenizer(source, target_tokenizer, n_target=n_target)

    target = read_anatomy(_copy_encoder(source.encoder))
    _untie(target)
    for name, parameter in target.vocabulary_parameters().items():
        build = rows if name.endswith(target.head.token_weight) else None
        filled = partial(_filled_up, rows=build, n_rows=n_rows)
        _set_parameter(target, name, _build_parameter(name, parameter, filled, n_rows))
    _fit_to_tokenizer(target, target_tokenizer, n_rows)
    return target


def _untie(target: Anatomy) -> None:
    decoder = target.model.get_submodule(target.head.decoder)
    decoder.weight = nn.Parameter(decoder.weight.detach().clone(), requires_grad=decoder.weight.requires_grad)
    target.model.config.tie_word_embeddings = False


def _filled_up(source_rows: Tensor, *, rows: RowBuilder | None, n_rows: int) -> Tensor:
    """(n_rows, d): the rows that `rows` builds, or the source's own, and zero rows behind them."""
    built = source_rows if rows is None else rows(source_rows)
    return functional.pad(built, (0, 0, 0, n_rows - len(built)))


def narrowed(encoder: SparseEncoder, n_dims: int) -> SparseEncoder:
    """The same encoder over its first `n_dims` dimensions, all tensors shared: to encode with, not to be saved.

    What `transplant_inputs` filled up is computed for every token of every text, and is zero.
    """
    tensors = {id(tensor): tensor for tensor in (*encoder.parameters(), *encoder.buffers())}
    view = copy.deepcopy(encoder, dict(tensors))
    anatomy = read_anatomy(view)
    decoder = anatomy.model.get_submodule(anatomy.head.decoder)
    for name, parameter in list(decoder.named_parameters(recurse=False)):
        setattr(decoder, name, nn.Parameter(parameter.detach()[:n_dims], requires_grad=False))
    decoder.out_features = n_dims
    for pooling in anatomy.poolings:
        pooling.embedding_dimension = n_dims
    return view


def check_target_tokenizer(source: Anatomy, tokenizer: PreTrainedTokenizerBase, *, n_target: int) -> None:
    """Nothing, if `transplant` can give `source` this tokenizer; for callers with long work before it.

    Raises:
        SembridgeError: as `transplant` on account of the tokenizer.
    """
    if tokenizer.pad_token_id is None:
        raise SembridgeError(
            "The target tokenizer has no pad token; one was expected, because texts are encoded in padded batches. "
            "Name one first: tokenizer.pad_token = ..."
        )
    refuse_failing_tokenizer(tokenizer, "The target tokenizer")
    vocabulary = tokenizer.get_vocab()
    n_ids = max(vocabulary.values()) + 1
    if n_ids > n_target:
        raise SembridgeError(
            f"The target tokenizer has {n_ids:,} ids but n_target is {n_target:,}; a row for every id was expected. "
            f"Pass n_target={n_ids} or more."
        )
    if source.static_queries and n_target != len(vocabulary):
        raise SembridgeError(
            f"n_target is {n_target:,} and the target tokenizer has {len(vocabulary):,} tokens; the same number was "
            "expected, because static query weights are loaded with one row a token. Add tokens until they agree."
        )
    pad_id_in_code = source.head.pad_id_in_code
    if pad_id_in_code is not None and tokenizer.pad_token_id != pad_id_in_code:
        raise SembridgeError(
            f"The target tokenizer's pad token has the id {tokenizer.pad_token_id}; {pad_id_in_code} was expected, "
            f"because {type(source.model).__name__} holds it in its code. Choose another tokenizer or source encoder."
        )


def with_static_queries(source: Anatomy, weights: Tensor) -> SparseEncoder:
    """An inference-free encoder: the document side of `source` itself, not a copy, and frozen static query weights.

    It keeps the source's prompt for documents, its active dims and its similarity.

    Args:
        weights: (n_rows,), one a token.

    Raises:
        SembridgeError: documents take no way of Transformer and SpladePooling through `source`.
    """
    documents = source.splade_route("document")
    queries = SparseStaticEmbedding(tokenizer=documents.transformer.tokenizer, weight=weights, frozen=True)
    router = Router.for_query_document([queries], [documents.transformer, documents.pooling])
    prompt = prompt_of(source.encoder, "document")
    return SparseEncoder(
        modules=[router],
        device=str(source.encoder.device),
        prompts={"document": prompt} if prompt else None,  # that of queries would be terms of every query
        max_active_dims=source.encoder.max_active_dims,
        similarity_fn_name="cosine" if scores_by_cosine(source.encoder) else "dot",
    ).eval()


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


def _replace_vocabulary_parameters(target: Anatomy, rows: RowBuilder, n_target: int) -> None:
    parameters = target.vocabulary_parameters()
    built: dict[int, nn.Parameter] = {}
    for name, parameter in parameters.items():
        if id(parameter) not in built:
            built[id(parameter)] = _build_parameter(name, parameter, rows, n_target)
        _set_parameter(target, name, built[id(parameter)])


def _set_parameter(target: Anatomy, name: str, parameter: nn.Parameter) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(target.encoder.get_submodule(owner), leaf, parameter)


def _fit_to_tokenizer(target: Anatomy, tokenizer: PreTrainedTokenizerBase, n_rows: int) -> None:
    """Sizes, ids and tokenizers, which follow the tensors."""
    _set_vocabulary_sizes(target, n_rows)
    _set_pad_id(target, tokenizer.pad_token_id)
    _set_special_ids(target.model, tokenizer)
    _set_tokenizers(target, tokenizer)


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


def _set_vocabulary_sizes(target: Anatomy, n_target: int) -> None:
    target.token_embedding.num_embeddings = n_target
    target.model.get_submodule(target.head.decoder).out_features = n_target
    target.model.config.vocab_size = n_target
    for pooling in target.poolings:
        pooling.embedding_dimension = n_target
    for static in target.static_queries:
        static.num_dimensions = n_target


def _set_pad_id(target: Anatomy, pad_id: int) -> None:
    target.token_embedding.padding_idx = pad_id
    if target.head.positions_follow_pad:
        _move_positions(target.embeddings, target.model.config, pad_id)


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


def _set_tokenizers(target: Anatomy, tokenizer: PreTrainedTokenizerBase) -> None:
    transformer = target.transformer
    source_tokenizer = transformer.tokenizer
    usable = target.usable_positions
    document_tokenizer = _prepare_tokenizer(tokenizer, min(source_tokenizer.model_max_length, usable))
    transformer.processor = transformer.input_formatter.processor = document_tokenizer
    # Lengths of prompts were counted with the source tokenizer; flattened inputs count positions from the pad id.
    transformer._prompt_length_mapping.clear()
    transformer.unpad_inputs = transformer.unpad_inputs
    for static in target.static_queries:
        if static.tokenizer is source_tokenizer:
            static.tokenizer = document_tokenizer
        else:
            static.tokenizer = _prepare_tokenizer(tokenizer, static.tokenizer.model_max_length)
        static.max_seq_length = static.tokenizer.model_max_length


def _prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, model_max_length: int) -> PreTrainedTokenizerBase:
    prepared = reloadable_copy(tokenizer)
    prepared.model_max_length = model_max_length
    # Absolute positions start at the left.
    prepared.padding_side = "right"
    # Without type ids every head reads zeros, its own for a single text; given ones can be out of its range.
    prepared.model_input_names = [name for name in prepared.model_input_names if name != "token_type_ids"]
    # Only what is among init_kwargs is saved.
    prepared.init_kwargs |= {"padding_side": "right", "model_input_names": prepared.model_input_names}
    return prepared


def reloadable_copy(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
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
