"""How a tokenizer writes its tokens: which family it is of, and what text or bytes a raw token stands for."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


class TokenForm(NamedTuple):
    """What a raw token stands for, before anything is known about special or unused tokens."""

    text: str
    starts_word: bool
    raw: bytes | None = None  # set for bytes without readable text
    is_produced: bool = True  # False: the pre-tokenizer cuts every text inside this token or before it


@dataclass(frozen=True)
class Spelling:
    """The markers of a tokenizer family; `read` removes them."""

    byte_level: bool = False  # every character stands for a byte
    byte_fallback: bool = False  # <0xE4>
    space: str = ""  # "▁"; a token that begins with it starts a word
    continuing_prefix: str = ""  # "##"
    end_suffix: str = ""  # "</w>"
    lone_characters: frozenset[str] = frozenset()  # the pre-tokenizer makes each of them a word of its own

    def read(self, token: str, *, is_added: bool) -> TokenForm:
        """The text or bytes of a raw token; an added token is matched before the pre-tokenizer and spelled plainly."""
        if self.byte_fallback and (byte := _BYTE_FALLBACK.fullmatch(token)):
            return TokenForm("", False, bytes.fromhex(byte[1]))
        text, ends_word = token, False
        if self.end_suffix:
            text, ends_word = token.removesuffix(self.end_suffix), token.endswith(self.end_suffix)
        raw = _byte_level_bytes(text) if self.byte_level and not is_added else None
        if raw is not None:
            text = raw.decode(errors="replace")
        text, starts_word = self._strip_word_start(text, ends_word)
        if "\ufffd" in text:
            return TokenForm("", starts_word, raw if raw is not None else word_bytes(text, starts_word))
        is_produced = is_added or len(token) == 1 or self.lone_characters.isdisjoint(text)
        return TokenForm(text, starts_word, None, is_produced)

    def _strip_word_start(self, text: str, ends_word: bool) -> tuple[str, bool]:
        if self.end_suffix:  # such a tokenizer marks where words end; a whole word ends one, and starts one
            return text, ends_word
        if self.continuing_prefix:
            continues = text.startswith(self.continuing_prefix) and text != self.continuing_prefix
            return (text[len(self.continuing_prefix) :], False) if continues else (text, True)
        if not self.space:
            return text, True
        text = text.replace(self.space, " ")
        return text.removeprefix(" "), text.startswith(" ")


def read_spelling(tokenizer: "PreTrainedTokenizerBase", tokens: Iterable[str]) -> Spelling:
    """The spelling of a tokenizer, from its backend's pipeline; of one without a backend, from its `tokens`.

    Raises:
        SembridgeError: neither a backend nor a known marker.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return _commonest_spelling(type(tokenizer).__name__, tokens)
    pipeline = json.loads(backend.to_str())
    model = pipeline["model"]
    normalizers, pre_tokenizers, decoders = (
        pipeline_parts(pipeline[step]) for step in ("normalizer", "pre_tokenizer", "decoder")
    )
    every_type = {part["type"] for part in [*normalizers, *pre_tokenizers, *decoders]}
    byte_level = "ByteLevel" in every_type
    return Spelling(
        byte_level=byte_level,
        byte_fallback=bool(model.get("byte_fallback")) or "ByteFallback" in every_type,
        space=" " if byte_level else _space_marker(normalizers, pre_tokenizers, decoders),
        continuing_prefix=model.get("continuing_subword_prefix") or "",
        end_suffix=model.get("end_of_word_suffix") or "",
        lone_characters=_lone_characters(normalizers, pre_tokenizers, tokens),
    )


def pipeline_parts(step: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The parts of a step of the pipeline, sequences unrolled."""
    if step is None:
        return []
    if step["type"] != "Sequence":
        return [step]
    children = next(value for key, value in step.items() if key != "type")
    return [part for child in children for part in pipeline_parts(child)]


def marks_by_normalizer(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the word mark is put into the text by the normalizer, before anything cuts it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and bool(_written_marks(pipeline_parts(json.loads(backend.to_str())["normalizer"])))


def _written_marks(normalizers: list[dict[str, Any]]) -> list[str]:
    """What a normalizer writes for a space: of a Replace, or of the Prepend beside it, as in Llama and Gemma."""
    replaced = [
        part["content"] for part in normalizers if part["type"] == "Replace" and part["pattern"].get("String") == " "
    ]
    prepended = [part["prepend"] for part in normalizers if part["type"] == "Prepend"]
    return [mark for mark in [*replaced, *prepended] if len(mark) == 1 and not mark.isspace()]


def _space_marker(
    normalizers: list[dict[str, Any]], pre_tokenizers: list[dict[str, Any]], decoders: list[dict[str, Any]]
) -> str:
    """The character written for a space, "" if there is none: of a Metaspace, of the Replace in Llama's decoder, or
    of the normalizer where a tokenizer has neither.
    """
    markers = [part["replacement"] for part in [*pre_tokenizers, *decoders] if part["type"] == "Metaspace"]
    replaced = [
        part["pattern"].get("String", "") for part in decoders if part["type"] == "Replace" and part["content"] == " "
    ]
    candidates = [*markers, *replaced, *_written_marks(normalizers)]
    return next((marker for marker in candidates if len(marker) == 1), "")


def _lone_characters(
    normalizers: list[dict[str, Any]], pre_tokenizers: list[dict[str, Any]], tokens: Iterable[str]
) -> frozenset[str]:
    """Characters that BERT's pre-tokenizer never leaves inside a word: `##,` is in its vocabulary and never trained."""
    if not any(part["type"] == "BertPreTokenizer" for part in pre_tokenizers):
        return frozenset()
    splits_han = any(part["type"] == "BertNormalizer" and part["handle_chinese_chars"] for part in normalizers)
    alphabet = set().union(*tokens)
    return frozenset(char for char in alphabet if _is_bert_punctuation(char) or (splits_han and _is_bert_han(char)))


def _is_bert_punctuation(char: str) -> bool:
    return unicodedata.category(char).startswith("P") or char in "$+<=>^`|~"


def _is_bert_han(char: str) -> bool:
    """The ranges of BertNormalizer."""
    return any(
        first <= ord(char) <= last
        for first, last in (
            (0x4E00, 0x9FFF),
            (0x3400, 0x4DBF),
            (0x20000, 0x2A6DF),
            (0x2A700, 0x2B81F),
            (0x2B920, 0x2CEAF),
            (0xF900, 0xFAFF),
            (0x2F800, 0x2FA1F),
        )
    )


def _commonest_spelling(name: str, tokens: Iterable[str]) -> Spelling:
    """The spelling of a tokenizer without a backend, by the marker most of its tokens begin with."""
    tokens = list(tokens)
    markers = Counter(marker for token in tokens for marker in ("##", "▁", "Ġ") if token.startswith(marker))
    if not markers:
        raise SembridgeError(
            f"{name} has no fast backend and no token begins with '##', '▁' or 'Ġ', so word starts cannot be told; "
            "load or convert it as a fast tokenizer."
        )
    marker = markers.most_common(1)[0][0]
    if marker == "##":
        return Spelling(continuing_prefix=marker)
    if marker == "Ġ":
        return Spelling(byte_level=True, space=" ")
    return Spelling(space=marker, byte_fallback=any(_BYTE_FALLBACK.fullmatch(token) for token in tokens))


@cache
def _byte_level_alphabet() -> dict[str, int]:
    """Character -> byte of byte-level BPE: printable Latin-1 stands for itself, the other bytes follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(256)).difference(printable))
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


def _byte_level_bytes(token: str) -> bytes | None:
    alphabet = _byte_level_alphabet()
    try:
        return bytes([alphabet[char] for char in token])
    except KeyError:  # a plain spelling inside a byte-level vocabulary
        return None


def word_bytes(text: str, starts_word: bool) -> bytes:
    """UTF-8 of a text, after a space where it starts a word."""
    return (" " + text if starts_word else text).encode(errors="surrogatepass")
