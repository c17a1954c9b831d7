"""`sembridge reproduce`: the grid of a recipe, computed cell by cell."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sembridge.cli.options import Json, verb
from sembridge.cli.printing import console, print_json
from sembridge.cli.program import quiet_loading

if TYPE_CHECKING:
    from sembridge.experiments.grid import GridRun
    from sembridge.experiments.plan import Plan
    from sembridge.experiments.workers import Outcome


@verb("""Examples:

`sembridge reproduce reproduction/mini/faq.yaml --dry-run`

`sembridge reproduce reproduction/mini/faq.yaml --out faq --only /ko/bm25 --only /ko/english`

`sembridge reproduce reproduction/mini/grid.yaml --data DATA --vectors VECTORS --out mini-grid --jobs 2`""")
def reproduce(
    recipe_file: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file of a grid.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the results; an earlier run there is continued.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Cells whose name has this in it (* and ? allowed); may be repeated.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; each has its share of the cores.")] = 1,
    data: Annotated[Path | None, typer.Option(help="Folder that holds the recipe's data sets.")] = None,
    vectors: Annotated[Path | None, typer.Option(help="Folder that holds the recipe's word vectors.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List cells, downloads and time; load and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Computes a grid: source encoders x languages x methods x seeds, each measured on the language's test sets.

    Writes `results.jsonl`, tables and figures. A run that was ended goes on where it stopped, a finished cell is never
    computed again, and a cell that fails stops no other: its traceback is in `cells/NAME/error.txt`.
    """
    from sembridge.experiments.recipe import GridRecipe

    recipe = GridRecipe.read(recipe_file)
    from sembridge.experiments.grid import run_grid
    from sembridge.experiments.places import find_places
    from sembridge.experiments.plan import plan_grid

    folder = out or Path(f"reproduce-{recipe_file.stem}")
    places = find_places(recipe, recipe_file.parent, data=data, vectors=vectors)
    if dry_run:
        _print_plan(plan_grid(recipe, folder, places=places, only=only or ()), folder, as_json=as_json)
        return
    quiet_loading()
    with _Progress() as progress:
        run = run_grid(
            recipe, folder, places=places, only=only or (), n_jobs=jobs,
            on_start=progress.start, on_outcome=progress.advance,
        )  # fmt: skip
    _print_run(run, as_json=as_json)
    if run.failed:
        raise typer.Exit(1)


def _print_plan(plan: "Plan", folder: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "cells": [{"cell": p.cell.name, "state": p.state, "n_texts": p.n_texts} for p in plan.cells],
                "downloads": plan.downloads,
                "seconds": round(plan.seconds, 1),
                "basis": plan.basis,
            }
        )
        return
    for planned in plan.cells:  # no table: a name must stay on one line, for grep
        console.print(f"{planned.state:8} {planned.n_texts:>11,} texts  {planned.cell.name}")
    for name, role in plan.downloads.items():
        console.print(f"to download: {name} ({role})")
    if not plan.downloads:
        console.print("Nothing to download.")
    console.print(
        f"{len(plan.cells):,} cells: {plan.count('done'):,} done, {plan.count('changed'):,} changed, "
        f"{plan.count('missing'):,} missing; about {_duration(plan.seconds)} in one process ({plan.basis})"
    )


def _print_run(run: "GridRun", *, as_json: bool) -> None:
    if as_json:
        print_json(run.to_dict())
        return
    console.print(
        f"{len(run.computed):,} cells computed, {len(run.kept):,} kept from earlier runs, {len(run.failed):,} failed; "
        f"{run.n_missing:,} of the recipe's cells are not finished"
    )
    console.print(f"{run.n_rows:,} rows in {run.folder / 'results.jsonl'}")


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} h"


class _Progress:
    """A bar on stderr with the time left, and a line for every cell that failed (every cell, where there is no bar)."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
        columns = (TextColumn("cells"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task("cells", total=None)
        self._n_done, self._n_cells = 0, 0

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def start(self, n_kept: int, n_cells: int) -> None:
        self._n_done, self._n_cells = n_kept, n_cells
        self._bar.reset(self._task, total=n_cells - n_kept)

    def advance(self, outcome: "Outcome") -> None:
        self._n_done += 1
        self._bar.advance(self._task)
        text = f"[{self._n_done}/{self._n_cells}] {outcome.cell.name}"
        if outcome.failure is not None:
            self._console.print(f"{text} failed: {outcome.reason}")
        elif not sys.stderr.isatty():
            self._console.print(text)
