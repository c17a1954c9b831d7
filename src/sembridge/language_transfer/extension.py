"""The source tokenizer with the target's tokens behind its own: the vocabulary of a bilingual encoder.

English keeps every id and its segmentation, so only the target's *own* tokens are appended: those with a character
that English text has not (an English character is a Latin letter, a sign of general punctuation, a symbol or an emoji),
and single characters that the source cannot read. Target tokens of English characters alone are left out: `2024` and
`samsung` stay the source's pieces in target text too, because one text in Latin letters cannot be cut in two ways.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from sembridge.encoders.scripts import has_english_letters, is_all_english
from sembridge.encoders.token_spelling import read_spelling
from sembridge.encoders.vocabulary import TokenKind, Vocabulary, read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.extension_check import refuse_same_letters
from sembridge.language_transfer.joint_tokenizer import (
    JOIN_MODELS,
    Side,
    joint_normalizer,
    normalize,
    normalizer_json,
    wrap,
)
from sembridge.language_transfer.overlap import MatchKind, Overlap, match_vocabularies

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# First bytes of English characters; 0xE1 is missing because it begins Georgian, Khmer and Korean letters as well.
_ENGLISH_FIRST_BYTES = frozenset([*range(0xC2, 0xCE), 0xE2, 0xF0])
_MIN_PRODUCED_SHARE = 0.5
_ANYWHERE = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}


def extend_tokenizer(
    source_tokenizer: "PreTrainedTokenizerBase",
    target_tokenizer: "PreTrainedTokenizerBase",
    *,
    first_new_id: int | None = None,
    mixed: bool = True,
) -> PreTrainedTokenizerFast:
    """The source tokenizer with the target's own tokens appended in the order of their target ids.

    English text gets exactly the source's ids; text of the target language is cut into the target's pieces, or into a
    piece of the source where that is the longer one. Roles, special tokens, pre-tokenizer, post-processor and maximal
    length are the source's; special, unused and never produced tokens of the target are not appended. How the
    families are joined:

    - WordPiece: one vocabulary with the source's continuing prefix. Pieces of a target without such a prefix, which may
      stand anywhere in a word, become added tokens: cut out, the longest first, before words are looked at.
    - BPE: the source's merges, then for every new token, in the order of the target's merges, the merge of the two
      pieces that the merges so far leave of it. The target's own merge would often miss: the source joins some of the
      same bytes in another order.
    - Unigram: new pieces, and pieces of both that are not English, have the target's log-probability as it is, all
      others the source's. Paths through English text then keep their scores, and paths through target pieces too.

    The normalizer does on plain English (ASCII, Latin letters, quotes and dashes) what the source's does and on letters
    of the target what the target's does: accents may go from `café` and stay on `й`.

    Args:
        source_tokenizer: tokenizer of the English encoder.
        target_tokenizer: tokenizer of the same family for the other language.
        first_new_id: where the new ids begin, by default after the highest id of the source. Give the number of rows
            of an encoder whose matrix has more rows than its tokenizer has ids, so that all of them stay; the ids
            between get placeholders (`[unused_30522]`), which only their own spelling in a Unigram text can produce.
        mixed: whether tokens with English letters or digits beside their own (`2024년`) are appended; without them
            these are read as English reads them.

    Raises:
        SembridgeError: a tokenizer without fast backend, different or unknown families, normalizers that cannot be
            joined, a target language in Latin letters, or a `first_new_id` within the source's ids.

    Example:
        >>> tokenizer = extend_tokenizer(load_tokenizer("bert-base-uncased"),
        ...                              load_tokenizer("mini/tokenizer-ko"))  # doctest: +SKIP
        >>> tokenizer.tokenize("school 학교")  # doctest: +SKIP
        ['school', '학교']
    """
    source, target = _read("Source", source_tokenizer), _read("Target", target_tokenizer)
    _check_families(source, target)
    n_source = max(source.id_of.values()) + 1
    first_new_id = n_source if first_new_id is None else first_new_id
    if first_new_id < n_source:
        raise SembridgeError(
            f"first_new_id is {first_new_id:,} but the source tokenizer has ids up to {n_source - 1:,}; "
            f"give {n_source:,} or more, the number of rows of the encoder's matrix."
        )
    normalizer = joint_normalizer(source, target)
    new = [token for token in _new_tokens(source, target, normalizer) if mixed or not has_english_letters(token)]
    if source.pipeline["pre_tokenizer"] != target.pipeline["pre_tokenizer"]:
        logger.info("The pre-tokenizers differ; the source's is kept, so some target tokens may not be produced.")

    gaps = set(range(n_source if source.model_type != "Unigram" else 0, first_new_id)) - set(source.id_of.values())
    ids = source.id_of | {f"[unused_{id_}]": id_ for id_ in sorted(gaps)}
    ids |= {token: first_new_id + n for n, token in enumerate(new)}
    pipeline = source.pipeline | {
        "truncation": None,
        "padding": None,
        "normalizer": normalizer_json(normalizer),
        "model": JOIN_MODELS[source.model_type](source, target, ids, new),
        "added_tokens": _added_tokens(source, target, ids, new),
    }
    extended = wrap(pipeline, source_tokenizer)
    _check_ids(extended, ids)
    return extended


def extended_overlap(source: Vocabulary, extended: Vocabulary, *, fuzzy: bool = True) -> Overlap:
    """The overlap of a vocabulary with its extension: every source id with itself, new ids as `match_vocabularies`.

    All rows of the source stay, those of unused and special tokens without a role too, so that English vectors stay bit
    for bit. A hole of the source (a padding row of its matrix) stays if the extension has nothing better there.

    Args:
        source: vocabulary of the source encoder, with its padding rows.
        extended: vocabulary of a tokenizer made by `extend_tokenizer`.
        fuzzy: whether new tokens may match source tokens that differ in case, compatibility form or word start.

    Raises:
        SembridgeError: `extended` has another token than `source` under some source id.
    """
    kept = np.array([id_ for id_ in range(len(source)) if _is_kept(source, extended, id_)], dtype=np.int64)
    is_special = source.kinds[kept] == TokenKind.SPECIAL
    matched = match_vocabularies(source, extended, fuzzy=fuzzy)
    is_new = ~np.isin(matched.target_ids, kept)

    target_ids = np.concatenate([kept, matched.target_ids[is_new]])
    order = np.argsort(target_ids, kind="stable")
    kinds = np.where(is_special, MatchKind.SPECIAL, MatchKind.EXACT).astype(np.uint8)
    return Overlap(
        source_ids=np.concatenate([kept, matched.source_ids[is_new]])[order],
        target_ids=target_ids[order],
        kinds=np.concatenate([kinds, matched.kinds[is_new]])[order],
    )


def _is_kept(source: Vocabulary, extended: Vocabulary, id_: int) -> bool:
    is_hole = source.kinds[id_] == TokenKind.HOLE
    if is_hole:
        return id_ < len(extended) and extended.kinds[id_] in (TokenKind.HOLE, TokenKind.UNUSED)
    if id_ >= len(extended) or source.tokens[id_] != extended.tokens[id_]:
        given = repr(extended.tokens[id_]) if id_ < len(extended) else "nothing"
        raise SembridgeError(
            f"The extended vocabulary has {given} under id {id_:,}, where the source has {source.tokens[id_]!r}; every "
            "source token under its own id was expected. Make it with extend_tokenizer from this source tokenizer."
        )
    return True


def _read(side: str, tokenizer: "PreTrainedTokenizerBase") -> Side:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise SembridgeError(
            f"{side} tokenizer is a {type(tokenizer).__name__} without fast backend; --extend joins two fast "
            "tokenizers. Convert it to a fast tokenizer, or transfer without --extend."
        )
    vocabulary = read_vocabulary(tokenizer)
    return Side(
        pipeline=json.loads(backend.to_str()),
        normalizer=backend.normalizer,
        spelling=read_spelling(tokenizer, vocabulary.tokens),
        vocabulary=vocabulary,
        id_of={token: id_ for id_, token in enumerate(vocabulary.tokens) if token},
    )


def _check_families(source: Side, target: Side) -> None:
    if source.family != target.family or source.model_type not in JOIN_MODELS:
        raise SembridgeError(
            f"Source tokenizer is {source.family} and target tokenizer is {target.family}; --extend joins vocabularies "
            f"of one family ({', '.join(JOIN_MODELS)}). Use a target tokenizer of the source's family, or replace the "
            "vocabulary: transfer without --extend."
        )
    if target.spelling.continuing_prefix and not source.spelling.continuing_prefix:
        raise SembridgeError(
            f"The target tokenizer marks continuing pieces with {target.spelling.continuing_prefix!r} and the source "
            "tokenizer does not; --extend needs the mark in the source. Transfer without --extend."
        )


def _new_tokens(source: Side, target: Side, normalizer: "Normalizer | None") -> list[str]:
    """The target's own tokens that the source does not have, in the source's spelling, by target id."""
    is_readable = _readable_characters(source)
    texts = target.vocabulary.texts
    kinds = target.vocabulary.kinds
    absent, own = 0, []
    for id_ in np.flatnonzero((kinds == TokenKind.TEXT) | (kinds == TokenKind.BYTES)).tolist():
        if (token := _respell(id_, source, target)) not in source.id_of:
            absent += 1
            own += [(token, texts[id_])] if _is_own(target.vocabulary, id_, is_readable) else []
    refuse_same_letters(len(own), absent)
    new = [token for token, text in own if text in normalize(normalizer, text)]  # else no text produces it
    if len(new) < _MIN_PRODUCED_SHARE * len(own):
        raise SembridgeError(
            f"The target tokenizer's normalizer changes {len(own) - len(new):,} of its {len(own):,} own tokens, so no "
            "text produces them; one that fits the vocabulary was expected. Load the tokenizer with its own settings "
            "of case and accents."
        )
    logger.info(
        "%d target tokens are appended; %d of English characters or never produced are not.",
        len(new),
        absent - len(new),
    )
    return new


def _respell(id_: int, source: Side, target: Side) -> str:
    vocabulary, prefix = target.vocabulary, target.spelling.continuing_prefix
    if prefix in ("", source.spelling.continuing_prefix) or vocabulary.starts_word[id_]:
        return vocabulary.tokens[id_]
    return source.spelling.continuing_prefix + vocabulary.texts[id_]


def _readable_characters(source: Side) -> Callable[[str], bool]:
    """Whether the source reads a character at all; it is asked about characters that are no token of the source."""
    if source.spelling.byte_level or source.spelling.byte_fallback:
        return lambda _: True
    if source.model_type == "WordPiece":
        return lambda _: False
    return frozenset(text for text in source.vocabulary.texts if len(text) == 1).__contains__


def _is_own(vocabulary: Vocabulary, id_: int, is_readable: Callable[[str], bool]) -> bool:
    if vocabulary.kinds[id_] == TokenKind.BYTES:
        return _is_own_bytes(vocabulary.byte_values[id_])
    text = vocabulary.texts[id_]
    return not is_all_english(text) or (len(text) == 1 and not is_readable(text))


def _is_own_bytes(raw: bytes) -> bool:
    """Bytes beyond ASCII, but not the beginning of an English character: `âĢ` of `“`."""
    first_bytes = {byte for byte in raw if byte >= 0xC0}
    return max(raw) >= 0x80 and (len(raw) == 1 or not first_bytes or not first_bytes <= _ENGLISH_FIRST_BYTES)


def _added_tokens(source: Side, target: Side, ids: Mapping[str, int], new: Sequence[str]) -> list[dict[str, Any]]:
    """The source's added tokens, and those new tokens that a model of the source's kind cannot produce."""
    options = {token["content"]: token for token in target.pipeline["added_tokens"] if token["content"] in set(new)}
    if source.spelling.continuing_prefix and not target.spelling.continuing_prefix:
        # "学校" inside a run of Han would have to be "##学校", a second dimension for the same word.
        texts = (text for text in target.vocabulary.texts if text in ids and not is_all_english(text))
        options |= dict.fromkeys([*new, *texts], _ANYWHERE)
    added = [token | {"content": content, "id": ids[content]} for content, token in options.items()]
    return sorted([*source.pipeline["added_tokens"], *added], key=lambda token: int(token["id"]))


def _check_ids(extended: PreTrainedTokenizerFast, ids: Mapping[str, int]) -> None:
    """A pipeline with added tokens outside its model gets new ids for them when it is read, without a word."""
    found = extended.get_vocab()
    if moved := [token for token, id_ in ids.items() if found.get(token) != id_]:
        raise SembridgeError(
            f"The joined tokenizer has another id for {len(moved):,} tokens, the first {moved[0]!r} ({ids[moved[0]]:,} "
            f"expected, {found.get(moved[0])} found); transfer without --extend and report the two tokenizers."
        )
