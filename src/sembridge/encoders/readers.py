"""Who reads texts for an index: an encoder over its own vocabulary, or a pivot over that of another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, cast

from scipy.sparse import csr_array

from sembridge.encoders.fingerprint import sparse_encoder_fingerprint
from sembridge.encoders.settings import BATCH_SIZE, EncodeWith
from sembridge.encoders.stated import Task
from sembridge.encoders.vectors import TextEncoder

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder


EncodeTexts = Callable[[Sequence[str]], csr_array]
"""Texts to (n_texts, n_dims) float32 rows."""


class Reader(Protocol):
    """Texts to vectors that can be compared with those of one encoder.

    Attributes:
        encoder: the model that computes.
        fingerprint: of the encoder over whose vocabulary it writes; None where its weights lie outside torch.
        n_dims: width of the vectors.
        language: what its documents are marked with in an index of several; None: they are not.
    """

    @property
    def encoder(self) -> "SparseEncoder": ...

    @property
    def fingerprint(self) -> str | None: ...

    @property
    def n_dims(self) -> int: ...

    @property
    def language(self) -> str | None: ...

    def text_encoder(
        self,
        task: Task,
        encode_with: EncodeWith = "stock",
        *,
        batch_size: int = BATCH_SIZE,
        max_active_dims: int | None = None,
    ) -> EncodeTexts:
        """One side, prepared once for many calls."""
        ...


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
        return int(self.text_encoder("query")(["a"]).shape[1])

    def text_encoder(
        self,
        task: Task,
        encode_with: EncodeWith = "stock",
        *,
        batch_size: int = BATCH_SIZE,
        max_active_dims: int | None = None,
    ) -> EncodeTexts:
        return TextEncoder(self.encoder, task, encode_with, batch_size=batch_size, max_active_dims=max_active_dims)


def reader_of(encoder: "SparseEncoder | Reader") -> Reader:
    """What is a reader already, or the encoder over its own vocabulary."""
    return cast("Reader", encoder) if hasattr(encoder, "text_encoder") else OwnReader(cast("SparseEncoder", encoder))
