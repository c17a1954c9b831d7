"""Laws of the calibration: no new row fires in every text, and nothing but decoder biases of new rows changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder
from tiny import TARGET_TEXTS, tiny_encoder, tiny_inference_free, tiny_tokenizer
from tiny_bridge import TinyBridge

from sembridge import load_bridge, load_encoder, load_tokenizer, transfer
from sembridge.encoders.anatomy import read_anatomy
from sembridge.encoders.vectors import encode_corpus
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.language_transfer.calibration import (
    N_TEXTS,
    N_TEXTS_FOR_GAIN,
    TOKENS_A_TEXT,
    lower_biases,
    matching_gain,
    random_texts,
    spread_rows,
)
from sembridge.language_transfer.drawn_rows import excess_firing
from sembridge.language_transfer.initialization.initialize import initialize
from sembridge.language_transfer.initialization.inputs import Inputs
from sembridge.language_transfer.initialization.rows import Initialization
from sembridge.language_transfer.overlap import Vocabularies, match_vocabularies
from sembridge.language_transfer.recipe import TransferRecipe

pytestmark = pytest.mark.numerics

TEXTS = [f"{a} {b}" for a in TARGET_TEXTS for b in ("집 강", "책 дом", "город")]


def firing(encoder: object, texts: list[str]) -> np.ndarray:
    """(n_dims,) the number of texts that a dimension fires in."""
    return np.diff(encode_corpus(encoder, texts).tocsc().indptr)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", ["BertForMaskedLM", "RobertaForMaskedLM", "ModernBertForMaskedLM"])
@pytest.mark.parametrize("build", [tiny_encoder, tiny_inference_free])
def test_no_new_row_fires_in_more_texts_than_asked_and_the_others_stay(head: str, build: object) -> None:
    encoder = build(head, tiny_tokenizer("wordpiece", language="target"))  # type: ignore[operator]
    before, counts = [bias.detach().clone() for bias in read_anatomy(encoder).decoder_biases()], firing(encoder, TEXTS)
    new = np.arange(10, len(counts))
    n_lowered = lower_biases(read_anatomy(encoder), new, TEXTS, most=0.25)
    after, found = read_anatomy(encoder).decoder_biases(), firing(encoder, TEXTS)
    assert n_lowered == (counts[new] > 3).sum() > 0
    # The text at the limit lands on zero within the last bits of float32, on either side.
    assert found[new].max() <= 4
    assert np.array_equal(found[:10], counts[:10])
    for old, bias in zip(before, after, strict=True):
        changed = np.flatnonzero((bias != old).numpy())
        assert set(changed) == set(new[counts[new] > 3])
        assert (bias <= old).all()


def test_an_activation_of_two_logarithms_is_undone_twice() -> None:
    plain, twice = (tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece", language="target")) for _ in "12")
    twice[1].activation_function = "log1p_relu"
    new = np.arange(10, len(firing(plain, TEXTS)))
    for encoder in (plain, twice):
        lower_biases(read_anatomy(encoder), new, TEXTS, most=0.25)
    torch.testing.assert_close(
        read_anatomy(plain).decoder_biases()[0], read_anatomy(twice).decoder_biases()[0], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("tied", [True, False])
def test_spreading_moves_the_rows_away_from_the_centre_and_touches_nothing_else(*, tied: bool) -> None:
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece", language="target"), tied=tied)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    matrices = [matrix.detach().clone() for matrix in read_anatomy(encoder).vocabulary_matrices()]
    assert len(matrices) == 2 - tied
    new, centres = np.array([12, 17]), [matrix.mean(0) for matrix in matrices]
    spread_rows(read_anatomy(encoder), new, centres, 1.2)
    for matrix, old, centre in zip(read_anatomy(encoder).vocabulary_matrices(), matrices, centres, strict=True):
        torch.testing.assert_close(matrix[new], centre + 1.2 * (old[new] - centre))
    spread_rows(read_anatomy(encoder), new, centres, 1 / 1.2)
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-5, atol=1e-6)
        if "bias" in name or "LayerNorm" in name:
            assert torch.equal(value, before[name])


@pytest.mark.parametrize("slope", [3.0, 5.0])
def test_the_gain_is_found_where_active_dims_rise_evenly_in_their_logarithm(slope: float) -> None:
    found = matching_gain(lambda gain: 100 * np.exp(slope * (gain - 1)), 150.0)
    assert found == pytest.approx(1 + np.log(1.5) / slope)


def test_a_gain_out_of_reach_is_the_nearest_one_allowed() -> None:
    assert matching_gain(lambda gain: 1.0, 1e9) == 1.25
    assert matching_gain(lambda gain: 1e9, 0.0) == 1.0  # never below the copied rows
    assert matching_gain(lambda gain: 70.0, 70.0) == 1.0


def test_without_new_rows_or_texts_nothing_happens() -> None:
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece", language="target"))
    before = read_anatomy(encoder).decoder_biases()[0].detach().clone()
    assert lower_biases(read_anatomy(encoder), np.zeros(0, np.int64), TEXTS, most=0.05) == 0
    assert lower_biases(read_anatomy(encoder), np.arange(3), [], most=0.05) == 0
    assert torch.equal(read_anatomy(encoder).decoder_biases()[0], before)


def test_random_texts_are_words_of_the_vocabulary_in_any_order_of_it() -> None:
    texts, again = (
        random_texts(read_vocabulary(tiny_tokenizer("wordpiece", language="target", shuffle_seed=seed)))
        for seed in (1, 2)
    )
    assert texts == again
    words = {word for text in texts for word in text.split(" ")}
    assert len(texts) == N_TEXTS
    assert {len(text.split(" ")) for text in texts} == {TOKENS_A_TEXT}
    assert {"학교", "дом", "home"} <= words


@pytest.mark.slow
def test_a_transferred_encoder_has_about_the_active_dims_of_its_source_on_random_tokens() -> None:
    source, tokenizer = load_encoder("mini/splade-roberta-en"), load_tokenizer("mini/tokenizer-ru")
    settings = {"preset": "default", "match_activity": True, "firing_cap": 1.0}
    result = transfer(source, tokenizer, load_bridge("mini/bridge"), recipe=TransferRecipe.build(settings))
    wanted, found = (
        encode_corpus(
            encoder, random_texts(read_vocabulary(encoder.tokenizer))[:N_TEXTS_FOR_GAIN], encode_with="fast"
        ).nnz
        for encoder in (source, result.encoder)
    )
    assert abs(result.report.gain - 1) > 0.02
    assert found / wanted == pytest.approx(1, abs=0.15)
    # The few dimensions that fire in every text do not have all others spread less.
    capped = transfer(source, tokenizer, load_bridge("mini/bridge"), recipe=TransferRecipe.build({}))
    assert capped.report.gain > result.report.gain + 0.01


def drawn_like(encoder: SparseEncoder) -> Initialization:
    vocabulary = read_vocabulary(encoder.tokenizer)
    vocabularies = Vocabularies(vocabulary, vocabulary, match_vocabularies(vocabulary, vocabulary))
    recipe = TransferRecipe.build({"method": "multivariate"})
    return initialize(Inputs(vocabularies, encoder.tokenizer, encoder.tokenizer, recipe, TinyBridge().encode))


def test_rows_that_were_drawn_themselves_fire_as_often_as_drawn_ones() -> None:
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece", language="target"))
    assert 1 <= excess_firing(read_anatomy(encoder), drawn_like(encoder), TEXTS) < 1.3
    assert excess_firing(read_anatomy(encoder), drawn_like(encoder), []) == 1


@torch.no_grad()
def test_drawn_rows_fire_where_rows_without_tails_are_silent() -> None:
    """Every row is one direction, forwards or back, and its bias takes back just as much as it ever scores."""
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece", language="target"), tied=False)
    anatomy = read_anatomy(encoder)
    weight = anatomy.splade_route("document").decoder_module.weight
    signs = torch.randint(0, 2, (len(weight), 1), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    weight.copy_(signs @ torch.randn(1, weight.shape[1], generator=torch.Generator().manual_seed(1)))
    for bias in anatomy.decoder_biases():
        bias.zero_()
    highest = np.expm1(encode_corpus(encoder, TEXTS).max())
    for bias in anatomy.decoder_biases():
        bias.fill_(-1.01 * highest)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert encode_corpus(encoder, TEXTS).nnz == 0
    assert excess_firing(anatomy, drawn_like(encoder), TEXTS) > 2
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@torch.no_grad()
def test_a_copied_row_that_fires_in_every_text_of_the_target_language_is_taken_back_too() -> None:
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    target = tiny_tokenizer("wordpiece", language="target")
    common = sorted(set(source.tokenizer.get_vocab()) & set(target.get_vocab()) - set(target.all_special_tokens))
    for bias in read_anatomy(source).decoder_biases():
        bias[source.tokenizer.convert_tokens_to_ids(common[0])] += 1000
    texts = random_texts(read_vocabulary(target))

    def firing_of(settings: dict[str, object]) -> tuple[int, int]:
        moved = transfer(source, target, TinyBridge(), recipe=TransferRecipe.build(settings))
        return int(firing(moved.encoder, texts)[target.convert_tokens_to_ids(common[0])]), moved.report.n_lowered

    assert firing_of({"firing_cap": 1.0}) == (N_TEXTS, 0)
    n_fired, n_lowered = firing_of({"firing_cap": 0.25})
    most = 0.25 + TOKENS_A_TEXT / len(read_vocabulary(target).text_ids)  # a few tokens stand in many texts themselves
    assert n_fired <= most * N_TEXTS + 1  # the text at the limit lands on zero within the last bits
    assert most < 0.9
    assert n_lowered > 0
