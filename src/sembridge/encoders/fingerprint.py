"""Fingerprints of encoders and of texts: 32 hex digits that change whenever the vectors would."""

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer, SparseEncoder

FORMAT = 1  # raise it when cached vectors must not be read any more


class _Hasher:
    """Names and values -> 32 hex digits; every part is preceded by its length, so parts cannot run together."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()  # measured: 1.1 GB/s, faster than blake2b where the processor helps
        self.add_json({"format": FORMAT})

    def add_bytes(self, data: "bytes | memoryview") -> None:
        self._sha256.update(len(data).to_bytes(8, "little"))
        self._sha256.update(data)

    def add_json(self, value: object) -> None:
        self.add_bytes(json.dumps(value, sort_keys=True, default=str).encode("utf-8", "surrogatepass"))

    def add_array(self, name: str, array: npt.NDArray[Any]) -> None:
        self.add_json([name, array.dtype.str, array.shape])
        self.add_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def add_tensor(self, name: str, tensor: "torch.Tensor") -> None:
        import torch

        self.add_json([name, str(tensor.dtype), list(tensor.shape)])
        self.add_bytes(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def result(self) -> str:
        return self._sha256.hexdigest()[:32]


def class_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def default_prompt(bridge: "SentenceTransformer") -> str:
    """The text that `bridge.encode` puts before every text."""
    return (bridge.prompts or {}).get(bridge.default_prompt_name) or ""


def stated_fingerprint(bridge: object, fingerprint: str) -> str:
    """The fingerprint of an object that states its own, told apart from other classes that state the same."""
    hasher = _Hasher()
    hasher.add_json({"class": class_name(bridge), "fingerprint": fingerprint})
    return hasher.result()


def sentence_transformer_fingerprint(bridge: "SentenceTransformer") -> str:
    settings = {
        "prompt": default_prompt(bridge),
        "max_seq_length": bridge.max_seq_length,
        "truncate_dim": bridge.truncate_dim,
    }
    return _modules_fingerprint(bridge, settings)


def sparse_encoder_fingerprint(encoder: "SparseEncoder") -> str | None:
    """As of a dense encoder, with every prompt and the active dims kept; None where weights lie outside torch."""
    if encoder.backend != "torch":
        return None
    settings = {
        "prompts": encoder.prompts,
        "default_prompt_name": encoder.default_prompt_name,
        "max_seq_length": encoder.max_seq_length,
        "max_active_dims": encoder.max_active_dims,
    }
    if encoder._similarity_fn_name == "cosine":  # its vectors have unit length
        settings["similarity"] = "cosine"
    return _modules_fingerprint(encoder, settings)


def weights_fingerprint(encoder: "SparseEncoder") -> str:
    """Of weights and tokenizer alone: the same for the same model wherever it lies and whatever versions read it.

    Prompts, lengths and the number of active dims kept are settings, which may be changed on purpose; a vector cache
    takes `sparse_encoder_fingerprint`.
    """
    import torch

    hasher = _Hasher()
    for name, value in sorted(encoder.state_dict().items()):
        if isinstance(value, torch.Tensor):
            hasher.add_tensor(name, value)
    tokenizer = encoder.tokenizer
    hasher.add_json(sorted(tokenizer.get_vocab().items()) if hasattr(tokenizer, "get_vocab") else None)
    return hasher.result()


def texts_fingerprint(texts: Iterable[str]) -> str:
    """Of texts in their order."""
    hasher = _Hasher()
    for text in texts:
        hasher.add_bytes(text.encode("utf-8", "surrogatepass"))
    return hasher.result()


def _modules_fingerprint(model: "SentenceTransformer | SparseEncoder", settings: Mapping[str, object]) -> str:
    import sentence_transformers
    import torch
    import transformers

    hasher = _Hasher()
    hasher.add_json(
        {
            "class": class_name(model),
            "versions": [_minor(sentence_transformers.__version__), _minor(transformers.__version__)],
            **settings,
        }
    )
    for name, module in model.named_modules():
        hasher.add_json([name, class_name(module), module.extra_repr()])
        if hasattr(module, "get_config_dict"):
            config = dict(module.get_config_dict())
            if class_name(module).endswith(".SpladePooling"):
                config.pop("embedding_dimension", None)  # unknown before the first text and set by it
            hasher.add_json(config)
        if isinstance(module, transformers.PreTrainedModel):
            hasher.add_json(_architecture(module.config.to_dict()))
        if module is not model:
            _add_tokenizer(hasher, getattr(module, "tokenizer", None))
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            hasher.add_tensor(name, value)
        else:
            hasher.add_json([name, repr(value)])
    return hasher.result()


def model2vec_fingerprint(bridge: Any) -> str:
    hasher = _Hasher()
    hasher.add_json({"class": class_name(bridge), "config": bridge.config, "max_length": bridge.max_length})
    for name in ("embedding", "weights", "token_mapping"):
        value = getattr(bridge, name, None)
        if value is not None:
            hasher.add_array(name, np.asarray(value))
    _add_tokenizer(hasher, bridge.tokenizer)
    return hasher.result()


def text_fingerprint(lines: Iterable[str], tokenizer: object, settings: Mapping[str, object]) -> str:
    """Of vectors that are trained on `lines`, cut by `tokenizer`."""
    hasher = _Hasher()
    hasher.add_json(settings)
    _add_tokenizer(hasher, tokenizer)
    for line in lines:
        hasher.add_bytes(line.encode("utf-8", "surrogatepass"))
    return hasher.result()


def _architecture(config: Mapping[str, object]) -> dict[str, object]:
    """The part of a transformers config that says what is computed, not where it was read or by which version."""
    passing = {"_name_or_path", "transformers_version", "dtype", "torch_dtype"}
    return {key: value for key, value in config.items() if key not in passing}


def _add_tokenizer(hasher: _Hasher, tokenizer: Any) -> None:
    from tokenizers import Tokenizer

    if isinstance(tokenizer, Tokenizer):
        hasher.add_json(["tokenizer", tokenizer.to_str()])
        return
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if isinstance(backend, Tokenizer):
        backend = copy.deepcopy(backend)
        backend.no_padding()  # every call of a transformers tokenizer overwrites these two
        backend.no_truncation()
        hasher.add_json([class_name(tokenizer), backend.to_str(), getattr(tokenizer, "truncation_side", None)])
    elif hasattr(tokenizer, "get_vocab"):
        hasher.add_json([class_name(tokenizer), tokenizer.get_vocab()])


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
