"""What an encoder is made of: its head, routes, and every tensor with a vocabulary axis.

Model classes are known here and in `heads`, and nowhere else. An encoder is read once, where it enters, and what was
found is handed on. What is not understood is refused by name, because a forgotten tensor would not fail but score
wrongly.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import MLMTransformer, SparseStaticEmbedding, SpladePooling
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sembridge.encoders.heads import Head, find_head
from sembridge.errors import SembridgeError


@dataclass(frozen=True)
class SpladeRoute:
    """The modules that turn a query or a document into a sparse vector; `decoder` is a path inside the model."""

    transformer: Transformer
    decoder: str
    pooling: SpladePooling

    @property
    def decoder_module(self) -> Any:
        return self.transformer.model.get_submodule(self.decoder)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """An encoder and what it is made of, as `read_anatomy` gives it.

    Modules were found once; tensors and sizes are looked up when asked for, and stay true while rows are replaced.

    Attributes:
        encoder: what was read.
        transformer: its only one, whichever routes lead through it.
        head: where its model keeps the vocabulary.
        routes: modules by the name of their route; without a Router all of them under the empty name.
        vocabulary_tensors: parameter names as in `encoder.named_parameters`; tied ones appear under every name.
        usable_positions: the longest input in tokens, special tokens included.
    """

    encoder: SparseEncoder
    transformer: Transformer
    head: Head
    routes: Mapping[str, Sequence[nn.Module]]

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

    @property
    def poolings(self) -> tuple[SpladePooling, ...]:
        return tuple(module for module in self._modules() if isinstance(module, SpladePooling))

    @property
    def static_queries(self) -> tuple[SparseStaticEmbedding, ...]:
        return tuple(module for module in self._modules() if isinstance(module, SparseStaticEmbedding))

    @property
    def route_names(self) -> tuple[str, ...]:
        """None for an encoder that treats queries and documents alike."""
        return tuple(name for name in self.routes if name)

    @property
    def architecture(self) -> str:
        return type(self.model).__name__

    @property
    def n_rows(self) -> int:
        return int(self.token_embedding.weight.shape[0])

    @property
    def n_tokens(self) -> int:
        return len(self.transformer.tokenizer.get_vocab())

    @property
    def hidden_size(self) -> int:
        return int(self.token_embedding.embedding_dim)

    @property
    def tied(self) -> bool:
        found = self._model_parameters()
        return found[self.head.token_weight] is found[self.head.decoder_weight]

    @property
    def inference_free(self) -> bool:
        return bool(self.static_queries)

    @property
    def vocabulary_tensors(self) -> tuple[str, ...]:
        return tuple(self.vocabulary_parameters())

    @property
    def usable_positions(self) -> int:
        n_positions: int = self.model.config.max_position_embeddings
        # RoBERTa counts positions from the pad id + 1; the rows up to it belong to no token.
        n_before_first: int = self.embeddings.padding_idx + 1 if self.head.positions_follow_pad else 0
        return n_positions - n_before_first

    def splade_route(self, task: str) -> SpladeRoute:
        """The masked language model and the pooling that texts of `task` ("query" or "document") go through.

        Raises:
            SembridgeError: they take another way, as queries of inference-free encoders do.
        """
        route = self.find_splade_route(task)
        if route is None:
            raise SembridgeError(
                f"The encoder has no route {task!r} of Transformer -> SpladePooling for its {task} texts."
            )
        return route

    def find_splade_route(self, task: str) -> SpladeRoute | None:
        """The same, or None where texts of `task` take another way."""
        router = next(self.encoder.children()) if self.route_names else None
        modules = self.routes.get(task if self.route_names else "", ())
        if len(modules) != 2 or getattr(router, "route_mappings", None):
            return None
        pooling = cast(SpladePooling, modules[1])  # as read_anatomy has checked
        return SpladeRoute(transformer=self.transformer, decoder=self.head.decoder, pooling=pooling)

    def decoder_biases(self) -> list[nn.Parameter]:
        """The tensors that hold the decoder's bias, each (n_rows,): none, one, or two of the same numbers."""
        return self._distinct(self.head.biases)

    def vocabulary_matrices(self) -> list[nn.Parameter]:
        """The input embedding and, where it is not tied to it, the decoder's weight, each (n_rows, d)."""
        return self._distinct((self.head.token_weight, self.head.decoder_weight))

    def vocabulary_parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter with a vocabulary axis by its name in `encoder`; tied parameters appear under each name.

        Raises:
            SembridgeError: the model lacks one of its matrices, which adapters and quantization replace.
        """
        prefixes = {id(module): name for name, module in self.encoder.named_modules()}
        parameters = self._model_parameters()
        found = {}
        for name in (self.head.token_weight, self.head.decoder_weight, *self.head.biases):
            if name in parameters:
                found[f"{prefixes[id(self.model)]}.{name}"] = parameters[name]
            elif name not in self.head.biases:
                raise SembridgeError(
                    f"The source encoder's {self.architecture} has no parameter {name}; a plain model of "
                    "transformers was expected. Merge adapters or undo the quantization first."
                )
        for static in self.static_queries:
            found[f"{prefixes[id(static)]}.weight"] = static.weight
        return found

    def static_query_names(self) -> dict[str, SparseStaticEmbedding]:
        """The modules of static query weights by their names in `encoder`."""
        found = {id(static) for static in self.static_queries}
        return {
            name: cast(SparseStaticEmbedding, module)
            for name, module in self.encoder.named_modules()
            if id(module) in found
        }

    def check_tensors(self) -> None:
        """Nothing, if every tensor with a vocabulary axis is understood; found out once.

        Raises:
            SembridgeError: as `check_source_encoder` on account of tensors and tokenizers.
        """
        return self._tensors_are_understood

    @cached_property
    def _tensors_are_understood(self) -> None:
        parameters, n_rows = self.vocabulary_parameters(), self.n_rows
        for name, parameter in parameters.items():
            _check_vocabulary_parameter(name, parameter, n_rows)
        _check_source_tokenizers(self, n_rows)
        _refuse_unclaimed_tensors(self, parameters, n_rows)

    def _modules(self) -> Iterator[nn.Module]:
        for route in self.routes.values():
            yield from route

    def _model_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.model.named_parameters(remove_duplicate=False))

    def _distinct(self, names: Iterable[str]) -> list[nn.Parameter]:
        """The model's tensors of these names that are there, tied ones once."""
        found = self._model_parameters()
        return list({found[name].data_ptr(): found[name] for name in names if name in found}.values())


def check_source_encoder(encoder: SparseEncoder) -> Anatomy:
    """What `encoder` is made of; every tensor with a vocabulary axis is understood.

    Raises:
        SembridgeError: The encoder is dense, or has a module, a masked-language-model head, a route or a tensor with a
            vocabulary axis that this package does not know, or its tokenizer does not fit its matrix.
    """
    anatomy = read_anatomy(encoder)
    anatomy.check_tensors()
    return anatomy


def read_anatomy(encoder: SparseEncoder) -> Anatomy:
    """What `encoder` is made of, its tensors unchecked: for what reads them and moves none.

    Raises:
        SembridgeError: as `check_source_encoder` on account of the modules.
    """
    if not isinstance(encoder, SparseEncoder):
        raise SembridgeError(
            f"A {type(encoder).__name__} was given as source encoder; a SparseEncoder with SpladePooling was expected. "
            "Dense encoders have no vocabulary in their output: choose a SPLADE model."
        )
    routes = _routes(encoder)
    for name, modules in routes.items():
        _check_route(name, modules)
    transformer = _only_transformer([module for modules in routes.values() for module in modules])
    return Anatomy(encoder, transformer, find_head(transformer), routes)


def _routes(encoder: SparseEncoder) -> dict[str, list[nn.Module]]:
    """The modules of every route of a Router encoder, or all modules under the empty name."""
    modules = list(encoder.children())
    if len(modules) == 1 and type(modules[0]) is Router:
        return {name: list(route) for name, route in modules[0].sub_modules.items()}
    return {"": modules}


def _check_route(name: str, modules: list[nn.Module]) -> None:
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


def _only_transformer(modules: list[nn.Module]) -> Transformer:
    transformers_by_id = {id(module): module for module in modules if isinstance(module, Transformer)}
    if len(transformers_by_id) != 1:
        raise SembridgeError(
            f"The Router of the source encoder has {len(transformers_by_id)} different Transformer modules; one was "
            "expected, in one route or shared by several. Transfer encoders with one Transformer."
        )
    return next(iter(transformers_by_id.values()))


def _check_vocabulary_parameter(name: str, parameter: nn.Parameter, n_rows: int) -> None:
    if parameter.shape[0] != n_rows or not parameter.is_floating_point():
        raise SembridgeError(
            f"Tensor {name} of the source encoder is {tuple(parameter.shape)} of {parameter.dtype}; floating point "
            f"with {n_rows:,} rows, as in the input embedding, was expected. Repair the checkpoint first."
        )


def _check_source_tokenizers(anatomy: Anatomy, n_rows: int) -> None:
    tokenizer = anatomy.transformer.processor
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
    for static in anatomy.static_queries:
        if static.tokenizer is not tokenizer and static.tokenizer.get_vocab() != vocabulary:
            raise SembridgeError(
                "The query and document sides of the source encoder have tokenizers with different ids; one vocabulary "
                "was expected. Choose an encoder whose sides share their tokenizer."
            )


def _refuse_unclaimed_tensors(anatomy: Anatomy, claimed: Mapping[str, nn.Parameter], n_rows: int) -> None:
    """Refuses a tensor with an axis of `n_rows` that is neither claimed nor explained by the stock model.

    Explained is a tensor that keeps its shape in the same model with one more row: there the axis only happens to be
    as long as the vocabulary.
    """
    understood_ids = {id(parameter) for parameter in claimed.values()}
    shapes = _shapes_with_one_more_row(anatomy.model)
    understood_ids |= {id(tensor) for name, tensor in _named_tensors(anatomy.model) if shapes.get(name) == tensor.shape}
    for name, tensor in _named_tensors(anatomy.encoder):
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
