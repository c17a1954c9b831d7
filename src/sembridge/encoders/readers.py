"""Who reads texts for an index: an encoder over its own vocabulary, or a pivot over that of another."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, cast

from sembridge.encoders.fingerprint import sparse_encoder_fingerprint
from sembridge.encoders.vectors import TextEncoder

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder


class Reader(Protocol):
    """Texts to vectors that can be compared with those of one encoder.

    Attributes:
        encoder: the model that computes.
        fingerprint: of the encoder over whose vocabulary it writes; None where its weights lie outside torch.
        n_dims: width of the vectors.
        language: what its documents are marked with in an index of several; None: they are not.
        text_model: what a `TextEncoder` of it is made from; its vectors are `n_dims` wide.
    """

    @property
    def encoder(self) -> "SparseEncoder": ...

    @property
    def fingerprint(self) -> str | None: ...

    @property
    def n_dims(self) -> int: ...

    @property
    def language(self) -> str | None: ...

    @property
    def text_model(self) -> "SparseEncoder": ...


@dataclass(frozen=True, eq=False)
class OwnReader:
    """A sparse encoder over its own vocabulary."""

    encoder: "SparseEncoder"
    language: str | None = None

    @cached_property
    def fingerprint(self) -> str | None:
        return sparse_encoder_fingerprint(self.encoder)

    @cached_property
    def n_dims(self) -> int:
        # What it gives, not what it says: some modules learn their width from their first text.
        return int(TextEncoder(self.encoder, "query")(["a"]).shape[1])

    @property
    def text_model(self) -> "SparseEncoder":
        return self.encoder


def reader_of(encoder: "SparseEncoder | Reader") -> Reader:
    """What is a reader already, or the encoder over its own vocabulary."""
    return (
        cast("Reader", encoder) if hasattr(type(encoder), "text_model") else OwnReader(cast("SparseEncoder", encoder))
    )
