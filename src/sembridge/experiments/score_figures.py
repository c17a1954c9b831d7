"""Figures of quality: bars by language and method, and lines over alpha."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sembridge.experiments.charts import N_COLOURS, Box, Drawing, Plot, Scale, round_up, spread, text_width, tick_text
from sembridge.experiments.figure_parts import (
    MARGIN,
    NARROW,
    OWN,
    REFERENCE,
    WIDTH,
    apart,
    encoders_of,
    foot,
    head,
    is_narrow,
    kind_of,
    sets_text,
    weight_of,
)
from sembridge.experiments.results import (
    FINE_TUNED,
    MEASURE,
    ZERO_SHOT,
    ResultRow,
    Results,
    System,
    mean_of,
    per_query_of,
    sets_by_language,
    sweep_rows,
    systems,
)
from sembridge.retrieval.significance import bootstrap_interval

_BAR_ROW = 18.0


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
    encoders = encoders_of(rows)
    languages = sets_by_language(rows)
    blocks = {encoder: _bars_of(results, rows, encoder, languages) for encoder in encoders or [""]}
    names = [*blocks, *(bars.label for block in blocks.values() for bars in block)]
    left = MARGIN + 1.1 * max(text_width(name) for name in names) + 10  # some are bold
    width = max(NARROW, left + 160) if is_narrow(rows) else WIDTH
    panel = min((width - left - MARGIN) / len(languages), 320.0)
    high = max([0.1, *(value for block in blocks.values() for bars in block for value in bars.highest())])
    heights = {encoder: 22 + sum(_BAR_ROW + bars.gap for bars in block) + 34 for encoder, block in blocks.items()}
    drawing = Drawing(width, 64 + sum(heights.values()) + 28)
    head(drawing, title, sets_text(rows))
    top = 64.0
    for encoder, block in blocks.items():
        drawing.text(MARGIN, top + 16, encoder, kind="strong")
        for place, language in enumerate(languages):
            scale = Scale(0, high, left + place * panel, left + (place + 1) * panel - 46)
            _draw_bars(drawing, block, language, scale, top + 22)
        _draw_bar_labels(drawing, block, left - 8, top + 22)
        top += heights[encoder]
    note = "Bar: mean over the language's sets and seeds. Line: 95 % bootstrap interval over queries. †: fewer sets."
    foot(drawing, note, 14)
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
        gap = 8.0 if found and kind_of(found[-1].system) != kind_of(system) else 0.0
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
            drawing.text(scale(bar.high or bar.value) + 4, middle + 4, bar.text, kind=weight_of(bars.system))
        y += _BAR_ROW


def _draw_bar_labels(drawing: Drawing, block: Sequence[_Bars], right: float, top: float) -> None:
    y = top
    for bars in block:
        y += bars.gap + _BAR_ROW
        drawing.text(right, y - _BAR_ROW / 2 + 4, bars.label, kind=weight_of(bars.system), anchor="end")


def alpha_sweep(results: Results) -> str:
    """Lines of nDCG@10 and of the documents' active dims over alpha; empty without a sweep."""
    swept = {system: by_alpha for system, by_alpha in sweep_rows(results).items() if len(by_alpha) > 1}
    if not swept:
        return ""
    panel_width = min((WIDTH - MARGIN) / len(swept), 480.0)
    drawing = Drawing(max(MARGIN + panel_width * len(swept), 480.0), 572)
    rows = [row for by_alpha in swept.values() for found in by_alpha.values() for row in found]
    head(drawing, "Alpha sweep, zero-shot", sets_text(rows))
    panels = (
        (MEASURE, lambda row: row.measures.get(MEASURE), 94.0, 294.0),
        ("active dims of a document", lambda row: row.evaluation.document_active_dims, 330.0, 500.0),
    )
    for y_name, value, top, bottom in panels:
        lines = {system: _sweep_lines(by_alpha, value) for system, by_alpha in swept.items()}
        high = round_up(max([0.1, *(y for of in lines.values() for line in of.values() for _, y in line)]))
        for place, (system, of_system) in enumerate(lines.items()):
            left = MARGIN + place * panel_width
            box = Box(left + 48, top, left + panel_width - 78, bottom)
            alphas = list(swept[system])
            plot = Plot.of(box, (alphas[0], alphas[-1]), (0, high), log_x=alphas[0] > 0)
            is_last = bottom == panels[-1][3]
            plot.draw_axes(drawing, x_name="α" if is_last else "", y_name=y_name, x_ticks=apart(alphas, plot.x))
            if not is_last:
                drawing.text(box.left, top - 14, f"{system.method}, {system.source_encoder}", kind="strong")
            _draw_lines(drawing, plot, of_system)
    note = "α: entmax exponent, 1 softmax, 2 sparsemax, 4 the paper. A language: mean over its sets."
    drawing.text(MARGIN, drawing.height - 12, note, kind="muted small")
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


def _bar_colour(system: System) -> int:
    return 0 if kind_of(system) == 2 else REFERENCE


def _bar_opacity(system: System) -> float:
    """Full for sembridge-default and the baselines it is to be compared with."""
    return 1 if system.method == OWN or system.is_baseline else 0.55
