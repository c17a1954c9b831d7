"""The figures of a grid of experiments, as SVG text: for files, and for a page that holds several."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from sembridge.experiments.charts import (
    LINE_HEIGHT,
    N_COLOURS,
    Box,
    Drawing,
    Label,
    Plot,
    Scale,
    draw_labels,
    round_up,
    spread,
    text_width,
    tick_text,
)
from sembridge.experiments.results import (
    FINE_TUNED,
    GAUSSIANS,
    MEASURE,
    ZERO_SHOT,
    CurvePoint,
    Mean,
    ResultRow,
    Results,
    System,
    mean_of,
    per_query_of,
    sets_by_language,
    sweep_rows,
    systems,
)
from sembridge.files.atomic import write_file
from sembridge.retrieval.significance import bootstrap_interval

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

WIDTH = 880.0
OWN, REFERENCE = "sembridge-default", N_COLOURS - 1
_MARGIN = 16.0
_BAR_ROW = 18.0
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


def zero_shot_bars(results: Results) -> str:
    """Bars of nDCG@10 for every language and method with 95 % intervals; empty without zero-shot rows."""
    return _score_bars(results, ZERO_SHOT)


def fine_tuned_bars(results: Results) -> str:
    """As `zero_shot_bars`, of the fine-tuned encoders; empty before fine-tuning."""
    return _score_bars(results, FINE_TUNED)


def _score_bars(results: Results, stage: str) -> str:
    rows = results.table_rows(stage)
    if not rows or stage not in results.stages():
        return ""
    title = f"{stage.capitalize()} {MEASURE} by language and method"
    encoders = _encoders(rows)
    languages = sets_by_language(rows)
    blocks = {encoder: _bars_of(results, rows, encoder, languages) for encoder in encoders or [""]}
    names = [*blocks, *(bars.label for block in blocks.values() for bars in block)]
    left = _MARGIN + 1.1 * max(text_width(name) for name in names) + 10  # some are bold
    panel = min((WIDTH - left - _MARGIN) / len(languages), 320.0)
    high = max([0.1, *(value for block in blocks.values() for bars in block for value in bars.highest())])
    heights = {encoder: 22 + sum(_BAR_ROW + bars.gap for bars in block) + 34 for encoder, block in blocks.items()}
    drawing = Drawing(WIDTH, 64 + sum(heights.values()) + 28)
    _head(drawing, title, _sets_text(rows))
    top = 64.0
    for encoder, block in blocks.items():
        drawing.text(_MARGIN, top + 16, encoder, kind="strong")
        for place, language in enumerate(languages):
            scale = Scale(0, high, left + place * panel, left + (place + 1) * panel - 46)
            _draw_bars(drawing, block, language, scale, top + 22)
        _draw_bar_labels(drawing, block, left - 8, top + 22)
        top += heights[encoder]
    note = "Bar: mean over the language's sets and seeds. Line: 95 % bootstrap interval over queries. †: fewer sets."
    drawing.text(_MARGIN, drawing.height - 14, note, kind="muted small")
    return drawing.svg(title, note)


@dataclass(frozen=True)
class _Bar:
    value: float
    low: float | None
    high: float | None
    complete: bool

    @property
    def text(self) -> str:
        return f"{self.value:.2f}".removeprefix("0") + ("" if self.complete else "†")


@dataclass(frozen=True)
class _Bars:
    """A method's bars, one a language; `gap`: room above it, where another kind of method begins."""

    label: str
    system: System
    bars: Mapping[str, _Bar]
    gap: float

    def highest(self) -> list[float]:
        return [bar.high or bar.value for bar in self.bars.values()]


def _bars_of(
    results: Results, rows: Sequence[ResultRow], encoder: str, languages: Mapping[str, Sequence[str]]
) -> list[_Bars]:
    found: list[_Bars] = []
    for system in systems(rows):
        if system.source_encoder not in (encoder, None):
            continue
        own = [row for row in rows if row.system == system]
        values = per_query_of(results, own)
        bars = {}
        for language, sets in languages.items():
            mean = mean_of(own, [sets], lambda row: row.measures.get(MEASURE))
            if mean.value is not None:
                strata = [list(values[data].values()) for data in sets if data in values]
                low, high = bootstrap_interval(strata) if mean.complete and len(strata) == len(sets) else (None, None)
                bars[language] = _Bar(mean.value, low, high, mean.complete)
        gap = 8.0 if found and _kind(found[-1].system) != _kind(system) else 0.0
        found.append(_Bars(system.method, system, bars, gap))
    return found


def _draw_bars(drawing: Drawing, block: Sequence[_Bars], language: str, scale: Scale, top: float) -> None:
    drawing.text(scale.start, top - 6, language, kind="strong")
    bottom = top + sum(_BAR_ROW + bars.gap for bars in block)
    ticks = scale.ticks(3)
    for tick in ticks:
        drawing.line(scale(tick), top, scale(tick), bottom, "rule")
        drawing.text(scale(tick), bottom + 14, tick_text(tick), kind="muted small", anchor="middle")
    y = top
    for bars in block:
        y += bars.gap
        if bar := bars.bars.get(language):
            middle = y + _BAR_ROW / 2
            box = Box(scale.start, y + 3, max(scale(bar.value), scale.start + 1), y + _BAR_ROW - 3)
            drawing.rectangle(box, f"f{_bar_colour(bars.system)}", opacity=_bar_opacity(bars.system))
            if bar.low is not None and bar.high is not None:
                drawing.line(scale(bar.low), middle, scale(bar.high), middle, "whisker")
            drawing.text(scale(bar.high or bar.value) + 4, middle + 4, bar.text, kind=_weight(bars.system))
        y += _BAR_ROW


def _draw_bar_labels(drawing: Drawing, block: Sequence[_Bars], right: float, top: float) -> None:
    y = top
    for bars in block:
        y += bars.gap + _BAR_ROW
        drawing.text(right, y - _BAR_ROW / 2 + 4, bars.label, kind=_weight(bars.system), anchor="end")


def alpha_sweep(results: Results) -> str:
    """Lines of nDCG@10 and of the documents' active dims over alpha; empty without a sweep."""
    swept = {system: by_alpha for system, by_alpha in sweep_rows(results).items() if len(by_alpha) > 1}
    if not swept:
        return ""
    panel_width = min((WIDTH - _MARGIN) / len(swept), 480.0)
    drawing = Drawing(max(_MARGIN + panel_width * len(swept), 480.0), 572)
    rows = [row for by_alpha in swept.values() for found in by_alpha.values() for row in found]
    _head(drawing, "Alpha sweep, zero-shot", _sets_text(rows))
    panels = (
        (MEASURE, lambda row: row.measures.get(MEASURE), 94.0, 294.0),
        ("active dims of a document", lambda row: row.document_active_dims, 330.0, 500.0),
    )
    for y_name, value, top, bottom in panels:
        lines = {system: _sweep_lines(by_alpha, value) for system, by_alpha in swept.items()}
        high = round_up(max([0.1, *(y for of in lines.values() for line in of.values() for _, y in line)]))
        for place, (system, of_system) in enumerate(lines.items()):
            left = _MARGIN + place * panel_width
            box = Box(left + 48, top, left + panel_width - 78, bottom)
            alphas = list(swept[system])
            plot = Plot.of(box, (alphas[0], alphas[-1]), (0, high), log_x=alphas[0] > 0)
            is_last = bottom == panels[-1][3]
            plot.draw_axes(drawing, x_name="α" if is_last else "", y_name=y_name, x_ticks=_apart(alphas, plot.x))
            if not is_last:
                drawing.text(box.left, top - 14, f"{system.method}, {system.source_encoder}", kind="strong")
            _draw_lines(drawing, plot, of_system)
    note = "α: entmax exponent, 1 softmax, 2 sparsemax, 4 the paper. A language: mean over its sets."
    drawing.text(_MARGIN, drawing.height - 12, note, kind="muted small")
    return drawing.svg("Alpha sweep, zero-shot", note)


_Line = Sequence[tuple[float, float]]


def _sweep_lines(
    by_alpha: Mapping[float, Sequence[ResultRow]], value: Callable[[ResultRow], float | None]
) -> dict[str, list[tuple[float, float]]]:
    """Language -> (alpha, mean over its sets), and their average; alphas that miss a set are left out."""
    languages = sets_by_language([row for rows in by_alpha.values() for row in rows])
    groups = {language: [sets] for language, sets in languages.items()}
    if len(languages) > 1:
        groups["average"] = list(languages.values())
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, wanted in groups.items():
        for alpha, rows in by_alpha.items():
            mean = mean_of(rows, wanted, value)
            if mean.value is not None and mean.complete:
                lines.setdefault(name, []).append((alpha, mean.value))
    return lines


def _draw_lines(drawing: Drawing, plot: Plot, lines: Mapping[str, _Line]) -> None:
    """Lines with marks, each named at its right end; the average in sembridge's colour and bold."""
    names = list(lines)
    ends = spread([plot.y(lines[name][-1][1]) for name in names], 13, plot.box.top, plot.box.bottom)
    for place, name in enumerate(names):
        is_own = name == "average" or len(names) == 1
        colour = 0 if is_own else 1 + place % (N_COLOURS - 2)
        points = [(plot.x(x), plot.y(y)) for x, y in lines[name]]
        drawing.path(points, colour, width=3 if is_own else 1.5)
        for x, y in points:
            drawing.mark(x, y, colour, size=4 if is_own else 3)
        drawing.line(points[-1][0] + 5, points[-1][1], plot.box.right + 12, ends[place], f"s{colour}")
        drawing.text(plot.box.right + 14, ends[place] + 4, name, kind="strong small" if is_own else "small")


def _apart(ticks: Sequence[float], scale: Scale) -> list[float]:
    """The ticks whose texts have room beside the one before."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or scale(tick) - scale(kept[-1]) > text_width(f"{tick_text(tick)} "):
            kept.append(tick)
    return kept


def cost_scatter(results: Results) -> str:
    """The FLOPS statistic against nDCG@10, a point a method at its first stage; empty where no encoder was measured."""
    stage = next(iter(results.stages()), ZERO_SHOT)
    rows = results.table_rows(stage)
    points = {encoder: found for encoder in _encoders(rows) if (found := _cost_points(rows, encoder))}
    if not points:
        return ""
    flops = [point[0] for found in points.values() for _, point in found]
    log_x = min(flops) > 0 and max(flops) / min(flops) > 8
    x_range = (min(flops) / 1.5, max(flops) * 1.5) if log_x else (0.0, round_up(max(flops) * 1.1))
    bm25 = _best_bm25(rows)
    high = round_up(
        max([0.1, *(point[1] for found in points.values() for _, point in found), *(v for _, v in bm25)]) * 1.05
    )
    plots, drawing = _panels(list(points), 400, f"FLOPS statistic against nDCG@10, {stage}, mean over languages", rows)
    for encoder, box in plots.items():
        plot = Plot.of(box, x_range, (0, high), log_x=log_x)
        plot.draw_axes(drawing, x_name="FLOPS statistic (less is cheaper)", y_name=MEASURE)
        for method, value in bm25:
            drawing.line(box.left, plot.y(value), box.right, plot.y(value), f"s{REFERENCE}", dashed=True)
            drawing.text(box.right, plot.y(value) - 5, method, kind="muted small", anchor="end")
        labels = []
        for system, (x, y) in points[encoder]:
            drawing.mark(plot.x(x), plot.y(y), _point_colour(system), size=6 if system.method == OWN else 4.5)
            labels.append(Label(plot.x(x), plot.y(y), system.method, f"{_weight(system)} small".strip()))
        draw_labels(drawing, labels, Box(box.left, box.top, box.right + 8, box.bottom - 2))
    note = "Up and to the left is better. Dashed: the best BM25, which has no such statistic."
    drawing.text(_MARGIN, drawing.height - 12, note, kind="muted small")
    return drawing.svg("FLOPS statistic against nDCG@10", note)


def _cost_points(rows: Sequence[ResultRow], encoder: str) -> list[tuple[System, tuple[float, float]]]:
    """(FLOPS, nDCG@10) of every system of the encoder that was measured on all sets, sembridge first to be labelled."""
    groups = list(sets_by_language(rows).values())
    found = []
    for system in systems(row for row in rows if row.source_encoder == encoder and row.flops is not None):
        own = [row for row in rows if row.system == system]
        x, y = mean_of(own, groups, lambda r: r.flops), mean_of(own, groups, lambda r: r.measures.get(MEASURE))
        if x.value is not None and y.value is not None and x.complete and y.complete:
            found.append((system, (x.value, y.value)))
    return sorted(found, key=lambda pair: pair[0].method != OWN)


def _best_bm25(rows: Sequence[ResultRow]) -> list[tuple[str, float]]:
    groups = list(sets_by_language(rows).values())
    means = []
    for system in systems(row for row in rows if row.method.startswith("bm25")):
        mean = mean_of([row for row in rows if row.system == system], groups, lambda row: row.measures.get(MEASURE))
        if mean.value is not None and mean.complete:
            means.append((system.method, mean.value))
    return sorted(means, key=lambda pair: -pair[1])[:1]


def overlap_gain(results: Results) -> str:
    """Lexical overlap of every set against what sembridge-default gains over the better Gaussian there; or empty."""
    rows = results.table_rows(ZERO_SHOT)
    gains = {encoder: found for encoder in _encoders(rows) if (found := _gains(results, rows, encoder))}
    if not gains:
        return ""
    values = [value for found in gains.values() for gain in found for value in (gain.value, *gain.interval)]
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.08 * (high - low or 0.1)
    title = "Gain of sembridge-default over the better Gaussian, by lexical overlap of the set"
    plots, drawing = _panels(list(gains), 300, title, rows, stacked=True)
    for encoder, box in plots.items():
        plot = Plot.of(box, (0, 1), (low - room, high + room))
        plot.draw_axes(
            drawing, x_name="lexical overlap of queries and what answers them", y_name=f"difference in {MEASURE}"
        )
        drawing.line(box.left, plot.y(0), box.right, plot.y(0), "axis")
        labels, whiskers = [], []
        for gain in gains[encoder]:
            x, y = plot.x(gain.overlap), plot.y(gain.value)
            colour = 0 if gain.value > 0 else 1
            if gain.interval:
                low_y, high_y = plot.y(gain.interval[0]), plot.y(gain.interval[1])
                drawing.path([(x, low_y), (x, high_y)], colour, width=1, opacity=0.5)
                whiskers.append(Box(x - 0.4, high_y, x + 0.4, low_y))
            drawing.mark(x, y, colour, size=4.5)
            labels.append(Label(x, y, gain.data, "small"))
        draw_labels(drawing, labels, box, whiskers)
    note = (
        "A point: a test set, with the 95 % bootstrap interval over its queries. Square, below 0: a Gaussian is ahead."
    )
    drawing.text(_MARGIN, drawing.height - 12, note, kind="muted small")
    return drawing.svg(title, note)


@dataclass(frozen=True)
class _Gain:
    """A set's overlap, the gain there, and its interval (empty without values per query)."""

    data: str
    overlap: float
    value: float
    interval: tuple[float, ...]


def _gains(results: Results, rows: Sequence[ResultRow], encoder: str) -> list[_Gain]:
    of_encoder = [row for row in rows if row.source_encoder == encoder]
    own = [row for row in of_encoder if row.method == OWN]
    gaussians = [s for s in systems(of_encoder) if s.is_baseline and s.method.startswith(GAUSSIANS)]
    found = []
    for data in sorted({row.data for row in own if row.lexical_overlap is not None}):
        rivals = {
            system: mean.value
            for system in gaussians
            if (mean := _set_mean([row for row in of_encoder if row.system == system], data)).value is not None
        }
        mean = _set_mean(own, data)
        if not rivals or mean.value is None:
            continue
        best = max(rivals, key=lambda system: rivals[system] or 0.0)
        overlap = fmean(row.lexical_overlap for row in own if row.data == data and row.lexical_overlap is not None)
        theirs = [row for row in of_encoder if row.system == best and row.data == data]
        interval = _interval(results, [row for row in own if row.data == data], theirs, data)
        found.append(_Gain(data, overlap, mean.value - (rivals[best] or 0.0), interval))
    return found


def _interval(results: Results, own: Sequence[ResultRow], theirs: Sequence[ResultRow], data: str) -> tuple[float, ...]:
    ours, others = per_query_of(results, own).get(data), per_query_of(results, theirs).get(data)
    if not ours or not others or ours.keys() != others.keys():
        return ()
    return bootstrap_interval([[ours[query] - others[query] for query in ours]])


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
    panel_width = min((WIDTH - _MARGIN) / n_columns, 440.0)
    drawing = Drawing(max(_MARGIN + panel_width * n_columns, 480.0), 112 + 370 * n_rows + 10)
    _head(drawing, "Training: loss and dev nDCG@10", f"{len(curves)} curves; a line is the mean of a method's seeds")
    _draw_legend(drawing, methods, 66)
    for place, column in enumerate(columns):
        left, top = _MARGIN + place % n_columns * panel_width, 112.0 + place // n_columns * 370
        own: dict[str, list[Sequence[CurvePoint]]] = {method: [] for method in methods}
        for cell, curve in curves.items():
            if (about[cell].source_encoder or "", about[cell].language) == column:
                own[about[cell].method].append(curve)
        drawing.text(left + 48, top + 10, ", ".join(column), kind="strong small")
        for name, value, low, high in (("loss", _loss, 20.0, 170.0), (f"dev {MEASURE}", _dev, 196.0, 326.0)):
            lines = {method: line for method, its in own.items() if (line := _mean_line(its, value))}
            if lines:
                box = Box(left + 48, top + low, left + panel_width - 24, top + high)
                _draw_curves(drawing, box, lines, methods, y_name=name, x_name="step" if value is _dev else "")
    return drawing.svg("Training: loss and dev nDCG@10", "Lines by method over the training steps.")


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
    plot.draw_axes(drawing, x_name=x_name, y_name=y_name, x_ticks=_apart(plot.x.ticks(4), plot.x))
    for method, line in sorted(lines.items(), key=lambda pair: pair[0] == OWN):  # ours on top
        points = [(plot.x(x), plot.y(y)) for x, y in line]
        colour, dashed = _curve_look(method, methods)
        drawing.path(points, colour, width=2.5 if method == OWN else 1.5, dashed=dashed)


def _draw_legend(drawing: Drawing, methods: Sequence[str], y: float) -> None:
    x = _MARGIN
    for method in methods:
        width = 34 + text_width(method, 11)
        if x + width > drawing.width - _MARGIN:
            x, y = _MARGIN, y + LINE_HEIGHT
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


def _loss(point: CurvePoint) -> float | None:
    return point.loss


def _dev(point: CurvePoint) -> float | None:
    return point.dev


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


def _set_mean(rows: Sequence[ResultRow], data: str) -> Mean:
    return mean_of(rows, [[data]], lambda row: row.measures.get(MEASURE))


def _panels(
    names: Sequence[str], height: float, title: str, rows: Sequence[ResultRow], *, stacked: bool = False
) -> tuple[dict[str, Box], Drawing]:
    """A box for every name, beside each other or stacked, on a drawing with its title."""
    across, down = (1, len(names)) if stacked else (len(names), 1)
    width = min((WIDTH - _MARGIN) / across, WIDTH if stacked else 600.0)
    drawing = Drawing(max(_MARGIN + width * across, 560.0), 62 + height * down + 26)
    _head(drawing, title, _sets_text(rows))
    boxes = {}
    for place, name in enumerate(names):
        left, top = _MARGIN + place % across * width, 62 + place // across * height
        boxes[name] = Box(left + 52, top + 30, left + width - 16, top + height - 46)
        drawing.text(left + 52, top + 18, name, kind="strong")
    return boxes, drawing


def _head(drawing: Drawing, title: str, below: str) -> None:
    drawing.text(_MARGIN, 26, title, kind="title")
    drawing.text(_MARGIN, 26 + LINE_HEIGHT, below, kind="muted small")


def _sets_text(rows: Sequence[ResultRow]) -> str:
    sets = {row.data: row.n_queries for row in rows}
    languages = {row.language for row in rows}
    counts = ((len(sets), "test set"), (len(languages), "language"))
    places = " in ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts)
    return f"{places}, {sum(sets.values()):,} queries"


def _encoders(rows: Sequence[ResultRow]) -> list[str]:
    return sorted({row.source_encoder for row in rows if row.source_encoder is not None})


def _kind(system: System) -> int:
    return 0 if system.is_reference else 1 if system.is_baseline else 2


def _weight(system: System) -> str:
    return "strong" if system.method == OWN else "muted" if system.is_reference else ""


def _bar_colour(system: System) -> int:
    return 0 if _kind(system) == 2 else REFERENCE


def _bar_opacity(system: System) -> float:
    """Full for sembridge-default and the baselines it is to be compared with."""
    return 1 if system.method == OWN or system.is_baseline else 0.55


def _point_colour(system: System) -> int:
    return {0: REFERENCE, 1: 1, 2: 0}[_kind(system)]


FIGURES: dict[str, Callable[[Results], str]] = {
    "zero-shot": zero_shot_bars,
    "fine-tuned": fine_tuned_bars,
    "alpha-sweep": alpha_sweep,
    "flops": cost_scatter,
    "overlap-gain": overlap_gain,
    "training-curves": training_curves,
}
