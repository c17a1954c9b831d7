"""Fast encoding on a CPU: the vectors of the stock encoder, without its (texts, tokens, vocabulary) block of logits.

SPLADE takes, for every vocabulary entry, the maximum over the tokens of log(1 + relu(logit)) (Formal et al. 2021,
https://arxiv.org/abs/2109.10086, eq. 6). Bias, relu and log1p do not decrease and are the same for every token, so the
maximum may come first: here it is taken block by block of the vocabulary while the block is still in the processor's
cache, padding is left out, and only the weights that stay above zero see a logarithm.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array, vstack

from sembridge.encoders.anatomy import Anatomy, SpladeRoute
from sembridge.encoders.stated import Task, prompt_of
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from torch import Tensor, nn

# Measured on a Xeon with AMX: (2,048 tokens x 2,048 entries) is fastest in bfloat16 and within 3 % of it in float32.
_CHUNK_ENTRIES = 2048
_MAX_TOKENS = 2048  # of one pass through the body, padding included


@dataclass(frozen=True)
class FastEncoder:
    """One side of a sparse encoder whose masked language model ends before its decoder.

    Attributes:
        encoder: the stock encoder, for its tokenization, prompts and settings.
        task: which side.
        prompt: put before every text, or None.
        body: the encoder's Transformer module; where it gave logits it gives what the decoder would have read.
        weight: (n_dims, hidden_size) of the decoder.
        bias: (n_dims,) float32 of the decoder.
        n_logarithms: how often log1p is applied, 1 or 2.
    """

    encoder: "SparseEncoder"
    task: Task
    prompt: str | None
    body: "Transformer"
    weight: "Tensor"
    bias: "Tensor"
    n_logarithms: int

    def encode(self, texts: Sequence[str], *, batch_size: int, max_active_dims: int | None = None) -> csr_array:
        """(n_texts, n_dims) float32 vectors, rows in the order of the texts, which are all tokenized at once.

        `batch_size` is an upper limit of texts in one pass; None keeps the encoder's own number of active dims.
        """
        import torch

        from sembridge.encoders.prepacked import prepacked

        if max_active_dims is None:
            max_active_dims = self.encoder.max_active_dims
        order, blocks = [], []
        with torch.inference_mode(), prepacked(self.body.model, len(texts)):
            features = self.encoder.preprocess(list(texts), prompt=self.prompt, task=self.task)
            for rows in _batches(features["attention_mask"].sum(dim=1), batch_size):
                order.extend(rows)
                blocks.append(self._vectors(_select(features, rows), max_active_dims))
        return vstack(blocks, format="csr")[np.argsort(order)]

    def _vectors(self, features: "dict[str, Any]", max_active_dims: int | None) -> csr_array:
        mask = features["attention_mask"].bool()
        states = self.body(features)["token_embeddings"]
        scores = max_over_tokens(states[mask], mask.sum(dim=1).tolist(), self.weight).float() + self.bias
        return _to_csr(scores, max_active_dims, self.n_logarithms)


def fast_encoder(anatomy: Anatomy, task: Task, *, half: bool = False) -> FastEncoder:
    """The fast way through one side of an encoder, which stays as it is; tensors are shared, or copied to bfloat16.

    `half` runs body and decoder in bfloat16: about 3 significant digits a weight, worth it only where the processor
    multiplies bfloat16 matrices (AMX, AVX512-BF16).

    Raises:
        SembridgeError: this side of the encoder is not a float32 masked language model with max pooling on a CPU, or
            the processor has no bfloat16 instructions and `half` is asked for.
    """
    import torch

    encoder, route = anatomy.encoder, anatomy.splade_route(task)
    _check_route(encoder, route, task)
    if half and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise SembridgeError("This processor has no bfloat16 instructions; fast (float32) is faster here.")
    body = _shadow(route.transformer, torch.bfloat16 if half else torch.float32)
    decoder = _take_decoder(body.model, route.decoder)
    bias = route.decoder_module.bias
    return FastEncoder(
        encoder=encoder,
        task=task,
        prompt=prompt_of(encoder, task),
        body=body,
        weight=decoder.weight,
        bias=torch.zeros(decoder.out_features) if bias is None else bias,
        n_logarithms=2 if route.pooling.activation_function == "log1p_relu" else 1,
    )


def _check_route(encoder: "SparseEncoder", route: SpladeRoute, task: Task) -> None:
    import torch

    model = route.transformer.model
    kinds = {(parameter.dtype, parameter.device.type) for parameter in model.parameters()}
    if kinds != {(torch.float32, "cpu")}:
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise SembridgeError(f"The encoder is {found}; fast encoding takes float32 on a CPU.")
    if route.pooling.pooling_strategy != "max":
        raise SembridgeError(f"The encoder pools by {route.pooling.pooling_strategy}; fast encoding takes the maximum.")
    if any((encoder.module_kwargs or {}).values()):
        raise SembridgeError("The encoder has arguments for its modules; fast encoding passes none.")
    if task == "query" and route.transformer.query_expansion is not None:
        raise SembridgeError("The encoder expands its queries with mask tokens; fast encoding does not.")


def _shadow(transformer: "Transformer", dtype: "torch.dtype") -> "Transformer":
    """The Transformer module around a second model of its own structure, over the same tensors where `dtype` agrees.

    Not `model.to(dtype)`: that replaces the data of parameters, which would then change in the stock model as well.
    """
    from torch import nn

    model = transformer.model
    tensors: dict[int, object] = {id(buffer): buffer for buffer in model.buffers()}
    for parameter in model.parameters():
        shared = parameter.dtype == dtype
        tensors[id(parameter)] = parameter if shared else nn.Parameter(parameter.detach().to(dtype), False)
    shadow = copy.copy(transformer)
    shadow._modules = {**transformer._modules, "model": copy.deepcopy(model, tensors).eval()}
    return shadow


def _take_decoder(model: "nn.Module", path: str) -> "nn.Linear":
    """The decoder of `model`, which from now on passes on what its decoder would have read."""
    from torch import nn

    decoder: nn.Linear = model.get_submodule(path)  # type: ignore[assignment]
    owner, _, name = path.rpartition(".")
    setattr(model.get_submodule(owner), name, nn.Identity())
    return decoder


def _batches(n_tokens: "Tensor", batch_size: int) -> Iterator[list[int]]:
    """Rows by falling number of tokens, at most `batch_size` and `_MAX_TOKENS` at a time."""
    order = n_tokens.argsort(descending=True, stable=True).tolist()
    start = 0
    while start < len(order):
        longest = max(1, int(n_tokens[order[start]]))
        size = max(1, min(batch_size, _MAX_TOKENS // longest))
        yield order[start : start + size]
        start += size


def _select(features: "dict[str, Any]", rows: list[int]) -> "dict[str, Any]":
    """The features of some rows, without the columns that are padding in all of them."""
    mask = features["attention_mask"][rows]
    columns = mask.any(dim=0)
    columns[0] = True  # texts without a token, from tokenizers that add none, still go through the body
    shape = features["attention_mask"].shape
    return {
        name: value[rows][:, columns] if getattr(value, "shape", ())[:2] == shape else value
        for name, value in features.items()
    }


def max_over_tokens(states: "Tensor", lengths: list[int], weight: "Tensor") -> "Tensor":
    """(n_texts, n_dims) the largest product of a decoder row with the states of each text; a text without gives -inf.

    `states` is (n_tokens, hidden_size), the texts one after the other, `lengths` of them each.
    """
    n_dims = len(weight)
    scores = states.new_full((len(lengths), n_dims), float("-inf"))
    memory = states.new_empty(len(states) * min(_CHUNK_ENTRIES, n_dims))  # once: fresh pages cost as much as the sums
    ends = np.cumsum(lengths).tolist()
    spans = [(row, end - length, end) for row, (length, end) in enumerate(zip(lengths, ends, strict=True)) if length]
    for first in range(0, n_dims, _CHUNK_ENTRIES):
        chunk = weight[first : first + _CHUNK_ENTRIES]
        logits = memory[: len(states) * len(chunk)].view(len(states), len(chunk))
        _multiply(states, chunk, logits)
        for row, start, end in spans:
            _amax(logits[start:end], scores[row, first : first + len(chunk)])
    return scores


def _multiply(states: "Tensor", chunk: "Tensor", logits: "Tensor") -> None:
    import torch

    torch.mm(states, chunk.t(), out=logits)


def _amax(logits: "Tensor", scores: "Tensor") -> None:
    import torch

    torch.amax(logits, dim=0, out=scores)


def _to_csr(scores: "Tensor", max_active_dims: int | None, n_logarithms: int) -> csr_array:
    """The weights log1p(score) of the scores above zero, or log1p of that again; what is not a number stays."""
    if max_active_dims is not None:
        from sentence_transformers.util import select_max_active_dims

        scores = select_max_active_dims(scores.relu(), max_active_dims)
    numbers = scores.numpy()
    active = ~(numbers <= 0)
    values = numbers[active]
    for _ in range(n_logarithms):
        values = np.log1p(values)
    starts = np.concatenate([[0], np.cumsum(active.sum(axis=1))])
    return csr_array((values, np.nonzero(active)[1], starts), shape=numbers.shape)
