"""What a run of a grid would do, found out without loading a model: cells, downloads, and an estimate of the time."""

import contextlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sembridge.experiments.cells import Cell, grid_cells, select
from sembridge.experiments.contents import Contents
from sembridge.experiments.places import Places, check_data_sets, check_measures
from sembridge.experiments.recipe import DataSet, GridRecipe, Sampling
from sembridge.experiments.store import Store
from sembridge.retrieval.sources import load_retrieval_data

ASSUMED_TEXTS = 20_000  # of an mteb task whose size is not known here
ASSUMED_STEPS = 1_000  # of a training whose recipe counts epochs
TRAINING_COST = 3  # of a text, over encoding it: the way back costs as much as two ways forth


@dataclass(frozen=True)
class PlannedCell:
    """A cell, whether it is done, changed or missing, and the texts that it encodes, a training's among them."""

    cell: Cell
    state: str
    n_texts: int


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        downloads: hub ids and mteb tasks that are not in the local cache, with what they are for.
        texts_per_second: encoding speed behind the estimate.
        measured: the speed comes from finished cells; otherwise it is the recipe's.
        seconds: of all cells that are not done, in one process.
    """

    cells: tuple[PlannedCell, ...]
    downloads: dict[str, str]
    texts_per_second: float
    measured: bool
    seconds: float

    def count(self, state: str) -> int:
        return sum(planned.state == state for planned in self.cells)

    @property
    def basis(self) -> str:
        """How the time was estimated."""
        origin = "measured on the finished cells" if self.measured else "the recipe's documents_per_second"
        return f"{self.texts_per_second:.3g} texts a second, {origin}; transfers and downloads not counted"


def plan_grid(
    recipe: GridRecipe, folder: str | Path, *, places: Places | None = None, only: Sequence[str] = ()
) -> Plan:
    """The plan of `run_grid` with the same arguments; nothing is written.

    Raises:
        SembridgeError: as `run_grid`.
    """
    places = places or Places()
    store = Store(Path(folder), Contents(recipe, places))
    cells = select(grid_cells(recipe), only)
    check_measures(recipe)
    check_data_sets(recipe, cells, places)
    store.check()
    states = store.states(recipe, cells)
    sizes = {language: _n_texts(recipe, language, places) for language in dict.fromkeys(c.language for c in cells)}
    planned = tuple(
        PlannedCell(c, states[c], sizes[c.language] + _n_trained_on(recipe, c) if c.encodes else 0) for c in cells
    )
    speed = _measured_speed(store, [c for c, state in states.items() if state == "done"])
    texts_per_second = speed or recipe.documents_per_second
    to_do = [p for p in planned if p.state != "done"]
    seconds = sum(p.n_texts for p in to_do) / texts_per_second
    downloads = dict(_downloads(recipe, [p.cell for p in to_do], places.roots()))
    return Plan(planned, downloads, texts_per_second, speed is not None, seconds)


def _n_trained_on(recipe: GridRecipe, cell: Cell) -> int:
    """The texts that a training costs as much as encoding."""
    settings = cell.train_recipe(recipe)
    if settings is None:
        return 0
    columns = 2 if settings.hard_negatives == "none" else 2 + settings.n_negatives
    return TRAINING_COST * columns * settings.batch_size * (settings.steps or ASSUMED_STEPS)


def _n_texts(recipe: GridRecipe, language: str, places: Places) -> int:
    """Documents and queries that a cell of the language encodes."""
    caps, total = recipe.sampling, 0
    for test_set in recipe.languages[language].test_sets:
        if test_set.name.startswith("mteb:"):
            total += _n_texts_of_mteb(test_set, caps)
        else:
            data = load_retrieval_data(places.data_set(test_set.name), split=test_set.split)
            data = data.sample(caps.queries, caps.documents, seed=caps.seed)
            total += len(data.corpus) + len(data.queries)
    return total


def _n_texts_of_mteb(test_set: DataSet, caps: Sampling) -> int:
    """From the statistics that mteb ships, read without importing it (it takes seconds)."""
    _, _, task_name = test_set.name.partition("mteb:")
    task, _, subset = task_name.partition(":")
    sizes: dict[str, int] = {}
    package = importlib.util.find_spec("mteb")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "descriptive_stats" / "Retrieval" / f"{task}.json"
        with contextlib.suppress(OSError, ValueError, KeyError):
            by_split = json.loads(file.read_text(encoding="utf-8"))
            of_split = by_split[test_set.split or ("test" if "test" in by_split else min(by_split))]
            sizes = of_split["hf_subset_descriptive_stats"][subset] if subset else of_split
    n_documents, n_queries = sizes.get("num_documents", ASSUMED_TEXTS), sizes.get("num_queries", 0)
    return min(n_documents, caps.documents or n_documents) + min(n_queries, caps.queries or n_queries)


def _measured_speed(store: Store, done: Sequence[Cell]) -> float | None:
    """Texts a second over all rows with vectors."""
    rows = [row for cell in done for row in (store.read(cell) or {"rows": []})["rows"] if row["flops"] is not None]
    seconds = sum(row["seconds"] for row in rows)
    return sum(row["n_documents"] + row["n_queries"] for row in rows) / seconds if seconds else None


def _downloads(recipe: GridRecipe, cells: Sequence[Cell], roots: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Names that are not on this machine, and what each is."""
    for cell in cells:
        language = recipe.languages[cell.language]
        tokenizer = recipe.target_tokenizer(cell.language, roots=roots)
        names = {cell.source_encoder: "source encoder", tokenizer: "target tokenizer"}
        names |= dict.fromkeys(cell.bridges(recipe, roots), "bridge")
        for name, role in names.items():
            if name is not None and not _is_here(name):
                yield name, role
        for test_set in language.test_sets:
            if test_set.name.startswith("mteb:"):
                yield test_set.name, "test set (unless mteb has it already)"


def _is_here(name: str) -> bool:
    from huggingface_hub import constants

    if name.startswith("mini/") or Path(name).expanduser().is_dir():
        return True
    snapshots = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots"
    return snapshots.is_dir() and any(snapshots.iterdir())
