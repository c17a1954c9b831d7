"""Whether a vocabulary can be extended by a language at all: told from two files, before torch and models are loaded.

A language in Latin letters cannot: English text must keep its segmentation, and one text in Latin letters cannot be
cut in two ways, so nearly nothing of such a vocabulary would be appended.
"""

import json
from pathlib import Path
from typing import Any

from sembridge.encoders.names import is_here, resolve
from sembridge.encoders.scripts import is_all_english
from sembridge.encoders.token_spelling import Spelling
from sembridge.errors import SembridgeError

_MIN_OWN_SHARE = 0.1
_MARKS = "▁Ġ"


def check_extension(source: str, target: str) -> None:
    """Nothing where the target's tokens have letters of their own, or where that cannot be told this early.

    Raises:
        SembridgeError: as `extend_tokenizer`, of a language in Latin letters.
    """
    models = [_model(name) for name in (source, target)]
    if any(model is None for model in models) or len({model["type"] for model in models if model}) > 1:
        return
    known, offered = (_tokens(model) for model in models if model)
    absent = offered - known
    byte_level = models[1] is not None and models[1]["type"] == "BPE" and not models[1].get("byte_fallback")
    refuse_same_letters(sum(_may_be_own(token, byte_level=byte_level) for token in absent), len(absent))


def refuse_same_letters(n_own: int, n_absent: int) -> None:
    """Refuses a target of whose tokens that the source lacks hardly any has a character that English text has not."""
    if n_own < _MIN_OWN_SHARE * n_absent:
        raise SembridgeError(
            f"Only {n_own:,} of {n_absent:,} tokens that the target tokenizer could add have a character that English "
            "text has not; --extend keeps English as it is and is for languages in another script. Transfer without "
            "--extend."
        )


def _model(name: str) -> dict[str, Any] | None:
    """The model of a tokenizer that lies on this machine."""
    if not (name.startswith("mini/") or Path(name).expanduser().is_dir() or is_here(name)):
        return None
    try:
        pipeline = json.loads((resolve(name, weights=False) / "tokenizer.json").read_text(encoding="utf-8"))
        model: dict[str, Any] = pipeline["model"]
        return model if _tokens(model) and model["type"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # what loads it will say what is wrong


def _tokens(model: dict[str, Any]) -> set[str]:
    vocabulary = model["vocab"]
    return set(vocabulary) if isinstance(vocabulary, dict) else {token for token, _ in vocabulary}


def _may_be_own(token: str, *, byte_level: bool) -> bool:
    """In case of doubt yes: the count that decides is made with both tokenizers at hand."""
    bare = token.strip(_MARKS).removeprefix("##")
    form = Spelling(byte_level=byte_level).read(bare, is_added=False)
    return len(bare) == 1 or not form.text or not is_all_english(form.text)
