"""Rules that build the rows of a target vocabulary from the rows of a source vocabulary; one file a method.

All methods copy the same overlap and go through the same surgery; they differ in the other tokens.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sembridge.encoders.vocabulary import Vocabulary
from sembridge.language_transfer.initialization import focus, gaussian, mean, ofa, random, wechsel
from sembridge.language_transfer.initialization.rows import (
    CombinedRows,
    DrawRows,
    Initialization,
    PlacedTokens,
    RowKind,
    combine_nearest,
    copied_rows,
)
from sembridge.language_transfer.initialization.sembridge import Embed, bridged_rows, candidate_ids
from sembridge.language_transfer.initialization.text_words import TextWords
from sembridge.language_transfer.initialization.word_vectors import Tokenizers
from sembridge.language_transfer.overlap import Overlap
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.language_transfer.sparse_matrix import SparseWeights

DRAW_ROWS: dict[str, DrawRows] = {
    "random": random.draw,
    "mean": mean.draw,
    "univariate": gaussian.draw_univariate,
    "multivariate": gaussian.draw_multivariate,
}
PLACING_METHODS = ("focus", "ofa", "wechsel")


def place_tokens(
    source: Vocabulary,
    target: Vocabulary,
    overlap: Overlap,
    recipe: TransferRecipe,
    tokenizers: Tokenizers,
    *,
    cache_folder: Path | None = None,
    progress: bool = False,
) -> PlacedTokens:
    """What focus, ofa and wechsel know of the tokens: vectors, read or trained from the files of the recipe.

    Args:
        tokenizers: of both vocabularies.
        cache_folder: of trained vectors, by default below the Hugging Face cache.
        progress: show progress bars on stderr.

    Raises:
        SembridgeError: a file is missing or unusable, or gensim is not installed.
    """
    recipe.check_files()
    if recipe.method == "focus":
        return focus.place_tokens(
            source, target, overlap, recipe, tokenizers, cache_folder=cache_folder, progress=progress
        )
    place = {"ofa": ofa.place_tokens, "wechsel": wechsel.place_tokens}[recipe.method]
    return place(source, target, overlap, recipe, tokenizers, progress=progress)


def initialize(
    source: Vocabulary,
    target: Vocabulary,
    overlap: Overlap,
    recipe: TransferRecipe,
    *,
    embed: Embed | None = None,
    placed: PlacedTokens | None = None,
    words: TextWords | None = None,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Initialization:
    """The rows of `target` under `recipe`.

    Args:
        embed: method sembridge: the bridge's vectors of texts.
        placed: methods focus, ofa and wechsel: what `place_tokens` gives.
        words: method sembridge: of a target text, to place the tokens that they contain.
    """
    combined = None
    if recipe.method == "sembridge":
        if embed is None:
            raise ValueError("method sembridge needs `embed`, the bridge's vectors of texts")
        combined = bridged_rows(source, target, overlap, embed, recipe, words=words, device=device, progress=progress)
    elif recipe.method in PLACING_METHODS:
        if placed is None:
            raise ValueError(f"method {recipe.method} needs `placed`, the vectors that place_tokens() gives")
        budget = recipe.memory_budget_mb << 20
        combined = combine_nearest(placed, n_source=len(source), memory_budget=budget, device=device, progress=progress)
    kinds = copied_rows(overlap, target)
    best_similarity = np.full(len(target), np.nan, np.float32)
    confidence = None
    if combined is not None:
        kinds[combined.target_ids] = RowKind.COMBINED
        best_similarity[combined.target_ids] = combined.best_similarity
        if combined.confidence is not None:
            confidence = np.full(len(target), np.nan, np.float32)
            confidence[combined.target_ids] = combined.confidence
    own = recipe.method == "sembridge"  # its presets' additions are no part of a published baseline
    return Initialization(
        weights=_assemble(overlap, combined, n_target=len(target), n_source=len(source)),
        kinds=kinds,
        best_similarity=best_similarity,
        fallback=_fallback(recipe),
        statistics_ids=candidate_ids(source, "all"),
        restore_norms=own and recipe.restore_norms,
        residual=recipe.residual if own else 0.0,
        draw_order=np.argsort(np.array(target.tokens, dtype=object), kind="stable"),
        seed=recipe.seed,
        confidence=confidence,
    )


def _fallback(recipe: TransferRecipe) -> DrawRows:
    """How rows without weights are drawn; FOCUS and WECHSEL publish a univariate Gaussian, OFA's is close to it."""
    name = "univariate" if recipe.method in PLACING_METHODS else recipe.method
    name = recipe.fallback if name == "sembridge" else name
    if name == "multivariate" and recipe.covariance_scale != 1:
        return partial(gaussian.draw_multivariate, covariance_scale=recipe.covariance_scale)
    return DRAW_ROWS[name]


def _assemble(overlap: Overlap, combined: CombinedRows | None, *, n_target: int, n_source: int) -> SparseWeights:
    """(n_target, n_source): one-hot rows of the overlap and the combined rows; the others stay empty."""
    n_overlap = len(overlap.target_ids)
    rows, columns = [torch.from_numpy(overlap.target_ids)], [torch.from_numpy(overlap.source_ids)]
    values, similarities = [torch.ones(n_overlap)], [torch.full((n_overlap,), float("nan"))]
    if combined is not None:
        rows.append(torch.from_numpy(combined.target_ids)[combined.weights.row_ids()])
        columns.append(combined.weights.col_indices)
        values.append(combined.weights.values)
        similarities.append(combined.weights.similarities)
    return SparseWeights.from_rows(
        n_target, torch.cat(rows), torch.cat(columns), torch.cat(values), torch.cat(similarities), n_source
    )
