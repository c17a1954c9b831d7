"""Health check: numbers that tell a sparse encoder that collapsed from one that retrieves, before anyone reads nDCG.

Both known collapses are covered: all vectors zero after too strong a regulariser (naver/splade #61) and all vectors
nearly equal at the start of training (sentence-transformers #3431).

Stop-like terms are found, not listed, so that they exist in every language: the dimensions that fire for more than half
of all documents. A query gains nothing by them, whatever word they stand for.
"""

import unicodedata
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sembridge.encoders.vectors import active_counts
from sembridge.encoders.vocabulary import TokenKind, Vocabulary
from sembridge.errors import SembridgeError

ZERO_LIMIT = 0.0
COSINE_LIMIT = 0.95
SPECIAL_LIMIT = 0.05
PUNCTUATION_LIMIT = 0.10
STOP_LIKE_LIMIT = 0.25
FREQUENT_LIMIT = 16
DEAD_LIMIT = 0.95
MIN_DOCUMENTS = 20  # with fewer, similar documents and words in most of them are no sign of anything
MIN_POSTINGS_PER_DIMENSION = 10  # with fewer, a dimension may simply not have had its turn


@dataclass(frozen=True)
class HealthCheck:
    """One number; `warning` is a line with what to do where the number is over its limit, else None.

    `value` is None where it cannot be computed (no vocabulary given, or fewer than two vectors that are not zero).
    """

    name: str
    value: float | None
    limit: float
    warning: str | None


@dataclass(frozen=True)
class FrequentDimension:
    """A dimension that fires for more than half of all documents."""

    dimension: int
    token: str
    document_share: float


@dataclass(frozen=True)
class HealthReport:
    """All checks, and the dimensions that fire for most documents, most frequent first (at most 50)."""

    checks: tuple[HealthCheck, ...]
    frequent_dimensions: tuple[FrequentDimension, ...]

    @property
    def warnings(self) -> list[str]:
        """One line for every check over its limit; empty for a healthy encoder."""
        return [check.warning for check in self.checks if check.warning is not None]

    def to_dict(self) -> dict[str, object]:
        """The report as JSON-able values."""
        return asdict(self)


def health(query_vectors: csr_array, document_vectors: csr_array, vocabulary: Vocabulary | None = None) -> HealthReport:
    """The health report of an encoder, from the vectors of some queries and documents of its language.

    Args:
        query_vectors: (n_queries, n_dims).
        document_vectors: (n_documents, n_dims); a few hundred are enough.
        vocabulary: names the dimensions; without it the shares of special tokens and punctuation are left out.

    Raises:
        SembridgeError: no documents, or widths that differ.
    """
    n_dims = document_vectors.shape[1]
    if document_vectors.shape[0] == 0:
        raise SembridgeError("No document vectors: the health check needs at least one, better a few hundred.")
    if query_vectors.shape[1] != n_dims or (vocabulary is not None and len(vocabulary) != n_dims):
        raise SembridgeError(
            f"Document vectors have {n_dims} dimensions, query vectors {query_vectors.shape[1]}, the vocabulary "
            f"{'none' if vocabulary is None else len(vocabulary)}: expected the same width; use one encoder's."
        )
    frequent = _frequent_dimensions(document_vectors, vocabulary)
    return HealthReport(
        checks=(
            _check_zero("queries", query_vectors),
            _check_zero("documents", document_vectors),
            _check_cosine("queries", query_vectors),
            _check_cosine("documents", document_vectors),
            _check_special(document_vectors, vocabulary),
            _check_punctuation(document_vectors, vocabulary),
            _check_stop_like(frequent, document_vectors),
            _check_frequent(frequent, document_vectors),
            _check_dead(query_vectors, document_vectors),
        ),
        frequent_dimensions=tuple(frequent[:50]),
    )


def mean_pairwise_cosine(vectors: csr_array) -> float | None:
    """The mean cosine of all pairs of different rows that are not zero, exact; None with fewer than two of them.

    The sum over all pairs of unit vectors u is |sum u|^2, so no pair is ever formed.
    """
    norms = np.sqrt(vectors.multiply(vectors).sum(axis=1))
    nonzero = norms > 0
    n = int(nonzero.sum())
    if n < 2:
        return None
    weights = np.zeros(len(norms))
    weights[nonzero] = 1 / norms[nonzero]
    total = vectors.T @ weights
    return float((total @ total - n) / (n * (n - 1)))


def _check_zero(what: str, vectors: csr_array) -> HealthCheck:
    n_zero = int((np.diff(vectors.indptr) == 0).sum())
    share = n_zero / max(1, vectors.shape[0])
    advice = (
        f"{n_zero} of {vectors.shape[0]} {what} have an all-zero vector and find nothing: "
        "lower the regulariser weights or lengthen their warm-up, and check that the decoder bias was transferred."
    )
    return _check(f"all-zero {what}", share, ZERO_LIMIT, advice)


def _check_cosine(what: str, vectors: csr_array) -> HealthCheck:
    cosine = mean_pairwise_cosine(vectors)
    advice = (
        f"The {what} are nearly the same vector (mean pairwise cosine {cosine or 0:.3f}): the encoder has collapsed; "
        "check that its tokenizer knows the language of the texts and that its head is a trained "
        "masked-language-model head, keep fewer active dims, or train it."
    )
    judged = vectors.shape[0] >= MIN_DOCUMENTS
    return _check(f"mean pairwise cosine of {what}", cosine, COSINE_LIMIT, advice, judged=judged)


def _check_special(document_vectors: csr_array, vocabulary: Vocabulary | None) -> HealthCheck:
    share = None
    if vocabulary is not None:
        share = _weight_share(document_vectors, np.asarray(vocabulary.kinds) == TokenKind.SPECIAL)
    advice = (
        f"{share or 0:.0%} of the documents' weight is on special tokens, which match every text: "
        "check that special tokens were matched by role and that their decoder bias was transferred."
    )
    return _check("weight on special tokens", share, SPECIAL_LIMIT, advice)


def _check_punctuation(document_vectors: csr_array, vocabulary: Vocabulary | None) -> HealthCheck:
    share = None
    if vocabulary is not None:
        share = _weight_share(document_vectors, np.array([_is_punctuation(text) for text in vocabulary.texts]))
    advice = (
        f"{share or 0:.0%} of the documents' weight is on punctuation, which matches every text: "
        "suppress these tokens or train with a higher document regulariser weight."
    )
    return _check("weight on punctuation", share, PUNCTUATION_LIMIT, advice)


def _check_stop_like(frequent: list[FrequentDimension], document_vectors: csr_array) -> HealthCheck:
    chosen = np.zeros(document_vectors.shape[1], dtype=np.bool_)
    chosen[[dimension.dimension for dimension in frequent]] = True
    share = _weight_share(document_vectors, chosen)
    advice = (
        f"{share:.0%} of the documents' weight is on stop-like terms, dimensions that fire for more than half of all "
        f"documents (first: {_examples(frequent)}): it costs postings and finds nothing; correct hubs in the transfer, "
        "or train with a higher document regulariser weight."
    )
    judged = document_vectors.shape[0] >= MIN_DOCUMENTS
    return _check("weight on stop-like terms", share, STOP_LIKE_LIMIT, advice, judged=judged)


def _check_frequent(frequent: list[FrequentDimension], document_vectors: csr_array) -> HealthCheck:
    advice = (
        f"{len(frequent)} dimensions fire for more than half of all documents (first: {_examples(frequent)}) and "
        "tell them apart poorly: correct hubs in the transfer, or train with a higher document regulariser weight."
    )
    judged = document_vectors.shape[0] >= MIN_DOCUMENTS
    return _check("dimensions in most documents", float(len(frequent)), FREQUENT_LIMIT, advice, judged=judged)


def _check_dead(query_vectors: csr_array, document_vectors: csr_array) -> HealthCheck:
    n_dims = document_vectors.shape[1]
    n_dead = int(((active_counts(query_vectors) + active_counts(document_vectors)) == 0).sum())
    n_postings = query_vectors.nnz + document_vectors.nnz
    advice = (
        f"{n_dead} of {n_dims} dimensions fire for no text, though {n_postings:,} postings were made: the same few "
        "dimensions carry everything; check the rows and the decoder bias of the others."
    )
    judged = n_postings >= MIN_POSTINGS_PER_DIMENSION * n_dims
    return _check("dead dimensions", n_dead / n_dims, DEAD_LIMIT, advice, judged=judged)


def _examples(frequent: list[FrequentDimension]) -> str:
    return ", ".join(dimension.token for dimension in frequent[:5])


def _check(name: str, value: float | None, limit: float, advice: str, *, judged: bool = True) -> HealthCheck:
    over = judged and value is not None and value > limit
    return HealthCheck(name=name, value=value, limit=limit, warning=advice if over else None)


def _frequent_dimensions(document_vectors: csr_array, vocabulary: Vocabulary | None) -> list[FrequentDimension]:
    shares = active_counts(document_vectors) / document_vectors.shape[0]
    frequent = [int(dimension) for dimension in np.argsort(-shares, kind="stable") if shares[dimension] > 0.5]
    return [
        FrequentDimension(
            dimension=dimension,
            token=f"dimension {dimension}" if vocabulary is None else vocabulary.tokens[dimension],
            document_share=float(shares[dimension]),
        )
        for dimension in frequent
    ]


def _weight_share(vectors: csr_array, chosen: NDArray[np.bool_]) -> float:
    weights = np.asarray(vectors.sum(axis=0), dtype=np.float64)
    total = float(weights.sum())
    return float(weights[chosen].sum()) / total if total else 0.0


def _is_punctuation(text: str) -> bool:
    """Nothing but punctuation and symbols; the empty text is none."""
    return bool(text) and all(unicodedata.category(character)[0] in "PS" for character in text)
