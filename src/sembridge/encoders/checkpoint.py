"""Whether a checkpoint holds what its model reads, by the loader's own account of every tensor.

transformers fills a parameter that a checkpoint lacks with random numbers and says so in a log line only: the model
then encodes, and differently in every process. The account of `from_pretrained` (missing, unexpected and mismatched
keys, without tied ones and without those that its class calls harmless) is the truth here, whatever the files are.
"""

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SparseEncoder
    from torch import nn
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_COMPUTED_BUFFERS = {"position_ids", "token_type_ids", "inv_freq"}  # once saved, now made by the class itself
_N_NAMED = 3
_LOADING = threading.RLock()


@dataclass(frozen=True)
class Account:
    """What one `from_pretrained` says of its checkpoint; shapes of mismatched keys: the checkpoint's, the model's."""

    model: "PreTrainedModel"
    missing: frozenset[str]
    unexpected: frozenset[str]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]


@contextmanager
def accounts_of_loading() -> Iterator[list[Account]]:
    """Inside, every model of transformers that this thread loads leaves its account in the list.

    Sentence Transformers loads its modules itself and hands no account out, also not of those inside a Router, so the
    one method that all of them end in asks for it (`output_loading_info`). Loading takes turns between threads.
    """
    from transformers import PreTrainedModel

    accounts: list[Account] = []
    stock = PreTrainedModel.__dict__["from_pretrained"]
    owner = threading.get_ident()

    def from_pretrained(cls: type, *args: Any, **kwargs: Any) -> Any:
        load = stock.__get__(None, cls)
        if threading.get_ident() != owner:
            return load(*args, **kwargs)
        asked = kwargs.pop("output_loading_info", False)
        # Other sizes are refused by name further down; transformers would name a table that is in its log.
        model, info = load(*args, **(kwargs | {"output_loading_info": True, "ignore_mismatched_sizes": True}))
        mismatched = tuple(sorted((key, tuple(found), tuple(read)) for key, found, read in info["mismatched_keys"]))
        accounts.append(Account(model, frozenset(info["missing_keys"]), frozenset(info["unexpected_keys"]), mismatched))
        return (model, info) if asked else model

    with _LOADING:
        PreTrainedModel.from_pretrained = classmethod(from_pretrained)
        try:
            yield accounts
        finally:
            PreTrainedModel.from_pretrained = stock


def refuse_wrong_tensors(
    loaded: "SparseEncoder | SentenceTransformer", accounts: Iterable[Account], name: object
) -> None:
    """Refuses a model with tensors that its checkpoint lacks, has in another size, or has for another model.

    What only passes by is no reason: a pooler that nothing reads, buffers that the class computes, heads of another
    task.

    Raises:
        SembridgeError: it names the first tensors and says how many there are.
    """
    with_pooler = _models_that_read_their_pooler(loaded)
    for account in accounts:
        if account.mismatched:
            raise SembridgeError(_other_sizes(account, name))
        lacking = [k for k in sorted(account.missing) if _is_read(k, pooler=id(account.model) in with_pooler)]
        if lacking:
            raise SembridgeError(_lacking(account, lacking, name))
        left_out, strange = _left_out(account)
        if left_out:
            raise SembridgeError(
                f"{name} has {_listed(left_out)}, which its {_class(account)} has no place for, so it would compute"
                " something else; check config.json (number of layers), merge adapters and undo a quantization first."
            )
        if strange:
            logger.warning("%s has %s, which its %s does not read.", name, _listed(strange), _class(account))


def _models_that_read_their_pooler(loaded: "SparseEncoder | SentenceTransformer") -> set[int]:
    from sentence_transformers.base.modules import Transformer

    return {
        id(module.model)
        for module in loaded.modules()
        if isinstance(module, Transformer)
        and any(way["method_output_name"] == "pooler_output" for way in module.modality_config.values())
    }


def _is_read(key: str, *, pooler: bool) -> bool:
    parts = key.split(".")
    return parts[-1] not in _COMPUTED_BUFFERS and (pooler or "pooler" not in parts)


def _lacking(account: Account, lacking: list[str], name: object) -> str:
    if _is_whole_head(account.model, set(lacking)):
        return (
            f"{name} has no weights for its vocabulary head ({_listed(lacking)}), so it would be random; expected a"
            " checkpoint saved with its masked-language-model head."
        )
    instead = f" It has {_listed(sorted(account.unexpected))} that nothing reads." if account.unexpected else ""
    return (
        f"{name} lacks {_listed(lacking)}, which its {_class(account)} reads, so they would be random.{instead}"
        " Expected every tensor under transformers' own name: save the model again, without a wrapper around it."
    )


def _is_whole_head(model: "PreTrainedModel", lacking: set[str]) -> bool:
    """Whether nothing is lacking but the vocabulary head, and all of it that is not shared with the body."""
    if model.get_output_embeddings() is None:
        return False
    body = f"{model.base_model_prefix}."
    head = {key for key, _ in model.named_parameters(remove_duplicate=False) if not key.startswith(body)}
    own = head - set(model.all_tied_weights_keys)
    return bool(own) and own <= lacking <= head


def _other_sizes(account: Account, name: object) -> str:
    (key, found, read), *others = account.mismatched
    more = f" and {len(others)} more" if others else ""
    return (
        f"{name} cannot be loaded: its weights have other sizes than its config.json says: {key} is {list(found)}, not"
        f" {list(read)}{more}; check vocab_size and the other sizes there."
    )


def _left_out(account: Account) -> tuple[list[str], list[str]]:
    """Unexpected tensors that belong to the computation, and others inside the body.

    To it belong further entries of a stack of layers, and what lies beside the parameters of one module: an adapter, a
    quantization's scale. Poolers and heads hang on the top of the model.
    """
    from torch import nn

    model = account.model
    base = model.base_model
    left_out, strange = [], []
    for key in sorted(account.unexpected):
        ancestor = _deepest_module(model, key)
        if isinstance(ancestor, nn.ModuleList) or any(True for _ in ancestor.parameters(recurse=False)):
            left_out.append(key)
        elif ancestor is not model and ancestor is not base and any(ancestor is inner for inner in base.modules()):
            strange.append(key)
    return left_out, strange


def _deepest_module(model: "PreTrainedModel", key: str) -> "nn.Module":
    """The innermost module of `model` that the name leads to, with or without the body's own prefix."""
    prefix = f"{model.base_model_prefix}."
    candidates = [key, key.removeprefix(prefix), prefix + key]
    return max((_walk(model, candidate) for candidate in candidates), key=lambda found: found[0])[1]


def _walk(model: "nn.Module", key: str) -> "tuple[int, nn.Module]":
    depth = 0
    for part in key.split(".")[:-1]:
        children = dict(model.named_children())
        if part not in children:
            break
        model, depth = children[part], depth + 1
    return depth, model


def _listed(keys: list[str]) -> str:
    named = ", ".join(keys[:_N_NAMED])
    return f"{named} and {len(keys) - _N_NAMED} more" if len(keys) > _N_NAMED else named


def _class(account: Account) -> str:
    return type(account.model).__name__
