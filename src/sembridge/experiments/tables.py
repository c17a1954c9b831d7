"""The tables of a grid of experiments, in the paper's shape."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from sembridge.experiments.results import MEASURE, Results, System, is_sweep, read_results, systems
from sembridge.experiments.score_tables import (
    alpha_table,
    cost_table,
    least_overlapping_table,
    main_tables,
    set_tables,
)
from sembridge.experiments.significance_tables import significance_tables
from sembridge.experiments.table_formats import DASH, FORMATS, Cell, Group, Number, Table
from sembridge.files.atomic import write_file
from sembridge.files.progress import watched
from sembridge.retrieval.columns import COST_COLUMNS

__all__ = ["Results", "grid_tables", "read_results", "write_tables"]


_TABLE_NAME = re.compile(r"(zero-shot|fine-tuned)(-.+)?|alpha-sweep|words|steps-to-target")
TARGET_SHARE = 0.95  # of the best dev value, in steps-to-target


def write_tables(results: Results, folder: Path, *, n_permutations: int = 9999) -> list[Path]:
    """The files written to `folder`: every table of `grid_tables` as .md, .tex and .csv.

    A table of an earlier run that they have nothing for is removed.

    Raises:
        SembridgeError: the folder cannot be written, or seeds or methods were measured on different queries.
    """
    with contextlib.suppress(OSError):  # write_file says what is wrong with the place
        Path(folder).mkdir(parents=True, exist_ok=True)
    written = []
    found = grid_tables(results, n_permutations=n_permutations)
    # Ten thousand permutations of thousands of queries take minutes.
    for table in watched(found, "tables", unit="tables", shown=True):
        for ending, render in FORMATS.items():
            written.append(write_file(Path(folder) / f"{table.name}.{ending}", [render(table)]))
    for path in Path(folder).iterdir():
        if path not in written and path.suffix[1:] in FORMATS and _TABLE_NAME.fullmatch(path.stem):
            path.unlink()
    return written


def grid_tables(results: Results, *, n_permutations: int = 9999) -> Iterator[Table]:
    """All tables that the results have something for."""
    for stage in results.stages():
        rows = results.table_rows(stage)
        if not rows:
            continue
        yield from main_tables(results, rows, stage, n_permutations)
        yield from set_tables(results, rows, stage, n_permutations)
        if any(row.least_overlapping for row in rows):
            yield least_overlapping_table(results, rows, stage)
        yield from significance_tables(results, rows, stage, n_permutations)
        for cost in COST_COLUMNS:
            if any(cost.of(row.evaluation) is not None for row in rows):
                yield cost_table(results, rows, stage, cost)
    if any(is_sweep(row.method) for row in results.rows):
        yield alpha_table(results)
    if results.words:
        yield _word_table(results)
    if results.curves:
        yield _steps_table(results)


def _word_table(results: Results) -> Table:
    order = {(s.source_encoder, s.method): place for place, s in enumerate(systems(results.rows))}
    grouped: dict[str, list[tuple[Cell, ...]]] = {}
    for word in sorted(
        results.words,
        key=lambda w: (w.language, w.word, w.source_encoder, order.get((w.source_encoder, w.method), 0), w.method),
    ):
        parts = ", ".join(f"{token} {weight:.2f}" for token, weight in word.parts) or word.note or DASH
        grouped.setdefault(f"{word.language}: {word.word}", []).append((word.source_encoder, word.method, parts))
    return Table(
        "words",
        "What target words are made of: top source tokens and their weights",
        ("source encoder", "method", "source tokens"),
        tuple(Group(title, tuple(rows)) for title, rows in grouped.items()),
        ("The words are those of the grid's recipe. A drawn row is made of no token; of seeds the first is shown.",),
    )


def _steps_table(results: Results) -> Table:
    about = {row.cell: row for row in results.rows}
    grouped: dict[str, dict[System, list[_DevCurve]]] = {}
    for cell, curve in sorted(results.curves.items()):
        dev = [(point.step, point.dev) for point in curve if point.dev is not None]
        if cell in about and dev:
            row = about[cell]
            title = f"{row.source_encoder}, {row.language}"
            grouped.setdefault(title, {}).setdefault(row.system, []).append(dev)
    groups = []
    for title, by_system in sorted(grouped.items()):
        targets = _targets(by_system)
        members = [system for system in systems(results.rows) if system in by_system]
        rows = tuple((system.method, *_steps(by_system[system], targets)) for system in members)
        texts = ", ".join(f"{name} {Number(value).text()}" for name, value in targets.items() if value is not None)
        groups.append(Group(f"{title}: {texts}", rows))
    return Table(
        "steps-to-target",
        f"Training steps to a dev {MEASURE}: that of random rows after all steps, and {TARGET_SHARE:.0%} of the best",
        ("method", *(head for name in _TARGETS for head in (f"to {name}", "seeds")), "first", "last", "best"),
        tuple(groups),
        (
            "random's last: the mean over the seeds of method random after its last step. "
            f"{_NEAR_BEST}: of the highest dev value among all curves of a source encoder and language. "
            "Steps: the first evaluated step at or above it (0: before training), mean over the seeds that reached it. "
            "First, last, best: dev value before training, after it, and the highest; mean over seeds.",
        ),
    )


_DevCurve = Sequence[tuple[int, float]]
_NEAR_BEST = f"{TARGET_SHARE:.0%} of the best"
_TARGETS = ("random's last", _NEAR_BEST)


def _targets(by_system: Mapping[System, Sequence[_DevCurve]]) -> dict[str, float | None]:
    """What curves of one source encoder and language are asked to reach; None without the method random."""
    ends = [max(curve)[1] for system, curves in by_system.items() if system.method == "random" for curve in curves]
    best = max(value for curves in by_system.values() for curve in curves for _, value in curve)
    return dict(zip(_TARGETS, (fmean(ends) if ends else None, TARGET_SHARE * best), strict=True))


def _steps(curves: Sequence[_DevCurve], targets: Mapping[str, float | None]) -> list[Cell]:
    cells: list[Cell] = []
    for target in targets.values():
        reached = [
            min(step for step, value in curve if value >= target)
            for curve in curves
            if target is not None and max(value for _, value in curve) >= target
        ]
        seeds = DASH if target is None else f"{len(reached)} of {len(curves)}"
        cells += [Number(fmean(reached) if reached else None, 0), seeds]
    first, last = (fmean(end(curve)[1] for curve in curves) for end in (min, max))
    best = fmean(max(value for _, value in curve) for curve in curves)
    return [*cells, Number(first), Number(last), Number(best)]
