"""Every kind of collapse raises its own warning, and vectors without one raise none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.sparse import csr_array

from sembridge.encoders.vocabulary import TokenKind, Vocabulary
from sembridge.errors import SembridgeError
from sembridge.retrieval.health import HealthReport, health, mean_pairwise_cosine

TOKENS = ("[CLS]", ",", "...", *(f"word{n}" for n in range(17)))


@pytest.fixture
def vocabulary() -> Vocabulary:
    """20 tokens: one special, two of punctuation, 17 words."""
    return Vocabulary(
        tokens=TOKENS,
        texts=("", *TOKENS[1:]),
        starts_word=np.ones(20, dtype=np.bool_),
        kinds=np.array([TokenKind.SPECIAL] + [TokenKind.TEXT] * 19, dtype=np.uint8),
        roles={"cls": 0},
        byte_values={},
    )


def healthy_documents(n_documents: int = 60) -> np.ndarray:
    """(n_documents, 20): five random words a document."""
    generator = np.random.default_rng(0)
    vectors = np.zeros((n_documents, 20), dtype=np.float32)
    for row in vectors:
        row[3 + generator.choice(17, size=5, replace=False)] = generator.random(5) + 0.5
    return vectors


def report_of(documents: np.ndarray, vocabulary: Vocabulary | None, queries: np.ndarray | None = None) -> HealthReport:
    return health(csr_array(documents if queries is None else queries), csr_array(documents), vocabulary)


def warned_checks(report: HealthReport) -> list[str]:
    return [check.name for check in report.checks if check.warning]


def value_of(report: HealthReport, name: str) -> float | None:
    return {check.name: check.value for check in report.checks}[name]


def test_healthy_vectors_raise_no_warning(vocabulary: Vocabulary) -> None:
    report = report_of(healthy_documents(), vocabulary)
    assert report.warnings == []
    assert json.loads(json.dumps(report.to_dict()))["checks"][0] == {
        "name": "all-zero queries",
        "value": 0.0,
        "limit": 0.0,
        "warning": None,
    }


def test_zero_vectors_are_counted(vocabulary: Vocabulary) -> None:
    queries, documents = healthy_documents(), healthy_documents()
    queries[:6] = 0
    documents[:3] = 0
    report = report_of(documents, vocabulary, queries)
    assert warned_checks(report) == ["all-zero queries", "all-zero documents"]
    assert (value_of(report, "all-zero queries"), value_of(report, "all-zero documents")) == (0.1, 0.05)
    assert report.warnings[0].startswith("6 of 60 queries have an all-zero vector")


def test_all_vectors_zero_is_a_report_and_not_a_crash(vocabulary: Vocabulary) -> None:
    report = report_of(np.zeros((30, 20), dtype=np.float32), vocabulary)
    assert warned_checks(report) == ["all-zero queries", "all-zero documents"]
    assert value_of(report, "mean pairwise cosine of documents") is None


def test_mean_pairwise_cosine_is_that_of_all_pairs() -> None:
    vectors = healthy_documents(9)
    vectors[4] = 0  # left out: it has no direction
    units = np.delete(vectors, 4, axis=0)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    cosines = (units @ units.T)[~np.eye(8, dtype=bool)]
    # 1e-6: norms are summed in float32
    assert mean_pairwise_cosine(csr_array(vectors)) == pytest.approx(cosines.mean(), abs=1e-6)
    assert mean_pairwise_cosine(csr_array(vectors[:1])) is None


def test_nearly_equal_vectors_have_collapsed(vocabulary: Vocabulary) -> None:
    documents = 1 + 0.05 * np.random.default_rng(0).random((30, 20), dtype=np.float32)
    documents[:, :3] = 0
    of_documents = report_of(documents, vocabulary, queries=healthy_documents())
    assert "mean pairwise cosine of documents" in warned_checks(of_documents)
    assert "The documents are nearly the same vector (mean pairwise cosine 1.000)" in of_documents.warnings[0]
    of_queries = report_of(healthy_documents(), vocabulary, queries=documents)
    assert warned_checks(of_queries) == ["mean pairwise cosine of queries"]


@pytest.mark.parametrize(
    ("columns", "name", "share"),
    [([0], "weight on special tokens", 1 / 6), ([1, 2], "weight on punctuation", 2 / 7)],
)
def test_weight_on_tokens_that_match_everything(
    vocabulary: Vocabulary, columns: list[int], name: str, share: float
) -> None:
    documents = (healthy_documents() > 0).astype(np.float32)
    documents[:, columns] = 1
    report = report_of(documents, vocabulary)
    assert warned_checks(report) == [name, *(["weight on stop-like terms"] if share > 0.25 else [])]
    assert value_of(report, name) == pytest.approx(share)
    assert value_of(report, "weight on stop-like terms") == pytest.approx(share)  # they are in every document


def test_dimensions_of_most_documents_are_named_by_their_tokens(vocabulary: Vocabulary) -> None:
    documents = healthy_documents(100)
    documents[:60, 5] = 0.2
    documents[:90, 7] = 0.2
    report = report_of(documents, vocabulary)
    shares = {dimension.token: dimension.document_share for dimension in report.frequent_dimensions}
    assert list(shares) == ["word4", "word2"]
    assert shares["word4"] == (documents[:, 7] > 0).mean()
    assert warned_checks(report) == []  # two are no more than stop words


def test_exactly_half_of_the_documents_is_not_most(vocabulary: Vocabulary) -> None:
    documents = np.zeros((40, 20), dtype=np.float32)
    documents[:20, 5] = documents[20:, 6] = 1
    assert report_of(documents, vocabulary).frequent_dimensions == ()


def test_many_dimensions_of_most_documents_are_warned_about(vocabulary: Vocabulary) -> None:
    generator = np.random.default_rng(0)
    documents = (generator.random((60, 20)) < 0.9) * generator.random((60, 20))
    documents[:, :3] = 0
    report = report_of(documents.astype(np.float32), vocabulary)
    assert warned_checks(report) == ["weight on stop-like terms", "dimensions in most documents"]
    assert "17 dimensions fire for more than half" in report.warnings[1]


def test_stop_like_terms_are_the_dimensions_of_most_documents(vocabulary: Vocabulary) -> None:
    documents = np.zeros((40, 20), dtype=np.float32)
    documents[np.arange(40), 5 + np.arange(40) % 15] = 3
    documents[:21, 4] = 1  # 21 of 40 documents
    documents[20:, 3] = 1  # half of them are not most
    report = report_of(documents, vocabulary)
    assert value_of(report, "weight on stop-like terms") == pytest.approx(21 / (40 * 3 + 21 + 20))
    documents[:21, 4] = 3
    report = report_of(documents, vocabulary)
    assert warned_checks(report) == ["weight on stop-like terms"]
    assert "31% of the documents' weight is on stop-like terms" in report.warnings[0]
    assert "(first: word1)" in report.warnings[0]


def test_dead_dimensions_count_once_there_were_enough_postings() -> None:
    documents = np.zeros((40, 200), dtype=np.float32)
    documents[np.arange(40), np.arange(40) % 9] = 1
    report = report_of(documents, None)
    assert value_of(report, "dead dimensions") == 191 / 200
    assert warned_checks(report) == []  # 80 postings say nothing about 200 dimensions
    many = np.tile(documents, (50, 1))
    assert warned_checks(report_of(many, None)) == ["dead dimensions"]


def test_a_handful_of_similar_documents_is_no_collapse(vocabulary: Vocabulary) -> None:
    documents = np.zeros((5, 20), dtype=np.float32)
    documents[:, 3:] = 1
    report = report_of(documents, vocabulary)
    assert value_of(report, "mean pairwise cosine of documents") == pytest.approx(1.0)
    assert warned_checks(report) == []


def test_without_a_vocabulary_dimensions_go_by_number() -> None:
    documents = healthy_documents()
    documents[:, 0] = 1
    report = report_of(documents, None)
    assert report.frequent_dimensions[0].token == "dimension 0"
    assert value_of(report, "weight on special tokens") is None
    assert value_of(report, "weight on punctuation") is None


def test_widths_must_agree_and_documents_must_be_there(vocabulary: Vocabulary) -> None:
    with pytest.raises(SembridgeError, match="Document vectors have 19 dimensions, query vectors 20"):
        health(csr_array((1, 20)), csr_array((1, 19)), None)
    with pytest.raises(SembridgeError, match="the vocabulary 20"):
        health(csr_array((1, 19)), csr_array((1, 19)), vocabulary)
    with pytest.raises(SembridgeError, match="No document vectors"):
        health(csr_array((1, 20)), csr_array((0, 20)), vocabulary)
