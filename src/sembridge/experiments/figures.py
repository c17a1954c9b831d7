"""The figures of a grid of experiments, as SVG text: for files, and for a page that holds several."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from sembridge.experiments.charts import LINE_HEIGHT, N_COLOURS, Box, Drawing, Plot, round_up, text_width
from sembridge.experiments.figure_parts import MARGIN, OWN, WIDTH, apart, head
from sembridge.experiments.results import MEASURE, CurvePoint, Results, systems
from sembridge.experiments.scatter_figures import cost_scatter, overlap_gain
from sembridge.experiments.score_figures import alpha_sweep, fine_tuned_bars, zero_shot_bars
from sembridge.files.atomic import write_file

__all__ = [
    "FIGURES",
    "alpha_sweep",
    "cost_scatter",
    "fine_tuned_bars",
    "overlap_gain",
    "training_curves",
    "write_figures",
    "zero_shot_bars",
]


_MAX_CURVE_POINTS = 120  # of a line: more cannot be seen, and each costs ten bytes


def write_figures(results: Results, folder: Path) -> list[Path]:
    """The SVG files written to `folder`: every figure of `FIGURES` that the results have something for.

    A figure of an earlier run that they have nothing for is removed.

    Raises:
        SembridgeError: the folder cannot be written.
    """
    with contextlib.suppress(OSError):  # write_file says what is wrong with the place
        Path(folder).mkdir(parents=True, exist_ok=True)
    drawn = {name: draw(results) for name, draw in FIGURES.items()}
    for name in (name for name, svg in drawn.items() if not svg):
        with contextlib.suppress(OSError):
            (Path(folder) / f"{name}.svg").unlink()  # of an earlier run
    return [write_file(Path(folder) / f"{name}.svg", [svg]) for name, svg in drawn.items() if svg]


def training_curves(results: Results) -> str:
    """Loss and dev nDCG@10 over the steps, a line a method (the mean of its seeds); empty before fine-tuning."""
    about = {row.cell: row for row in results.rows}
    curves = {cell: curve for cell, curve in sorted(results.curves.items()) if cell in about and len(curve) > 1}
    if not curves:
        return ""
    methods = list(dict.fromkeys(s.method for s in systems(about[cell] for cell in curves)))
    columns = sorted({(about[cell].source_encoder or "", about[cell].language) for cell in curves})
    n_columns = min(len(columns), 3)
    n_rows = -(-len(columns) // n_columns)
    panel_width = min((WIDTH - MARGIN) / n_columns, 440.0)
    points = [point for curve in curves.values() for point in curve]
    shown = [part for part in _CURVE_PARTS if any(part.value(point) is not None for point in points)]
    row_height = 44 + sum(part.height for part in shown)
    drawing = Drawing(max(MARGIN + panel_width * n_columns, 480.0), 112 + row_height * n_rows + 10)
    title = f"Training: {' and '.join(part.name for part in shown)}"
    below = f"{len(curves)} {'curve' if len(curves) == 1 else 'curves'}; a line is the mean of a method's seeds"
    head(drawing, title, below)
    _draw_legend(drawing, methods, 66)
    for place, column in enumerate(columns):
        left, top = MARGIN + place % n_columns * panel_width, 112.0 + place // n_columns * row_height
        own: dict[str, list[Sequence[CurvePoint]]] = {method: [] for method in methods}
        for cell, curve in curves.items():
            if (about[cell].source_encoder or "", about[cell].language) == column:
                own[about[cell].method].append(curve)
        drawing.text(left + 48, top + 10, ", ".join(column), kind="strong small")
        for part in shown:
            lines = {method: line for method, its in own.items() if (line := _mean_line(its, part.value))}
            if lines:
                box = Box(left + 48, top + part.low, left + panel_width - 24, top + part.height)
                x_name = "step" if part is shown[-1] else ""
                _draw_curves(drawing, box, lines, methods, y_name=part.name, x_name=x_name)
            top += part.height
    return drawing.svg(title, "Lines by method over the training steps.")


@dataclass(frozen=True)
class _CurvePart:
    """One figure of a training's curve, and the room that it takes: from `low` on it is drawn."""

    name: str
    value: Callable[[CurvePoint], float | None]
    low: float
    height: float


_CURVE_PARTS = (
    _CurvePart("loss", lambda point: point.loss, 20, 170),
    _CurvePart(f"dev {MEASURE}", lambda point: point.dev, 26, 156),
)


def _draw_curves(
    drawing: Drawing,
    box: Box,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    methods: Sequence[str],
    *,
    y_name: str,
    x_name: str,
) -> None:
    steps = max(x for line in lines.values() for x, _ in line)
    plot = Plot.of(box, (0, steps or 1), (0, round_up(max(y for line in lines.values() for _, y in line))))
    plot.draw_axes(drawing, x_name=x_name, y_name=y_name, x_ticks=apart(plot.x.ticks(4), plot.x))
    for method, line in sorted(lines.items(), key=lambda pair: pair[0] == OWN):  # ours on top
        points = [(plot.x(x), plot.y(y)) for x, y in line]
        colour, dashed = _curve_look(method, methods)
        drawing.path(points, colour, width=2.5 if method == OWN else 1.5, dashed=dashed)


def _draw_legend(drawing: Drawing, methods: Sequence[str], y: float) -> None:
    x = MARGIN
    for method in methods:
        width = 34 + text_width(method, 11)
        if x + width > drawing.width - MARGIN:
            x, y = MARGIN, y + LINE_HEIGHT
        colour, dashed = _curve_look(method, methods)
        drawing.path([(x, y - 4), (x + 18, y - 4)], colour, width=3 if method == OWN else 2, dashed=dashed)
        drawing.text(x + 23, y, method, kind="strong small" if method == OWN else "small")
        x += width


def _curve_look(method: str, methods: Sequence[str]) -> tuple[int, bool]:
    """Colour, and whether dashed: where there are more methods than colours, the second round is."""
    if method == OWN:
        return 0, False
    place = [other for other in methods if other != OWN].index(method)
    return 1 + place % (N_COLOURS - 1), place >= N_COLOURS - 1


def _mean_line(
    curves: Sequence[Sequence[CurvePoint]], value: Callable[[CurvePoint], float | None]
) -> list[tuple[float, float]]:
    """(step, value) of the mean over curves, means of neighbours where there are more than a line can show."""
    by_step: dict[int, list[float]] = {}
    for point in (point for curve in curves for point in curve):
        if (number := value(point)) is not None:
            by_step.setdefault(point.step, []).append(number)
    points = [(float(step), fmean(values)) for step, values in sorted(by_step.items())]
    width = -(-len(points) // _MAX_CURVE_POINTS) or 1
    parts = [points[start : start + width] for start in range(0, len(points), width)]
    return [(fmean(x for x, _ in part), fmean(y for _, y in part)) for part in parts]


FIGURES: dict[str, Callable[[Results], str]] = {
    "zero-shot": zero_shot_bars,
    "fine-tuned": fine_tuned_bars,
    "alpha-sweep": alpha_sweep,
    "flops": cost_scatter,
    "overlap-gain": overlap_gain,
    "training-curves": training_curves,
}
