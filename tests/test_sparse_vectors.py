"""Encoding to CSR is the encoder's own encoding, whatever the batch; the FLOPS statistic is that of the field."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sentence_transformers import SparseEncoder
from tiny import ENGLISH_TEXTS, tiny_encoder, tiny_inference_free, tiny_tokenizer

from sembridge.encoders import vectors as sparse_vectors
from sembridge.encoders.vectors import encode_corpus, encode_queries, flops
from sembridge.errors import SembridgeError

pytestmark = pytest.mark.numerics

# Padding and the order of sums move a float32 logit of size ten by about 1e-6.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def encoder() -> SparseEncoder:
    return tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_rows_are_the_texts_in_their_order(encoder: SparseEncoder, batch_size: int) -> None:
    texts = [*ENGLISH_TEXTS, "a"]
    vectors = encode_corpus(encoder, texts, batch_size=batch_size)
    assert (vectors.format, vectors.dtype, vectors.shape) == ("csr", np.float32, (6, len(encoder.tokenizer)))
    for row, text in enumerate(texts):
        alone = encoder.encode_document(text, convert_to_sparse_tensor=False).numpy()
        np.testing.assert_allclose(vectors[[row]].toarray()[0], alone, atol=TOLERANCE)


def test_no_zero_is_stored(encoder: SparseEncoder) -> None:
    vectors = encode_corpus(encoder, ENGLISH_TEXTS)
    assert (vectors.data > 0).all()
    assert 0 < vectors.nnz < vectors.shape[0] * vectors.shape[1]


def test_queries_and_documents_take_their_own_side_of_a_router() -> None:
    encoder = tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    queries, documents = encode_queries(encoder, ENGLISH_TEXTS), encode_corpus(encoder, ENGLISH_TEXTS)
    expected = encoder.encode_query(list(ENGLISH_TEXTS), convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(queries.toarray(), expected, atol=TOLERANCE)
    assert queries.nnz < documents.nnz


def test_queries_and_documents_take_their_own_prompt(encoder: SparseEncoder) -> None:
    encoder.prompts = {"query": "find ", "document": "read "}
    try:
        assert _same(encode_queries(encoder, ["book"]), encode_corpus(encoder, ["book"])) is False
        prompted = encoder.encode("find book", convert_to_sparse_tensor=False).numpy()
        np.testing.assert_allclose(encode_queries(encoder, ["book"]).toarray()[0], prompted, atol=TOLERANCE)
    finally:
        encoder.prompts = {}


def _same(left: csr_array, right: csr_array) -> bool:
    return np.allclose(left.toarray(), right.toarray(), atol=TOLERANCE)


def test_max_active_dims_keeps_the_largest_weights(encoder: SparseEncoder) -> None:
    full, kept = encode_corpus(encoder, ENGLISH_TEXTS), encode_corpus(encoder, ENGLISH_TEXTS, max_active_dims=4)
    for row in range(len(ENGLISH_TEXTS)):
        assert sorted(kept[[row]].data.tolist()) == pytest.approx(sorted(full[[row]].data.tolist())[-4:], abs=TOLERANCE)


def test_batches_shrink_to_the_memory_limit(encoder: SparseEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    n_dims = len(encoder.tokenizer)
    texts = ["a" * 28] * 3 + ["b"] * 9
    order = list(range(12))
    sizes = lambda: [len(batch) for batch in sparse_vectors._batches(encoder, texts, order, 8)]  # noqa: E731
    assert sizes() == [8, 4]
    monkeypatch.setattr(sparse_vectors, "_MAX_LOGIT_BYTES", 4 * n_dims * 30 * 2)  # two texts of 30 tokens
    assert sizes() == [2, 2, 8]
    monkeypatch.setattr(sparse_vectors, "_MAX_LOGIT_BYTES", 1)
    assert sizes() == [1] * 12


def test_empty_vectors_and_one_text(encoder: SparseEncoder) -> None:
    assert encode_corpus(encoder, ["home"]).shape[0] == 1
    silent = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    with torch.no_grad():
        silent[0].model.cls.predictions.bias.fill_(-1e4)
    assert encode_corpus(silent, ENGLISH_TEXTS).nnz == 0


def test_weights_that_are_not_finite_are_refused_with_the_text() -> None:
    broken = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    with torch.no_grad():
        tree = broken.tokenizer.convert_tokens_to_ids("tree")
        broken[0].model.bert.embeddings.word_embeddings.weight[tree] = float("nan")
        broken[0].model.cls.predictions.decoder.weight = torch.nn.Parameter(
            torch.ones_like(broken[0].model.cls.predictions.decoder.weight)
        )
    assert encode_corpus(broken, ["home"]).shape[0] == 1
    with pytest.raises(SembridgeError, match="not finite for the text 'a tree'"):
        encode_corpus(broken, ["home", "a tree", "river water"])


def test_nothing_to_encode_and_no_batch_are_refused(encoder: SparseEncoder) -> None:
    with pytest.raises(SembridgeError, match="No texts to encode"):
        encode_corpus(encoder, [])
    with pytest.raises(SembridgeError, match="batch_size is 0"):
        encode_queries(encoder, ["home"], batch_size=0)


def test_progress_goes_to_stderr_only(
    encoder: SparseEncoder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # elsewhere so short a loop says nothing
    encode_corpus(encoder, ["home"])
    assert capsys.readouterr() == ("", "")
    encode_corpus(encoder, ["home"], progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Encoding documents" in err


def test_flops_by_hand() -> None:
    queries = csr_array(np.array([[1.0, 0, 0], [2.0, 3.0, 0]]))
    documents = csr_array(np.array([[1.0, 0, 5], [0, 3.0, 0], [4.0, 0, 0], [0, 0, 0]]))
    assert flops(queries, documents) == pytest.approx(1 * 2 / 4 + 1 / 2 * 1 / 4 + 0)
