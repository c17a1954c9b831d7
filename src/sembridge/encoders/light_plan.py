"""The light way of a loaded encoder's queries (`light`): read off its modules, tried, and kept where it is the same."""

import copy
import json
import logging
from collections.abc import Container, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from sembridge.encoders.anatomy import Anatomy, SpladeRoute, read_anatomy
from sembridge.encoders.heads import HEADS, Head
from sembridge.encoders.light import (
    PLAN_FILE,
    TOKENIZER_FILE,
    LightPlan,
    LightQueries,
    encoder_digest,
    library_versions,
    text_digest,
)
from sembridge.encoders.stated import prompt_of, scores_by_cosine
from sembridge.encoders.vectors import encode_queries
from sembridge.errors import SembridgeError
from sembridge.files.atomic import remove_folder, write_folder

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4  # as of `fast`: float32 sums in another order differ by about 2e-6
_PROBES = ("a", "", "  Two  words, ", "ÀÉ ß 12 学校 школа 학교 मे मدرسة", "word " * 600)

# Role -> module below the body.
_EMBEDDINGS = {
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
}
_BERT = _EMBEDDINGS | {
    "query": "encoder.layer.{}.attention.self.query",
    "key": "encoder.layer.{}.attention.self.key",
    "value": "encoder.layer.{}.attention.self.value",
    "attended": "encoder.layer.{}.attention.output.dense",
    "attended_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "inner": "encoder.layer.{}.intermediate.dense",
    "outer": "encoder.layer.{}.output.dense",
    "norm": "encoder.layer.{}.output.LayerNorm",
}
_DISTILBERT = {role: name for role, name in _EMBEDDINGS.items() if role != "types"} | {
    "query": "transformer.layer.{}.attention.q_lin",
    "key": "transformer.layer.{}.attention.k_lin",
    "value": "transformer.layer.{}.attention.v_lin",
    "attended": "transformer.layer.{}.attention.out_lin",
    "attended_norm": "transformer.layer.{}.sa_layer_norm",
    "inner": "transformer.layer.{}.ffn.lin1",
    "outer": "transformer.layer.{}.ffn.lin2",
    "norm": "transformer.layer.{}.output_layer_norm",
}
_BODIES: Mapping[str, Mapping[str, str]] = {
    "BertForMaskedLM": _BERT,
    "RobertaForMaskedLM": _BERT,
    "XLMRobertaForMaskedLM": _BERT,
    "DistilBertForMaskedLM": _DISTILBERT,
}


def keep_light_queries(encoder: "SparseEncoder", folder: Path, place: Path) -> bool:
    """Whether the light way of the encoder that was loaded from `folder` now lies in `place`, a folder for it alone.

    It does not, and `place` is gone, where the encoder is of another kind or its vectors were not the same.
    """
    try:
        tokenizer, plan = _plan(encoder, read_anatomy(encoder), folder)
        light = LightQueries.read(plan, tokenizer, folder)
        difference = float(np.abs((light(_PROBES) - encode_queries(encoder, _PROBES)).toarray()).max())
        if difference > TOLERANCE:
            raise SembridgeError(f"its vectors differ by {difference:.1e}.")
    except (SembridgeError, SafetensorError, OSError, AttributeError, ValueError, TypeError) as reason:
        logger.info("Searches will load the whole encoder: %s", reason)
        remove_folder(place)
        return False
    write_folder(place, partial(_write, plan, tokenizer), overwrite=True)
    return True


def _write(plan: LightPlan, tokenizer: str, place: Path) -> None:
    (place / PLAN_FILE).write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")
    (place / TOKENIZER_FILE).write_text(tokenizer, encoding="utf-8")


def _plan(encoder: "SparseEncoder", anatomy: Anatomy, folder: Path) -> tuple[str, LightPlan]:
    """Tokenizer as JSON, and plan.

    Raises:
        SembridgeError: there is none for such an encoder.
    """
    route = anatomy.find_splade_route("query")
    facts: dict[str, Any] = {
        "digest": encoder_digest(folder),
        "versions": library_versions(),
        "n_dims": anatomy.n_rows,
        "prompt": prompt_of(encoder, "query") or "",
        "max_active_dims": encoder.max_active_dims,
        "unit_length": scores_by_cosine(encoder),
    }
    if route is not None:
        tokenizer = _tokenizer(route.transformer, facts["prompt"])
        return tokenizer, LightPlan(**facts, tokenizer=text_digest(tokenizer), **_splade(route, folder))
    if len(anatomy.static_queries) != 1:
        raise SembridgeError("its queries take a way of their own.")
    (static,) = anatomy.static_queries
    facts["n_dims"] = len(static.weight)
    weights = _file_with(folder, "weight", (len(static.weight),))
    tokenizer, names = _tokenizer(static, facts["prompt"]), {"static": "weight"}
    return tokenizer, LightPlan(**facts, tokenizer=text_digest(tokenizer), weights=weights, names=names)


def _splade(route: SpladeRoute, folder: Path) -> dict[str, Any]:
    model, pooling = route.transformer.model, route.pooling
    config, architecture = model.config, type(model).__name__
    activation = getattr(config, "hidden_act", getattr(config, "activation", None))
    if architecture not in _BODIES or activation != "gelu" or pooling.pooling_strategy != "max":
        raise SembridgeError("its layers are of another kind.")
    if route.transformer.query_expansion is not None:
        raise SembridgeError("its queries are expanded.")
    head, embeddings = HEADS[architecture], model.base_model.embeddings
    weights = _file_with(folder, head.token_weight, tuple(model.get_input_embeddings().weight.shape))
    with safe_open(folder / weights, framework="np") as file:
        held = set(file.keys())
    return {
        "weights": weights,
        "names": _module_names(head, _BODIES[architecture], held),
        "n_layers": config.num_hidden_layers,
        "n_heads": config.num_attention_heads,
        "epsilon": embeddings.LayerNorm.eps,
        "first_position": embeddings.padding_idx + 1 if head.positions_follow_pad else 0,
        "pad_id": embeddings.padding_idx if head.positions_follow_pad else None,
        "n_logarithms": 2 if pooling.activation_function == "log1p_relu" else 1,
    }


def _module_names(head: Head, body: Mapping[str, str], held: Container[str]) -> dict[str, str]:
    """Role -> module, of a checkpoint that holds these tensors; a role that its class lacks is left away."""
    prefix, tokens = head.embeddings.removesuffix("embeddings"), head.token_weight.removesuffix(".weight")
    dense, norm = head.between
    return {
        "tokens": tokens,
        **{role: f"{prefix}{name}" for role, name in body.items()},
        "head": dense,
        "head_norm": norm,
        "decoder": head.decoder if head.decoder_weight in held else tokens,
        # Untied, a bias under the first name need not be that under the second.
        "decoder_bias": next((name for name in head.biases if name in held), head.biases[-1]),
    }


def _tokenizer(module: "SparseStaticEmbedding | Any", prompt: str) -> str:
    """The tokenizer's pipeline as JSON, with the truncation that a query gets."""
    module.preprocess(["a"], prompt=prompt or None, task="query")  # every call sets truncation and padding
    backend = copy.deepcopy(module.tokenizer.backend_tokenizer)
    backend.no_padding()
    text: str = backend.to_str()
    return text


def _file_with(folder: Path, tensor: str, shape: tuple[int, ...]) -> str:
    """The only safetensors file of the folder with this tensor, as a path in it."""
    found = []
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, framework="np") as file:
            if tensor in file.keys() and tuple(file.get_slice(tensor).get_shape()) == shape:  # noqa: SIM118
                found.append(path.relative_to(folder).as_posix())
    if len(found) != 1:
        raise SembridgeError(f"{len(found)} files have its {tensor}.")
    return found[0]
