"""What every search engine offers, whatever runs below it: one small protocol, and the things that pass through it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from sembridge.retrieval.corpus import Document

MAX_TAG_LENGTH = 256  # in characters; an engine's own limit on keywords is higher


@dataclass(frozen=True, eq=False)
class SparseVector:
    """The active dimensions of one text, ascending, and their weights, all above zero.

    Attributes:
        indices: (n_active,) int32.
        values: (n_active,) float32.
    """

    indices: NDArray[np.int32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Term:
    """A dimension that a query and a document share; its part of the score is the product of the weights."""

    dimension: int
    query_weight: float
    document_weight: float

    @property
    def product(self) -> float:
        return self.query_weight * self.document_weight


@dataclass(frozen=True)
class Hit:
    """A document that a search found: what was kept of it, its score, and its terms, heaviest first, if asked for."""

    id: str
    title: str
    text: str
    fields: Mapping[str, Any]
    score: float
    terms: tuple[Term, ...] = ()


class Engine(Protocol):
    """A place that holds documents with their sparse vectors and finds the best by dot product.

    Raises of every method:
        EngineUnavailableError: a server does not answer, also after the last try.
        SembridgeError: it answers with a refusal.
    """

    def create(self) -> None:
        """Makes the place; an empty one that is there already is taken, one that holds documents is refused."""

    def add(self, documents: "Sequence[Document]", vectors: csr_array) -> None:
        """Adds documents with their rows of (n_documents, n_dims) vectors; one of a known id takes its place.

        On return they survive the end of this process. The same call twice leaves what one call leaves.
        """

    def delete(self, ids: Sequence[str]) -> None:
        """Removes the documents of these ids; an id that is not there is no error."""

    def finish(self) -> None:
        """Makes all that was added visible to searches, and searches fast."""

    def search(
        self, query: SparseVector, *, top_k: int, tags: Sequence[str] = (), with_terms: bool = False
    ) -> list[Hit]:
        """The best documents that carry all the `tags` and share a dimension with the query: score, then id."""

    def count(self) -> int:
        """Number of documents."""

    def drop(self) -> None:
        """Removes the place and all it holds; none there is no error."""

    def close(self) -> None:
        """Gives back what is held open; the engine is not used after it."""


class EngineUnavailableError(SembridgeError):
    """A server does not answer; what was acknowledged before is safe."""


def check_weights(vectors: csr_array) -> None:
    """Refuses vectors that no inverted index ranks by their dot product.

    Raises:
        SembridgeError: a weight is negative or not finite.
    """
    if not np.all(np.isfinite(vectors.data)) or np.any(vectors.data < 0):
        raise SembridgeError(
            "A vector holds a weight that is negative or not finite; an inverted index needs weights of 0 or more. "
            "Take an encoder whose activation is log1p of relu, as of SPLADE."
        )


def rows(vectors: csr_array) -> list[SparseVector]:
    """One vector a row, indices ascending; zeros that are stored are dropped. Refuses as `check_weights`."""
    check_weights(vectors)
    vectors = vectors.copy()
    vectors.eliminate_zeros()
    vectors.sort_indices()
    bounds = vectors.indptr
    indices, values = vectors.indices.astype(np.int32), vectors.data.astype(np.float32)
    return [
        SparseVector(indices[a:b], values[a:b]) for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]


def shared_terms(query: SparseVector, document: SparseVector) -> tuple[Term, ...]:
    """The terms of a match by their part of the score, largest first."""
    dimensions, of_query, of_document = np.intersect1d(
        query.indices, document.indices, assume_unique=True, return_indices=True
    )
    terms = [
        Term(int(dimension), float(query.values[i]), float(document.values[j]))
        for dimension, i, j in zip(dimensions, of_query, of_document, strict=True)
    ]
    return tuple(sorted(terms, key=lambda term: (-term.product, term.dimension)))


def ranked_hits(hits: Sequence[Hit]) -> list[Hit]:
    """By score descending, then id ascending, without those that share nothing with the query: the house's order."""
    return sorted((hit for hit in hits if hit.score > 0), key=lambda hit: (-hit.score, hit.id))


def tags_of(fields: Mapping[str, object]) -> list[str]:
    """`field=value` for every value that can be filtered by: texts, numbers, truths, and each of a list of them.

    One kind of tag for every engine, so a filter means the same everywhere and needs no schema. Above 256
    characters a field is kept in the document but makes no tag.
    """
    tags = []
    for name, value in fields.items():
        for part in value if isinstance(value, list | tuple) else [value]:
            text = _tag_value(part)
            if text is not None and len(name) + 1 + len(text) <= MAX_TAG_LENGTH:
                tags.append(f"{name}={text}")
    return sorted(set(tags))


def payload_of(document: "Document") -> dict[str, Any]:
    """What an engine keeps beside the vector, as JSON values.

    Raises:
        SembridgeError: a field cannot be written as JSON.
    """
    try:
        fields = json.loads(json.dumps(dict(document.fields), default=str, allow_nan=False, ensure_ascii=False))
    except ValueError:
        raise SembridgeError(
            f"Document {document.id!r} has a field that is not a number (nan or inf); leave it out or write null."
        ) from None
    return {
        "id": document.id,
        "title": document.title,
        "text": document.text,
        "fields": fields,
        "tags": tags_of(document.fields),
    }


def hit_of(payload: Mapping[str, Any], score: float, terms: tuple[Term, ...] = ()) -> Hit:
    return Hit(str(payload["id"]), str(payload["title"]), str(payload["text"]), dict(payload["fields"]), score, terms)


def _tag_value(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, float):
        return (str(int(value)) if value.is_integer() else repr(value)) if math.isfinite(value) else None
    return None
