"""The grid of an experiment, computed cell by cell: a finished cell is never computed again.

cells = grid_cells(recipe)            # what is to be computed; cells.py
run_grid(recipe, folder, roots)       # here: computes what is missing, then gathers results.jsonl
compute_cell(cell, ...)               # one transfer and its evaluations; computing.py
"""

from sembridge.experiments.cells import Cell, grid_cells, select
from sembridge.experiments.grid import GridRun, run_grid
from sembridge.experiments.places import Places, find_places
from sembridge.experiments.plan import Plan, plan_grid
from sembridge.experiments.workers import Outcome

__all__ = [
    "Cell",
    "GridRun",
    "Outcome",
    "Places",
    "Plan",
    "find_places",
    "grid_cells",
    "plan_grid",
    "run_grid",
    "select",
]
