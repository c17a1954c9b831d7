"""Laws of canonical token forms and of the overlap of two vocabularies."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import ANGLE_ROLES, FAMILIES, byte_level_spelling, spelled_tokenizer, write_piece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import BertTokenizerFast, PreTrainedTokenizer, PreTrainedTokenizerFast, RobertaTokenizerFast

from sembridge.encoders.vocabulary import TokenKind, Vocabulary, read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.overlap import MatchKind, Overlap, match_vocabularies

PIECES = [" home", "home", " Home", "ing", " 학교", "교", " дом", "5", " 5", ",", " ,", " é", " مدرسة"]


def vocabulary(family: str, *pieces: str) -> Vocabulary:
    return read_vocabulary(spelled_tokenizer(family, [write_piece(family, piece) for piece in pieces]))


def pairs(source: Vocabulary, target: Vocabulary, *, fuzzy: bool = True) -> dict[str, tuple[str, MatchKind]]:
    """Target token -> (source token, kind), in raw spelling: readable in a failure."""
    overlap = match_vocabularies(source, target, fuzzy=fuzzy)
    return {
        target.tokens[t]: (source.tokens[s], MatchKind(kind))
        for s, t, kind in zip(overlap.source_ids, overlap.target_ids, overlap.kinds, strict=True)
    }


def kind_of(vocabulary: Vocabulary, token: str) -> TokenKind:
    return TokenKind(vocabulary.kinds[vocabulary.tokens.index(token)])


def counts(overlap: Overlap) -> dict[str, int]:
    return dict(Counter(MatchKind(kind).name for kind in overlap.kinds.tolist()))


# canonical forms ------------------------------------------------------------------------------------------------------


def test_canonical_form_gives_back_text_and_word_start(family: str) -> None:
    read = vocabulary(family, *PIECES)
    first = len(read) - len(PIECES)
    for id_, piece in enumerate(PIECES, start=first):
        expected = TokenKind.UNUSED if (family, piece) == ("wordpiece", ",") else TokenKind.TEXT
        assert read.kinds[id_] == expected, piece
        if expected == TokenKind.TEXT:
            assert (read.texts[id_], bool(read.starts_word[id_])) == (piece.strip(), piece.startswith(" "))


def test_markers_never_reach_a_text(family: str) -> None:
    read = vocabulary(family, *PIECES, " ", " a b")
    assert not [text for text in read.texts if any(marker in text for marker in ("##", "Ġ", "▁", "<0x", "�"))]


def test_every_id_has_one_kind_and_only_text_has_text(family: str) -> None:
    read = vocabulary(family, *PIECES, "[unused1]")
    assert len(read) == len(read.tokens) == len(read.texts) == len(read.kinds) == len(read.starts_word)
    assert sum(read.counts().values()) == len(read)
    assert all(kind == TokenKind.TEXT for kind, text in zip(read.kinds, read.texts, strict=True) if text)
    assert set(read.byte_values) == set(np.flatnonzero(read.kinds == TokenKind.BYTES).tolist())
    assert read.kinds.dtype == np.uint8
    assert read.starts_word.dtype == np.bool_


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(FAMILIES), st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, unique=True))
def test_any_text_survives_the_spelling_of_any_family(family: str, texts: list[str]) -> None:
    pieces = [f" {text}" for text in texts if "▁" not in text and "�" not in text and not text.startswith("##")]
    read = vocabulary(family, *pieces)
    for id_, piece in enumerate(pieces, start=len(read) - len(pieces)):
        if read.kinds[id_] == TokenKind.TEXT:
            assert (read.texts[id_], bool(read.starts_word[id_])) == (piece[1:], True)
        else:
            assert read.kinds[id_] in (TokenKind.UNUSED, TokenKind.SPECIAL)
            assert read.texts[id_] == ""


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(codec="utf-8", min_codepoint=0x80), min_size=1, max_size=4), st.data())
def test_partial_utf8_never_has_text(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cut = data.draw(st.integers(1, len(raw) - 1))
    halves = list(dict.fromkeys([raw[:cut], raw[cut:], b" " + raw[:cut]]))
    read = read_vocabulary(spelled_tokenizer("byte-level", [byte_level_spelling(half) for half in halves]))
    for id_, half in enumerate(halves, start=5):
        decoded = half.decode(errors="replace")
        if "�" in decoded:
            assert read.kinds[id_] == TokenKind.BYTES
            assert read.byte_values[id_] == half
            assert read.texts[id_] == ""
        else:
            assert read.kinds[id_] == TokenKind.TEXT
        assert read.starts_word[id_] == half.startswith(b" ")


def test_replacement_character_is_no_text(family: str) -> None:
    read = vocabulary(family, " �", "a�")
    assert read.byte_values[len(read) - 2] == " �".encode()
    assert read.byte_values[len(read) - 1] == "a�".encode()


def test_byte_fallback_tokens_are_bytes_even_when_readable() -> None:
    read = vocabulary("byte-fallback", "A", "ä")
    assert (kind_of(read, "<0x41>"), kind_of(read, "A"), kind_of(read, "ä")) == (
        TokenKind.BYTES,
        TokenKind.TEXT,
        TokenKind.TEXT,
    )
    assert [read.byte_values[5 + byte] for byte in range(256)] == [bytes([byte]) for byte in range(256)]


def test_bytes_are_told_by_the_backend_not_by_spelling() -> None:
    read = read_vocabulary(spelled_tokenizer("unigram", ["<0xE4>", "Ġhome", "##home"]))
    assert read.texts[5:] == ("<0xE4>", "Ġhome", "##home")
    read = read_vocabulary(spelled_tokenizer("wordpiece", ["▁home", "Ġhome"]))
    assert read.texts[5:] == ("▁home", "Ġhome")


def test_only_readable_texts_go_to_the_bridge(family: str) -> None:
    read = vocabulary(family, " home", " ", " \n", "  ", " \u200b", "!")
    readable = [read.texts[id_] for id_ in read.text_ids]
    assert readable == (["home"] if family == "wordpiece" else ["home", "!"])  # '##!' is never produced
    assert read.text_ids.dtype == np.int64


def test_continuing_prefix_is_read_from_the_backend() -> None:
    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "@@ing": 1, "##ing": 2, "@@": 3}, continuing_subword_prefix="@@"))
    read = read_vocabulary(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]"))
    assert read.texts == ("", "ing", "##ing", "@@")
    assert read.starts_word.tolist() == [False, False, True, True]


def test_end_of_word_suffix_is_a_marker() -> None:
    ids = {"<unk>": 0, "home</w>": 1, "home": 2, byte_level_spelling("дом".encode()) + "</w>": 3}
    backend = Tokenizer(models.BPE(ids, [], end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    read = read_vocabulary(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))
    assert read.texts == ("", "home", "home", "дом")
    assert read.starts_word.tolist() == [False, True, False, True]


def test_whole_words_without_markers_start_a_word() -> None:
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "home": 1}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    read = read_vocabulary(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))
    assert (read.texts[1], bool(read.starts_word[1])) == ("home", True)


def test_pieces_a_bert_pre_tokenizer_never_produces_are_unused() -> None:
    read = vocabulary("wordpiece", " ,", ",", " ...", " 学", "学", " 学生", " don't", "°")
    unused = [token for token in read.tokens if kind_of(read, token) == TokenKind.UNUSED]
    assert unused == ["##,", "...", "##学", "学生", "don't"]


# kinds and roles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token",
    ["[unused12]", "<extra_id_3>", "<unused5>", "madeupword0000", "[UNUSED_7]", "<|reserved_special_token_1|>"],
)
def test_placeholders_are_unused(family: str, token: str) -> None:
    read = read_vocabulary(spelled_tokenizer(family, [token]))
    assert kind_of(read, token) == TokenKind.UNUSED


def test_placeholder_marked_special_is_unused() -> None:
    tokenizer = spelled_tokenizer("unigram", [])
    tokenizer.add_tokens([AddedToken("<extra_id_0>", special=True)])
    assert kind_of(read_vocabulary(tokenizer), "<extra_id_0>") == TokenKind.UNUSED


def test_unused_start_token_in_a_bert_vocabulary_has_no_role() -> None:
    read = read_vocabulary(spelled_tokenizer("wordpiece", ["<s>", "</s>", "home"]))
    assert kind_of(read, "<s>") == TokenKind.SPECIAL
    assert read.tokens[read.roles["cls"]] == "[CLS]"
    assert read.tokens[read.roles["sep"]] == "[SEP]"


def test_bos_and_eos_stand_in_for_cls_and_sep() -> None:
    read = vocabulary("unigram", " home")
    assert {role: read.tokens[id_] for role, id_ in read.roles.items()} == {
        "cls": "<s>",
        "sep": "</s>",
        "pad": "<pad>",
        "unk": "<unk>",
        "mask": "<mask>",
    }


def test_role_without_a_token_is_not_the_unknown_token() -> None:
    tokenizer = spelled_tokenizer("wordpiece", ["home"])
    tokenizer.mask_token = "[NOT THERE]"
    assert tokenizer.mask_token_id == tokenizer.unk_token_id  # transformers answers with the unknown token
    assert "mask" not in read_vocabulary(tokenizer).roles


def test_added_tokens_are_special_only_when_marked_so(family: str) -> None:
    tokenizer = spelled_tokenizer(family, ["home"])
    tokenizer.add_tokens(["covid"])
    tokenizer.add_tokens([AddedToken("query:", special=True)])
    read = read_vocabulary(tokenizer)
    assert kind_of(read, "covid") == TokenKind.TEXT
    assert read.texts[-2:] == ("covid", "")
    assert kind_of(read, "query:") == TokenKind.SPECIAL


def test_added_tokens_of_a_byte_level_tokenizer_are_spelled_plainly() -> None:
    tokenizer = spelled_tokenizer("byte-level", [])
    tokenizer.add_tokens(["학교", "café", "  "])
    read = read_vocabulary(tokenizer)
    assert read.texts[-3:] == ("학교", "café", " ")


def test_added_tokens_may_hold_what_a_bert_pre_tokenizer_splits() -> None:
    tokenizer = spelled_tokenizer("wordpiece", ["home"])
    tokenizer.add_tokens(["covid-19"])
    assert tokenizer.tokenize("covid-19 home") == ["covid-19", "home"]
    assert read_vocabulary(tokenizer).texts[-1] == "covid-19"


def test_placeholder_with_a_role_is_special() -> None:
    tokenizer = spelled_tokenizer("wordpiece", ["[unused1]"])
    tokenizer.mask_token = "[unused1]"
    read = read_vocabulary(tokenizer)
    assert read.roles["mask"] == read.tokens.index("[unused1]")
    assert kind_of(read, "[unused1]") == TokenKind.SPECIAL


# size -----------------------------------------------------------------------------------------------------------------


def test_missing_ids_and_padding_rows_are_holes() -> None:
    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "home": 3, "##s": 5}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    assert len(read_vocabulary(tokenizer)) == 6
    read = read_vocabulary(tokenizer, n_rows=8)
    assert read.tokens == ("[UNK]", "", "", "home", "", "##s", "", "")
    assert np.flatnonzero(read.kinds == TokenKind.HOLE).tolist() == [1, 2, 4, 6, 7]
    overlap = match_vocabularies(read, read)
    assert overlap.target_ids.tolist() == overlap.source_ids.tolist() == [0, 3, 5]


def test_fewer_rows_than_ids_are_refused_in_one_line(family: str) -> None:
    tokenizer = spelled_tokenizer(family, ["home"])
    with pytest.raises(SembridgeError, match="n_rows") as refusal:
        read_vocabulary(tokenizer, n_rows=len(tokenizer) - 1)
    assert "\n" not in str(refusal.value)
    assert len(read_vocabulary(tokenizer, n_rows=len(tokenizer))) == len(tokenizer)


def test_vocabulary_is_asked_for_once(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = spelled_tokenizer(family, ["home"])
    calls = []
    answer = tokenizer.get_vocab()
    monkeypatch.setattr(type(tokenizer), "get_vocab", lambda self: calls.append(1) or answer)
    read_vocabulary(tokenizer)
    assert len(calls) == 1


# tokenizers in plain Python -------------------------------------------------------------------------------------------


class PythonTokenizer(PreTrainedTokenizer):
    """A tokenizer without a Rust backend."""

    def __init__(self, tokens: list[str] | list[bytes], **kwargs: str) -> None:
        self.ids = {token: id_ for id_, token in enumerate(tokens)}
        super().__init__(unk_token="[UNK]", **kwargs)

    @property
    def vocab_size(self) -> int:
        return len(self.ids)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.ids)

    def _convert_token_to_id(self, token: str) -> int:
        return self.ids.get(token, 0)

    def _convert_id_to_token(self, index: int) -> str:
        return list(self.ids)[index]


def test_python_tokenizers_are_read_by_their_commonest_marker(family: str) -> None:
    fallback = ["<0xE4>"] if family == "byte-fallback" else []
    pieces = [" home", "ing", " дом", "s", " ab"]
    read = read_vocabulary(PythonTokenizer(["[UNK]", *fallback, *(write_piece(family, piece) for piece in pieces)]))
    assert read.texts[-5:] == ("home", "ing", "дом", "s", "ab")
    assert read.starts_word[-5:].tolist() == [True, False, True, False, True]
    assert list(read.byte_values.values()) == [b"\xe4"] * len(fallback)


def test_python_tokenizers_without_markers_or_strings_are_refused() -> None:
    with pytest.raises(SembridgeError, match="PythonTokenizer"):
        read_vocabulary(PythonTokenizer(["[UNK]", "home", "house"]))
    with pytest.raises(SembridgeError, match="bytes"):
        read_vocabulary(PythonTokenizer([b"home", b"house"]))


# overlap --------------------------------------------------------------------------------------------------------------


def test_home_matches_home_and_never_a_continuation() -> None:
    for order in ([" home", "home"], ["home", " home"]):
        for source in FAMILIES:
            for target in FAMILIES:
                matched, kind = pairs(vocabulary(source, *order), vocabulary(target, " Home"))[
                    write_piece(target, " Home")
                ]
                assert (matched, kind) == (write_piece(source, " home"), MatchKind.FUZZY)


@pytest.mark.parametrize(
    ("target", "candidates", "expected"),
    [
        (" HOME", ["HOME", " home"], " home"),  # word start before case
        (" Ｈome", [" home", " Home"], " Home"),  # case before id
        (" HOME", [" Home", " home"], " Home"),  # then the lowest id
        (" HOME", [" home", " Home"], " home"),
        (" HOME", ["home", "HOME"], "HOME"),
        ("①", [" １", " ①"], " ①"),
        (" HOME", [" ＨＯＭＥ", "home"], "home"),  # a rare compatibility form comes last
        (" B", [" ᴮ", " b"], " b"),
        (" Ｂ", [" ᴮ", " b"], " b"),
        (" Σ", [" ς", " σ"], " σ"),
        ("＋", ["⁺", " +"], " +"),
    ],
)
def test_fuzzy_ranks_candidates(target: str, candidates: list[str], expected: str) -> None:
    matched = pairs(vocabulary("unigram", *candidates), vocabulary("unigram", target))
    assert matched[write_piece("unigram", target)] == (write_piece("unigram", expected), MatchKind.FUZZY)


def test_special_tokens_match_by_role_not_by_spelling(family: str) -> None:
    source = vocabulary("wordpiece", " home")
    target = vocabulary(family, " home")
    matched = pairs(source, target)
    for role, id_ in target.roles.items():
        assert matched[target.tokens[id_]] == (source.tokens[source.roles[role]], MatchKind.SPECIAL)


def test_unused_start_token_is_neither_source_nor_target_of_a_match() -> None:
    bert = read_vocabulary(spelled_tokenizer("wordpiece", ["<s>", "[unused0]", "home"]))
    plain = vocabulary("unigram", " home")
    assert pairs(bert, plain)["<s>"] == ("[CLS]", MatchKind.SPECIAL)
    assert pairs(plain, bert)["[CLS]"] == ("<s>", MatchKind.SPECIAL)
    assert not {"<s>", "[unused0]"} & set(pairs(plain, bert))
    assert not {"<s>", "[unused0]"} & {source for source, _ in pairs(bert, bert).values()}


def test_one_token_with_two_source_roles_is_used_for_both() -> None:
    source = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<|endoftext|>": 0}, unk_token="<|endoftext|>")),
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
    )
    matched = pairs(read_vocabulary(source), vocabulary("wordpiece"))
    assert matched == dict.fromkeys(("[CLS]", "[SEP]"), ("<|endoftext|>", MatchKind.SPECIAL))


def test_role_the_source_lacks_stays_unmatched() -> None:
    ids = {token: id_ for id_, token in enumerate(["[UNK]", "[PAD]", "home"])}
    source = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordPiece(ids, unk_token="[UNK]")), unk_token="[UNK]", pad_token="[PAD]"
    )
    assert set(pairs(read_vocabulary(source), vocabulary("wordpiece", " home"))) == {"[UNK]", "[PAD]", "home"}


def test_same_text_at_the_start_of_a_word_is_exact_across_families() -> None:
    pieces = [" home", "ing", " 학교", " 5", " ,"]
    for source in FAMILIES:
        for target in FAMILIES:
            matched = pairs(vocabulary(source, *pieces), vocabulary(target, *pieces))
            for piece in pieces:
                expected = (write_piece(source, piece), MatchKind.EXACT)
                assert matched[write_piece(target, piece)] == expected


def test_byte_level_comma_is_copied_from_the_comma_bert_reads() -> None:
    source = vocabulary("wordpiece", ",", " ,")  # '##,' exists and is never produced
    assert pairs(source, vocabulary("byte-level", ","))[","] == (",", MatchKind.FUZZY)


def test_sharp_s_is_a_letter_not_a_case() -> None:
    source = vocabulary("unigram", " mass", " groß")
    assert set(pairs(source, vocabulary("wordpiece", " Maß", " Groß", " GROẞ"))) & {"Maß", "Groß", "GROẞ"} == {
        "Groß",
        "GROẞ",
    }


def test_compatibility_forms_match_but_signs_are_not_letters() -> None:
    source = vocabulary("wordpiece", " ａb", " no", " 1", " ᄀ", " №")
    matched = pairs(source, vocabulary("unigram", " ab", " №", " ①", " ㄱ", "№", " ™"))
    assert matched["▁ab"] == ("ａb", MatchKind.FUZZY)
    assert matched["▁①"] == ("1", MatchKind.FUZZY)
    assert matched["▁ㄱ"] == ("ᄀ", MatchKind.FUZZY)
    assert matched["▁№"] == ("№", MatchKind.EXACT)
    assert matched["№"] == ("№", MatchKind.FUZZY)
    assert (
        pairs(vocabulary("wordpiece", " no", " tm"), vocabulary("unigram", " №", " ™")).keys().isdisjoint({"▁№", "▁™"})
    )


def test_without_fuzzy_only_equal_tokens_match(family: str) -> None:
    matched = pairs(vocabulary("wordpiece", " home", "s"), vocabulary(family, " Home", " s", " home"), fuzzy=False)
    assert write_piece(family, " home") in matched
    assert not {write_piece(family, " Home"), write_piece(family, " s")} & set(matched)


def test_bytes_match_the_same_bytes_only() -> None:
    source = read_vocabulary(
        spelled_tokenizer("byte-level", [byte_level_spelling(b"\xe4"), byte_level_spelling(b"\xed\x95")])
    )
    target = read_vocabulary(
        spelled_tokenizer(
            "byte-level", [byte_level_spelling(raw) for raw in (b"\xed\x95", b" \xed\x95", b"\xe4", b"\xe5")]
        )
    )
    assert {target.byte_values[t]: source.byte_values[s] for s, t in zip(*byte_pairs(source, target), strict=True)} == {
        b"\xed\x95": b"\xed\x95",
        b"\xe4": b"\xe4",
    }


def byte_pairs(source: Vocabulary, target: Vocabulary) -> tuple[list[int], list[int]]:
    overlap = match_vocabularies(source, target)
    chosen = overlap.kinds == MatchKind.BYTE
    return overlap.source_ids[chosen].tolist(), overlap.target_ids[chosen].tolist()


def test_byte_fallback_and_byte_level_bytes_are_the_same_bytes() -> None:
    level = read_vocabulary(spelled_tokenizer("byte-level", pre_tokenizers.ByteLevel.alphabet()))
    fallback = vocabulary("byte-fallback")
    matched = pairs(level, fallback)
    for byte in range(256):
        assert matched[f"<0x{byte:02X}>"] == (byte_level_spelling(bytes([byte])), MatchKind.BYTE)
    back = pairs(fallback, level)
    assert back["Ċ"] == ("<0x0A>", MatchKind.BYTE)
    assert back["ä"] == ("<0xE4>", MatchKind.BYTE)


def test_readable_byte_never_hides_the_letter() -> None:
    matched = pairs(vocabulary("byte-fallback", "A"), vocabulary("byte-level", "A"))
    assert matched["A"] == ("A", MatchKind.EXACT)


def test_whitespace_matches_exactly_or_not_at_all() -> None:
    source = vocabulary("byte-level", " ", "\n", "\u00a0")
    matched = pairs(source, vocabulary("unigram", " ", "\n", "\u2003"))
    assert matched["▁"] == ("Ġ", MatchKind.EXACT)
    assert matched["\n"] == ("Ċ", MatchKind.EXACT)
    assert "\u2003" not in matched


def test_equal_tokenizers_match_every_text_to_itself(family: str) -> None:
    tokenizer = spelled_tokenizer(family, [write_piece(family, piece) for piece in [*PIECES, " "]])
    tokenizer.add_tokens([" home", "covid"])  # byte-level: the same canonical form as Ġhome
    read = read_vocabulary(tokenizer)
    overlap = match_vocabularies(read, read)
    assert overlap.source_ids.tolist() == overlap.target_ids.tolist()
    kinds = dict(zip(overlap.target_ids.tolist(), overlap.kinds.tolist(), strict=True))
    for id_, kind in enumerate(read.kinds.tolist()):
        expected = {
            TokenKind.TEXT: MatchKind.EXACT,
            TokenKind.BYTES: MatchKind.BYTE,
            TokenKind.SPECIAL: MatchKind.SPECIAL,
        }
        assert kinds.get(id_) == expected.get(TokenKind(kind))


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(FAMILIES), st.sampled_from(FAMILIES), st.randoms(use_true_random=False))
def test_permuted_vocabularies_match_the_same_tokens(source: str, target: str, order: random.Random) -> None:
    source_pieces = [*PIECES, " ａb", " AB", "house", "  "]
    target_pieces = [*PIECES, " ab", " House", "HOME", " ", "\n"]
    expected = pairs(vocabulary(source, *source_pieces), vocabulary(target, *target_pieces))
    order.shuffle(source_pieces)
    order.shuffle(target_pieces)
    assert pairs(vocabulary(source, *source_pieces), vocabulary(target, *target_pieces)) == expected


def test_overlap_is_sorted_by_target_with_each_target_once(family: str) -> None:
    overlap = match_vocabularies(vocabulary("wordpiece", *PIECES), vocabulary(family, *reversed(PIECES)))
    assert np.all(np.diff(overlap.target_ids) > 0)
    assert overlap.source_ids.dtype == overlap.target_ids.dtype == np.int64
    assert overlap.kinds.dtype == np.uint8
    assert len(overlap) == len(overlap.source_ids) == len(overlap.kinds) == sum(overlap.counts().values())


def test_vocabularies_that_share_nothing_give_an_empty_overlap() -> None:
    alone = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"дом": 0}, unk_token="дом")))
    overlap = match_vocabularies(read_vocabulary(alone), vocabulary("wordpiece", " home"))
    assert (len(overlap), overlap.source_ids.dtype, overlap.kinds.dtype) == (0, np.int64, np.uint8)


# real vocabularies ----------------------------------------------------------------------------------------------------


@cache
def real_vocabulary(folder: Path) -> Vocabulary:
    return read_vocabulary(real_tokenizer(folder))


def real_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The fast tokenizer that the files of the development data describe."""
    if folder.name == "roberta-base":
        merges = (folder / "merges.txt").read_text("utf-8").split("\n")[1:]
        ids = json.loads((folder / "vocab.json").read_text("utf-8"))
        return RobertaTokenizerFast(vocab=ids, merges=[tuple(merge.split(" ")) for merge in merges if merge])
    if folder.name.startswith("focus"):
        return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **ANGLE_ROLES)
    tokens = (folder / "vocab.txt").read_text("utf-8").split("\n")
    ids = {token: id_ for id_, token in enumerate(tokens) if token}
    return BertTokenizerFast(vocab=ids, do_lower_case=folder.name not in CASED)


CASED = ("kobigbird-bert-base", "rubert-base-cased-truncated", "bert-base-multilingual-cased")
ENGLISH = ("bert-base-uncased", "roberta-base")
# Source tokens a reader of the language agrees with: words both vocabularies hold, letters, digits, signs.
READER_PAIRS = {
    "kobigbird-bert-base": {
        "TV": "tv",
        "London": "london",
        "2014": "2014",
        "5": "5",
        "%": "%",
        "##ing": "##ing",
        ",": ",",
    },
    "rubert-base-cased-truncated": {"и": "и", "И": "и", "Windows": "windows", "Google": "google", "№": "№", "5": "5"},
    "bert-base-arabic": {"google": "google", "home": "home", "2014": "2014", "5": "5", "##s": "##s"},
    "bert-base-chinese": {"中": "中", "london": "london", "home": "home", "5": "5", "##ing": "##ing"},
    "focus-ar-xlmr-unigram-30k": {"▁5": "5", "5": "##5", "▁2014": "2014"},
    "roberta-base": {"Ġhome": "home", "ĠHome": "home", "home": "home", "Ġ5": "5", ",": ",", "Ġ,": ","},
}


@pytest.mark.shared
@pytest.mark.parametrize("target", READER_PAIRS)
@pytest.mark.parametrize("source", ENGLISH)
def test_real_overlap_is_what_a_reader_expects(shared: Path, source: str, target: str) -> None:
    english = real_vocabulary(shared / "tokenizers" / source)
    other = real_vocabulary(shared / "tokenizers" / target)
    matched = pairs(english, other)
    for token, expected in READER_PAIRS[target].items():
        if source == "bert-base-uncased":
            assert matched[token][0] == expected
        else:
            text, found = other.texts[other.tokens.index(token)], matched.get(token)
            assert found is None or english.texts[english.tokens.index(found[0])].casefold() == text.casefold()
    specials = [token for token, (_, kind) in matched.items() if kind == MatchKind.SPECIAL]
    assert len(specials) == 5


@pytest.mark.shared
@pytest.mark.parametrize("target", READER_PAIRS)
@pytest.mark.parametrize("source", ENGLISH)
def test_real_digits_and_ascii_signs_are_copied(shared: Path, source: str, target: str) -> None:
    other = real_vocabulary(shared / "tokenizers" / target)
    overlap = match_vocabularies(real_vocabulary(shared / "tokenizers" / source), other)
    matched = set(overlap.target_ids.tolist())
    signs = [id_ for id_ in other.text_ids.tolist() if len(other.texts[id_]) == 1 and "!" <= other.texts[id_] <= "~"]
    assert len(signs) > 60
    assert not [other.tokens[id_] for id_ in signs if id_ not in matched]


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["bert-base-uncased", "roberta-base", "focus-ar-xlmr-unigram-30k", "rubert-base-cased-truncated"]
)
def test_real_vocabulary_matches_itself(shared: Path, name: str) -> None:
    read = real_vocabulary(shared / "tokenizers" / name)
    overlap = match_vocabularies(read, read)
    assert overlap.source_ids.tolist() == overlap.target_ids.tolist()
    never = (read.kinds == TokenKind.UNUSED) | (read.kinds == TokenKind.HOLE)
    roleless = (read.kinds == TokenKind.SPECIAL) & ~np.isin(np.arange(len(read)), list(read.roles.values()))
    assert len(overlap) == len(read) - np.count_nonzero(never | roleless)


@pytest.mark.shared
def test_pieces_called_unused_are_never_produced(shared: Path) -> None:
    for name in ("bert-base-chinese", "rubert-base-cased-truncated"):
        tokenizer = real_tokenizer(shared / "tokenizers" / name)
        read = read_vocabulary(tokenizer)
        unused = np.flatnonzero(read.kinds == TokenKind.UNUSED).tolist()
        texts = ["x" + read.tokens[id_].removeprefix("##") + "y" for id_ in unused]
        texts += [read.tokens[id_].removeprefix("##") for id_ in unused]
        produced = {id_ for ids in tokenizer(texts)["input_ids"] for id_ in ids}
        assert not produced & set(unused)


@pytest.mark.shared
def test_two_vocabularies_of_120k_match_in_two_seconds(shared: Path) -> None:
    read = real_vocabulary(shared / "tokenizers" / "bert-base-multilingual-cased")
    upper = Vocabulary(  # nothing equal, everything fuzzy: the slow way through
        tokens=read.tokens,
        texts=tuple(text.upper() for text in read.texts),
        starts_word=~read.starts_word,
        kinds=read.kinds,
        roles=read.roles,
        byte_values=read.byte_values,
    )
    for target in (read, upper):
        start = time.process_time()
        assert len(match_vocabularies(read, target)) > 100_000
        assert time.process_time() - start < 2
