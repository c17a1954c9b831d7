"""Laws of the inspection: what it foretells is what a transfer finds, and its figures can be counted by hand."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SparseEncoder
from tiny import FAMILIES, tiny_encoder, tiny_tokenizer
from tiny_bridge import TinyBridge
from transformers import PreTrainedTokenizerBase

from sembridge.encoders.scripts import token_script
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.inspection import Inspection, inspect_transfer, read_text, text_statistics
from sembridge.language_transfer.preparation import prepare_transfer
from sembridge.language_transfer.recipe import PRESETS, TransferRecipe


@functools.cache
def source(family: str) -> SparseEncoder:
    return tiny_encoder("BertForMaskedLM", tiny_tokenizer(family))


@functools.cache
def target(family: str) -> PreTrainedTokenizerBase:
    return tiny_tokenizer(family, language="target")


def inspect(family: str, text: str | None = None, **settings: Any) -> Inspection:
    recipe = TransferRecipe.build(settings)
    prepared = prepare_transfer(source(family), target(family), recipe)
    return inspect_transfer(prepared, text=text, bridge_width=64)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_inspection_foretells_the_transfer(family: str, preset: str) -> None:
    bridge = TinyBridge()
    report = transfer(source(family), target(family), bridge, recipe=TransferRecipe.build({"preset": preset})).report
    found = inspect(family, preset=preset)
    assert (found.n_source, found.n_target) == (report.n_source, report.n_target)
    assert {kind: n for kind, n in found.overlap.items() if not kind.startswith("to ")} == {
        kind: report.counts[kind] for kind in ("special", "exact", "fuzzy", "byte")
    }
    assert found.overlap["to combine"] == report.counts["combined"]
    assert found.estimate.texts_to_encode == len(set(bridge.asked))
    assert sum(found.scripts.values()) == report.n_target
    assert found.scripts == {script: sum(kinds.values()) for script, kinds in report.scripts.items()}


def test_a_method_without_a_bridge_encodes_and_multiplies_nothing() -> None:
    estimate = inspect("wordpiece", method="mean").estimate
    assert (estimate.texts_to_encode, estimate.similarity_gflop, estimate.seconds) == (0, 0.0, 0.0)
    assert estimate.memory_mb < 5


def test_the_memory_budget_is_in_the_estimate() -> None:
    assert inspect("wordpiece", memory_budget_mb=500).estimate.memory_mb == pytest.approx(500, abs=5)


def test_an_inspection_draws_nothing_and_leaves_the_encoder_alone() -> None:
    state = torch.get_rng_state()
    before = {name: p.clone() for name, p in source("wordpiece").named_parameters()}
    inspect("wordpiece", "дом школа")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, before[name]) for name, p in source("wordpiece").named_parameters())


# --- texts ---------------------------------------------------------------------------------------------------------


def statistics(family: str, text: str) -> Any:
    tokenizer = target(family)
    return text_statistics(tokenizer, read_vocabulary(tokenizer), text)


def test_fertility_counts_tokens_a_word() -> None:
    found = statistics("wordpiece", "학교 дом домс\n\n  책\n")  # домс is дом ... and ##с
    tokens = target("wordpiece").tokenize("학교 дом домс 책")
    assert found.words == 4
    assert found.fertility == pytest.approx(len(tokens) / 4, abs=1e-3)
    assert found.tokens_per_character == pytest.approx(len(tokens) / 10, abs=1e-3)


def test_whole_words_have_a_fertility_of_one() -> None:
    found = statistics("wordpiece", "학교 선생님 школа")
    assert (found.words, found.fertility, found.unknown_rate, found.byte_rate) == (3, 1.0, 0.0, 0.0)


def test_unknown_tokens_are_counted() -> None:
    assert statistics("wordpiece", "학교 ☃ 책 ☃").unknown_rate == 0.5


def test_byte_fragments_are_counted() -> None:
    found = statistics("bpe", "물")  # no merge reaches it: a space and three bytes
    ids = target("bpe")("물", add_special_tokens=False)["input_ids"]
    assert found.byte_rate == pytest.approx(3 / len(ids), abs=1e-4)
    assert statistics("bpe", "학교").byte_rate == 0.0


def test_scripts_are_shares_of_the_letters() -> None:
    found = statistics("wordpiece", "학교 дом 2024, a!")
    assert found.scripts == {
        "cyrillic": 0.5,
        "hangul": pytest.approx(2 / 6, abs=1e-4),
        "latin": pytest.approx(1 / 6, abs=1e-4),
    }
    assert statistics("wordpiece", "2024 !!").scripts == {}


def test_a_long_text_is_no_error() -> None:
    assert statistics("wordpiece", "школа " * 5000).words == 5000


# --- text files ----------------------------------------------------------------------------------------------------


def test_a_text_file_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes("\ufeff학교".encode())
    assert read_text(tmp_path / "text.txt") == "학교"


@pytest.mark.parametrize(
    ("content", "hint"),
    [(b"", "is empty"), (b" \n\t\n", "is empty"), ("학교".encode("euc-kr"), "not UTF-8"), (None, "No such file")],
)
def test_an_unusable_text_file_is_refused(tmp_path: Path, content: bytes | None, hint: str) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SembridgeError, match=hint) as refused:
        read_text(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_is_no_text_file(tmp_path: Path) -> None:
    with pytest.raises(SembridgeError, match="directory"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("º", "latin"), ("ª", "latin"), ("Ａ", "latin"), ("ﾃ", "katakana"), ("ーン", "katakana"), ("々", "cjk"),
        ("학", "hangul"), ("7", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_a_letter_that_stands_for_another_has_its_script(text: str, script: str) -> None:
    assert token_script(text) == script
