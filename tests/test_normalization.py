"""Laws of what is said of a normalizer: each change by its name, words that become one, warnings in one line."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

import pytest
from commands import sembridge
from tiny import tiny_encoder, tiny_tokenizer
from tokenizers import Tokenizer, models, normalizers
from transformers import BertTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from sembridge.encoders.normalization import MergedWord, Normalization, normalization
from sembridge.encoders.text_statistics import MOST_UNKNOWN, TextStatistics, text_statistics, text_warnings
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.recipe import TransferRecipe

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def with_normalizer(normalizer: normalizers.Normalizer | None) -> PreTrainedTokenizerBase:
    backend = Tokenizer(models.BPE())
    if normalizer is not None:
        backend.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def effect(normalizer: normalizers.Normalizer | None, *lines: str) -> Normalization:
    found = normalization(with_normalizer(normalizer), lines)
    assert found is not None
    return found


UNCASED = normalizers.BertNormalizer(lowercase=True)  # which strips accents too
LOWER = normalizers.BertNormalizer(lowercase=True, strip_accents=False)


@pytest.mark.parametrize(
    ("normalizer", "word", "kinds"),
    [
        (None, "Schön", []),
        (UNCASED, "haus", []),
        (LOWER, "Schön", ["case"]),
        (UNCASED, "Schön", ["case", "accents"]),
        (UNCASED, unicodedata.normalize("NFD", "schön"), ["accents"]),
        (UNCASED, "विद्या", ["accents"]),
        (UNCASED, "كِتاب", ["vowel signs"]),
        (UNCASED, "学校", []),  # spaces around Chinese characters change no word
        (normalizers.NFKC(), "ＡＢＣ", ["width"]),
        (normalizers.NFKC(), "ﾃｽﾄ", ["width"]),
        (normalizers.NFKC(), "ﬁn", ["compatibility"]),
        (normalizers.NFC(), unicodedata.normalize("NFD", "schön"), ["composition"]),
        (normalizers.NFD(), "schön", ["composition"]),
        (normalizers.NFD(), "학교", ["composition"]),
        (normalizers.Replace("7", "0"), "1977", ["digits"]),
        (normalizers.Replace("ß", "ss"), "groß", ["other"]),
    ],
)
def test_each_change_has_its_name(normalizer: normalizers.Normalizer | None, word: str, kinds: list[str]) -> None:
    assert sorted(effect(normalizer, word).changed) == sorted(kinds)


def test_shares_are_of_the_running_words() -> None:
    found = effect(UNCASED, "schön und schön", "Gut")
    assert found.changed == {"accents": 0.5, "case": 0.25}


def test_words_that_become_one_are_shown_the_most_frequent_pairs_first() -> None:
    found = effect(UNCASED, "schön schon", "Má má má mà mà mà ma gehen", "Wagen wagen")
    assert found.merged == (
        MergedWord("ma", {"má": 3, "mà": 3, "ma": 1}),
        MergedWord("schon", {"schön": 1, "schon": 1}),
    )
    assert found.merged_rate == pytest.approx(9 / 12)


def test_what_search_wants_to_be_one_word_is_not_counted_as_merged() -> None:
    assert effect(UNCASED, "Wagen wagen WAGEN كِتاب كتاب").merged == ()
    assert effect(normalizers.NFKC(), "ＡＢＣ ABC é e\u0301").merged == ()


def test_a_word_mark_of_the_normalizer_is_no_change() -> None:
    marks = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    assert effect(marks, "haus und hof") == Normalization({}, 0.0, ())


# --- warnings ------------------------------------------------------------------------------------------------------


def german(*, strip_accents: bool, umlauts: str = "äöüß") -> PreTrainedTokenizerBase:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [mark + letter for mark in ("", "##") for letter in LETTERS + umlauts]
    vocabulary = {token: id_ for id_, token in enumerate(tokens)}
    tokenizer: PreTrainedTokenizerBase = BertTokenizer(vocab=vocabulary, strip_accents=strip_accents)
    return tokenizer


TEXT = "Ich bin schon da\nSchöne Grüße von hier\nEs ist schön bei euch und das Essen ist gut"


def statistics(tokenizer: PreTrainedTokenizerBase, text: str = TEXT) -> TextStatistics:
    return text_statistics(tokenizer, read_vocabulary(tokenizer), text)


def test_a_tokenizer_that_fits_gives_no_warning() -> None:
    assert text_warnings(statistics(german(strip_accents=False))) == []


def test_letters_that_it_does_not_know_are_named_with_their_words() -> None:
    found = statistics(german(strip_accents=False, umlauts=""))
    assert found.unknown_rate > MOST_UNKNOWN
    assert found.unknown == ("Schöne", "Grüße", "schön")
    (warning,) = text_warnings(found)
    assert "unknown (1% at most is good), first in Schöne, Grüße, schön" in warning


def test_accents_that_are_stripped_are_warned_of_with_an_example() -> None:
    (warning,) = text_warnings(statistics(german(strip_accents=True)))
    assert "16.7% of the text's words lose their accents" in warning
    assert "schon: schon, schön" in warning


def test_optional_vowel_signs_may_go() -> None:
    assert text_warnings(statistics(german(strip_accents=True), "bitte كِتاب")) != []  # unknown, not merged
    found = effect(UNCASED, "كِتَابٌ جَدِيدٌ في المدرسة كتاب")
    bare = TextStatistics(5, 1.0, 0.2, 0.0, 0.0, {"arabic": 1.0}, (), found)
    assert text_warnings(bare) == []


def test_a_transfer_warns_of_its_target_text_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    recipe = TransferRecipe.build({"method": "mean"})
    assert recipe.text_read is None  # which reads none
    seen = []
    for _ in range(2):
        with caplog.at_level(logging.WARNING, logger="sembridge"):
            transfer_with_text(source, tmp_path / "text.txt")
        seen += [r.getMessage() for r in caplog.records if "lose their accents" in r.getMessage()]
        caplog.clear()
    assert len(seen) == 1
    assert seen[0].startswith(f"{tmp_path / 'text.txt'}: ")


def transfer_with_text(source: object, path: Path) -> None:
    from tiny_bridge import TinyBridge

    recipe = TransferRecipe.build({"target_text": path, "firing_cap": 0.5})
    transfer(source, german(strip_accents=True), TinyBridge(), recipe=recipe)  # type: ignore[arg-type]


def test_inspect_shows_it(tmp_path: Path) -> None:
    german(strip_accents=True).save_pretrained(tmp_path / "german")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    done = sembridge("inspect", "mini/splade-en", tmp_path / "german", "--text", tmp_path / "text.txt")
    assert done.code == 0, done.err
    assert "Its normalizer changes words by case" in done.out
    assert "accents 16.7%; 11.1% become one with another (schon: schon, schön)" in done.out
    assert "Warning: The tokenizer's normalizer makes different words the same" in done.out
