"""What every method returns: where each target row comes from, as one sparse matrix and a rule for the rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sembridge.encoders.vocabulary import TokenKind, Vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.entmax import Entmax, TopKSoftmax
from sembridge.language_transfer.initialization.inputs import Inputs
from sembridge.language_transfer.overlap import Overlap
from sembridge.language_transfer.row_kinds import RowKind as RowKind
from sembridge.language_transfer.similarity import sparse_weights
from sembridge.language_transfer.sparse_matrix import SparseWeights

INDISTINCT = 1e-4  # a cosine this close to 1 is rounding: the bridge takes both texts for the same

DrawRows = Callable[[Tensor, int, torch.Generator], Tensor]
"""(n_statistics, d) source rows, a count, a generator -> (count, d) new rows."""


@dataclass(frozen=True, eq=False)
class CombinedRows:
    """Weights of the target tokens that a method placed among the source tokens.

    Attributes:
        target_ids: (n_combined,) the tokens that got weights, ascending.
        weights: (n_combined, n_source).
        best_similarity: (n_combined,) the highest cosine in the row's support, without any hub correction.
        trust: (n_combined,) float32 within [0, 1], the share of the row that its weights may have; None if not asked.
        confidence: (n_combined,) float32 within [0, 1], how probably the heaviest source token is the right one; None
            if not asked.
    """

    target_ids: np.ndarray
    weights: SparseWeights
    best_similarity: np.ndarray
    trust: np.ndarray | None = None
    confidence: np.ndarray | None = None

    @classmethod
    def none(cls, n_source: int) -> "CombinedRows":
        nothing = torch.zeros(0, dtype=torch.int64)
        weights = SparseWeights.from_rows(0, nothing, nothing, torch.zeros(0), None, n_source)
        return cls(np.zeros(0, np.int64), weights, np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class PlacedTokens:
    """Target tokens and the source tokens that may lend them rows, as vectors of one space.

    A token whose vector is zero has none: it combines nothing and lends nothing.

    Attributes:
        target_ids: (n_new,) tokens outside the overlap, ascending.
        target_vectors: (n_new, dim).
        source_ids: (n_candidates,); an id may occur more than once, then its weights add up.
        source_vectors: (n_candidates, dim).
        source_names: (n_candidates,) spellings that tell the candidates apart: ties go by name, not by id.
        rule: similarities of a row -> its weights.
    """

    target_ids: np.ndarray
    target_vectors: np.ndarray
    source_ids: np.ndarray
    source_vectors: np.ndarray
    source_names: Sequence[str]
    rule: Entmax | TopKSoftmax


def combine_nearest(placed: PlacedTokens, inputs: Inputs) -> CombinedRows:
    """The rows of the placed target tokens: `placed.rule` over their cosines to the candidates.

    Raises:
        SembridgeError: there are target tokens with a vector, but no candidate with one.
    """
    n_source = len(inputs.source)
    has_vector = placed.target_vectors.any(1)
    names = np.array(placed.source_names, dtype=object)
    order = np.argsort(names, kind="stable")
    order = order[placed.source_vectors[order].any(1)]
    target_ids, source_ids = placed.target_ids[has_vector], placed.source_ids[order]
    if len(target_ids) == 0:
        return CombinedRows.none(n_source)
    if len(source_ids) == 0:
        raise SembridgeError(
            f"{len(target_ids):,} target tokens have a vector, but none of the {len(names):,} source tokens that may "
            "lend rows has one; give larger word vectors or more text."
        )
    weights = sparse_weights(
        _unit(placed.target_vectors[has_vector]),
        _unit(placed.source_vectors[order]),
        rule=placed.rule,
        memory_budget=inputs.memory_budget,
        device=inputs.device,
    )
    return CombinedRows(target_ids, _named_columns(weights, source_ids, n_source), row_maximum(weights))


def _unit(vectors: np.ndarray) -> Tensor:
    wide = vectors.astype(np.float64)
    return torch.from_numpy((wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32))


def _named_columns(weights: SparseWeights, source_ids: np.ndarray, n_source: int) -> SparseWeights:
    """Columns from candidates to source ids; candidates of one id give it their weights' sum and best similarity."""
    places = weights.row_ids().numpy() * n_source + source_ids[weights.col_indices.numpy()]
    distinct, group = np.unique(places, return_inverse=True)
    values = np.bincount(group, weights=weights.values.numpy(), minlength=len(distinct))
    similarities = np.full(len(distinct), -np.inf, np.float32)
    np.maximum.at(similarities, group, weights.similarities.numpy())
    rows, columns = np.divmod(distinct, n_source)
    return SparseWeights.from_rows(
        weights.n_rows,
        torch.from_numpy(rows),
        torch.from_numpy(columns),
        torch.from_numpy(values),
        torch.from_numpy(similarities),
        n_source,
    )


def row_maximum(weights: SparseWeights) -> np.ndarray:
    """(n_rows,) the highest similarity in each row's support; no row is empty here."""
    if weights.n_rows == 0:
        return np.zeros(0, np.float32)
    maximum: np.ndarray = np.maximum.reduceat(weights.similarities.numpy(), weights.crow_indices[:-1].numpy())
    return maximum


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
        residual: share of a fully trusted row's variance that is its own, drawn as the fallback draws. Tokens of near
            meaning share most source rows; the residual lets a text match itself through them all the same. A row that
            is trusted less has more of its own, one without any trust has nothing else; with evidence, a token
            that the bridge does not tell from its source token has none, as a copied one.
        draw_order: (n_target,) target ids by spelling, so that what is drawn for a token does not depend on its id.
        seed: of the draws; every matrix is drawn with a fresh generator.
        trust: (n_target,) float32 within [0, 1], the share of a combined row that its weights may have, nan on other
            rows; None where no evidence was asked for, then all are trusted fully.
        confidence: (n_target,) float32 within [0, 1], how probably a combined row's heaviest source token is the right
            one, nan on other rows; None where no evidence was asked for. It is told, and steers nothing.
    """

    weights: SparseWeights
    kinds: np.ndarray
    best_similarity: np.ndarray
    fallback: DrawRows
    statistics_ids: np.ndarray
    residual: float
    draw_order: np.ndarray
    seed: int
    trust: np.ndarray | None = None
    confidence: np.ndarray | None = None

    def rows(self, source_rows: Tensor) -> Tensor:
        """(n_target, d) float32 rows from (n_source, d); a bias comes as (n_source, 1)."""
        source_rows = source_rows.float()
        rows = self.weights.matmul(source_rows)
        if source_rows.shape[1] == 1:  # a bias or static weights: below zero, under a zero row, never fires
            rows[self._ids(RowKind.INERT)] = source_rows.min().clamp_max(0)
        generator = torch.Generator().manual_seed(self.seed)
        statistics = source_rows[torch.from_numpy(self.statistics_ids)]
        if self.trust is None:
            self._draw_missing(rows, statistics, generator)
            if self.residual > 0 and source_rows.shape[1] > 1:
                self._add_residual(rows, statistics, generator)
        else:
            self._draw_by_trust(rows, statistics, generator, self.trust)
        return rows

    def new_ids(self) -> np.ndarray:
        """Ascending ids of combined and fallback rows."""
        return np.flatnonzero(np.isin(self.kinds, (RowKind.COMBINED, RowKind.FALLBACK)))

    def _ids(self, kind: RowKind) -> Tensor:
        return torch.from_numpy(self.draw_order[self.kinds[self.draw_order] == kind])

    def _draw_missing(self, rows: Tensor, statistics: Tensor, generator: torch.Generator) -> None:
        missing = self._ids(RowKind.FALLBACK)
        if len(missing):
            rows[missing] = self.draw(statistics, len(missing), generator)

    def _add_residual(self, rows: Tensor, statistics: Tensor, generator: torch.Generator) -> None:
        combined = self._ids(RowKind.COMBINED)
        own = self.fallback(statistics, len(combined), generator)
        rows[combined] = _mixed(rows[combined], own, statistics.mean(0), self.residual)

    def _draw_by_trust(self, rows: Tensor, statistics: Tensor, generator: torch.Generator, trust: np.ndarray) -> None:
        """All rows with a drawn share in one draw, by spelling: those without any trust are `multivariate`'s."""
        shares = self._drawn_shares(trust, self.residual if statistics.shape[1] > 1 else 0.0)
        ids = self.draw_order[shares[self.draw_order] > 0]
        if not len(ids):
            return
        own = self.draw(statistics, len(ids), generator)
        places, share = torch.from_numpy(ids), torch.from_numpy(shares[ids])[:, None]
        mixed = _mixed(rows[places], own, statistics.mean(0), share)
        rows[places] = torch.where(share == 1, own, mixed)  # bit for bit the draw

    def _drawn_shares(self, trust: np.ndarray, residual: float) -> np.ndarray:
        """(n_target,) float32: the share of a row's variance that is drawn, all of a fallback row's."""
        shares = np.where(self.kinds == RowKind.FALLBACK, np.float32(1), np.float32(0))
        combined = self.kinds == RowKind.COMBINED
        own = np.where(self.best_similarity[combined] < 1 - INDISTINCT, np.float32(residual), np.float32(0))
        shares[combined] = 1 - trust[combined] * (1 - own)
        return shares

    def draw(self, statistics: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """(count, d) rows drawn as those of tokens without weights are, from the (n, d) `statistics` of source rows."""
        own = self.fallback(statistics, count, generator)
        if statistics.shape[1] == 1:  # IDF weights, say, are never negative
            own = own.clamp(statistics.min(), statistics.max())
        return own


def _mixed(rows: Tensor, own: Tensor, centre: Tensor, share: float | Tensor) -> Tensor:
    """Shares of variance, so that the rows' spread about the mean row stays what it is."""
    return centre + (1 - share) ** 0.5 * (rows - centre) + share**0.5 * (own - centre)


def copied_rows(overlap: Overlap, target: Vocabulary) -> np.ndarray:
    """(n_target,) uint8 of RowKind: the overlap's kinds, INERT where no text leads, FALLBACK elsewhere."""
    produced = np.isin(target.kinds, (TokenKind.TEXT, TokenKind.BYTES))
    kinds = np.where(produced, np.uint8(RowKind.FALLBACK), np.uint8(RowKind.INERT))
    kinds[list(target.roles.values())] = RowKind.FALLBACK
    kinds[overlap.target_ids] = overlap.kinds
    return kinds
