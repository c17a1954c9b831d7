"""What makes training cheap: plain attention, and the SPLADE head without its (texts, tokens, vocabulary) logits.

A weight is log(1 + max over tokens of relu(logit)) (Formal et al. 2021, https://arxiv.org/abs/2109.10086, eq. 6), so
only the token that has the maximum of an active dimension gets a gradient: one or two hundred of a text's millions of
logits. The maximum is taken block by block of the vocabulary, and the way back visits the active dimensions alone.
"""

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sembridge.encoders.anatomy import Anatomy, SpladeRoute
from sembridge.encoders.fast_head import max_over_tokens

MAX_SCORE_BYTES = 2**30
BYTES_A_SCORE = 12  # the score, its share, and what dropout leaves of it are kept for the way back


@contextmanager
def without_logits(anatomy: Anatomy, *, below_zero: bool = False, n_dims: int | None = None) -> Iterator[None]:
    """Inside, every head with max pooling gives the same vectors and gradients in a fraction of memory and time.

    Sides without such a head (static queries, sum pooling) stay as they are; so do all parameters and their names.

    Args:
        below_zero: while it trains, a dimension that is not active has its score, which is zero or less, in place of
            zero: a loss can then ask for it. The slope is one on both sides of zero.
        n_dims: only the first ones are computed, and vectors are as wide: of a pivot, whose others are always zero.
    """
    routes = list(_routes(anatomy))
    for route in routes:
        decoder = route.decoder_module
        decoder.forward = types.MethodType(_pass_on, decoder)
        pool = _pool_with(decoder, below_zero=below_zero, n_dims=n_dims)
        route.pooling.forward = types.MethodType(pool, route.pooling)
    try:
        yield
    finally:
        for route in routes:
            # Two routes may share a decoder, which is given back once.
            vars(route.decoder_module).pop("forward", None)
            del route.pooling.forward


@contextmanager
def plain_attention(anatomy: Anatomy, batch_size: int) -> Iterator[None]:
    """Inside, attention on a CPU is computed in plain matrix products, where a batch's scores stay below 1 GiB.

    PyTorch's fused attention for CPUs is slow on its way back: half of the time of a step with texts of 100 tokens.
    """
    encoder, model = anatomy.encoder, anatomy.model
    length = (encoder.max_seq_length or 0) if encoder.device.type == "cpu" else 0
    is_fused = model.config._attn_implementation == "sdpa" and any(_routes(anatomy))
    is_switched = is_fused and 0 < _score_bytes(model, batch_size, length) < MAX_SCORE_BYTES
    if is_switched:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if is_switched:
            model.set_attn_implementation("sdpa")


def _score_bytes(model: Any, batch_size: int, length: int) -> int:
    """Memory of all attention scores of a batch of texts of `length` tokens."""
    n_scores = model.config.num_hidden_layers * model.config.num_attention_heads * batch_size * length**2
    return int(n_scores) * BYTES_A_SCORE


def _routes(anatomy: Anatomy) -> Iterator[SpladeRoute]:
    """The heads that can do without logits, each once."""
    seen: list[object] = []
    for task in ("query", "document"):
        route = anatomy.find_splade_route(task)  # none on a static side
        if route is None or route.pooling in seen:
            continue
        if route.pooling.pooling_strategy == "max" and isinstance(route.decoder_module, nn.Linear):
            seen.append(route.pooling)
            yield route


def _pass_on(self: nn.Linear, states: Tensor) -> Tensor:
    return states


def _pool_with(decoder: nn.Linear, *, below_zero: bool, n_dims: int | None) -> Any:
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
            scores: Tensor = _MaxOverTokens.apply(states, decoder.weight[:n_dims], lengths, dtype)  # type: ignore[no-untyped-call]
            if decoder.bias is not None:  # the same for all tokens, so that it may come after the maximum
                scores = scores + decoder.bias[:n_dims]
            vectors = scores.relu().log1p()
            if self.activation_function == "log1p_relu":
                vectors = vectors.log1p()
            if below_zero and self.training:
                vectors = torch.where(scores > 0, vectors, scores)
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
        of_states, of_weight = torch.zeros_like(states), torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        start = 0
        for length, gradient in zip(ctx.lengths, gradients[0], strict=True):
            dims = gradient.nonzero().squeeze(1) if length else gradient.new_empty(0, dtype=torch.long)
            if len(dims):
                own, rows, scale = states[start : start + length], weight[dims], gradient[dims, None]
                strongest = (own.to(ctx.dtype) @ rows.to(ctx.dtype).t()).argmax(dim=0)
                of_states[start : start + length].index_add_(0, strongest, (scale * rows).to(states.dtype))
                if of_weight is not None:
                    of_weight.index_add_(0, dims, (scale * own[strongest]).to(weight.dtype))
            start += length
        return of_states, of_weight, None, None
