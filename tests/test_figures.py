"""Figures of a grid: what is drawn lies where the numbers say, nothing overlaps, and both colour schemes are there."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from synthetic_results import ENCODERS, realistic, row, scored, write

from sembridge.errors import SembridgeError
from sembridge.experiments.charts import (
    Box,
    Drawing,
    Label,
    Plot,
    Scale,
    draw_labels,
    round_up,
    spread,
    style_sheet,
    text_width,
)
from sembridge.experiments.figures import (
    FIGURES,
    alpha_sweep,
    cost_scatter,
    overlap_gain,
    write_figures,
    zero_shot_bars,
)
from sembridge.experiments.results import Results, read_results
from sembridge.retrieval.significance import bootstrap_interval

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(realistic(tmp_path_factory.mktemp("grid") / "out"))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_every_figure_is_a_small_self_contained_picture_for_light_and_dark(grid: Results, tmp_path: Path) -> None:
    paths = write_figures(grid, tmp_path / "figures")
    assert [path.stem for path in paths] == list(FIGURES)
    for path in paths:
        svg = path.read_text(encoding="utf-8")
        root = ElementTree.fromstring(svg)
        assert path.stat().st_size < 100_000
        assert "@media (prefers-color-scheme:dark)" in svg
        assert not re.search(r"href|url\(|<script|@import|<image", svg)
        assert " id=" not in svg  # several stand in one page
        assert root.find(f"{SVG}title") is not None
        assert not re.search(r"#[0-9a-f]{6}", svg.replace(style_sheet(), ""))  # colours come from the style sheet only


def test_nothing_lies_outside_the_picture(grid: Results) -> None:
    for draw in FIGURES.values():
        root = ElementTree.fromstring(draw(grid))
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        for text in root.iter(f"{SVG}text"):
            if "x" not in text.attrib:
                continue  # upright
            kind = text.attrib.get("class", "")
            its = text_width(text.text or "", 15 if "title" in kind else 11 if "small" in kind else 12)
            x, anchor = float(text.attrib["x"]), text.attrib.get("text-anchor", "start")
            left = x - {"start": 0, "middle": its / 2, "end": its}[anchor]
            assert left >= 0, text.text
            assert left + its <= width + 1, text.text
            assert 0 < float(text.attrib["y"]) < height
        for line in root.iter(f"{SVG}line"):
            assert all(0 <= float(line.attrib[name]) <= width for name in ("x1", "x2"))
            assert all(0 <= float(line.attrib[name]) <= height for name in ("y1", "y2"))


def test_same_results_same_bytes(grid: Results, tmp_path: Path) -> None:
    shuffled = Results(tuple(reversed(grid.rows)), dict(reversed(grid.per_query.items())), grid.words, grid.curves)
    assert {name: draw(shuffled) for name, draw in FIGURES.items()} == {
        name: draw(grid) for name, draw in FIGURES.items()
    }


def test_what_was_not_run_is_not_drawn(tmp_path: Path) -> None:
    results = read_results(write(tmp_path / "out", [row("any/ko/bm25-words/zero-shot", "a", flops=None)]))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "alpha-sweep.svg").write_text("of an earlier run")
    assert [path.name for path in write_figures(results, tmp_path / "figures")] == ["zero-shot.svg"]
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["zero-shot.svg"]


def test_a_folder_that_cannot_be_written_is_refused(grid: Results, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SembridgeError, match=r"zero-shot\.svg cannot be written"):
        write_figures(grid, tmp_path / "file")


def test_a_bar_is_as_long_as_its_mean_and_its_line_as_the_interval(tmp_path: Path) -> None:
    values = {"a": {"q1": 0.2, "q2": 0.8, "q3": 0.5}, "b": {"q1": 0.1, "q2": 0.3}}
    means = {data: sum(v.values()) / len(v) for data, v in values.items()}
    name = "e/ko/sembridge-default/zero-shot/0"
    rows = [*(scored(name, data, means[data]) for data in values), scored("any/ko/bm25-words/zero-shot", "a", 1.0)]
    per_query = {(name, data): v for data, v in values.items()}
    svg = zero_shot_bars(read_results(write(tmp_path / "out", rows, per_query=per_query)))
    root = ElementTree.fromstring(svg)
    unit = next(float(e.attrib["width"]) for e in root.iter(f"{SVG}rect") if e.attrib["class"] == "f6")  # BM25: 1.0
    bar = next(e for e in root.iter(f"{SVG}rect") if e.attrib["class"] == "f0")
    start = float(bar.attrib["x"])
    assert float(bar.attrib["width"]) / unit == pytest.approx((0.5 + 0.2) / 2, abs=0.002)
    whisker = next(e for e in root.iter(f"{SVG}line") if e.attrib["class"] == "whisker")
    drawn = [(float(whisker.attrib[x]) - start) / unit for x in ("x1", "x2")]
    assert drawn == pytest.approx(bootstrap_interval([list(v.values()) for v in values.values()]), abs=0.002)
    assert {".35", "1.00†"} <= set(texts(svg))  # BM25 lacks set b


def test_the_sweep_draws_a_line_a_language_and_their_average(grid: Results) -> None:
    svg = alpha_sweep(grid)
    assert [text for text in texts(svg) if text in ("ko", "ru", "average")].count(
        "average"
    ) == 4  # 2 encoders, 2 panels
    assert [f"sembridge-paper, {encoder}" in texts(svg) for encoder in ENCODERS] == [True, True]
    assert svg.count("<polyline") == 12


def test_costs_lie_on_a_logarithmic_axis_when_they_differ_much(tmp_path: Path) -> None:
    def x_of(costs: tuple[float, ...]) -> list[float]:
        rows = [
            row(f"e/ko/{m}/zero-shot", "a", flops=flops)
            for m, flops in zip(("mean", "ofa", "focus"), costs, strict=True)
        ]
        svg = cost_scatter(read_results(write(tmp_path / str(costs[2]), rows)))
        points = ElementTree.fromstring(svg).iter(f"{SVG}polygon")
        centres = [[float(corner.split(",")[0]) for corner in e.attrib["points"].split()] for e in points]
        return sorted(sum(corners) / 4 for corners in centres)

    near, far = x_of((1.0, 2.0, 3.0)), x_of((1.0, 10.0, 100.0))
    for left, middle, right in (near, far):
        assert middle - left == pytest.approx(right - middle, abs=0.3)


def test_the_gain_is_over_the_better_gaussian_of_the_set(tmp_path: Path) -> None:
    levels = {"univariate": 0.3, "multivariate": 0.5, "focus": 0.9, "sembridge-default": 0.6}
    rows = [scored(f"e/ko/{m}/zero-shot", "a", level, lexical_overlap=0.25) for m, level in levels.items()]
    root = ElementTree.fromstring(overlap_gain(read_results(write(tmp_path / "out", rows))))
    (point,) = root.iter(f"{SVG}circle")
    ticks = {text.text: float(text.attrib["y"]) - 4 for text in root.iter(f"{SVG}text") if text.text in ("0", "0.1")
             and text.attrib.get("text-anchor") == "end"}  # fmt: skip
    assert float(point.attrib["cy"]) == pytest.approx(ticks["0.1"], abs=0.2)  # .6 - .5
    axis = {text.text: float(text.attrib["x"]) for text in root.iter(f"{SVG}text") if text.text in ("0.2", "0.4", "a")
            and text.attrib.get("text-anchor") == "middle"}  # fmt: skip
    assert float(point.attrib["cx"]) == pytest.approx(axis["0.2"] * 0.75 + axis["0.4"] * 0.25, abs=0.2)


def test_names_cannot_break_the_picture(tmp_path: Path) -> None:
    rows = [scored("e/ko/mean/zero-shot", "a", 0.5) | {"method": "a<b>&c", "source_encoder": 'm"<x'}]
    svg = zero_shot_bars(read_results(write(tmp_path / "out", rows)))
    assert {"a<b>&c", 'm"<x'} <= set(texts(svg))


# The drawing itself -----------------------------------------------------------------------------------------------


def test_labels_of_a_crowd_neither_overlap_nor_cover_points_nor_leave_the_area() -> None:
    labels = [Label(200 + 14 * (i % 4), 150 + 17 * (i // 4), f"method-{i}") for i in range(12)]
    area = Box(0, 0, 500, 400)
    boxes = draw_labels(Drawing(500, 400), labels, area)
    assert len(boxes) == len(labels)
    for place, box in enumerate(boxes):
        assert box.outside(area) == 0
        assert all(box.overlap(other) == 0 for other in boxes[:place])
        assert all(box.overlap(Box(p.x - 3, p.y - 3, p.x + 3, p.y + 3)) == 0 for p in labels)


def test_positions_are_spread_in_order_and_within_the_limits() -> None:
    moved = spread([50, 10, 51, 52], 10, 0, 60)
    assert moved[1] < moved[0] < moved[2] < moved[3] <= 60
    assert all(b - a >= 10 - 1e-6 for a, b in zip(sorted(moved), sorted(moved)[1:], strict=False))
    assert spread([5, 30], 10, 0, 60) == [5, 30]


@pytest.mark.parametrize(("value", "end"), [(0.53, 0.6), (0.6, 0.6), (612, 800), (0, 0.2), (0.051, 0.06)])
def test_an_axis_ends_at_the_next_round_value(value: float, end: float) -> None:
    assert round_up(value) == end


def test_scales_put_their_ends_and_ticks_where_they_belong() -> None:
    linear, logarithmic = Scale(-0.1, 0.3, 0, 100), Scale(1, 100, 0, 100, logarithmic=True)
    assert [linear(-0.1), linear(0.3), logarithmic(10)] == pytest.approx([0, 100, 50])
    assert linear.ticks(4) == [-0.1, 0, 0.1, 0.2, 0.3]
    assert logarithmic.ticks() == [1, 2, 5, 10, 20, 50, 100]
    assert Scale(0.7, 1200, 0, 100, logarithmic=True).ticks() == [1, 3, 10, 30, 100, 300, 1000]
    assert Plot.of(Box(0, 0, 100, 50), (0, 1), (0, 1)).y(1) == 0
    assert Scale(2, 2, 0, 100)(2) == 50


def test_colours_are_told_apart_from_the_paper_in_both_schemes() -> None:
    """WCAG asks for a contrast of 3 for graphics and 4.5 for text."""
    light, dark = style_sheet().split("@media")
    for rules in (light, dark):
        colour = dict(re.findall(r"\.(paper|muted|f\d)\{fill:(#[0-9a-f]{6})", rules))
        paper = luminance(colour.pop("paper"))
        for name, its in colour.items():
            high, low = sorted((luminance(its), paper), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= (4.5 if name == "muted" else 3), (name, its)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else math.pow((part + 0.055) / 1.055, 2.4) for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
