"""Laws of the extended tokenizer: English as before, the target language in the target's pieces, ids that stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAMILIES as SPELLINGS
from conftest import SQUARE_ROLES, byte_level_spelling, spelled_tokenizer, write_piece
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SparseEncoder
from tiny import ENGLISH_TEXTS, FAMILIES, TARGET_TEXTS, rounding, tiny_encoder, tiny_tokenizer
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast, RobertaTokenizer

from sembridge.encoders.anatomy import check_source_encoder
from sembridge.encoders.loading import load_tokenizer
from sembridge.encoders.names import mini_folder
from sembridge.encoders.transplant import transplant
from sembridge.encoders.vocabulary import TokenKind, read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.extension import extend_tokenizer, extended_overlap
from sembridge.language_transfer.overlap import MatchKind, match_vocabularies

HEADS = {"wordpiece": "BertForMaskedLM", "bpe": "RobertaForMaskedLM", "unigram": "XLMRobertaForMaskedLM"}
MINI = ("ko", "ru", "hi", "ar", "zh", "ko-bpe")

over_families = pytest.mark.parametrize("family", FAMILIES)
over_mini = pytest.mark.parametrize("name", MINI)


@cache
def tiny_pair(family: str) -> tuple[Any, Any, Any]:
    """Source, target and extended tokenizer."""
    source, target = tiny_tokenizer(family), tiny_tokenizer(family, language="target")
    return source, target, extend_tokenizer(source, target)


@pytest.fixture(scope="session")
def real(shared: Path) -> Any:
    """real(name): source, target and extended tokenizer with a published English source."""

    @cache
    def source(family: str) -> Any:
        folder = shared / "tokenizers"
        if family == "bpe":
            folder = folder / "roberta-base"
            return RobertaTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
        file = str(folder / "bert-base-uncased" / "tokenizer.json")
        return PreTrainedTokenizerFast(tokenizer_file=file, model_max_length=512, **SQUARE_ROLES)

    @cache
    def make(name: str) -> tuple[Any, Any, Any]:
        english = source("bpe" if name.endswith("bpe") else "wordpiece")
        if name == "kobigbird":
            vocabulary = str(shared / "tokenizers" / "kobigbird-bert-base" / "vocab.txt")
            target = BertTokenizer(vocab=vocabulary, do_lower_case=False)
        else:
            target = load_tokenizer(f"mini/tokenizer-{name}")
        return english, target, extend_tokenizer(english, target)

    return make


def wordpiece(
    *tokens: str, prefix: str = "##", lowercase: bool = True, strip_accents: bool = False, han: bool = True
) -> Any:
    ids = {token: id_ for id_, token in enumerate([*SQUARE_ROLES.values(), *tokens])}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", continuing_subword_prefix=prefix))
    backend.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=han
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SQUARE_ROLES)


def letters(text: str) -> list[str]:
    return [piece for letter in text for piece in (letter, f"##{letter}")]


def faq(language: str) -> list[str]:
    folder = mini_folder(f"mini/faq-{language}")
    files = (folder / "queries.jsonl", folder / "corpus.jsonl")
    return [json.loads(line)["text"] for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def new_tokens(source: Any, extended: Any) -> list[str]:
    ids = range(max(source.get_vocab().values()) + 1, len(extended))
    return list(extended.convert_ids_to_tokens(ids))


def pipeline(tokenizer: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return {key: value for key, value in found.items() if key not in ("padding", "truncation")}


# ---- English


@over_families
def test_english_gets_the_ids_of_the_source(family: str) -> None:
    source, _, extended = tiny_pair(family)
    for text in ENGLISH_TEXTS:
        assert extended(text)["input_ids"] == source(text)["input_ids"]


@pytest.mark.parametrize("name", [*MINI, "kobigbird"])
def test_english_faq_gets_the_ids_of_a_published_source(real: Any, name: str) -> None:
    source, _, extended = real(name)
    texts = faq("en")
    assert len(texts) > 400
    assert extended(texts)["input_ids"] == source(texts)["input_ids"]


@pytest.mark.parametrize("name", ["ko", "ko-bpe", "zh"])
def test_any_plain_english_gets_the_ids_of_the_source(real: Any, name: str) -> None:
    source, _, extended = real(name)
    alphabet = "".join(map(chr, range(0x20, 0x7F))) + "\t\nàÉîõüçñßøÆœ“”‘’–—"

    @settings(max_examples=150, deadline=None)
    @given(st.text(alphabet, max_size=40))
    def check(text: str) -> None:
        assert extended(text)["input_ids"] == source(text)["input_ids"]

    check()


def test_accents_of_english_go_as_before_although_the_target_keeps_its_own(real: Any) -> None:
    _, target, extended = real("ru")
    assert extended.tokenize("CAFÉ naïve cafe\u0301 Dvořák") == real("ru")[0].tokenize("cafe naive cafe dvorak")
    assert extended.tokenize("мой ёлка") == target.tokenize("мой ёлка")


# ---- the target language


@over_families
def test_target_words_get_the_pieces_of_the_target(family: str) -> None:
    _, target, extended = tiny_pair(family)
    for word in " ".join(TARGET_TEXTS).split():
        if not word.isascii():
            assert extended.tokenize(word) == target.tokenize(word)
            assert extended.unk_token_id not in extended(word)["input_ids"]


@pytest.mark.parametrize("name", [*MINI, "kobigbird"])
def test_target_words_differ_from_the_target_only_by_pieces_of_the_source(real: Any, name: str) -> None:
    source, target, extended = real(name)
    n_source, ids = len(source), extended.get_vocab()
    words = [word for text in faq({"kobigbird": "ko"}.get(name, name[:2]))[::3] for word in text.split()]
    expected = [target.tokenize(" " + word) for word in words]
    found = [extended.tokenize(" " + word) for word in words]
    known = [pair for pair in zip(expected, found, strict=True) if target.unk_token not in pair[0]]
    different = [pair for pair in known if pair[0] != pair[1]]
    assert all(extended.unk_token not in pieces for _, pieces in known)
    assert len(different) < 0.02 * len(known)
    if name != "ko-bpe":  # where two pieces of BPE begin is decided by merges, not by length
        for pair in different:
            wanted, given = next(pieces for pieces in zip(*pair, strict=False) if pieces[0] != pieces[1])
            assert ids[given] < n_source
            assert len(given) > len(wanted) or wanted not in ids


def test_pieces_that_stand_anywhere_are_one_dimension_wherever_they_stand() -> None:
    source = wordpiece("go", "on", "他", "。", *letters("ab"))
    target = wordpiece("学校", "大学", "学", "他", "校", "go", "在", prefix="", han=False)
    extended = extend_tokenizer(source, target)
    assert new_tokens(source, extended) == ["学校", "大学", "学", "校", "在"]
    for text in ("他在大学", "在学校", "学大学校", "他他学校。go on", "大学go他"):
        expected = [piece for part in text.split() for piece in target.tokenize(part.replace("。", ""))]
        assert [piece for piece in extended.tokenize(text) if piece not in ("。", "on")] == [
            piece for piece in expected if piece != "[UNK]"
        ]
    assert extended.tokenize("go on。 abba") == source.tokenize("go on。 abba")


def test_other_prefix_is_respelled() -> None:
    source = wordpiece("go", *letters("go"))
    target = wordpiece("학", "@@교", "@@go", prefix="@@")
    extended = extend_tokenizer(source, target)
    assert new_tokens(source, extended) == ["학", "##교"]
    assert extended.tokenize("학교") == ["학", "##교"]


def test_case_of_the_target_stays_where_the_source_has_lower_case() -> None:
    source = wordpiece("home", *letters("abcdefghijklmnopqrstuvwxyz"), strip_accents=True)
    target = wordpiece("Москва", "москва", "Home", "й", lowercase=False)
    extended = extend_tokenizer(source, target)
    assert extended.tokenize("Москва москва HOME Home й") == ["Москва", "москва", "home", "home", "й"]
    assert "Home" not in extended.get_vocab()


def test_merges_of_the_source_do_not_keep_target_pieces_apart() -> None:
    """학 is the bytes ED 95 99; the source joins the first two and the target the last two."""
    first, middle, last = (byte_level_spelling(bytes([byte])) for byte in "학".encode())
    source = byte_level_bpe([(first, middle), ("g", "o")])
    target = byte_level_bpe([(middle, last), (first, middle + last), ("o", "g")])
    extended = extend_tokenizer(source, target)
    assert source.tokenize("학go") == [first + middle, last, "go"]
    assert extended.tokenize("학go") == [first + middle + last, "go"]
    assert new_tokens(source, extended) == [middle + last, first + middle + last]
    assert pipeline(extended)["model"]["merges"][:2] == [[first, middle], ["g", "o"]]


def byte_level_bpe(merges: list[tuple[str, str]]) -> Any:
    tokens = ["<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(merge) for merge in merges)]
    backend = Tokenizer(models.BPE({token: id_ for id_, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")


def test_pieces_keep_their_log_probability_where_their_language_needs_it() -> None:
    source = unigram(("▁", -2.0), ("go", -3.5), ("나무", -20.0), ("나", -9.0), ("무", -9.0), ("g", -5.0), ("o", -5.0))
    target = unigram(("▁", -1.0), ("나무", -4.0), ("학교", -6.0), ("go", -30.0), ("og", -3.0), ("학", -9.0))
    extended = extend_tokenizer(source, target)
    scores = dict(pipeline(extended)["model"]["vocab"])
    assert {piece: scores[piece] for piece in ("▁", "go", "나무", "나", "학교", "학")} == {
        "▁": -2.0, "go": -3.5, "나무": -4.0, "나": -9.0, "학교": -6.0, "학": -9.0,
    }  # fmt: skip
    assert "og" not in scores
    assert extended.tokenize("나무 go") == ["▁", "나무", "▁", "go"]


def unigram(*pieces: tuple[str, float]) -> Any:
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), ("<pad>", 0.0), *pieces], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")


# ---- ids


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_source_ids_stay_and_own_tokens_follow_in_target_order(spelling: str) -> None:
    source_pieces = [" home", "home", " 집", "ing", *"home가"]
    target_pieces = [" 학교", " house", "나무", " 집", "2024", " дом", "ok가", "가", "나", *"house"]
    source, target = (
        spelled_tokenizer(spelling, dict.fromkeys(write_piece(spelling, piece) for piece in pieces))
        for pieces in (source_pieces, target_pieces)
    )
    extended = extend_tokenizer(source, target)
    expected = [write_piece(spelling, piece) for piece in (" 학교", "나무", " дом", "ok가", "가", "나")]
    assert extended.convert_ids_to_tokens(range(len(source))) == source.convert_ids_to_tokens(range(len(source)))
    wanted = [token for token in expected if token not in source.get_vocab()]
    assert [token for token in new_tokens(source, extended) if token in expected] == wanted
    assert write_piece(spelling, " house") not in extended.get_vocab()
    assert "2024" not in {extended.convert_tokens_to_string([token]).strip() for token in new_tokens(source, extended)}
    assert extended.special_tokens_map == source.special_tokens_map
    assert extended.all_special_ids == source.all_special_ids


def test_special_and_unused_tokens_of_the_target_stay_behind() -> None:
    source = wordpiece("go")
    target = wordpiece("학교", "[unused0]", "<s>", "[EOM]", "##。학", "나무")
    target.add_special_tokens({"extra_special_tokens": ["<학>"]})
    target.add_tokens(["서울"])
    assert new_tokens(source, extend_tokenizer(source, target)) == ["학교", "나무", "서울"]


@over_families
def test_first_new_id_leaves_padding_rows_of_the_matrix_alone(family: str) -> None:
    source, target, plain = tiny_pair(family)
    first = len(source) + 5
    extended = extend_tokenizer(source, target, first_new_id=first)
    vocabulary = read_vocabulary(extended)
    assert (vocabulary.kinds[len(source) : first] == TokenKind.UNUSED).all()
    assert vocabulary.tokens[first:] == read_vocabulary(plain).tokens[len(source) :]
    assert len(extended) == len(extended.get_vocab()) == max(extended.get_vocab().values()) + 1
    for text in (*ENGLISH_TEXTS, *TARGET_TEXTS):
        assert extended.tokenize(text) == plain.tokenize(text)


def test_added_tokens_of_the_source_keep_ids_and_flags() -> None:
    source = tiny_tokenizer("bpe")
    source.add_tokens([AddedToken("covid", lstrip=True), AddedToken("<q>", special=True)])
    extended = extend_tokenizer(source, tiny_tokenizer("bpe", language="target"))
    for id_, token in source.added_tokens_decoder.items():
        assert extended.added_tokens_decoder[id_] == token
    assert extended("home covid <q> tree")["input_ids"] == source("home covid <q> tree")["input_ids"]


@over_families
def test_the_extension_reloads_as_it_was(family: str, tmp_path: Path) -> None:
    _, _, extended = tiny_pair(family)
    check_reload(extended, tmp_path, [*ENGLISH_TEXTS, *TARGET_TEXTS])


@over_mini
def test_a_real_extension_reloads_as_it_was(real: Any, name: str, tmp_path: Path) -> None:
    check_reload(real(name)[2], tmp_path, faq(name[:2])[:20])


def check_reload(extended: Any, folder: Path, texts: list[str]) -> None:
    extended.save_pretrained(folder)
    reloaded = AutoTokenizer.from_pretrained(folder)
    assert pipeline(reloaded) == pipeline(extended)
    assert reloaded(texts)["input_ids"] == extended(texts)["input_ids"]
    assert reloaded.special_tokens_map == extended.special_tokens_map
    assert (reloaded.model_max_length, reloaded.padding_side) == (extended.model_max_length, extended.padding_side)


def test_nothing_new_gives_the_source_and_arguments_stay() -> None:
    source = tiny_tokenizer("wordpiece")
    before = pipeline(source)
    extended = extend_tokenizer(source, source)
    assert extended.get_vocab() == source.get_vocab()
    assert pipeline(source) == before


# ---- refusals


@pytest.mark.parametrize(("first", "second"), [("wordpiece", "unigram"), ("bpe", "wordpiece"), ("unigram", "bpe")])
def test_families_are_not_mixed(first: str, second: str) -> None:
    names = {"wordpiece": "WordPiece", "bpe": "byte-level BPE", "unigram": "Unigram"}
    with pytest.raises(SembridgeError, match=f"{names[first]} and target tokenizer is {names[second]}.*without --ext"):
        extend_tokenizer(tiny_tokenizer(first), tiny_tokenizer(second, language="target"))


def test_two_spellings_of_bpe_are_two_families() -> None:
    source, target = (spelled_tokenizer(spelling, ["가"]) for spelling in ("byte-level", "byte-fallback"))
    with pytest.raises(SembridgeError, match="byte-level BPE and target tokenizer is BPE with word mark ▁"):
        extend_tokenizer(source, target)


def test_a_language_in_latin_letters_is_refused() -> None:
    target = wordpiece("haus", "##ung", "##keit", "straße", "über", "schule")
    with pytest.raises(SembridgeError, match=r"Only 0 of 6 tokens .* another script"):
        extend_tokenizer(wordpiece("go", *letters("go")), target)


def test_a_target_that_takes_its_own_tokens_apart_is_refused() -> None:
    """Hangul in a vocabulary that was loaded with the habits of an uncased English one."""
    target = wordpiece("학교", "나무", "a", strip_accents=True)
    with pytest.raises(SembridgeError, match="normalizer changes 2 of its 3 own tokens"):
        extend_tokenizer(wordpiece("go", strip_accents=True), target)


def test_normalizers_that_contradict_each_other_are_refused() -> None:
    source, target = wordpiece("Go", lowercase=False), wordpiece("дом")
    with pytest.raises(SembridgeError, match=r"BertNormalizer\) and .* cannot be joined"):
        extend_tokenizer(source, target)


def test_continuing_prefix_only_in_the_target_is_refused() -> None:
    with pytest.raises(SembridgeError, match="'##' and the source tokenizer does not"):
        extend_tokenizer(wordpiece("go", prefix=""), wordpiece("학교"))


def test_first_new_id_within_the_source_is_refused() -> None:
    source, target, _ = tiny_pair("wordpiece")
    with pytest.raises(SembridgeError, match=f"first_new_id is 7 but .* ids up to {len(source) - 1}"):
        extend_tokenizer(source, target, first_new_id=7)


def test_tokenizer_without_fast_backend_is_refused() -> None:
    with pytest.raises(SembridgeError, match="Target tokenizer is a object without fast backend"):
        extend_tokenizer(tiny_tokenizer("wordpiece"), object())  # type: ignore[arg-type]


# ---- overlap


@over_families
@pytest.mark.parametrize("fuzzy", [True, False])
def test_overlap_is_the_identity_on_the_source_and_the_match_beyond(family: str, fuzzy: bool) -> None:
    source_tokenizer, target, _ = tiny_pair(family)
    n_rows = len(source_tokenizer) + 3
    source = read_vocabulary(source_tokenizer, n_rows=n_rows)
    extended = read_vocabulary(extend_tokenizer(source_tokenizer, target, first_new_id=n_rows))
    overlap = extended_overlap(source, extended, fuzzy=fuzzy)
    assert overlap.target_ids[:n_rows].tolist() == overlap.source_ids[:n_rows].tolist() == list(range(n_rows))
    is_special = overlap.kinds[:n_rows] == MatchKind.SPECIAL
    assert is_special.tolist() == (source.kinds == TokenKind.SPECIAL).tolist()
    assert (overlap.kinds[:n_rows][~is_special] == MatchKind.EXACT).all()

    matched = match_vocabularies(source, extended, fuzzy=fuzzy)
    beyond = matched.target_ids >= n_rows
    assert overlap.target_ids[n_rows:].tolist() == matched.target_ids[beyond].tolist()
    assert overlap.source_ids[n_rows:].tolist() == matched.source_ids[beyond].tolist()
    assert overlap.kinds[n_rows:].tolist() == matched.kinds[beyond].tolist()


def test_new_tokens_match_fuzzily_if_wanted() -> None:
    source = wordpiece("[unused0]", "[EOM]", "go", "나")
    target = wordpiece("##나", "무")
    vocabularies = read_vocabulary(source), read_vocabulary(extend_tokenizer(source, target))
    tokens = vocabularies[1].tokens
    found = {
        fuzzy: [(tokens[s], tokens[t], kind) for s, t, kind in pairs_beyond(len(source), *vocabularies, fuzzy)]
        for fuzzy in (True, False)
    }
    assert found == {True: [("나", "##나", MatchKind.FUZZY)], False: []}


def pairs_beyond(n_source: int, source: Any, extended: Any, fuzzy: bool) -> Iterator[tuple[int, int, int]]:
    overlap = extended_overlap(source, extended, fuzzy=fuzzy)
    for pair in zip(overlap.source_ids.tolist(), overlap.target_ids.tolist(), overlap.kinds.tolist(), strict=True):
        if pair[1] >= n_source:
            yield pair


def test_padding_rows_that_new_tokens_take_are_no_overlap() -> None:
    source_tokenizer = wordpiece("go")
    source = read_vocabulary(source_tokenizer, n_rows=8)
    extended = read_vocabulary(extend_tokenizer(source_tokenizer, wordpiece("학교", "나무", "집")))
    assert len(extended) == 9
    assert extended_overlap(source, extended).target_ids.tolist() == [0, 1, 2, 3, 4, 5]


def test_another_vocabulary_is_no_extension() -> None:
    source, target, _ = tiny_pair("wordpiece")
    with pytest.raises(SembridgeError, match=r"under id \d+, where the source has .* extend_tokenizer"):
        extended_overlap(read_vocabulary(source), read_vocabulary(target))
    with pytest.raises(SembridgeError, match="has nothing under id"):
        extended_overlap(read_vocabulary(wordpiece("go")), read_vocabulary(wordpiece()))


# ---- with the surgery


def with_the_target_s_rows(family: str, n_padding: int) -> tuple[SparseEncoder, SparseEncoder]:
    """An English encoder of so many padding rows, and its extension; new tokens have the mean row."""
    source, target, _ = tiny_pair(family)
    n_rows = len(source) + n_padding
    encoder = tiny_encoder(HEADS[family], source, n_rows=n_rows)
    tokenizer = extend_tokenizer(encoder.tokenizer, target, first_new_id=n_rows)
    vocabularies = read_vocabulary(encoder.tokenizer, n_rows=n_rows), read_vocabulary(tokenizer)
    overlap, n_target = extended_overlap(*vocabularies), len(vocabularies[1])

    def rows(source_rows: Tensor) -> Tensor:
        built = source_rows.mean(dim=0).expand(n_target, -1).clone()
        built[torch.from_numpy(overlap.target_ids)] = source_rows[torch.from_numpy(overlap.source_ids)]
        return built

    return encoder, transplant(check_source_encoder(encoder), tokenizer, rows, n_target=n_target).encoder


over_padding = pytest.mark.parametrize("n_padding", [0, 6])


@pytest.mark.numerics
@over_families
@over_padding
def test_english_rows_and_biases_stay_bit_for_bit(family: str, n_padding: int) -> None:
    encoder, extended = with_the_target_s_rows(family, n_padding)
    facts, after = check_source_encoder(encoder), dict(extended.named_parameters(remove_duplicate=False))
    before = dict(encoder.named_parameters(remove_duplicate=False))
    assert list(after) == list(before)
    for name, tensor in before.items():
        kept = after[name][: facts.n_rows] if name in facts.vocabulary_tensors else after[name]
        assert torch.equal(kept, tensor), name


@pytest.mark.numerics
@over_families
@over_padding
def test_english_vectors_and_their_ranks_stay(family: str, n_padding: int) -> None:
    encoder, extended = with_the_target_s_rows(family, n_padding)
    before = encoder.encode(list(ENGLISH_TEXTS)).to_dense()
    vectors = extended.encode(list(ENGLISH_TEXTS)).to_dense()
    after = vectors[:, : before.shape[1]]
    # The same rows in a matrix of more rows: a product in other blocks, so sums in another order.
    tolerance = rounding(before)
    torch.testing.assert_close(after, before, rtol=0, atol=tolerance)
    ranked = before.argsort(dim=1, descending=True, stable=True)
    values = after.gather(1, ranked)
    apart = -before.gather(1, ranked).diff(dim=1) > 2 * tolerance
    assert apart.sum() > 0.9 * (before > 0).sum()  # the rest are near ties and zeros
    assert (values.diff(dim=1)[apart] < 0).all()
    assert extended.encode(list(TARGET_TEXTS)).shape == (len(TARGET_TEXTS), vectors.shape[1])
