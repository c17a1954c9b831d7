"""What the dimensions of a match stand for: the token, and the English tokens its row was made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.deployment.search.protocol import Term
from sembridge.encoders.vocabulary import Vocabulary, read_vocabulary
from sembridge.language_transfer.alignment import ALIGNMENT_FILE, Alignment, SourcePart

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder


@dataclass(frozen=True)
class ExplainedTerm:
    """A term of a match in words; `parts` is empty where the encoder was not transferred or the row fell back."""

    token: str
    text: str
    product: float
    query_weight: float
    document_weight: float
    parts: tuple[SourcePart, ...]


class TermExplainer:
    """The vocabulary of an encoder, and its alignment if it is a transferred one."""

    def __init__(self, vocabulary: Vocabulary, alignment: Alignment | None) -> None:
        self._vocabulary = vocabulary
        self._alignment = alignment

    @classmethod
    def of(cls, encoder: "SparseEncoder", folder: Path) -> "TermExplainer":
        """The explainer of an encoder that was loaded from `folder`."""
        alignment = Alignment.load(folder) if (folder / ALIGNMENT_FILE).is_file() else None
        n_rows = encoder.get_embedding_dimension()
        return cls(read_vocabulary(encoder.tokenizer, n_rows=n_rows), alignment)

    def explain(self, terms: Sequence[Term]) -> list[ExplainedTerm]:
        return [
            ExplainedTerm(
                token=self._vocabulary.tokens[term.dimension],
                text=self._vocabulary.texts[term.dimension],
                product=term.product,
                query_weight=term.query_weight,
                document_weight=term.document_weight,
                parts=() if self._alignment is None else tuple(self._alignment.parts(term.dimension)),
            )
            for term in terms
        ]
