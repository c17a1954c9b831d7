"""A folder, a hub id or mini/NAME -> sparse encoder, tokenizer, bridge.

A hub id becomes the folder of its snapshot in the hub's cache first, so everything after that, and every refusal, is
the same for a folder and for the hub.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sembridge.encoders.checkpoint import accounts_of_loading, refuse_wrong_tensors
from sembridge.encoders.model_folder import (
    is_model2vec,
    module_types,
    one_line,
    refuse_incomplete,
    refuse_missing_tokenizer,
    refuse_other_than_dense,
    refuse_other_than_sparse,
    refuse_weights,
)
from sembridge.encoders.names import readme_path, resolve
from sembridge.encoders.stated import refuse_missing_routes
from sembridge.encoders.static_rules import leave_out_unknown_pieces
from sembridge.encoders.tokenizer_fit import (
    clamp_lengths,
    keep_lower_casing,
    refuse_failing_tokenizers,
    refuse_ids_without_rows,
)
from sembridge.encoders.tokenizer_habits import refuse_failing_tokenizer
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_Model = TypeVar("_Model", "SentenceTransformer", "SparseEncoder")


@dataclass(frozen=True)
class CardFacts:
    """What the model card of a source says and the card of a model made from it must repeat."""

    license: str | None = None
    license_name: str | None = None  # with license "other"
    license_link: str | None = None
    language: tuple[str, ...] = ()
    base_model: tuple[str, ...] = ()


def load_encoder(
    name: str | Path,
    *,
    device: str = "cpu",
    trust_remote_code: bool = False,
    revision: str | None = None,
    allow_pickle: bool = False,
) -> "SparseEncoder":
    """The sparse encoder called `name`, in float32 on a CPU and in the checkpoint's own type elsewhere.

    A masked language model without `modules.json`, as many SPLADE checkpoints are, gets max pooling.

    Args:
        name: a folder, a hub id or mini/NAME.
        device: where the encoder runs, such as cpu or cuda.
        trust_remote_code: run Python code that comes with the model.
        revision: branch, tag or commit of a hub id.
        allow_pickle: read pytorch_model.bin where there is no safetensors file.

    Raises:
        SembridgeError: the name leads nowhere, or to something that is not a complete, safe sparse encoder.
    """
    _refuse_missing_device(device)
    folder = resolve(name, revision=revision, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)
    refuse_incomplete(folder, name, trust_remote_code=trust_remote_code)
    refuse_other_than_sparse(folder, name)
    refuse_weights(folder, name, allow_pickle=allow_pickle)
    refuse_missing_tokenizer(folder, name)
    from sentence_transformers import SparseEncoder

    encoder = _load(SparseEncoder, folder, name, device=device, trust_remote_code=trust_remote_code)
    refuse_missing_routes(encoder, name, "query", "document")
    return (encoder.float() if device.startswith("cpu") else encoder).eval()  # static modules ignore the asked dtype


def load_bridge(
    name: str | Path,
    *,
    device: str = "cpu",
    trust_remote_code: bool = False,
    revision: str | None = None,
    allow_pickle: bool = False,
) -> "SentenceTransformer":
    """The dense encoder called `name`; a model2vec folder becomes a SentenceTransformer with model2vec's own rule.

    That is: pieces that the tokenizer does not know are left out of the mean, and a text of nothing else has the vector
    zero. Sentence Transformers would average the unknown token in, also for the same folder.

    Arguments, types and refusals as in `load_encoder`.
    """
    _refuse_missing_device(device)
    folder = resolve(name, revision=revision, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)
    refuse_incomplete(folder, name, trust_remote_code=trust_remote_code)
    refuse_other_than_dense(folder, name)
    refuse_weights(folder, name, allow_pickle=allow_pickle)
    refuse_missing_tokenizer(folder, name)
    if is_model2vec(folder) and not module_types(folder):
        bridge = _load_model2vec(folder, name, device)
    else:
        from sentence_transformers import SentenceTransformer

        bridge = _load(SentenceTransformer, folder, name, device=device, trust_remote_code=trust_remote_code)
    if is_model2vec(folder):
        leave_out_unknown_pieces(bridge)
    refuse_missing_routes(bridge, name, None)
    bridge.model_card_data.set_model_id(str(name))  # the name that a report gives
    return (bridge.float() if device.startswith("cpu") else bridge).eval()


def load_tokenizer(
    name: str | Path, *, trust_remote_code: bool = False, revision: str | None = None
) -> "PreTrainedTokenizerBase":
    """The tokenizer called `name`: a folder, a hub id or mini/NAME; of a hub id only the tokenizer is downloaded.

    Raises:
        SembridgeError: the name leads nowhere, or to a folder without a readable tokenizer.
    """
    folder = resolve(name, revision=revision, trust_remote_code=trust_remote_code, weights=False)
    refuse_missing_tokenizer(folder, name)
    from transformers import AutoTokenizer

    with _loading_refusals(name):
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=trust_remote_code, local_files_only=not trust_remote_code
        )
    if len(tokenizer) == 0:
        raise SembridgeError(f"Tokenizer {name} has no tokens; expected a vocabulary. Check its tokenizer.json.")
    refuse_failing_tokenizer(tokenizer, f"Tokenizer {name}")
    return tokenizer


def read_model_card(source: "str | Path | SparseEncoder") -> CardFacts:
    """Licence, languages and base models from the front matter of the source's README.md; empty where it has none.

    `source` is a name as for `load_encoder`, or a loaded encoder. The network is asked only for a hub id whose
    README.md is not in the cache.
    """
    name = source if isinstance(source, str | Path) else getattr(source.config, "_name_or_path", "")
    path = readme_path(name) if name else None
    if path is None:
        logger.info("No model card found for %s", name or "an encoder that was not loaded by name")
        return CardFacts()
    import yaml
    from huggingface_hub import ModelCard

    try:
        data = ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except (yaml.YAMLError, ValueError, OSError) as error:
        logger.warning("The model card %s cannot be read: %s", path, one_line(error))
        return CardFacts()
    return CardFacts(
        license=_text(data.get("license")),
        license_name=_text(data.get("license_name")),
        license_link=_text(data.get("license_link")),
        language=_texts(data.get("language")),
        base_model=_texts(data.get("base_model")),
    )


def _text(value: object) -> str | None:
    return str(value) if value else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),) if value else ()


def _refuse_missing_device(device: str) -> None:
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise SembridgeError(f"Device {device!r} is unknown; expected e.g. cpu, cuda or cuda:1.") from error
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise SembridgeError(f"Device {device} was asked for, but torch finds none here; use cpu.")


def _load(
    model_class: Callable[..., _Model], folder: Path, name: str | Path, *, device: str, trust_remote_code: bool
) -> _Model:
    import torch

    with _loading_refusals(name), accounts_of_loading() as accounts, _without_news_of_prompts():
        loaded = model_class(
            str(folder),
            device=device,
            trust_remote_code=trust_remote_code,
            local_files_only=not trust_remote_code,  # code may lie in another repository
            # half precision is slow and inexact on a CPU
            model_kwargs={"dtype": torch.float32 if device.startswith("cpu") else "auto"},
        )
    refuse_wrong_tensors(loaded, accounts, name)
    keep_lower_casing(loaded)
    clamp_lengths(loaded, name)
    refuse_ids_without_rows(loaded, name)
    refuse_failing_tokenizers(loaded, name)
    return loaded


@contextlib.contextmanager
def _without_news_of_prompts() -> Iterator[None]:
    """Sentence Transformers announces that a default prompt applies; here the reports say so."""

    def is_other(record: logging.LogRecord) -> bool:
        return not record.msg.startswith("Default prompt name is set")

    news = logging.getLogger("sentence_transformers.base.model")
    news.addFilter(is_other)
    try:
        yield
    finally:
        news.removeFilter(is_other)


def _load_model2vec(folder: Path, name: str | Path, device: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    with _loading_refusals(name):
        bridge = SentenceTransformer(modules=[StaticEmbedding.load(str(folder), local_files_only=True)], device=device)
    refuse_ids_without_rows(bridge, name)
    refuse_failing_tokenizers(bridge, name)
    return bridge


@contextlib.contextmanager
def _loading_refusals(name: str | Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # loaders raise anything, also KeyError and AttributeError, on a broken folder
        if "trust_remote_code" in str(error):
            raise SembridgeError(
                f"{name} brings its own Python code; read it, and if you trust it load with trust_remote_code."
            ) from error
        raise SembridgeError(f"{name} cannot be loaded: {one_line(error)}") from error
