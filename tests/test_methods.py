"""Laws of the table of methods: a row and a file each, and settings that count or change nothing."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from test_initialization import SOURCE, TARGET, inputs, no_answer, tiny_embed

import sembridge
from sembridge.language_transfer.initialization.initialize import initialize, method_file
from sembridge.language_transfer.initialization.rows import Initialization
from sembridge.language_transfer.methods import METHODS
from sembridge.language_transfer.recipe import TransferRecipe

PACKAGE = Path(sembridge.__file__).parent
HERE = PACKAGE / "language_transfer" / "initialization"
OTHERWISE: dict[str, Any] = {
    "preset": "paper", "weighting": "softmax-topk", "alpha": 2.0, "top_k": 1, "temperature": 3.0,
    "covariance_scale": 0.5, "target_text": "none.txt", "through_words": True, "word_vectors": "none.vec",
    "source_word_vectors": "none.vec", "dictionary": "none.tsv", "merge_twins": False, "candidates": "all",
    "hub_neighbours": 3, "residual": 0.9, "evidence": False, "match_activity": False,
    "firing_cap": 0.5, "min_similarity": 0.99, "fallback": "mean", "memory_budget_mb": 16,
    "bridge_dtype": "bfloat16",
}  # fmt: skip


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_method_is_a_row_and_a_file_that_places_or_draws() -> None:
    assert {path.stem for path in HERE.glob("*.py") if functions(path) & {"place", "draw"}} - {"initialize"} == {
        *METHODS
    }
    for method in METHODS.values():
        file = method_file(method)
        assert hasattr(file, "draw") == method.is_drawn == (not hasattr(file, "place"))
        assert METHODS[method.fallback or "mean"].is_drawn


def test_the_settings_of_a_method_are_settings_of_a_recipe() -> None:
    assert set().union(*(method.settings for method in METHODS.values())) == {*TransferRecipe.model_fields} - {
        "memory_budget_mb"
    }
    for method in METHODS.values():
        assert {*method.files, *method.optional_files} <= {
            "target_text", "word_vectors", "source_word_vectors", "dictionary"
        }  # fmt: skip
        assert {*method.seeded_with} <= method.settings


def rows_of(**settings: Any) -> Initialization:
    recipe = TransferRecipe.build(settings)
    embed = tiny_embed() if recipe.rule.needs_bridge else no_answer
    return initialize(inputs(SOURCE, TARGET, recipe, embed))


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.files])
def test_a_setting_that_does_not_count_changes_nothing(method: str) -> None:
    matrix = torch.randn(len(SOURCE), 5, generator=torch.Generator().manual_seed(0))
    plain = rows_of(method=method).rows(matrix)
    idle = {
        name: value for name, value in OTHERWISE.items() if not TransferRecipe.build({"method": method}).counts(name)
    }
    assert "memory_budget_mb" in idle
    assert torch.equal(rows_of(method=method, **idle).rows(matrix), plain)
    if "residual" in METHODS[method].settings:
        assert not torch.equal(
            rows_of(method=method, residual=OTHERWISE["residual"], evidence=False).rows(matrix), plain
        )


def test_alpha_counts_where_entmax_is_computed() -> None:
    entmax, softmax = (TransferRecipe.build({"alpha": 3, "weighting": rule}) for rule in ("entmax", "softmax-topk"))
    assert (entmax.entmax_alpha, softmax.entmax_alpha) == (3.0, None)
    assert TransferRecipe.build({"method": "ofa", "alpha": 3}).entmax_alpha is None


def test_a_seed_counts_where_rows_are_drawn_as_a_rule() -> None:
    seeded = {name for name in METHODS if TransferRecipe.build({"method": name}).is_seeded}
    assert seeded == {"sembridge", "random", "univariate", "multivariate"}
    assert not TransferRecipe.build({"preset": "paper"}).is_seeded


def test_nothing_is_decided_by_the_name_sembridge() -> None:
    """What a method needs and does is told by its row."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                words = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                assert "sembridge" not in words, f"{path.relative_to(PACKAGE)}:{node.lineno}"
