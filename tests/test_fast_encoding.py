"""Fast encoding is the stock encoding: for every head, whatever the lengths, batches and order of the texts."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sentence_transformers import SparseEncoder
from tiny import ENGLISH_TEXTS, ENGLISH_WORDS, HEADS, tiny_encoder, tiny_inference_free, tiny_tokenizer

from sembridge.encoders import fast_head
from sembridge.encoders.anatomy import read_anatomy
from sembridge.encoders.fast_head import fast_encoder
from sembridge.encoders.loading import load_encoder
from sembridge.encoders.vectors import TextEncoder, encode_corpus, encode_queries
from sembridge.errors import SembridgeError
from sembridge.retrieval.sources import load_retrieval_data

pytestmark = pytest.mark.numerics

TOLERANCE = 1e-4  # the promise; what is seen is about 2e-6, the float32 rounding of sums in another order
FAMILIES = {"RobertaForMaskedLM": "bpe", "XLMRobertaForMaskedLM": "unigram", "MPNetForMaskedLM": "bpe"}


def texts_of_many_lengths() -> list[str]:
    generator = random.Random(5)
    lengths = [0, 1, 2, 7, 20, 28, 29, 60, *(generator.randint(1, 40) for _ in range(12))]
    return [" ".join(generator.choices(ENGLISH_WORDS, k=length)) for length in lengths]


def stock(encoder: SparseEncoder, texts: list[str], task: str = "document") -> np.ndarray:
    encode = encoder.encode_document if task == "document" else encoder.encode_query
    return encode(texts, convert_to_sparse_tensor=False).float().numpy()


def assert_same(fast: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(fast, expected, atol=TOLERANCE, rtol=0)
    differs = (fast > 0) != (expected > 0)
    assert np.maximum(fast, expected)[differs].max(initial=0) < TOLERANCE


@pytest.fixture(autouse=True)
def fast_means_fast(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A test that compares the stock way with itself would prove nothing; the few that mean to clear the log."""
    yield
    assert [message for message in caplog.messages if "is not used" in message] == []


@pytest.fixture(scope="module")
def encoder() -> SparseEncoder:
    return tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))


def test_auto_is_fast_where_it_can_be_and_silent_where_it_cannot(encoder: SparseEncoder) -> None:
    assert TextEncoder(encoder, "document", "auto").way == "fast"
    other = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), pooling_strategy="sum")
    assert TextEncoder(other, "document", "auto").way == "stock"
    free = tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    assert [TextEncoder(free, task, "auto").way for task in ("query", "document")] == ["stock", "fast"]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", HEADS)
def test_every_head_gives_the_stock_vectors(architecture: str, tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_head, "_CHUNK_ENTRIES", 17)  # several chunks and a shorter last one
    encoder = tiny_encoder(architecture, tiny_tokenizer(FAMILIES.get(architecture, "wordpiece")), tied=tied)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    texts = texts_of_many_lengths()
    fast = fast_encoder(read_anatomy(encoder), "document").encode(texts, batch_size=4).toarray()
    expected = stock(encoder, texts)
    assert 0.05 < (expected > 0).mean() < 0.999
    assert_same(fast, expected)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_every_activation_gives_the_stock_vectors(activation: str) -> None:
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), activation_function=activation)
    assert_same(
        encode_corpus(encoder, ENGLISH_TEXTS, encode_with="fast").toarray(), stock(encoder, list(ENGLISH_TEXTS))
    )


@pytest.mark.parametrize(("batch_size", "max_tokens"), [(1, 2048), (3, 2048), (32, 2048), (32, 40), (32, 1)])
def test_batches_and_order_do_not_matter(
    encoder: SparseEncoder, batch_size: int, max_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_head, "_MAX_TOKENS", max_tokens)
    texts = texts_of_many_lengths()
    random.Random(batch_size).shuffle(texts)
    assert_same(
        encode_corpus(encoder, texts, encode_with="fast", batch_size=batch_size).toarray(), stock(encoder, texts)
    )


def test_a_pass_through_the_body_keeps_to_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_head, "_MAX_TOKENS", 12)
    n_tokens = torch.tensor([3, 12, 6, 1, 0, 6, 3, 40])
    batches = list(fast_head._batches(n_tokens, batch_size=3))
    assert batches == [[7], [1], [2, 5], [0, 6, 3], [4]]


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_max_active_dims_as_in_the_stock_encoder(encoder: SparseEncoder, limit: int) -> None:
    texts = texts_of_many_lengths()
    expected = encoder.encode_document(texts, convert_to_sparse_tensor=False, max_active_dims=limit).numpy()
    assert_same(encode_corpus(encoder, texts, encode_with="fast", max_active_dims=limit).toarray(), expected)
    encoder.max_active_dims = limit
    try:
        assert_same(encode_corpus(encoder, texts, encode_with="fast").toarray(), expected)
    finally:
        encoder.max_active_dims = None


@pytest.mark.parametrize(
    ("prompts", "default"),
    [({"query": "find ", "document": "read "}, None), ({"passage": "a tree "}, None), ({"other": "night "}, "other")],
)
def test_prompts_as_in_the_stock_encoder(prompts: dict[str, str], default: str | None) -> None:
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    plain = stock(encoder, ["book", "home"])
    encoder.prompts, encoder.default_prompt_name = prompts, default
    documents, queries = stock(encoder, ["book", "home"]), stock(encoder, ["book", "home"], "query")
    assert not np.allclose(documents, plain, atol=1e-2)
    assert_same(encode_corpus(encoder, ["book", "home"], encode_with="fast").toarray(), documents)
    assert_same(encode_queries(encoder, ["book", "home"], encode_with="fast").toarray(), queries)


def test_a_shorter_maximal_length_is_kept_to(encoder: SparseEncoder) -> None:
    texts = texts_of_many_lengths()
    long, encoder.max_seq_length = encoder.max_seq_length, 9
    try:
        assert_same(encode_corpus(encoder, texts, encode_with="fast").toarray(), stock(encoder, texts))
    finally:
        encoder.max_seq_length = long


def test_an_inference_free_encoder_is_fast_for_documents_only(caplog: pytest.LogCaptureFixture) -> None:
    encoder = tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    texts = texts_of_many_lengths()
    with caplog.at_level(logging.WARNING):
        assert_same(encode_corpus(encoder, texts, encode_with="fast").toarray(), stock(encoder, texts))
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING):
        assert_same(encode_queries(encoder, texts, encode_with="fast").toarray(), stock(encoder, texts, "query"))
    assert [message[:56] for message in caplog.messages] == ["--encode-with fast is not used for the query texts: The "]
    caplog.clear()


def test_what_is_not_known_goes_the_stock_way_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = tiny_tokenizer("wordpiece")
    for encoder, reason in (
        (tiny_encoder("BertForMaskedLM", tokenizer, pooling_strategy="sum"), "pools by sum"),
        (tiny_encoder("BertForMaskedLM", tokenizer, dtype=torch.bfloat16), "torch.bfloat16 on cpu"),
    ):
        caplog.clear()
        vectors = encode_corpus(encoder, ENGLISH_TEXTS, encode_with="fast", batch_size=2)
        assert len(caplog.messages) == 1
        assert reason in caplog.messages[0]
        np.testing.assert_allclose(vectors.toarray(), encode_corpus(encoder, ENGLISH_TEXTS, batch_size=2).toarray())
        with pytest.raises(SembridgeError, match=reason):
            fast_encoder(read_anatomy(encoder), "document")
    caplog.clear()


def test_an_unknown_engine_is_refused(encoder: SparseEncoder) -> None:
    with pytest.raises(SembridgeError, match="encode_with is 'faster': expected one of auto, stock, fast, fast-bf16"):
        encode_corpus(encoder, ["home"], encode_with="faster")  # type: ignore[arg-type]


def test_weights_that_are_not_finite_are_refused_with_the_text() -> None:
    broken = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    with torch.no_grad():
        tree = broken.tokenizer.convert_tokens_to_ids("tree")
        broken[0].model.bert.embeddings.word_embeddings.weight[tree] = float("nan")
    with pytest.raises(SembridgeError, match="not finite for the text"):
        encode_corpus(broken, ["home", "a tree", "river water"], encode_with="fast")


@pytest.mark.slow
def test_bfloat16_stays_near_on_the_bundled_encoder() -> None:
    encoder = load_encoder("mini/splade-en")
    texts = list(load_retrieval_data("mini/faq-en").corpus.values())[:40]
    expected = encode_corpus(encoder, texts, encode_with="fast").toarray()
    near = encode_corpus(encoder, texts, encode_with="fast-bf16").toarray()
    assert encoder.dtype == torch.float32
    cosine = (expected * near).sum(axis=1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(near, axis=1)
    assert cosine.min() > 0.999
    assert not np.array_equal(expected, near)
