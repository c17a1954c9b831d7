"""What is looked at before a grid is computed: where its files are, and whether its measures exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sembridge.errors import SembridgeError
from sembridge.evaluation import depth
from sembridge.experiments.cells import Cell
from sembridge.recipes import GridRecipe
from sembridge.results import MEASURE

TOP_K = 1000  # documents a query in a run


@dataclass(frozen=True)
class Places:
    """The roots of data sets and of word vectors; None where nobody named one."""

    data: Path | None = None
    vectors: Path | None = None

    def roots(self) -> dict[str, str]:
        """What {data} and {vectors} stand for in a recipe's paths."""
        found = {"data": self.data, "vectors": self.vectors}
        return {name: str(path) for name, path in found.items() if path is not None}

    def test_set(self, name: str) -> str | Path:
        """The name under which `load_retrieval_data` finds a test set."""
        if is_named(name) or self.data is None:
            return name if is_named(name) else Path(name)
        return self.data / name  # an absolute name stays what it is


def find_places(
    recipe: GridRecipe, recipe_folder: Path, *, data: Path | None = None, vectors: Path | None = None
) -> Places:
    """The roots given by hand (relative to the current folder), else those of the recipe (relative to its file)."""
    return Places(
        data or (recipe_folder / recipe.data if recipe.data else None),
        vectors or (recipe_folder / recipe.vectors if recipe.vectors else None),
    )


def is_named(test_set: str) -> bool:
    """Whether a test set is known by name alone, wherever it lies."""
    return test_set.startswith(("mini/", "mteb:"))


def check_measures(recipe: GridRecipe) -> None:
    """Refuses measures that every cell would fail with, or whose tables would stay empty.

    Raises:
        SembridgeError: an unknown measure, one that looks deeper than runs are, or no nDCG@10.
    """
    if depth(recipe.measures) > TOP_K:
        raise SembridgeError(f"measures: {', '.join(recipe.measures)} look deeper than the {TOP_K} documents of a run.")
    if MEASURE not in recipe.measures:
        raise SembridgeError(
            f"measures: {', '.join(recipe.measures)} lack {MEASURE}, which tables and figures show; add it."
        )


def check_test_sets(recipe: GridRecipe, cells: Sequence[Cell], places: Places) -> None:
    """Refuses a grid whose data sets are not where they should be, before hours of work.

    Raises:
        SembridgeError: a test set without a folder.
    """
    for language in dict.fromkeys(cell.language for cell in cells):
        for test_set in recipe.languages[language].test_sets:
            folder = places.test_set(test_set.name)
            if isinstance(folder, Path) and not folder.is_dir():
                hint = "give the folder that holds it with --data" if places.data is None else "check the path"
                raise SembridgeError(
                    f"Test set {test_set.name} of language {language}: there is no folder {folder}; {hint}."
                )
