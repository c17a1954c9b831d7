"""The overlap of two vocabularies: which target tokens are source tokens, as pairs of ids."""

import unicodedata
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sembridge.encoders.token_spelling import word_bytes
from sembridge.encoders.vocabulary import ROLES, TokenKind, Vocabulary, counts


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

    def without(self, target_ids: npt.ArrayLike) -> "Overlap":
        """The pairs of all other target tokens."""
        kept = ~np.isin(self.target_ids, target_ids)
        return Overlap(self.source_ids[kept], self.target_ids[kept], self.kinds[kept])

    def counts(self) -> dict[str, int]:
        """Number of pairs of each kind, by its name in lower case."""
        return counts(self.kinds, MatchKind)


@dataclass(frozen=True, eq=False)
class Vocabularies:
    """Both vocabularies and their overlap: all that is known before a bridge is asked."""

    source: Vocabulary
    target: Vocabulary
    overlap: Overlap

    @cached_property
    def new_ids(self) -> npt.NDArray[np.int64]:
        """(n_new,) ascending ids of the target tokens that have text and are not in the overlap."""
        return np.setdiff1d(self.target.text_ids, self.overlap.target_ids)

    def counts(self) -> dict[str, int]:
        """Target tokens a kind of overlap, and how many are left to the bridge or to the fallback."""
        n_left = len(self.target) - len(self.overlap) - len(self.new_ids)
        return {**self.overlap.counts(), "to combine": len(self.new_ids), "to fall back": n_left}


def _match_roles(source: Vocabulary, target: Vocabulary, matched: Container[int]) -> dict[int, int]:
    roles = [role for role in ROLES if role in source.roles and role in target.roles]
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
