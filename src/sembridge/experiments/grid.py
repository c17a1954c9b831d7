"""A whole grid: compute what is missing, then gather the rows, tables and figures."""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sembridge.errors import SembridgeError
from sembridge.experiments.cells import Cell, grid_cells, select
from sembridge.experiments.contents import Contents
from sembridge.experiments.figures import write_figures
from sembridge.experiments.places import Places, check_data_sets, check_measures
from sembridge.experiments.recipe import GridRecipe
from sembridge.experiments.results import read_results
from sembridge.experiments.store import RESULTS_FILE, Store, rows_of, versions_of
from sembridge.experiments.tables import write_tables
from sembridge.experiments.workers import Job, Outcome, compute
from sembridge.files.atomic import write_file

logger = logging.getLogger(__name__)

RECIPE_FILE, VERSIONS_FILE = "recipe.yaml", "versions.json"


@dataclass(frozen=True)
class GridRun:
    """What a run of a grid did.

    Attributes:
        kept: cells finished by earlier runs.
        computed: cells finished by this one.
        failed: what went wrong, by cell; `cells/SLUG/error.txt` has the traceback.
        n_missing: cells of the recipe that are not finished, whether selected or not.
        n_rows: lines of `results.jsonl`.
    """

    folder: Path
    kept: tuple[Cell, ...]
    computed: tuple[Cell, ...]
    failed: dict[Cell, str]
    n_missing: int
    n_rows: int

    def to_dict(self) -> dict[str, object]:
        return {
            "folder": str(self.folder),
            "kept": [cell.name for cell in self.kept],
            "computed": [cell.name for cell in self.computed],
            "failed": {cell.name: reason for cell, reason in self.failed.items()},
            "n_missing": self.n_missing,
            "n_rows": self.n_rows,
        }


def run_grid(
    recipe: GridRecipe,
    folder: str | Path,
    *,
    places: Places | None = None,
    only: Sequence[str] = (),
    n_jobs: int = 1,
    on_start: Callable[[int, int], None] = lambda n_kept, n_cells: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> GridRun:
    """Computes the cells that `folder` does not hold yet and writes `results.jsonl`, tables and figures there.

    A run that was ended at any moment is continued by the next one. A cell that was finished under other settings of
    the recipe is computed again. What goes wrong in a cell is reported and stops no other cell.

    Args:
        folder: that of an earlier run, or a new one.
        places: roots of data sets and word vectors.
        only: parts of cell names; every cell without one.
        n_jobs: processes; each has its share of the processor's cores.
        on_start: gets the number of finished cells and of all cells selected.
        on_outcome: gets every outcome as it comes.

    Raises:
        SembridgeError: the recipe cannot be computed, a pattern names no cell, a data set is not there, or the folder
            holds something else or is in use by another run.
    """
    if n_jobs < 1:
        raise SembridgeError(f"--jobs is {n_jobs}: expected 1 or more.")
    places = places or Places()
    store = Store(Path(folder), Contents(recipe, places))
    cells = select(grid_cells(recipe), only)
    check_measures(recipe)
    check_data_sets(recipe, cells, places)
    store.prepare()
    with store.locked():
        places.lasting(recipe).write(store.folder / RECIPE_FILE)
        return _run(Job(recipe, places, store), cells, n_jobs, on_start, on_outcome)


def _run(
    job: Job,
    cells: Sequence[Cell],
    n_jobs: int,
    on_start: Callable[[int, int], None],
    on_outcome: Callable[[Outcome], None],
) -> GridRun:
    recipe, store = job.recipe, job.store
    states = store.states(recipe, cells)
    for cell in (cell for cell, state in states.items() if state == "changed"):
        what = store.changes(recipe, cell) or "settings of its hybrid"
        logger.warning("%s was finished under other %s and is computed again.", cell.name, what)
    to_do = [cell for cell, state in states.items() if state != "done"]
    on_start(len(cells) - len(to_do), len(cells))
    computed, failed = [], {}
    with closing(compute(job, to_do, n_jobs=n_jobs)) as outcomes:
        for outcome in outcomes:
            on_outcome(outcome)
            if outcome.failure is None:
                computed.append(outcome.cell)
            else:
                failed[outcome.cell] = outcome.reason
    all_cells = grid_cells(recipe)
    n_rows = gather(recipe, store, all_cells)
    n_missing = sum(state != "done" for state in store.states(recipe, all_cells).values())
    kept = tuple(cell for cell, state in states.items() if state == "done")
    return GridRun(store.folder, kept, tuple(computed), failed, n_missing, n_rows)


def gather(recipe: GridRecipe, store: Store, cells: Sequence[Cell]) -> int:
    """Writes everything that is made of finished cells; the number of rows."""
    results = store.results(recipe, cells)
    rows = rows_of(results)
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    write_file(store.folder / RESULTS_FILE, lines)
    write_file(store.folder / VERSIONS_FILE, [json.dumps(versions_of(results), indent=1) + "\n"])
    if rows:
        _write_tables_and_figures(store.folder)
    return len(rows)


def _write_tables_and_figures(folder: Path) -> None:
    """In `tables` and `figures`; what cannot be made is said and costs no result."""
    for write, part in ((write_tables, "tables"), (write_figures, "figures")):
        try:
            write(read_results(folder), folder / part)
        except SembridgeError as error:
            logger.warning("The %s could not be written: %s", part, error)
