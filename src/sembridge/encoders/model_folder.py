"""What lies in a model folder, and refusals of everything that would load as something else than it should."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from sembridge.errors import SembridgeError

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken")
SPARSE_MODULES = {"SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding", "MLMTransformer"}


def one_line(error: BaseException) -> str:
    """Class and message of a foreign error, without line breaks, at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def refuse_incomplete(folder: Path, name: object, *, trust_remote_code: bool) -> None:
    """Refuses a folder without a readable description of a model, or one whose modules are foreign code."""
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise SembridgeError(
            f"{name} holds only an adapter; expected a whole model. Merge it with merge_and_unload() and save that."
        )
    if not (folder / "config.json").exists() and not (folder / "modules.json").exists():
        raise SembridgeError(
            f"{name} holds no model: {folder} has neither config.json nor modules.json; expected a model folder."
        )
    _architectures(folder)  # refuses a config.json that is no JSON
    foreign = [m for m in module_types(folder) if not m.startswith("sentence_transformers.")]
    if foreign and not trust_remote_code:
        raise SembridgeError(
            f"{name} brings its own Python code ({foreign[0]}); read it, and if you trust it load with"
            " trust_remote_code."
        )


def refuse_other_than_sparse(folder: Path, name: object) -> None:
    """Refuses what SparseEncoder would wrap silently: dense encoders, rerankers, models without a vocabulary head."""
    kind = _model_type(folder)
    if kind == "SparseEncoder":
        return
    if kind is not None:
        hint = ""
        if SPARSE_MODULES & {m.rsplit(".", 1)[-1] for m in module_types(folder)}:
            hint = ' If it is sparse, its config_sentence_transformers.json lacks "model_type": "SparseEncoder".'
        raise SembridgeError(
            f"{name} is a {kind}, not a sparse encoder; give one such as "
            f"ibm-granite/granite-embedding-30m-sparse.{hint}"
        )
    architectures = _architectures(folder)
    if not any(a.endswith("ForMaskedLM") for a in architectures):
        raise SembridgeError(
            f"{name} is a {', '.join(architectures) or 'model of no stated architecture'} without a vocabulary head;"
            " expected a sparse encoder, or a checkpoint whose config.json names a ...ForMaskedLM architecture."
        )


def refuse_other_than_dense(folder: Path, name: object) -> None:
    """Refuses sparse encoders, rerankers and plain transformers, which would get an untrained mean pooling."""
    kind = _model_type(folder)
    if kind is None and is_model2vec(folder):
        return
    if kind is None:
        raise SembridgeError(
            f"{name} is a plain {', '.join(_architectures(folder)) or 'transformer'} without modules.json, so how it"
            " makes one vector of a text is unknown; save it once as a SentenceTransformer with the right pooling."
        )
    if kind != "SentenceTransformer":
        raise SembridgeError(
            f"{name} is a {kind}; a bridge must be a dense SentenceTransformer such as intfloat/multilingual-e5-small."
        )


def says_dense(folder: Path) -> bool:
    """Whether a folder holds a dense encoder by what it says of itself."""
    return _model_type(folder) == "SentenceTransformer"


def refuse_weights(folder: Path, name: object, *, allow_pickle: bool) -> None:
    """Refuses missing, damaged and pickled weights."""
    folders = _parts(folder)
    for path in [p for f in folders for p in f.glob("*.safetensors")]:
        _refuse_damaged(path)
    for index in [p for f in folders for p in f.glob("*.safetensors.index.json")]:
        for shard in sorted(set(_read_object(index).get("weight_map", {}).values())):
            if not (index.parent / shard).exists():
                raise SembridgeError(f"{name} lacks the weights {shard} that {index} names; download it again.")
    pickled = [f for f in folders if any(f.glob("pytorch_model*.bin")) and not any(f.glob("*.safetensors"))]
    if pickled and not allow_pickle:
        raise SembridgeError(
            f"{name} has its weights only as pickle (pytorch_model.bin), which can hide code; expected"
            " model.safetensors. Convert it at https://huggingface.co/spaces/safetensors/convert, or load with"
            " allow_pickle."
        )
    if not pickled and not any(p for f in folders for p in f.glob("*.safetensors")):
        raise SembridgeError(
            f"{name} has no weights as safetensors: no model.safetensors in {folder}. If it has them only as"
            " pytorch_model.bin, load with allow_pickle or convert them; otherwise save or download it again."
        )


def refuse_missing_tokenizer(folder: Path, name: object) -> None:
    """Refuses a folder without a tokenizer, of which transformers would make an empty one, or with a damaged one."""
    files = [path for part in _parts(folder) for pattern in TOKENIZER_FILES for path in sorted(part.glob(pattern))]
    if not files:
        raise SembridgeError(
            f"{name} has no tokenizer: {folder} holds none of {', '.join(TOKENIZER_FILES)}; save it there."
        )
    for part in _parts(folder):
        for path in (part / "tokenizer.json", part / "tokenizer_config.json"):
            if path.exists():
                _read_object(path)
    if any(path.name == "tokenizer.json" for path in files):
        return
    if not any((folder / kind).exists() for kind in ("tokenizer_config.json", "config.json")):
        raise SembridgeError(
            f"{name} holds only {files[0].name}, which does not say what kind of tokenizer it is; expected"
            " tokenizer.json, or tokenizer_config.json beside it. Load it with its class and save_pretrained it."
        )
    if all(path.suffix == ".model" for path in files) and importlib.util.find_spec("sentencepiece") is None:
        raise SembridgeError(
            f"{name} has its tokenizer only as {files[0].name}, which the package sentencepiece reads; run"
            " `pip install sentencepiece`, or give a folder with tokenizer.json."
        )


def is_model2vec(folder: Path) -> bool:
    """Whether model2vec wrote the folder; many on the hub have a modules.json for Sentence Transformers beside it."""
    return "StaticModel" in _architectures(folder)


def module_types(folder: Path) -> list[str]:
    """The classes that modules.json names; none for a plain transformers folder."""
    return [str(entry.get("type")) for entry in _modules(folder)]


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / "modules.json"
    if not path.exists():
        return []
    entries = _read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SembridgeError(f"{path} is damaged; expected a list of modules. Save or download the model again.")
    return entries


def _parts(folder: Path) -> list[Path]:
    """The folders that may hold weights and tokenizers: the model's own, its modules', and those inside a router."""
    modules = [folder / str(entry.get("path", "")) for entry in _modules(folder)]
    routed = [
        p for module in modules if (module / "router_config.json").exists() for p in module.iterdir() if p.is_dir()
    ]
    return sorted({folder, *modules, *routed})


def _model_type(folder: Path) -> str | None:
    """SparseEncoder, SentenceTransformer or CrossEncoder; None for a plain transformers folder."""
    if not (folder / "modules.json").exists():
        return None
    path = folder / "config_sentence_transformers.json"
    return str(_read_object(path).get("model_type", "SentenceTransformer")) if path.exists() else "SentenceTransformer"


def _architectures(folder: Path) -> list[str]:
    path = folder / "config.json"
    return list(_read_object(path).get("architectures") or []) if path.exists() else []


def _refuse_damaged(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise SembridgeError(f"{path} is a Git LFS pointer without the weights; run `git lfs pull` in its folder.")
    try:
        with safe_open(path, framework="np") as weights:
            weights.keys()
    except (SafetensorError, ValueError) as error:
        raise SembridgeError(f"{path} is damaged or cut off ({one_line(error)}); save or download it again.") from error


def _read_object(path: Path) -> dict[str, Any]:
    content = _read_json(path)
    if not isinstance(content, dict):
        raise SembridgeError(f"{path} is damaged; expected a JSON object. Save or download the model again.")
    return content


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also bytes that are no UTF-8
        raise SembridgeError(f"{path} is no valid JSON ({one_line(error)}); save or download it again.") from error
