"""The rows of a target vocabulary: what the overlap copies, what the method places, and how the rest is drawn."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType

import numpy as np
import torch

from sembridge.language_transfer.initialization.inputs import Inputs
from sembridge.language_transfer.initialization.rows import (
    CombinedRows,
    DrawRows,
    Initialization,
    RowKind,
    copied_rows,
)
from sembridge.language_transfer.methods import METHODS, Method
from sembridge.language_transfer.overlap import Overlap
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.language_transfer.sparse_matrix import SparseWeights


def initialize(inputs: Inputs) -> Initialization:
    """The rows of the target vocabulary by the method of `inputs.recipe`.

    Raises:
        SembridgeError: a file that the method reads is missing or unusable, a package that it needs is not installed,
            or no source token can lend its row.
    """
    return build_rows(inputs, place(inputs))


def place(inputs: Inputs) -> CombinedRows | None:
    """The weights of the target tokens that the method places; None where it draws every new row."""
    method = inputs.recipe.rule
    if method.is_drawn:
        return None
    placing: Callable[[Inputs], CombinedRows] = method_file(method).place
    return placing(inputs)


def draw_rule(method: Method, recipe: TransferRecipe) -> DrawRows:
    """How a drawing method draws rows, its own settings filled in where they differ from their defaults."""
    draw: DrawRows = method_file(method).draw
    given = {name: getattr(recipe, name) for name in method.own_settings}
    changed = {name: value for name, value in given.items() if value != type(recipe).model_fields[name].default}
    return partial(draw, **changed) if changed else draw


def method_file(method: Method) -> ModuleType:
    """The module of a method, loaded when it is asked for."""
    return import_module(f"{__package__}.{method.name}")


def build_rows(inputs: Inputs, combined: CombinedRows | None) -> Initialization:
    """The rows of the target vocabulary, given those that the method combines."""
    recipe, source, target = inputs.recipe, inputs.source, inputs.target
    kinds = copied_rows(inputs.overlap, target)
    best_similarity = np.full(len(target), np.nan, np.float32)
    trust = confidence = None
    if combined is not None:
        kinds[combined.target_ids] = RowKind.COMBINED
        best_similarity[combined.target_ids] = combined.best_similarity
        trust = _by_target(combined.target_ids, combined.trust, len(target))
        confidence = _by_target(combined.target_ids, combined.confidence, len(target))
    return Initialization(
        weights=_assemble(inputs.overlap, combined, n_target=len(target), n_source=len(source)),
        kinds=kinds,
        best_similarity=best_similarity,
        fallback=draw_rule(METHODS[recipe.rule.fallback or recipe.fallback], recipe),
        statistics_ids=source.text_ids,
        residual=recipe.residual if recipe.counts("residual") else 0.0,
        draw_order=np.argsort(np.array(target.tokens, dtype=object), kind="stable"),
        seed=recipe.seed,
        trust=trust,
        confidence=confidence,
    )


def _by_target(target_ids: np.ndarray, figures: np.ndarray | None, n_target: int) -> np.ndarray | None:
    """(n_target,) float32 from the `figures` of `target_ids`: nan on the other rows; None stays None."""
    if figures is None:
        return None
    found = np.full(n_target, np.nan, np.float32)
    found[target_ids] = figures
    return found


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
