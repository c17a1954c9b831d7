"""Figures of quality against something else: what an encoder costs, and how far words alone would do."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from sembridge.experiments.charts import Box, Label, Plot, draw_labels, round_up
from sembridge.experiments.figure_parts import (
    OWN,
    REFERENCE,
    encoders_of,
    foot,
    is_narrow,
    kind_of,
    panels,
    set_mean,
    weight_of,
)
from sembridge.experiments.results import (
    GAUSSIANS,
    MEASURE,
    ZERO_SHOT,
    ResultRow,
    Results,
    System,
    mean_of,
    per_query_of,
    sets_by_language,
    systems,
)
from sembridge.retrieval.significance import bootstrap_interval


def cost_scatter(results: Results) -> str:
    """The FLOPS statistic against nDCG@10, a point a method at its first stage; empty where no encoder was measured."""
    stage = next(iter(results.stages()), ZERO_SHOT)
    rows = results.table_rows(stage)
    points = {encoder: found for encoder in encoders_of(rows) if (found := _cost_points(rows, encoder))}
    if not points:
        return ""
    flops = [point[0] for found in points.values() for _, point in found]
    log_x = min(flops) > 0 and max(flops) / min(flops) > 8
    x_range = (min(flops) / 1.5, max(flops) * 1.5) if log_x else (0.0, round_up(max(flops) * 1.1))
    bm25 = _best_bm25(rows)
    high = round_up(
        max([0.1, *(point[1] for found in points.values() for _, point in found), *(v for _, v in bm25)]) * 1.05
    )
    title = f"FLOPS statistic against nDCG@10, {stage}{'' if is_narrow(rows) else ', mean over languages'}"
    note = "Up and to the left is better. Dashed: the best BM25, which has no such statistic."
    plots, drawing = panels(list(points), 400, title, rows)
    for encoder, box in plots.items():
        plot = Plot.of(box, x_range, (0, high), log_x=log_x)
        plot.draw_axes(drawing, x_name="FLOPS statistic (less is cheaper)", y_name=MEASURE)
        for method, value in bm25:
            drawing.line(box.left, plot.y(value), box.right, plot.y(value), f"s{REFERENCE}", dashed=True)
            drawing.text(box.right, plot.y(value) - 5, method, kind="muted small", anchor="end")
        labels = []
        for system, (x, y) in points[encoder]:
            drawing.mark(plot.x(x), plot.y(y), _point_colour(system), size=6 if system.method == OWN else 4.5)
            labels.append(Label(plot.x(x), plot.y(y), system.method, f"{weight_of(system)} small".strip()))
        draw_labels(drawing, labels, Box(box.left, box.top, box.right + 8, box.bottom - 2))
    foot(drawing, note, 12)
    return drawing.svg("FLOPS statistic against nDCG@10", note)


def _cost_points(rows: Sequence[ResultRow], encoder: str) -> list[tuple[System, tuple[float, float]]]:
    """(FLOPS, nDCG@10) of every system of the encoder that was measured on all sets, sembridge first to be labelled."""
    groups = list(sets_by_language(rows).values())
    found = []
    for system in systems(row for row in rows if row.source_encoder == encoder and row.evaluation.flops is not None):
        own = [row for row in rows if row.system == system]
        x, y = (
            mean_of(own, groups, lambda r: r.evaluation.flops),
            mean_of(own, groups, lambda r: r.measures.get(MEASURE)),
        )
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
    gains = {encoder: found for encoder in encoders_of(rows) if (found := _gains(results, rows, encoder))}
    if not gains:
        return ""
    values = [value for found in gains.values() for gain in found for value in (gain.value, *gain.interval)]
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.08 * (high - low or 0.1)
    title = "Gain of sembridge-default over the better Gaussian, by lexical overlap of the set"
    note = (
        "A point: a test set, with the 95 % bootstrap interval over its queries. Square, below 0: a Gaussian is ahead."
    )
    plots, drawing = panels(list(gains), 300, title, rows, stacked=True)
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
    foot(drawing, note, 12)
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
            if (mean := set_mean([row for row in of_encoder if row.system == system], data)).value is not None
        }
        mean = set_mean(own, data)
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


def _point_colour(system: System) -> int:
    return {0: REFERENCE, 1: 1, 2: 0}[kind_of(system)]
