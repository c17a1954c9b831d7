"""The grid of an experiment, computed cell by cell: a finished cell is never computed again.

cells = grid_cells(recipe)            # what is to be computed; cells.py
run_grid(recipe, folder, roots)       # computes what is missing, then gathers results.jsonl; grid.py
compute_cell(cell, ...)               # one transfer and its evaluations; computing.py
"""
