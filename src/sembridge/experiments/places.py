"""What is looked at before a grid is computed: where its files are, and whether its measures exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sembridge.errors import SembridgeError
from sembridge.experiments.cells import Cell
from sembridge.experiments.recipe import GridRecipe
from sembridge.experiments.results import MEASURE
from sembridge.retrieval.measures import depth

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

    def lasting(self, recipe: GridRecipe) -> GridRecipe:
        """The recipe with these roots by their absolute paths, for a file that lies elsewhere."""
        return recipe.model_copy(update={name: str(Path(root).resolve()) for name, root in self.roots().items()})

    def data_set(self, name: str) -> str | Path:
        """The name under which `load_retrieval_data` (or `load_training_data`) finds a data set."""
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


def is_named(data_set: str) -> bool:
    """Whether a data set is known by name alone, wherever it lies."""
    return data_set.startswith(("mini/", "mteb:", "hub:", "corpus:"))


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


def check_data_sets(recipe: GridRecipe, cells: Sequence[Cell], places: Places) -> None:
    """Refuses a grid whose data sets are not where they should be, before hours of work.

    Raises:
        SembridgeError: a data set that is not there.
    """
    for language, is_trained in dict.fromkeys((cell.language, cell.is_trained) for cell in cells):
        settings = recipe.languages[language]
        named = [("Test", data_set) for data_set in settings.test_sets]
        if is_trained:
            named += [("Training", data_set) for data_set in settings.training_sets]
            named += [("Dev", settings.dev_set)] if settings.dev_set else []
        for role, data_set in named:
            _check_place(role, data_set.name, language, places)


def _check_place(role: str, name: str, language: str, places: Places) -> None:
    place = places.data_set(name)
    found = not isinstance(place, Path) or place.is_dir() or (role == "Training" and place.is_file())
    if not found:
        hint = "give the folder that holds it with --data" if places.data is None else "check the path"
        raise SembridgeError(f"{role} set {name} of language {language}: there is no folder {place}; {hint}.")
