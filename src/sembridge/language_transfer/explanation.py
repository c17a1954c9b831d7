"""Why a transferred encoder does what it does: the English tokens behind target tokens, texts and matches."""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sembridge.encoders.vocabulary import Vocabulary, read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.origins import Origins, RowNames, SourcePart

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

    from sembridge.language_transfer.alignment import Alignment


@dataclass(frozen=True)
class TokenExplanation:
    """A target token and the source tokens its row was made of.

    `confidence` says how probably the heaviest is the right one, within [0, 1]; None where none was told.
    """

    token_id: int
    token: str
    text: str
    kind: str
    parts: list[SourcePart]
    confidence: float | None = None


@dataclass(frozen=True)
class Dimension:
    """A dimension of a text's vector: its value and the token it stands for."""

    value: float
    token: TokenExplanation


@dataclass(frozen=True)
class SharedDimension:
    """A dimension that a query and a document both have; its share of the score is the product of the values."""

    query_value: float
    document_value: float
    token: TokenExplanation

    @property
    def product(self) -> float:
        return self.query_value * self.document_value


@dataclass(frozen=True)
class Explanation:
    """What is known of a text; of the three lists the one that fits it is filled.

    Attributes:
        tokens: those that are spelled like it, where there are any and no document was given.
        dimensions: of its vector, strongest first.
        shared: by it, as a query, and the document.
    """

    text: str
    document: str | None = None
    tokens: list[TokenExplanation] = field(default_factory=list)
    dimensions: list[Dimension] = field(default_factory=list)
    shared: list[SharedDimension] = field(default_factory=list)


def explain(
    folder: str | Path, text: str, *, document: str | None = None, top: int = 20, device: str = "cpu"
) -> Explanation:
    """The English tokens behind a token, behind a text, or behind the match of a query with a document.

    Args:
        folder: written by `sembridge transfer`. For many texts, load an `Explainer` once.
        top: dimensions at most.

    Raises:
        SembridgeError: as `Explainer.load`.
    """
    return Explainer.load(folder, device=device).explain(text, document=document, top=top)


class Explainer:
    """A transferred encoder, its vocabulary and its alignment, loaded once for many questions.

    What a folder tells by itself is read at once, the encoder when a text is asked about.
    """

    def __init__(self, encoder: "SparseEncoder", alignment: "Alignment") -> None:
        self.encoder, self.alignment = encoder, alignment
        self._begin(replace(alignment.origins, names=None), folder=Path(), device="cpu")

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> "Explainer":
        """The explainer of a folder that `sembridge transfer` wrote.

        Raises:
            SembridgeError: the folder is not such a one, or its parts do not belong together.
        """
        explainer = cls.__new__(cls)
        explainer._begin(Origins.load(Path(folder)), folder=Path(folder), device=device)
        return explainer

    def _begin(self, origins: Origins, *, folder: Path, device: str) -> None:
        self._origins, self._folder, self._device = origins, folder, device
        if origins.names is None or _n_rows_stated(folder) != origins.n_rows:  # an earlier version's, or a mixture
            self._names = RowNames(self.vocabulary.tokens, self.vocabulary.texts)
        else:
            self._names = origins.names
        self._ids: dict[str, list[int]] = {}
        for token_id, (token, text) in enumerate(zip(self._names.tokens, self._names.texts, strict=True)):
            for spelling in {token, text} - {""}:
                self._ids.setdefault(spelling, []).append(token_id)

    @cached_property
    def encoder(self) -> "SparseEncoder":
        """The encoder of the folder.

        Raises:
            SembridgeError: it cannot be loaded, or is of another transfer than the alignment.
        """
        from sembridge.encoders.loading import load_encoder

        encoder = load_encoder(self._folder, device=self._device)
        n_dimensions, n_rows = encoder.get_embedding_dimension(), self._origins.n_rows
        if n_dimensions != n_rows:
            raise SembridgeError(
                f"{self._folder}: the encoder has {n_dimensions:,} dimensions but the alignment {n_rows:,} "
                "rows; they come from different transfers. Run the transfer again."
            )
        return encoder

    @cached_property
    def alignment(self) -> "Alignment":
        from sembridge.language_transfer.alignment import Alignment

        return Alignment.load(self._folder)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return read_vocabulary(self.encoder.tokenizer, n_rows=self._origins.n_rows)

    def explain(self, text: str, *, document: str | None = None, top: int = 20) -> Explanation:
        """The match of a query with a document where one is given, else a token, else the dimensions of a text."""
        if document is not None:
            return Explanation(text, document, shared=self.match(text, document, top=top))
        if ids := self.token_ids(text):
            return Explanation(text, tokens=[self.token(token_id) for token_id in ids])
        return Explanation(text, dimensions=self.text(text, top=top))

    def token_ids(self, spelling: str) -> list[int]:
        """Ids of the tokens with this raw spelling or readable text, ascending; none if it is no single token."""
        return self._ids.get(spelling, [])

    def token(self, token_id: int) -> TokenExplanation:
        return TokenExplanation(
            token_id,
            self._names.tokens[token_id],
            self._names.texts[token_id],
            self._origins.kind(token_id),
            self._origins.parts(token_id),
            self._origins.trust(token_id),
        )

    def text(self, text: str, *, top: int = 20, query: bool = False) -> list[Dimension]:
        """The strongest dimensions of a text, as a document or as a query, strongest first."""
        vector = self._vector(text, query=query)
        order = np.argsort(-vector, kind="stable")[:top]
        return [Dimension(float(vector[i]), self.token(int(i))) for i in order if vector[i] > 0]

    def match(self, query: str, document: str, *, top: int = 20) -> list[SharedDimension]:
        """The dimensions that a query and a document share, by their part of the score."""
        of_query, of_document = self._vector(query, query=True), self._vector(document, query=False)
        order = np.argsort(-(of_query * of_document), kind="stable")[:top]
        return [
            SharedDimension(float(of_query[i]), float(of_document[i]), self.token(int(i)))
            for i in order
            if of_query[i] * of_document[i] > 0
        ]

    def _vector(self, text: str, *, query: bool) -> np.ndarray:
        from sembridge.encoders.vectors import encode_corpus, encode_queries

        vectors = (encode_queries if query else encode_corpus)(self.encoder, [text])
        dense: np.ndarray = vectors.toarray()[0]
        return dense


def _n_rows_stated(folder: Path) -> int | None:
    """Dimensions of the encoder in a folder, as its config.json states them; None where it does not."""
    try:
        stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stated if isinstance(stated, int) else None
