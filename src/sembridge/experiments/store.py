"""The results of a grid on disk: a folder a cell, each file complete or not there at all."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sembridge.errors import SembridgeError
from sembridge.experiments.cells import Cell, fingerprint
from sembridge.experiments.contents import Contents
from sembridge.experiments.recipe import GridRecipe
from sembridge.files.atomic import PARTIAL, acquired_lock, write_file
from sembridge.retrieval.columns import KEPT_COLUMNS

CELLS, RESULT_FILE, ERROR_FILE, RESULTS_FILE = "cells", "result.json", "error.txt", "results.jsonl"
CURVE_FILE = "curve.jsonl"
LOCK_FILE = ".lock"
ROW_KEYS = (
    "cell", "source_encoder", "language", "method", "stage", "seed", "alpha", "data", "split", "n_queries",
    "n_documents", "measures", "least_overlapping", "lexical_overlap", *(column.name for column in KEPT_COLUMNS),
    "engine", "seconds",
)  # fmt: skip

Result = dict[str, Any]
"""A finished cell as result.json holds it: cell, fingerprint, contents (name -> digest of the data and models it was
computed with), versions, seconds, rows, per_query, words, health."""


@dataclass(frozen=True)
class Store:
    """The output folder of a grid.

    Attributes:
        contents: of the data and models that cells are computed with now; None where nobody compares them.
    """

    folder: Path
    contents: Contents | None = None

    def prepare(self) -> None:
        """Makes the folder, or accepts that of an earlier run.

        Raises:
            SembridgeError: something else stands there, or it cannot be written.
        """
        self.check()
        try:
            (self.folder / CELLS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SembridgeError(f"Output folder {self.folder} cannot be made: {error.strerror}.") from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """The folder for this process alone; what killed runs left half-written is removed.

        Raises:
            SembridgeError: another process computes in the folder.
        """
        try:
            lock = acquired_lock(self.folder / LOCK_FILE)
        except OSError as error:
            raise SembridgeError(f"Output folder {self.folder} cannot be written: {error.strerror}.") from None
        if lock is None:
            raise SembridgeError(
                f"Another run computes in {self.folder}; wait until it ends, or give another folder with --out."
            )
        try:
            for partial in self.folder.rglob(f"{PARTIAL}*"):
                partial.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def check(self) -> None:
        """Refuses a folder with other content than a grid's."""
        if self.folder.exists() and not self.folder.is_dir():
            raise SembridgeError(f"Output {self.folder} is no folder; give the name of a new one with --out.")
        if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / CELLS).is_dir():
            raise SembridgeError(
                f"Output folder {self.folder} holds something else than an earlier run; give a new name with --out."
            )

    def cell_folder(self, cell: Cell) -> Path:
        return self.folder / CELLS / cell.slug

    def read(self, cell: Cell) -> Result | None:
        """The cell's result, of whatever settings; None where there is none that can be read."""
        try:
            result = json.loads((self.cell_folder(cell) / RESULT_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return result if isinstance(result, dict) else None

    def write_result(self, cell: Cell, result: Result) -> None:
        """The result is there once its file is; the curve of a training goes into a file of its own before it."""
        if curve := result.get("curve"):
            self._write(cell, CURVE_FILE, "".join(json.dumps(point) + "\n" for point in curve))
        kept = {key: value for key, value in result.items() if key != "curve"}
        self._write(cell, RESULT_FILE, json.dumps(kept, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
        (self.cell_folder(cell) / ERROR_FILE).unlink(missing_ok=True)

    def write_error(self, cell: Cell, traceback: str) -> None:
        self._write(cell, ERROR_FILE, traceback)

    def _write(self, cell: Cell, name: str, text: str) -> None:
        self.cell_folder(cell).mkdir(parents=True, exist_ok=True)
        write_file(self.cell_folder(cell) / name, [text])

    def states(self, recipe: GridRecipe, cells: Sequence[Cell]) -> dict[Cell, str]:
        """Cell -> "done", "changed" (finished under other settings, data or models) or "missing"."""
        states = {}
        for cell in cells:
            states[cell] = self._state(recipe, cell)
            if cell.hybrid and states[cell] == "done":
                states[cell] = self._state(recipe, cell.hybrid)
        return states

    def _state(self, recipe: GridRecipe, cell: Cell) -> str:
        result = self.read(cell)
        if result is None:
            return "missing"
        return "changed" if self._changes(recipe, cell, result) else "done"

    def changes(self, recipe: GridRecipe, cell: Cell) -> str:
        """What is another than when the cell was finished: "settings", or names of data and models."""
        return self._changes(recipe, cell, self.read(cell) or {})

    def _changes(self, recipe: GridRecipe, cell: Cell, result: Result) -> str:
        if result.get("fingerprint") != fingerprint(cell, recipe):
            return "settings"
        held, now = result.get("contents") or {}, {} if self.contents is None else self.contents.of(cell)
        return ", ".join(name for name, digest in now.items() if held.get(name, digest) != digest)

    def results(self, recipe: GridRecipe, cells: Sequence[Cell]) -> list[Result]:
        """The results of all finished cells of the recipe, by name."""
        done = [cell for cell, state in self.states(recipe, cells).items() if state == "done"]
        done += [cell.hybrid for cell in done if cell.hybrid]
        return [result for cell in sorted(done, key=lambda c: c.name) if (result := self.read(cell)) is not None]


def rows_of(results: Iterable[Result]) -> list[dict[str, Any]]:
    """The rows of `results.jsonl`, by cell and data set; None for a column that an older cell does not have."""
    rows = [{key: row.get(key) for key in ROW_KEYS} for result in results for row in result["rows"]]
    return sorted(rows, key=lambda row: (row["cell"], row["data"], row["split"]))


def versions_of(results: Iterable[Result]) -> dict[str, str]:
    """Package -> the version that computed the cells; several versions are all named."""
    found: dict[str, set[str]] = {}
    for result in results:
        for package, version in result["versions"].items():
            found.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(versions)) for package, versions in sorted(found.items())}
