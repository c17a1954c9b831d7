"""Token texts through a plain transformer, those of one length together, so that nothing is padded.

A token's text is a few pieces long, and batches of what is about equally long by letters are a third padding. Here the
bridge's own tokenizer reads all texts at once, those that it reads alike are computed once, and then every batch is a
rectangle of one exact length, as high as the processor likes it, through weights that lie as it reads them. Prompt,
length limit, pooling, projection and truncation are the bridge's own modules, so that the vectors are those of
`SentenceTransformer.encode` up to the order in which a matrix product adds.
"""

import copy
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from sembridge.encoders.fingerprint import default_prompt
from sembridge.errors import SembridgeError
from sembridge.language_transfer.recipe import BridgeDtype

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

TOKENS_AT_ONCE = 4096  # measured on e5-small's shape: 256 reach 92 % of its speed; activations stay some 10 MB


def is_plain(bridge: object) -> "TypeGuard[SentenceTransformer]":
    """Whether `encode_evenly` gives what `bridge.encode` would: nothing but a transformer, pooling and projections."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    if not isinstance(bridge, SentenceTransformer) or bridge.backend != "torch":
        return False
    own = (type(bridge).encode, type(bridge).forward) == (SentenceTransformer.encode, SentenceTransformer.forward)
    own = own and bridge._distributed_inference is None
    kinds = [type(module) for module in bridge]
    return own and kinds[:2] == [Transformer, Pooling] and {*kinds[2:]} <= {Dense, Normalize}


def in_dtype(bridges: Sequence[Any], dtype: BridgeDtype | None) -> list[Any]:
    """The bridges as `computable` gives them; those that compute as they like stay as they are.

    Raises:
        SembridgeError: a dtype is asked for, and no bridge takes it.
    """
    if dtype is None:
        return [computable(bridge) for bridge in bridges]
    import torch

    if not any(_has_dtype(bridge) for bridge in bridges):
        kinds = ", ".join(sorted({type(bridge).__qualname__ for bridge in bridges}))
        raise SembridgeError(
            f"bridge_dtype is {dtype}, and no bridge computes in one ({kinds}: rows are looked up, or an encode of its "
            "own); leave it out, or take a transformer."
        )
    if dtype == "bfloat16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        logger.warning("This processor does not multiply bfloat16: float32 would bridge sooner on it")
    return [computable(bridge, dtype) for bridge in bridges]


def computable(bridge: Any, dtype: BridgeDtype | None = None) -> Any:
    """The bridge itself, or a copy of it in `dtype`; without one, in float32 where a CPU would compute in float16.

    A CPU has no arithmetic of float16: it is slower there than float32. What is no SentenceTransformer computes as it
    likes, and so do static bridges, which only look rows up.
    """
    import torch

    if not _has_dtype(bridge):
        return bridge
    kinds = {value.dtype for value in bridge.parameters() if value.is_floating_point()}
    wanted = getattr(torch, dtype) if dtype else None
    if dtype is None and bridge.device.type == "cpu" and torch.float16 in kinds:
        wanted = torch.float32
    return bridge if wanted is None or kinds <= {wanted} else copy.deepcopy(bridge).to(wanted)


def _has_dtype(bridge: object) -> bool:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    return isinstance(bridge, SentenceTransformer) and not isinstance(bridge[0], StaticEmbedding)


def encode_evenly(
    bridge: "SentenceTransformer", texts: list[str], most_texts: int
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
    """(n,) rows of `texts` and their vectors, (n, dim) float32, a batch at a time, longest first; bridge `is_plain`."""
    import torch
    from sentence_transformers.util import truncate_embeddings

    from sembridge.encoders.prepacked import prepacked

    bridge.eval()
    features = bridge.preprocess(texts, prompt=default_prompt(bridge) or None)
    first, alike = _read_alike(features)
    with prepacked(bridge, len(first)):
        for distinct, columns in _rectangles(features["attention_mask"].numpy()[first], most_texts):
            batch = {name: _cut(value, first[distinct], columns, len(texts)) for name, value in features.items()}
            batch = {k: v.to(bridge.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
            with torch.inference_mode():
                vectors = bridge(batch)["sentence_embedding"]
                if bridge.truncate_dim is not None:
                    vectors = truncate_embeddings(vectors, bridge.truncate_dim)
            rows = np.flatnonzero(np.isin(alike, distinct))
            found = cast("npt.NDArray[np.float32]", vectors.float().cpu().numpy())
            yield rows, found[np.searchsorted(distinct, alike[rows])]


def _read_alike(features: dict[str, Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """(n_distinct,) the first row of every distinct reading, and (n_texts,) which of them a text has.

    A bridge's normalizer may drop case, accents or width; masks and types tell nothing that ids do not.
    """
    keys = np.concatenate([features["input_ids"].numpy(), features["attention_mask"].numpy()], axis=1)
    _, first, alike = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first, alike.reshape(-1)


def _rectangles(kept: npt.NDArray[Any], most_texts: int) -> Iterator[tuple[npt.NDArray[np.intp], slice]]:
    """Rising rows of one exact length, and the columns of their tokens: the first ones, or the last if padded left."""
    lengths = np.maximum(kept.sum(1), 1)  # a text without a token keeps one masked place, as when it is padded
    width = kept.shape[1]
    padded_left = bool((kept[:, 0] < kept[:, -1]).any())
    for length in sorted({*lengths.tolist()}, reverse=True):
        rows = np.flatnonzero(lengths == length)
        columns = slice(width - length, width) if padded_left else slice(0, length)
        step = max(1, min(most_texts, TOKENS_AT_ONCE // length))
        for start in range(0, len(rows), step):
            yield rows[start : start + step], columns


def _cut(value: Any, rows: npt.NDArray[np.intp], columns: slice, n_texts: int) -> Any:
    """The part of one of the tokenizer's answers that belongs to `rows`; what is no (n_texts, width) tensor stays."""
    is_table = getattr(value, "ndim", 0) == 2 and value.shape[0] == n_texts
    return value[rows][:, columns].contiguous() if is_table else value
