"""What makes training cheap: plain attention, and the SPLADE head without its (texts, tokens, vocabulary) logits.

A weight is log(1 + max over tokens of relu(logit)) (Formal et al. 2021, https://arxiv.org/abs/2109.10086, eq. 6), so
only the token that has the maximum of an active dimension gets a gradient: one or two hundred of a text's millions of
logits. The maximum is taken block by block of the vocabulary, and the way back visits the active dimensions alone.
"""

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sembridge.encoders.anatomy import SpladeRoute, splade_route
from sembridge.encoders.fast_head import max_over_tokens
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

MAX_SCORE_BYTES = 2**30
BYTES_A_SCORE = 12  # the score, its share, and what dropout leaves of it are kept for the way back


@contextmanager
def without_logits(encoder: "SparseEncoder") -> Iterator[None]:
    """Inside, every head with max pooling gives the same vectors and gradients in a fraction of memory and time.

    Sides without such a head (static queries, sum pooling) stay as they are; so do all parameters and their names.
    """
    routes = list(_routes(encoder))
    for route in routes:
        decoder = route.transformer.model.get_submodule(route.decoder)
        decoder.forward = types.MethodType(_pass_on, decoder)
        route.pooling.forward = types.MethodType(_pool_with(decoder), route.pooling)
    try:
        yield
    finally:
        for route in routes:
            # Two routes may share a decoder, which is given back once.
            vars(route.transformer.model.get_submodule(route.decoder)).pop("forward", None)
            del route.pooling.forward


@contextmanager
def plain_attention(encoder: "SparseEncoder", batch_size: int) -> Iterator[None]:
    """Inside, attention on a CPU is computed in plain matrix products, where a batch's scores stay below 1 GiB.

    PyTorch's fused attention for CPUs is slow on its way back: half of the time of a step with texts of 100 tokens.
    """
    models = {id(route.transformer.model): route.transformer.model for route in _routes(encoder)}
    length = (encoder.max_seq_length or 0) if encoder.device.type == "cpu" else 0
    fused = [model for model in models.values() if model.config._attn_implementation == "sdpa"]
    switched = [model for model in fused if 0 < _score_bytes(model, batch_size, length) < MAX_SCORE_BYTES]
    for model in switched:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        for model in switched:
            model.set_attn_implementation("sdpa")


def _score_bytes(model: Any, batch_size: int, length: int) -> int:
    """Memory of all attention scores of a batch of texts of `length` tokens."""
    n_scores = model.config.num_hidden_layers * model.config.num_attention_heads * batch_size * length**2
    return int(n_scores) * BYTES_A_SCORE


def _routes(encoder: "SparseEncoder") -> Iterator[SpladeRoute]:
    """The heads that can do without logits, each once."""
    seen: list[object] = []
    for task in ("query", "document"):
        try:
            route = splade_route(encoder, task)
        except SembridgeError:  # a static side
            continue
        decoder = route.transformer.model.get_submodule(route.decoder)
        if route.pooling in seen or route.pooling.pooling_strategy != "max" or not isinstance(decoder, nn.Linear):
            continue
        seen.append(route.pooling)
        yield route


def _pass_on(self: nn.Linear, states: Tensor) -> Tensor:
    return states


def _pool_with(decoder: nn.Linear) -> Any:
    def forward(self: Any, features: dict[str, Any]) -> dict[str, Any]:
        if "cu_seq_lens_q" in features:  # flash attention without padding, for which the stock pooling has a way
            features["token_embeddings"] = nn.functional.linear(
                features["token_embeddings"], decoder.weight, decoder.bias
            )
            stock: dict[str, Any] = type(self).forward(self, features)
            return stock
        mask = features["attention_mask"].bool()
        states = features["token_embeddings"][mask]  # (tokens, hidden_size)
        device = states.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
        with torch.autocast(device, enabled=False):
            lengths = mask.sum(dim=1).tolist()
            scores: Tensor = _MaxOverTokens.apply(states, decoder.weight, lengths, dtype)  # type: ignore[no-untyped-call]
            if decoder.bias is not None:  # the same for all tokens, so that it may come after the maximum
                scores = scores + decoder.bias
            vectors = scores.relu().log1p()
            if self.activation_function == "log1p_relu":
                vectors = vectors.log1p()
        self.embedding_dimension = self.embedding_dimension or vectors.shape[1]  # the stock pooling learns it here too
        features["sentence_embedding"] = vectors
        return features

    return forward


class _MaxOverTokens(torch.autograd.Function):
    """(n_texts, n_dims) float32: for every text and decoder row the largest product with one of its states."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, lengths: list[int], dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(states, weight)
        ctx.lengths, ctx.dtype = lengths, dtype
        return max_over_tokens(states.to(dtype), lengths, weight.to(dtype)).float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of each text and dimension with a gradient, to the state that has the maximum and to the decoder's row."""
        states, weight = ctx.saved_tensors
        of_states, of_weight = torch.zeros_like(states), torch.zeros_like(weight)
        start = 0
        for length, gradient in zip(ctx.lengths, gradients[0], strict=True):
            dims = gradient.nonzero().squeeze(1) if length else gradient.new_empty(0, dtype=torch.long)
            if len(dims):
                own, rows, scale = states[start : start + length], weight[dims], gradient[dims, None]
                strongest = (own.to(ctx.dtype) @ rows.to(ctx.dtype).t()).argmax(dim=0)
                of_states[start : start + length].index_add_(0, strongest, (scale * rows).to(states.dtype))
                of_weight.index_add_(0, dims, (scale * own[strongest]).to(weight.dtype))
            start += length
        return of_states, of_weight, None, None
