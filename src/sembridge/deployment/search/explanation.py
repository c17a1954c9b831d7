"""What the dimensions of a match stand for: the token, and the English tokens its row was made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.deployment.search.protocol import Term
from sembridge.encoders.vocabulary import Vocabulary, read_vocabulary
from sembridge.language_transfer.origins import ALIGNMENT_FILE, Origins, RowNames, SourcePart

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

    from sembridge.language_transfer.alignment import Alignment


@dataclass(frozen=True)
class ExplainedTerm:
    """A term of a match in words.

    `parts` are the tokens behind it: of a transferred encoder the English ones that its row was made of (none where it
    fell back), of a query in another language the token that it comes from.
    """

    token: str
    text: str
    product: float
    query_weight: float
    document_weight: float
    parts: tuple[SourcePart, ...]


class TermExplainer:
    """The vocabulary of an encoder, and its alignment if it is a transferred one."""

    def __init__(self, vocabulary: Vocabulary | RowNames, alignment: "Alignment | Origins | None") -> None:
        self._vocabulary = vocabulary
        self._alignment = alignment

    @classmethod
    def of(cls, encoder: "SparseEncoder", folder: Path, *, n_dims: int) -> "TermExplainer":
        """The explainer of an encoder that was loaded from `folder` and gives vectors of `n_dims` dimensions."""
        return cls.of_names(read_vocabulary(encoder.tokenizer, n_rows=n_dims), folder)

    @classmethod
    def of_names(cls, names: Vocabulary | RowNames, folder: Path) -> "TermExplainer":
        """That of an encoder in `folder` whose dimensions have these names."""
        return cls(names, Origins.load(folder) if (folder / ALIGNMENT_FILE).is_file() else None)

    def explain(self, terms: Sequence[Term], *, origins: Mapping[int, str] | None = None) -> list[ExplainedTerm]:
        """The terms in words, in their order.

        Args:
            origins: of a query in another language, `Pivot.origins`: the token that gave each dimension its weight.
        """
        return [
            ExplainedTerm(
                token=self._vocabulary.tokens[term.dimension],
                text=self._vocabulary.texts[term.dimension],
                product=term.product,
                query_weight=term.query_weight,
                document_weight=term.document_weight,
                parts=self._parts(term.dimension, origins),
            )
            for term in terms
        ]

    def _parts(self, dimension: int, origins: Mapping[int, str] | None) -> tuple[SourcePart, ...]:
        if origins is not None:
            return (SourcePart(origins[dimension], weight=1.0, similarity=None),)
        return () if self._alignment is None else tuple(self._alignment.parts(dimension))
