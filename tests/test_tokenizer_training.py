"""Laws of a tokenizer that is made: what a language tells apart stays apart, its letters are known, it transfers."""

from __future__ import annotations

import functools
import json
import unicodedata
from pathlib import Path

import pytest
from commands import sembridge
from tiny import tiny_encoder, tiny_tokenizer

from sembridge import TokenizerRecipe, TrainedTokenizer, load_tokenizer, train_tokenizer
from sembridge.encoders.tokenizer_habits import tokenizer_habits
from sembridge.encoders.tokenizer_pipelines import ROLES
from sembridge.encoders.tokenizer_training import LARGEST_WITHOUT_SPACES, SMALLEST
from sembridge.encoders.vocabulary import TokenKind, read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.recipe import TransferRecipe

FAMILIES = ("wordpiece", "unigram", "bpe")
TEXTS = {
    "de": ("Die schöne Straße führt schon über den Fluß.", "Größe und Gefühl, Übermut und Wagen."),
    "vi": ("Con ma đi chợ mua má và mà mả mã mạ.", "Tôi nói tiếng Việt ở Hà Nội."),
    "tr": ("IŞIK ışık İstanbul istanbul Ilık ılık.", "Diyarbakır'ın sıcağı ile Iğdır."),
    "el": ("Ο ΔΡΟΜΟΣ και ο δρόμος της πόλης.", "ΛΟΓΟΣ λόγος λογος"),
    "ar": ("كِتَابٌ جَدِيدٌ في المدرسة", "كتاب جديد في المدرسة"),
    "zh": ("学校九点开门，图书馆六点关门。", "我们在学校学习中文和数学。"),
    "hi": ("विद्यालय नौ बजे खुलता है।", "पुस्तकालय छह बजे बंद होता है।"),
}


@functools.cache
def made(language: str, family: str = "wordpiece", **settings: bool) -> TrainedTokenizer:
    return train_tokenizer(TEXTS[language] * 30, TokenizerRecipe(language=language, family=family, **settings))


def pieces(language: str, text: str, family: str = "wordpiece") -> list[str]:
    return made(language, family).tokenizer.tokenize(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_accents_stay_and_capitals_go(family: str) -> None:
    assert pieces("de", "schön", family) != pieces("de", "schon", family)
    assert pieces("de", "SCHÖN", family) == pieces("de", "schön", family)
    syllables = ("ma", "má", "mà", "mả", "mã", "mạ")
    assert len({tuple(pieces("vi", syllable, family)) for syllable in syllables}) == len(syllables)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_word_is_one_word_however_it_was_typed(family: str) -> None:
    for language, text in (("de", "Größe Gefühl"), ("vi", "Việt mả chợ")):
        typed = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
        assert pieces(language, typed[0], family) == pieces(language, typed[1], family)


def test_case_and_accents_are_the_users_to_decide() -> None:
    cased = made("de", keep_case=True).tokenizer
    assert cased.tokenize("Wagen") != cased.tokenize("wagen")
    bare = made("de", strip_accents=True).tokenizer
    assert bare.tokenize("schön") == bare.tokenize("schon")


def test_small_letters_are_those_of_the_language() -> None:
    assert pieces("tr", "IŞIK İSTANBUL") == pieces("tr", "ışık istanbul")
    assert pieces("tr", "ılık") != pieces("tr", "ilik")
    assert pieces("el", "λόγος ΛΟΓΟΣ") == pieces("el", "λόγοσ λογοσ")
    assert pieces("ar", "كِتَابٌ") == pieces("ar", "كتاب")
    assert pieces("hi", "विद्यालय") != pieces("hi", "वदयलय")
    assert pieces("zh", "ＡＢＣ") == pieces("zh", "abc")


@pytest.mark.parametrize("family", FAMILIES)
def test_letters_that_the_corpus_lacks_are_known_within_words_too(family: str) -> None:
    """One unknown letter makes a whole word of WordPiece unknown: names are full of them."""
    names = "Łódź Škoda Zoë x-y? 2024 (75%) @home"
    for language in ("de", "hi", "zh"):
        assert ROLES["unk_token"] not in pieces(language, names, family)
    assert ROLES["unk_token"] not in pieces("hi", "झरना ढक्कन ९८", family)  # letters and digits of its own alphabet


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("language", ["de", "zh"])
def test_it_has_what_a_transfer_needs(family: str, language: str) -> None:
    tokenizer = made(language, family).tokenizer
    assert tokenizer.convert_ids_to_tokens(tokenizer("a")["input_ids"])[:: len(tokenizer("a")["input_ids"]) - 1] == [
        "[CLS]", "[SEP]",
    ]  # fmt: skip
    assert {role: getattr(tokenizer, role) for role in ROLES} == ROLES
    wanted = {"unknown text", "around a text", "padding"} | ({"word mark"} if language == "de" else set())
    assert not [h for h in tokenizer_habits(tokenizer, tokenizer) if h.name in wanted and h.consequence]
    kinds = read_vocabulary(tokenizer).kinds
    assert (kinds == TokenKind.SPECIAL).sum() == len(ROLES)
    assert not (kinds == TokenKind.HOLE).any()


def test_a_text_without_spaces_is_cut_into_words_however_long() -> None:
    assert "学校" in pieces("zh", "我们在学校")
    assert ROLES["unk_token"] not in pieces("zh", "学校学习" * 100)


def test_an_encoder_is_transferred_to_it() -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    tokenizer = made("de").tokenizer
    result = transfer(source, tokenizer, None, recipe=TransferRecipe.build({"method": "mean"}))
    assert result.report.n_target == len(tokenizer)
    assert result.encoder.encode_document(["Schöne Straße"]).shape == (1, len(tokenizer))


def test_the_size_is_that_of_the_corpus_and_a_given_one_a_bound() -> None:
    assert made("de").recipe.vocabulary_size == SMALLEST
    many = [f"wort{n}{'abcdefghij'[n % 10]} noch{n}" for n in range(3000)]
    assert 5_000 < int(train_tokenizer(many).recipe.vocabulary_size or 0) < 7_000  # 6,000 words, once each
    assert int(made("zh").recipe.vocabulary_size or 0) < LARGEST_WITHOUT_SPACES
    for family in FAMILIES:
        small = train_tokenizer(many, TokenizerRecipe(vocabulary_size=1000, family=family))
        assert len(small.tokenizer) <= 1000


def test_every_hundredth_of_many_texts_is_kept_aside() -> None:
    texts = [f"gewöhnlicher Text mit Nummer {n}" for n in range(1, 1001)]
    for n in range(100, 1001, 100):
        texts[n - 1] = "☃☃ unbekannt"
    kept = train_tokenizer(texts)
    assert (kept.n_texts, kept.n_held_out) == (990, 10)
    assert "☃" not in kept.tokenizer.get_vocab()
    assert kept.statistics.unknown_rate > 0
    few = train_tokenizer(texts[:200])
    assert (few.n_texts, few.n_held_out) == (200, 0)
    assert "☃" in few.tokenizer.get_vocab()
    assert "too few to keep some aside" in few.measured_on


@pytest.mark.parametrize("family", ["wordpiece", "bpe"])
def test_the_same_corpus_gives_the_same_tokens(family: str) -> None:
    """Where pieces are equally frequent the trainer would choose by chance: of such a corpus nearly all are. (Unigram
    adds probabilities in an order of its own, and may tell such a tie otherwise.)
    """
    texts = [f"{a}{b}{c}° {c}{a}" for a in "äbcdefg" for b in "hijklm" for c in "nopqrst"]
    recipe = TokenizerRecipe(family=family, vocabulary_size=1000)
    first, *others = (train_tokenizer(texts, recipe).tokenizer.get_vocab() for _ in range(4))
    assert all(other == first for other in others)


def test_texts_that_can_be_read_only_once_or_hold_no_letter_are_refused() -> None:
    with pytest.raises(SembridgeError, match="read only once"):
        train_tokenizer(iter(TEXTS["de"]))
    with pytest.raises(SembridgeError, match="2 texts hold no letter"):
        train_tokenizer(["123", "?"])
    with pytest.raises(SembridgeError, match="0 texts hold no letter"):
        train_tokenizer([])


# --- the verb ------------------------------------------------------------------------------------------------------


def test_the_verb_writes_a_stock_folder_and_prints_its_figures(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS["de"] * 5), encoding="utf-8")
    (tmp_path / "words.txt").write_text("Quittenmus\n" * 9, encoding="utf-8")
    out = tmp_path / "tokenizer-de"
    asked = ("tokenizer", tmp_path / "texts.txt", "--also", tmp_path / "words.txt", "--language", "de", "--out", out)
    done = sembridge(*asked)
    assert done.code == 0, done.err
    assert "tokens a word" in done.out
    assert "0.00% unknown" in done.out
    assert "Warning" not in done.out
    loaded = load_tokenizer(str(out))
    assert loaded.tokenize("schöne Quittenmus") == ["schöne", "quittenmus"]
    assert "language: de" in (out / "README.md").read_text(encoding="utf-8")
    again = sembridge(*asked[:-1], tmp_path / "again", "--recipe", out / "tokenizer_recipe.yaml", "--json")
    report = json.loads(again.out)
    assert (report["tokens"], report["recipe"]["language"]) == (len(loaded), "de")
    assert sembridge(*asked).line.endswith("--overwrite to replace it.")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "texts.txt", "tokenizer-de", "words.txt"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("./nowhere",), "No corpus at"),
        (("empty.txt",), "is empty"),
        (("texts.txt", "--language", "German!"), "language: String should match pattern"),
        (("texts.txt", "--vocabulary-size", "10"), "vocabulary_size: Input should be greater than or equal to 1000"),
    ],
)
def test_what_gives_no_tokenizer_is_refused_in_one_line(
    arguments: tuple[str, ...], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("\n")
    Path("texts.txt").write_text("ein Text")
    assert hint in sembridge("tokenizer", *arguments, "--out", "made").line
    assert not Path("made").exists()
