"""The tokens of a vocabulary in canonical form: text, word start, role."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sembridge.encoders.token_spelling import TokenForm, read_spelling
from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PLACEHOLDER = re.compile(
    r"[\[<]unused[_-]?\d+[\]>]|<extra_id_\d+>|madeupword\d+|<\|?reserved(_special)?(_token)?_\d+\|?>", re.IGNORECASE
)
_SPECIAL = re.compile(  # [EOM], [EOPS], <S> and <T> are left over in published BERT vocabularies
    r"\[(bos|eos|pad|unk|mask|cls|sep|eod|eop|eom|eops|sop)\]"
    r"|</?(s|t|bos|eos|pad|unk|mask|cls|sep|eod|eop|sop)>|<\|[^|]+\|>",
    re.IGNORECASE,
)
ROLES = {"cls": ("cls_token", "bos_token"), "sep": ("sep_token", "eos_token")} | {
    role: (f"{role}_token",) for role in ("pad", "unk", "mask")
}


class TokenKind(IntEnum):
    """What a row of a vocabulary is."""

    TEXT = 0
    SPECIAL = 1
    BYTES = 2  # no readable text of its own: partial UTF-8, <0xE4>, anything with U+FFFD
    UNUSED = 3  # [unused7], and pieces that the tokenizer can never produce
    HOLE = 4  # an id without a token


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The canonical form of every token of a tokenizer, by id.

    Attributes:
        tokens: raw spelling; "" for a hole.
        texts: text without markers; "" unless the kind is TEXT. May be white space: a bridge reads `text_ids`.
        starts_word: (n,) bool; True only for TEXT and BYTES, and for all of them where a tokenizer marks no starts.
        kinds: (n,) uint8 of TokenKind.
        roles: "cls", "sep", "pad", "unk", "mask" -> id, for the roles that exist; bos counts as cls and eos as sep.
        byte_values: id -> bytes of the BYTES tokens; the space of a word start is one of the bytes.
    """

    tokens: tuple[str, ...]
    texts: tuple[str, ...]
    starts_word: npt.NDArray[np.bool_]
    kinds: npt.NDArray[np.uint8]
    roles: Mapping[str, int]
    byte_values: Mapping[int, bytes]

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def text_ids(self) -> npt.NDArray[np.int64]:
        """Ids with a text to read: kind TEXT and at least one visible character; (n_text,) int64, ascending."""
        ids = np.flatnonzero(self.kinds == TokenKind.TEXT).tolist()
        return np.array([id_ for id_ in ids if _is_visible(self.texts[id_])], dtype=np.int64)

    def counts(self) -> dict[str, int]:
        """Number of ids of each kind, by its name in lower case; they add up to the size."""
        return counts(self.kinds, TokenKind)


def read_vocabulary(tokenizer: "PreTrainedTokenizerBase", *, n_rows: int | None = None) -> Vocabulary:
    """The canonical form of every token of `tokenizer`.

    Args:
        tokenizer: a fast tokenizer of any family; one without a backend is read by the marker most of its tokens carry.
        n_rows: rows of the matrix this vocabulary belongs to, when it has more rows than the tokenizer has ids.

    Raises:
        SembridgeError: fewer rows than ids, no tokens, or tokens whose spelling cannot be told.
    """
    id_of = tokenizer.get_vocab()
    added = tokenizer.added_tokens_decoder
    token_of = _tokens_by_id(tokenizer, id_of) | {id_: token.content for id_, token in added.items()}
    size = _size(max(token_of), n_rows)
    spelling = read_spelling(tokenizer, token_of.values())
    forms = {id_: spelling.read(token, is_added=id_ in added) for id_, token in token_of.items()}
    roles = _roles(tokenizer, id_of)

    special = {id_ for id_, token in added.items() if token.special}
    special |= {id_of[token] for token in tokenizer.all_special_tokens if token in id_of}
    kinds = np.full(size, TokenKind.HOLE, dtype=np.uint8)
    for id_, token in token_of.items():
        kinds[id_] = _kind(token, forms[id_], is_special=id_ in special)
    kinds[list(roles.values())] = TokenKind.SPECIAL

    starts_word = np.array([id_ in forms and forms[id_].starts_word for id_ in range(size)], dtype=np.bool_)
    return Vocabulary(
        tokens=tuple(token_of.get(id_, "") for id_ in range(size)),
        texts=tuple(forms[id_].text if kind == TokenKind.TEXT else "" for id_, kind in enumerate(kinds.tolist())),
        starts_word=starts_word & ((kinds == TokenKind.TEXT) | (kinds == TokenKind.BYTES)),
        kinds=kinds,
        roles=roles,
        byte_values={id_: forms[id_].raw or b"" for id_ in np.flatnonzero(kinds == TokenKind.BYTES).tolist()},
    )


def _tokens_by_id(tokenizer: "PreTrainedTokenizerBase", id_of: Mapping[str, int]) -> dict[int, str]:
    if not id_of or not all(isinstance(token, str) for token in id_of):
        given = "bytes as tokens" if id_of else "no tokens"
        raise SembridgeError(f"{type(tokenizer).__name__} has {given}, expected strings; load the fast tokenizer.")
    token_of: dict[int, str] = {}
    for token, id_ in id_of.items():
        token_of[id_] = min(token, token_of.get(id_, token))  # two spellings of one id: any, but always the same
    return token_of


def _size(highest_id: int, n_rows: int | None) -> int:
    if n_rows is not None and n_rows <= highest_id:
        raise SembridgeError(
            f"The tokenizer has ids up to {highest_id:,} but n_rows is {n_rows:,}; "
            f"give the number of rows of its encoder's matrix, at least {highest_id + 1:,}."
        )
    return n_rows or highest_id + 1


def _roles(tokenizer: "PreTrainedTokenizerBase", id_of: Mapping[str, int]) -> dict[str, int]:
    """Through the token: `tokenizer.mask_token_id` of a token outside the vocabulary is the id of the unknown token."""
    roles = {}
    for role, attributes in ROLES.items():
        candidates = (getattr(tokenizer, attribute, None) for attribute in attributes)
        ids = [id_of[str(token)] for token in candidates if token is not None and str(token) in id_of]
        if ids:
            roles[role] = ids[0]
    return roles


def _kind(token: str, form: TokenForm, *, is_special: bool) -> TokenKind:
    if _PLACEHOLDER.fullmatch(token):
        return TokenKind.UNUSED
    if is_special or _SPECIAL.fullmatch(token):
        return TokenKind.SPECIAL
    if not form.is_produced:
        return TokenKind.UNUSED
    return TokenKind.TEXT if form.raw is None else TokenKind.BYTES


def _is_visible(text: str) -> bool:
    return any(char.isprintable() and not char.isspace() for char in text)


def counts(kinds: npt.NDArray[np.uint8], names: type[IntEnum]) -> dict[str, int]:
    return {kind.name.lower(): int(np.count_nonzero(kinds == kind)) for kind in names}
