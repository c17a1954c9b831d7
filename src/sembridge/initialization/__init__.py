"""Rules that build the rows of a target vocabulary from the rows of a source vocabulary; one file a method.

All methods copy the same overlap and go through the same surgery; they differ in the other tokens.
"""

from collections.abc import Callable

import numpy as np
import torch

from sembridge.initialization import gaussian, mean, random
from sembridge.initialization.rows import DrawRows, Initialization, RowKind, copied_rows
from sembridge.initialization.sembridge import BridgedRows, Embed, bridged_rows, candidate_ids
from sembridge.recipes import TransferRecipe
from sembridge.vocabulary import Overlap, Vocabulary
from sembridge.weights import SparseWeights

__all__ = ["DRAW_ROWS", "BridgedRows", "Initialization", "RowKind", "initialize"]

DRAW_ROWS: dict[str, DrawRows] = {
    "random": random.draw,
    "mean": mean.draw,
    "univariate": gaussian.draw_univariate,
    "multivariate": gaussian.draw_multivariate,
}


def initialize(
    source: Vocabulary,
    target: Vocabulary,
    overlap: Overlap,
    recipe: TransferRecipe,
    *,
    embed: Embed | None = None,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Initialization:
    """The rows of `target` under `recipe`; methods other than sembridge need no `embed`."""
    bridged = None
    if recipe.method == "sembridge":
        if embed is None:
            raise ValueError("method sembridge needs `embed`, the bridge's vectors of texts")
        bridged = bridged_rows(source, target, overlap, embed, recipe, device=device, progress=progress)
    kinds = copied_rows(overlap, target)
    best_similarity = np.full(len(target), np.nan, np.float32)
    if bridged is not None:
        kinds[bridged.target_ids] = RowKind.COMBINED
        best_similarity[bridged.target_ids] = bridged.best_similarity
    return Initialization(
        weights=_assemble(overlap, bridged, n_target=len(target), n_source=len(source)),
        kinds=kinds,
        best_similarity=best_similarity,
        fallback=DRAW_ROWS[recipe.fallback if recipe.method == "sembridge" else recipe.method],
        statistics_ids=candidate_ids(source, "all"),
        restore_norms=recipe.restore_norms,
        residual=recipe.residual,
        draw_order=np.argsort(np.array(target.tokens, dtype=object), kind="stable"),
        seed=recipe.seed,
    )


def _assemble(overlap: Overlap, bridged: BridgedRows | None, *, n_target: int, n_source: int) -> SparseWeights:
    """(n_target, n_source): one-hot rows of the overlap and the rows of the bridge; the others stay empty."""
    n_overlap = len(overlap.target_ids)
    rows, columns = [torch.from_numpy(overlap.target_ids)], [torch.from_numpy(overlap.source_ids)]
    values, similarities = [torch.ones(n_overlap)], [torch.full((n_overlap,), float("nan"))]
    if bridged is not None:
        rows.append(torch.from_numpy(bridged.target_ids)[bridged.weights.row_ids()])
        columns.append(bridged.weights.col_indices)
        values.append(bridged.weights.values)
        similarities.append(bridged.weights.similarities)
    return SparseWeights.from_rows(
        n_target, torch.cat(rows), torch.cat(columns), torch.cat(values), torch.cat(similarities), n_source
    )
