"""What a tokenizer does to a text beyond cutting it, and what follows from it for an encoder.

Told by behaviour: short probe texts go through the tokenizer, so that every family and class is read the same way.
"""

import copy
import json
import logging
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sembridge.encoders.token_spelling import Spelling, marks_by_normalizer, pipeline_parts, read_spelling
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.processors import ByteLevel
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Letters of scripts that few vocabularies hold (old Church Slavonic, runes, Linear B, Egyptian), and a word longer than
# WordPiece looks at: the texts in which a missing unknown token shows.
_RARE_TEXTS = ("ꙮ", "ᚠ", "𐀀", "𓀀", "q" * 300)
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_ROLES = {"start": ("cls_token", "bos_token"), "end": ("sep_token", "eos_token")}


@dataclass(frozen=True)
class Habit:
    """One of the things a tokenizer does.

    Attributes:
        name: "unknown text", "around a text", "word mark" or "padding".
        found: what it does.
        consequence: what follows from it; empty where it is as it should be.
        remedy: what to do about it; empty where there is nothing to do.
    """

    name: str
    found: str
    consequence: str = ""
    remedy: str = ""


def tokenizer_habits(
    tokenizer: "PreTrainedTokenizerBase", source_tokenizer: "PreTrainedTokenizerBase | None" = None
) -> tuple[Habit, ...]:
    """The habits of `tokenizer`, each with its consequence; `source_tokenizer` is what its encoder was trained with.

    Raises:
        SembridgeError: as `refuse_failing_tokenizer`.
    """
    refuse_failing_tokenizer(tokenizer)
    return (
        _unknown_text(tokenizer),
        _around_a_text(tokenizer, source_tokenizer),
        _word_mark(tokenizer),
        _padding(tokenizer),
    )


def refuse_failing_tokenizer(tokenizer: Any, name: object = "The tokenizer") -> None:
    """Refuses a tokenizer, of transformers or of tokenizers, that raises at a text with something it does not know.

    It names an unknown token that its vocabulary lacks (WordPiece, WordLevel, BPE), or none (Unigram). Of one that has
    an empty text as a special token, transformers looks for the id without an end.
    """
    empty = [role for role in _NAMED if getattr(tokenizer, role, None) == ""]
    if empty:
        raise SembridgeError(
            f"{name} has an empty text as its {empty[0]}; name a token of its vocabulary in tokenizer_config.json, or"
            " take the key out."
        )
    for text in _RARE_TEXTS:
        try:
            _ids(tokenizer, text)
        except Exception as error:  # the tokenizers library raises plain Exception
            raise SembridgeError(
                f"{name} cannot cut a text with anything it does not know ({' '.join(str(error).split())[:120]}): its"
                " vocabulary lacks the unknown token, such as [UNK]. Add it to the model's vocabulary in"
                " tokenizer.json, or take another tokenizer."
            ) from error


def add_special_tokens(tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedTokenizerBase":
    """A copy of `tokenizer` that puts its own cls and sep tokens (else bos and eos) around every text.

    A tokenizer that adds both already is returned as it is.

    Raises:
        SembridgeError: it names none of these tokens, or has no fast backend.
    """
    from tokenizers.processors import Sequence, TemplateProcessing

    if len(_roles_added(tokenizer)) == len(_ROLES):
        return tokenizer
    start, end = (_named_token(tokenizer, role) for role in _ROLES)
    if not (start or end) or getattr(tokenizer, "backend_tokenizer", None) is None:
        raise SembridgeError(
            f"{_name(tokenizer)} names no token for the start or the end of a text, so none can be added; name them in"
            " its tokenizer_config.json (cls_token, sep_token) and keep them in its vocabulary."
        )
    vocabulary = tokenizer.get_vocab()
    template = TemplateProcessing(
        single=" ".join(filter(None, (start, "$A", end))),
        pair=" ".join(filter(None, (start, "$A", end, "$B:1", end and f"{end}:1"))),
        special_tokens=[(token, vocabulary[token]) for token in (start, end) if token],
    )
    copied = copy.deepcopy(tokenizer)
    # A template beside another would see its tokens as texts of their own; only the trimming of offsets is kept.
    kept = _byte_level(copied.backend_tokenizer)
    copied.backend_tokenizer.post_processor = Sequence([*kept, template])
    return copied


def warn_of_habits(
    tokenizer: "PreTrainedTokenizerBase", source_tokenizer: "PreTrainedTokenizerBase | None" = None
) -> None:
    """Logs every habit that has a consequence, each once a process: a search makes many transfers of one tokenizer."""
    for habit in tokenizer_habits(tokenizer, source_tokenizer):
        if habit.consequence:
            warn_once(f"{_name(tokenizer)}, {habit.name}: {habit.found}; {habit.consequence}. {habit.remedy}".strip())


@lru_cache(maxsize=256)
def warn_once(message: str) -> None:
    logger.warning(message)


def _unknown_text(tokenizer: "PreTrainedTokenizerBase") -> Habit:
    found = [_ids(tokenizer, text) for text in _RARE_TEXTS]
    unknown = tokenizer.unk_token
    if unknown is not None and any(tokenizer.unk_token_id in ids for ids in found):
        return Habit("unknown text", f"becomes {unknown}")
    if all(found):
        return Habit("unknown text", "is cut into bytes or single characters")
    return Habit(
        "unknown text",
        "is left out",
        "characters that the vocabulary lacks vanish from a text, and a text of nothing else has no dimensions",
        "Give its model an unknown token if your texts hold such characters.",
    )


def _around_a_text(tokenizer: "PreTrainedTokenizerBase", source: "PreTrainedTokenizerBase | None") -> Habit:
    there = _roles_added(tokenizer)
    found = " and ".join(there.values()) or "nothing"
    lacking = [] if source is None else [token for role, token in _roles_added(source).items() if role not in there]
    if not lacking:
        return Habit("around a text", found)
    possible = any(_named_token(tokenizer, role) for role in _ROLES)
    return Habit(
        "around a text",
        found,
        f"the source encoder was trained with {' and '.join(lacking)} around every text, and ranks worse without",
        "--add-special-tokens adds this tokenizer's own."
        if possible
        else "It names no such tokens that could be added.",
    )


def _word_mark(tokenizer: "PreTrainedTokenizerBase") -> Habit:
    spelling = read_spelling(tokenizer, tokenizer.get_vocab())
    mark = _mark_text(spelling)
    if not mark:
        return Habit(
            "word mark",
            "none",
            "every token counts as the start of a word, and pieces match whole words of the source",
            "Prefer a tokenizer that marks words or their continuations.",
        )
    if marks_by_normalizer(tokenizer):
        return Habit("word mark", f"{mark}, written by the normalizer")
    return Habit("word mark", mark)


def _mark_text(spelling: Spelling) -> str:
    if spelling.end_suffix:
        return f"{spelling.end_suffix} at the end of a word"
    if spelling.continuing_prefix:
        return f"{spelling.continuing_prefix} before what continues a word"
    if spelling.byte_level:
        return "Ġ before a word (bytes)"
    return f"{spelling.space} before a word" if spelling.space else ""


def _padding(tokenizer: "PreTrainedTokenizerBase") -> Habit:
    if tokenizer.pad_token_id is not None:
        return Habit("padding", str(tokenizer.pad_token))
    return Habit(
        "padding",
        "none",
        "texts of different lengths cannot be encoded together, and transfer refuses it",
        "Name a token for it: tokenizer.pad_token = ...",
    )


def _roles_added(tokenizer: "PreTrainedTokenizerBase") -> dict[str, str]:
    """ "start" and "end" -> the token that is put there around every text; absent where none is."""
    bare, whole = _ids(tokenizer, "a"), tokenizer("a")["input_ids"]
    added = set((Counter(whole) - Counter(bare)).keys())
    ids = tokenizer.get_vocab()
    return {
        role: str(token)
        for role, names in _ROLES.items()
        for token in [next((t for t in (getattr(tokenizer, n, None) for n in names) if ids.get(t) in added), None)]
        if token is not None
    }


def _byte_level(backend: "Tokenizer") -> "list[ByteLevel]":
    """The ByteLevel steps after the cutting."""
    from tokenizers.processors import ByteLevel

    steps = pipeline_parts(json.loads(backend.to_str())["post_processor"])
    return [ByteLevel(trim_offsets=step["trim_offsets"]) for step in steps if step["type"] == "ByteLevel"]


def _named_token(tokenizer: "PreTrainedTokenizerBase", role: str) -> str | None:
    ids = tokenizer.get_vocab()
    named = (getattr(tokenizer, name, None) for name in _ROLES[role])
    return next((str(token) for token in named if token is not None and str(token) in ids), None)


def _ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text alone."""
    if hasattr(tokenizer, "encode_batch"):  # of the library tokenizers
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _name(tokenizer: "PreTrainedTokenizerBase") -> str:
    return f"Tokenizer {tokenizer.name_or_path or type(tokenizer).__name__}"
