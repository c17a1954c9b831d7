"""The head without logits: the stock head's vectors and gradients, for every architecture."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tiny import HEADS, tiny_encoder, tiny_inference_free, tiny_tokenizer

from sembridge.encoders.anatomy import read_anatomy
from sembridge.training.head import plain_attention, without_logits

pytestmark = pytest.mark.numerics

TEXTS = ["home school river", "", "find small green house in the city at night and read a book", "tree"]
FAMILY = {"RobertaForMaskedLM": "bpe", "ModernBertForMaskedLM": "bpe", "XLMRobertaForMaskedLM": "unigram"}


def encoder(head: str = "BertForMaskedLM") -> SparseEncoder:
    return without_dropout(tiny_encoder(head, tiny_tokenizer(FAMILY.get(head, "wordpiece"))))


def without_dropout(made: SparseEncoder) -> SparseEncoder:
    for module in made.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return made.train()


def pooling(made: SparseEncoder) -> SpladePooling:
    return next(module for module in made.modules() if isinstance(module, SpladePooling))


def gradients(made: SparseEncoder, texts: list[str] = TEXTS) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The vectors of the texts, and the gradient of an uneven sum of their weights by parameter."""
    made.zero_grad()
    vectors = made(made.preprocess(texts, task="document"))["sentence_embedding"]
    torch.manual_seed(0)
    (vectors * torch.rand(vectors.shape)).sum().backward()
    return vectors.detach(), {
        name: parameter.grad.clone() for name, parameter in made.named_parameters() if parameter.grad is not None
    }


def check_same(made: SparseEncoder) -> None:
    """Vectors and gradients inside `without_logits` are those outside."""
    expected, expected_gradients = gradients(made)
    assert (expected > 0).any()
    with without_logits(read_anatomy(made)):
        assert "forward" in vars(pooling(made))
        found, found_gradients = gradients(made)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert found_gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_vectors_and_gradients_are_those_of_the_stock_head(head: str) -> None:
    check_same(encoder(head))


def test_both_logarithms_are_taken() -> None:
    made = encoder()
    pooling(made).activation_function = "log1p_relu"
    check_same(made)


def test_what_cannot_do_without_logits_stays_stock() -> None:
    made = encoder()
    pooling(made).pooling_strategy = "sum"
    expected, _ = gradients(made)
    with without_logits(read_anatomy(made)):
        assert "forward" not in vars(pooling(made))
        found, _ = gradients(made)
    assert torch.equal(found, expected)


def test_the_document_side_of_an_inference_free_encoder_does_without_logits() -> None:
    check_same(without_dropout(tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece"))))


def test_half_precision_is_that_of_the_surrounding_autocast() -> None:
    made = encoder()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, _ = gradients(made)
        with without_logits(read_anatomy(made)):
            found, _ = gradients(made)
    exact, _ = gradients(made)
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() <= 2 * (expected - exact).abs().max() + 1e-3


def test_encoder_and_parameters_are_as_before_afterwards() -> None:
    made = encoder()
    names, state = [name for name, _ in made.named_parameters()], made.state_dict()
    with without_logits(read_anatomy(made)), plain_attention(read_anatomy(made), 2):
        assert [name for name, _ in made.named_parameters()] == names
        assert made.state_dict().keys() == state.keys()
        assert "forward" in vars(pooling(made))
    assert not [module for module in made.modules() if "forward" in vars(module)]


def test_plain_attention_is_the_same_attention_where_it_is_small_enough() -> None:
    made = encoder()
    model = made[0].model
    model.set_attn_implementation("sdpa")
    expected, expected_gradients = gradients(made)
    with plain_attention(read_anatomy(made), 4):
        assert model.config._attn_implementation == "eager"
        found, found_gradients = gradients(made)
    assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, rtol=1e-3, atol=1e-5)
    with plain_attention(read_anatomy(made), 10**7):  # a batch whose scores would not fit
        assert model.config._attn_implementation == "sdpa"
