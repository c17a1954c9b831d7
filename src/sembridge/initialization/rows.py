"""What every method returns: where each target row comes from, as one sparse matrix and a rule for the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from sembridge.vocabulary import MatchKind, Overlap, TokenKind, Vocabulary
from sembridge.weights import SparseWeights

DrawRows = Callable[[Tensor, int, torch.Generator], Tensor]
"""(n_statistics, d) source rows, a count, a generator -> (count, d) new rows."""


class RowKind(IntEnum):
    """Where a target row comes from; the first four are the overlap's kinds.

    INERT rows stand for ids that the target tokenizer never gives to a text: unused and role-less special tokens, holes
    and padding of the matrix. The head scores them all the same, so they must not fire.
    """

    SPECIAL = MatchKind.SPECIAL
    EXACT = MatchKind.EXACT
    FUZZY = MatchKind.FUZZY
    BYTE = MatchKind.BYTE
    COMBINED = 4
    FALLBACK = 5
    INERT = 6


@dataclass(frozen=True, eq=False)
class Initialization:
    """The rows of a target vocabulary, as a function of the rows of the source vocabulary.

    Attributes:
        weights: W, (n_target, n_source): one-hot on the overlap, a few positive weights on combined rows, empty on
            rows that fall back or are inert. Non-empty rows sum to one.
        kinds: (n_target,) uint8 of RowKind.
        best_similarity: (n_target,) float32, the highest cosine in the row's support; nan where none was computed.
        fallback: draws the rows of kind FALLBACK.
        statistics_ids: (n,) source ids whose rows the fallback takes its statistics from.
        restore_norms: scale a combined row to the weighted mean norm of its source rows. A convex combination of k
            nearly orthogonal rows is about 1/sqrt(k) as long as they are, and a shorter row scores lower.
        residual: share of a combined row's variance that is its own, drawn as the fallback draws. Tokens of near
            meaning share most source rows; the residual lets a text match itself through them all the same.
        draw_order: (n_target,) target ids by spelling, so that what is drawn for a token does not depend on its id.
        seed: of the draws; every matrix is drawn with a fresh generator.
    """

    weights: SparseWeights
    kinds: np.ndarray
    best_similarity: np.ndarray
    fallback: DrawRows
    statistics_ids: np.ndarray
    restore_norms: bool
    residual: float
    draw_order: np.ndarray
    seed: int

    def rows(self, source_rows: Tensor) -> Tensor:
        """(n_target, d) float32 rows from (n_source, d); a bias comes as (n_source, 1)."""
        source_rows = source_rows.float()
        rows = self.weights.matmul(source_rows)
        if source_rows.shape[1] == 1:  # a bias or static weights: below zero, under a zero row, never fires
            rows[self._ids(RowKind.INERT)] = source_rows.min().clamp_max(0)
        elif self.restore_norms:
            self._restore_norms(rows, source_rows)
        generator = torch.Generator().manual_seed(self.seed)
        statistics = source_rows[torch.from_numpy(self.statistics_ids)]
        missing = self._ids(RowKind.FALLBACK)
        if len(missing):
            rows[missing] = self.fallback(statistics, len(missing), generator)
            if source_rows.shape[1] == 1:  # IDF weights, say, are never negative
                rows[missing] = rows[missing].clamp(statistics.min(), statistics.max())
        if self.residual > 0 and source_rows.shape[1] > 1:
            self._add_residual(rows, statistics, generator)
        return rows

    def _ids(self, kind: RowKind) -> Tensor:
        return torch.from_numpy(self.draw_order[self.kinds[self.draw_order] == kind])

    def _add_residual(self, rows: Tensor, statistics: Tensor, generator: torch.Generator) -> None:
        """Shares of variance, so that the rows' spread about the mean row stays what it is."""
        combined = self._ids(RowKind.COMBINED)
        own = self.fallback(statistics, len(combined), generator)
        centre = statistics.mean(0)
        rows[combined] = (
            centre + (1 - self.residual) ** 0.5 * (rows[combined] - centre) + self.residual**0.5 * (own - centre)
        )

    def _restore_norms(self, rows: Tensor, source_rows: Tensor) -> None:
        combined = self._ids(RowKind.COMBINED)
        wanted = self.weights.matmul(source_rows.norm(dim=1, keepdim=True))[combined]
        rows[combined] *= wanted / rows[combined].norm(dim=1, keepdim=True).clamp_min(1e-12)


def copied_rows(overlap: Overlap, target: Vocabulary) -> np.ndarray:
    """(n_target,) uint8 of RowKind: the overlap's kinds, INERT where no text leads, FALLBACK elsewhere."""
    produced = np.isin(target.kinds, (TokenKind.TEXT, TokenKind.BYTES))
    kinds = np.where(produced, np.uint8(RowKind.FALLBACK), np.uint8(RowKind.INERT))
    kinds[list(target.roles.values())] = RowKind.FALLBACK
    kinds[overlap.target_ids] = overlap.kinds
    return kinds
