"""Canonical token forms, and the overlap of two vocabularies as pairs of ids."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sembridge.errors import SembridgeError
from sembridge.token_spelling import TokenForm, read_spelling, word_bytes

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
_ROLES = {"cls": ("cls_token", "bos_token"), "sep": ("sep_token", "eos_token")} | {
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
        return _counts(self.kinds, TokenKind)


def read_vocabulary(tokenizer: PreTrainedTokenizerBase, *, n_rows: int | None = None) -> Vocabulary:
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


def _tokens_by_id(tokenizer: PreTrainedTokenizerBase, id_of: Mapping[str, int]) -> dict[int, str]:
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


def _roles(tokenizer: PreTrainedTokenizerBase, id_of: Mapping[str, int]) -> dict[str, int]:
    """Through the token: `tokenizer.mask_token_id` of a token outside the vocabulary is the id of the unknown token."""
    roles = {}
    for role, attributes in _ROLES.items():
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


def _counts(kinds: npt.NDArray[np.uint8], names: type[IntEnum]) -> dict[str, int]:
    return {kind.name.lower(): int(np.count_nonzero(kinds == kind)) for kind in names}


class MatchKind(IntEnum):
    """Why two tokens are judged the same."""

    SPECIAL = 0  # same role
    EXACT = 1  # same text, same word start
    FUZZY = 2  # same text up to case, Unicode compatibility and word start
    BYTE = 3  # same bytes, without readable text on one side or both


@dataclass(frozen=True, eq=False)
class Overlap:
    """Pairs of ids judged the same token, sorted by target id, each target id once.

    Attributes:
        source_ids: (n_pairs,) int64; a source id may occur more than once.
        target_ids: (n_pairs,) int64, strictly ascending.
        kinds: (n_pairs,) uint8 of MatchKind.
    """

    source_ids: npt.NDArray[np.int64]
    target_ids: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.target_ids)

    def counts(self) -> dict[str, int]:
        """Number of pairs of each kind, by its name in lower case."""
        return _counts(self.kinds, MatchKind)


def _match_roles(source: Vocabulary, target: Vocabulary, matched: Container[int]) -> dict[int, int]:
    roles = [role for role in _ROLES if role in source.roles and role in target.roles]
    return {target.roles[role]: source.roles[role] for role in reversed(roles)}  # of two roles the first decides


def _match_exact(source: Vocabulary, target: Vocabulary, matched: Container[int]) -> dict[int, int]:
    """A token of the same raw spelling first: an added token can have the canonical form of another token."""
    source_of: dict[tuple[str | bool, ...], int] = {}
    for id_ in reversed(_ids_of_kind(source, TokenKind.TEXT)):
        form = (source.texts[id_], bool(source.starts_word[id_]))
        source_of[form] = source_of[(*form, source.tokens[id_])] = id_
    found = {}
    for id_ in _ids_of_kind(target, TokenKind.TEXT):
        form = (target.texts[id_], bool(target.starts_word[id_]))
        source_id = source_of.get((*form, target.tokens[id_]), source_of.get(form))
        if source_id is not None:
            found[id_] = source_id
    return found


def _match_fuzzy(source: Vocabulary, target: Vocabulary, matched: Container[int]) -> dict[int, int]:
    candidates: dict[str, list[int]] = defaultdict(list)
    for id_ in source.text_ids.tolist():
        candidates[_fold(source.texts[id_])].append(id_)

    found = {}
    for id_ in target.text_ids.tolist():
        if id_ not in matched and (group := candidates.get(_fold(target.texts[id_]))):
            found[id_] = min(_rank(source, source_id, target, id_) for source_id in group)[-1]
    return found


def _rank(source: Vocabulary, source_id: int, target: Vocabulary, target_id: int) -> tuple[int, bool, bool, int]:
    """The lowest is the best: a difference of case only, then same word start, same case, lowest id."""
    source_text, target_text = source.texts[source_id], target.texts[target_id]
    is_case_only = source_text.lower() == target_text.lower()
    is_plain = _fold(source_text) == source_text.lower()  # "b" for "Ｂ", although "ᴮ" is the upper case
    return (
        0 if is_case_only else 1 if is_plain else 2,
        bool(source.starts_word[source_id] != target.starts_word[target_id]),
        unicodedata.normalize("NFKC", source_text) != unicodedata.normalize("NFKC", target_text),
        source_id,
    )


def _match_bytes(source: Vocabulary, target: Vocabulary, matched: Container[int]) -> dict[int, int]:
    source_of = {raw: id_ for id_, raw in reversed(_raw_bytes(source).items())}  # BYTES before TEXT, then the lowest id
    wanted = _raw_bytes(target).items()
    return {id_: source_of[raw] for id_, raw in wanted if raw in source_of and id_ not in matched}


def _raw_bytes(vocabulary: Vocabulary) -> dict[int, bytes]:
    """Bytes of the BYTES tokens, then of TEXT tokens of one byte: a line end is `<0x0A>` here and `Ċ` there."""
    raw_of = dict(vocabulary.byte_values)
    for id_ in _ids_of_kind(vocabulary, TokenKind.TEXT):
        if len(vocabulary.texts[id_]) < 2:
            raw = word_bytes(vocabulary.texts[id_], bool(vocabulary.starts_word[id_]))
            raw_of.update({id_: raw} if len(raw) == 1 else {})
    return raw_of


def _fold(text: str) -> str:
    """The key under which texts match fuzzily: lower case, compatibility form, unless a sign would turn into letters.

    Lower case, not casefold: "Maß" is not "mass". The condition: "№" is not "no", "™" is not "tm".
    """
    if unicodedata.is_normalized("NFKC", text):
        return text.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return folded if _letters_and_numbers(text) == _letters_and_numbers(folded) else text.lower()


def _letters_and_numbers(text: str) -> set[str]:
    return {unicodedata.category(char)[0] for char in text} & {"L", "N"}


def _ids_of_kind(vocabulary: Vocabulary, kind: TokenKind) -> list[int]:
    ids: list[int] = np.flatnonzero(vocabulary.kinds == kind).tolist()
    return ids


_RULES = {
    MatchKind.SPECIAL: _match_roles,
    MatchKind.EXACT: _match_exact,
    MatchKind.FUZZY: _match_fuzzy,
    MatchKind.BYTE: _match_bytes,
}


def match_vocabularies(source: Vocabulary, target: Vocabulary, *, fuzzy: bool = True) -> Overlap:
    """The overlap: for every target token that is also a source token, the pair of their ids.

    Special tokens match by role, texts exactly or else fuzzily, bytes by identity; holes, unused tokens and special
    tokens without a role never match. Of several fuzzy candidates the one with the same word start wins, then the same
    case, then the lowest source id; a compatibility form (`ｈｏｍｅ`) only wins where there is no plain one.

    Args:
        source: vocabulary of the source encoder.
        target: vocabulary of the target tokenizer.
        fuzzy: whether texts that differ in case, compatibility form or word start may match.
    """
    matched: dict[int, tuple[int, MatchKind]] = {}
    for kind, find_pairs in _RULES.items():
        if kind != MatchKind.FUZZY or fuzzy:
            found = find_pairs(source, target, matched.keys())
            matched.update({target_id: (source_id, kind) for target_id, source_id in found.items()})
    target_ids = sorted(matched)
    return Overlap(
        source_ids=np.array([matched[id_][0] for id_ in target_ids], dtype=np.int64),
        target_ids=np.array(target_ids, dtype=np.int64),
        kinds=np.array([matched[id_][1] for id_ in target_ids], dtype=np.uint8),
    )
