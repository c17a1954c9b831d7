"""Drawing of charts as SVG text: self-contained, readable on light and dark pages, the same bytes for the same data.

By hand and not by a plotting library: the charts need no installation, their text stays text, and one style sheet
switches the colours with the reader's colour scheme, also inside an <img>.
"""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Anchor = Literal["start", "middle", "end"]

FONT_SIZE = 12.0
LINE_HEIGHT = 16.0
N_COLOURS = 7
_NARROW, _WIDE = frozenset("fijlrtI.,:;|'!()[]/- "), frozenset("mwMW@%")
_LABEL_DISTANCES = (7.0, 15.0, 26.0, 40.0, 56.0, 74.0)

# Okabe and Ito's colours, which colour-blind readers tell apart; darker on paper, lighter on black. Colour 0 is
# sembridge's, the last is for what is only there to compare.
_LIGHT = ("#0072b2", "#d55e00", "#00805d", "#a8518a", "#9a6a00", "#2b8cc4", "#6e7781")
_DARK = ("#56b4e9", "#ff8a4c", "#2bc79a", "#e79ac6", "#f0b429", "#a5dcff", "#8b949e")
_PAPER = {
    "light": {"paper": "#ffffff", "ink": "#1f2328", "muted": "#59636e", "rule": "#d1d9e0", "axis": "#818b98"},
    "dark": {"paper": "#0d1117", "ink": "#e6edf3", "muted": "#9198a1", "rule": "#2f353d", "axis": "#6e7681"},
}


def _colour_rules(paper: dict[str, str], colours: Sequence[str], within: str = "") -> str:
    figure = f"{within}.sembridge-figure"
    rules = [
        f"{figure} .paper{{fill:{paper['paper']}}}",
        f"{figure} text{{fill:{paper['ink']}}}",
        f"{figure} .muted{{fill:{paper['muted']}}}",
        f"{figure} .rule{{stroke:{paper['rule']}}}",
        f"{figure} .axis{{stroke:{paper['axis']}}}",
        f"{figure} .whisker{{stroke:{paper['ink']}}}",
        f"{figure} .halo{{stroke:{paper['paper']};stroke-width:3px;paint-order:stroke}}",
    ]
    for place, colour in enumerate(colours):
        rules.append(f"{figure} .f{place}{{fill:{colour}}}{figure} .s{place}{{stroke:{colour};fill:none}}")
    return "".join(rules)


def style_sheet() -> str:
    """The rules of every chart; the same in each, so that several can stand in one HTML page."""
    fonts = '-apple-system,BlinkMacSystemFont,"Segoe UI",Roboto,"DejaVu Sans",sans-serif'
    return (
        f".sembridge-figure{{font-family:{fonts};font-size:{FONT_SIZE:g}px}}"
        ".sembridge-figure .title{font-size:15px;font-weight:600}"
        ".sembridge-figure .strong{font-weight:600}"
        ".sembridge-figure .small{font-size:11px}"
        + _colour_rules(_PAPER["light"], _LIGHT)
        + f"@media (prefers-color-scheme:dark){{{_colour_rules(_PAPER['dark'], _DARK)}}}"
    )


def theme_rules(theme: Literal["light", "dark"], selector: str) -> str:
    """The colours of one scheme for the charts inside what the selector names: for a page with a switch of its own."""
    return _colour_rules(_PAPER[theme], _LIGHT if theme == "light" else _DARK, f"{selector} ")


def text_width(text: str, size: float = FONT_SIZE) -> float:
    """About how wide the text is, rather too wide than too narrow, in pixels."""
    widths = (
        0.42 if c in _NARROW else 1.0 if c in _WIDE or ord(c) > 0x2E00 else 0.68 if c.isupper() else 0.63 for c in text
    )
    return size * sum(widths)  # of DejaVu Sans, the widest of the fonts above


@dataclass(frozen=True)
class Scale:
    """Values to pixels: `low` lies at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Where the value lies."""
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.start + (self.end - self.start) * ((value - low) / (high - low) if high > low else 0.5)

    def ticks(self, n_wanted: int = 5) -> list[float]:
        """Round values within the scale, about as many as wanted."""
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)) - 1, math.ceil(math.log10(self.high)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                ticks = [
                    s * 10.0**p for p in powers for s in steps if self.low * 0.999 <= s * 10.0**p <= self.high * 1.001
                ]
                if len(ticks) <= n_wanted + 2:
                    return ticks
            return ticks
        step = round_step((self.high - self.low) / n_wanted)
        first = math.ceil(self.low / step - 1e-9)
        return [round(place * step, 10) for place in range(first, math.floor(self.high / step + 1e-9) + 1)]


def round_step(width: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `width`."""
    power = 10.0 ** math.floor(math.log10(width)) if width > 0 else 1.0
    return next(step * power for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9))


def round_up(value: float, n_steps: int = 5) -> float:
    """The least round number at or above `value`, for the end of an axis that begins at 0."""
    step = round_step(value / n_steps) if value > 0 else 0.2
    return round(step * math.ceil(value / step - 1e-9), 10) or step


def tick_text(value: float) -> str:
    """The tick's value without zeros that say nothing."""
    return f"{value:g}"


@dataclass(frozen=True)
class Box:
    """A rectangle: its left, top, right and bottom."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, other: "Box") -> float:
        """The area of this box that lies outside the other."""
        return (self.right - self.left) * (self.bottom - self.top) - self.overlap(other)


@dataclass
class Drawing:
    """An SVG picture that grows by what is drawn on it."""

    width: float
    height: float
    elements: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, *, kind: str = "", anchor: Anchor = "start") -> None:
        """Words with their baseline at `y`; `kind`: classes of the style sheet."""
        where = f'x="{_n(x)}" y="{_n(y)}"'
        its = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor != "start" else "")
        self.elements.append(f"<text {where}{its}>{html.escape(text, quote=False)}</text>")

    def upright_text(self, x: float, y: float, text: str) -> None:
        """Words that run upwards, centred on the point: the name of a y axis."""
        at = f'transform="translate({_n(x)} {_n(y)}) rotate(-90)"'
        self.elements.append(
            f'<text {at} class="muted small" text-anchor="middle">{html.escape(text, quote=False)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str, *, dashed: bool = False) -> None:
        """A straight line."""
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        at = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
        self.elements.append(f'<line {at} class="{kind}"{dash}/>')

    def rectangle(self, box: Box, kind: str, *, opacity: float = 1.0) -> None:
        """A filled rectangle."""
        size = f'width="{_n(box.right - box.left)}" height="{_n(box.bottom - box.top)}"'
        at = f'x="{_n(box.left)}" y="{_n(box.top)}" {size}'
        self.elements.append(f'<rect {at} class="{kind}"{_opacity(opacity)}/>')

    def path(
        self,
        points: Iterable[tuple[float, float]],
        colour: int,
        *,
        width: float = 1.5,
        opacity: float = 1.0,
        dashed: bool = False,
    ) -> None:
        """A line through all points."""
        at = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        dashes = ' stroke-dasharray="4 3"' if dashed else ""
        look = f'class="s{colour}" stroke-width="{width:g}" stroke-linejoin="round"{dashes}{_opacity(opacity)}'
        self.elements.append(f'<polyline points="{at}" {look}/>')

    def mark(self, x: float, y: float, colour: int, *, size: float = 4.0) -> None:
        """A point; its shape differs with its colour."""
        shape = _SHAPES[colour % len(_SHAPES)]
        if shape is None:
            self.elements.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{size:g}" class="f{colour}"/>')
            return
        corners = " ".join(f"{_n(x + size * dx)},{_n(y + size * dy)}" for dx, dy in shape)
        self.elements.append(f'<polygon points="{corners}" class="f{colour}"/>')

    def svg(self, title: str, description: str) -> str:
        """The whole picture; title and description are read out by screen readers."""
        size = f'width="{_n(self.width)}" height="{_n(self.height)}" viewBox="0 0 {_n(self.width)} {_n(self.height)}"'
        words = f"<title>{html.escape(title)}</title><desc>{html.escape(description)}</desc>"
        paper = '<rect class="paper" width="100%" height="100%" rx="6"/>'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="sembridge-figure" role="img" {size}>'
        return "\n".join([head, words, f"<style>{style_sheet()}</style>", paper, *self.elements, "</svg>", ""])


@dataclass(frozen=True)
class Plot:
    """The area between two axes."""

    box: Box
    x: Scale
    y: Scale

    @classmethod
    def of(cls, box: Box, x: tuple[float, float], y: tuple[float, float], *, log_x: bool = False) -> "Plot":
        """The plot whose axes show these ranges."""
        return cls(box, Scale(*x, box.left, box.right, log_x), Scale(*y, box.bottom, box.top))

    def draw_axes(self, drawing: Drawing, *, x_name: str, y_name: str, x_ticks: Sequence[float] | None = None) -> None:
        """Both axes with rules, ticks and names."""
        box = self.box
        for tick in self.y.ticks():
            drawing.line(box.left, self.y(tick), box.right, self.y(tick), "rule")
            drawing.text(box.left - 6, self.y(tick) + 4, tick_text(tick), kind="muted small", anchor="end")
        for tick in self.x.ticks() if x_ticks is None else x_ticks:
            drawing.line(self.x(tick), box.bottom, self.x(tick), box.bottom + 4, "axis")
            drawing.text(self.x(tick), box.bottom + 16, tick_text(tick), kind="muted small", anchor="middle")
        drawing.line(box.left, box.bottom, box.right, box.bottom, "axis")
        if x_name:
            drawing.text((box.left + box.right) / 2, box.bottom + 32, x_name, kind="muted small", anchor="middle")
        if y_name:
            drawing.upright_text(box.left - 40, (box.top + box.bottom) / 2, y_name)


@dataclass(frozen=True)
class Label:
    """Words that belong to a point."""

    x: float
    y: float
    text: str
    kind: str = ""


def draw_labels(drawing: Drawing, labels: Sequence[Label], area: Box, taken: Sequence[Box] = ()) -> list[Box]:
    """The boxes of the labels, drawn beside their points where they cover least: no label, no point, nothing outside.

    Greedy in the given order, then each once more with all others in place. A label that stands off its point is joined
    to it by a line.

    Args:
        taken: what else labels should not cover.
    """
    points = [Box(label.x - 5, label.y - 5, label.x + 5, label.y + 5) for label in labels]
    boxes: dict[int, Box] = {}
    for place in (*range(len(labels)), *range(len(labels))):
        obstacles = [
            *((box, 4.0) for its, box in boxes.items() if its != place),
            *((point, 8.0) for its, point in enumerate(points) if its != place),
            *((box, 1.0) for box in taken),
        ]
        costs = [(_cost(labels[place], box, obstacles, area), box) for box in _places(labels[place])]
        boxes[place] = min(costs, key=lambda pair: pair[0])[1]
    for place, label in enumerate(labels):
        box = boxes[place]
        if leader := _leader(label, box):
            drawing.line(label.x, label.y, *leader, "axis")
        drawing.text(box.left + 1, box.bottom - 4, label.text, kind=f"{label.kind} halo".strip())
    return list(boxes.values())


def _places(label: Label) -> list[Box]:
    """Where the label could stand, best first."""
    width = 2 + text_width(label.text, 11 if "small" in label.kind else FONT_SIZE) * (
        1.1 if "strong" in label.kind else 1
    )
    height = FONT_SIZE + 3
    places = []
    for distance in _LABEL_DISTANCES:
        for dx, dy in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1)):
            left = label.x + dx * distance - (width if dx < 0 else width / 2 if dx == 0 else 0)
            top = label.y + dy * distance - (height if dy < 0 else height / 2 if dy == 0 else 0)
            places.append(Box(left, top, left + width, top + height))
    return places


def _leader(label: Label, box: Box) -> tuple[float, float] | None:
    """The point of the box that a line from the label's point ends at; None where the two are close."""
    x, y = min(max(label.x, box.left), box.right), min(max(label.y, box.top), box.bottom)
    return (x, y) if math.hypot(x - label.x, y - label.y) > _LABEL_DISTANCES[1] - 1 else None


def _cost(label: Label, place: Box, obstacles: Sequence[tuple[Box, float]], area: Box) -> float:
    """The weighted areas it covers, ten times what sticks out, and what a leader is long and runs over."""
    cost = sum(weight * place.overlap(box) for box, weight in obstacles) + 10 * place.outside(area)
    if leader := _leader(label, place):
        cost += 20 + math.hypot(leader[0] - label.x, leader[1] - label.y)
        for step in range(1, 16):
            x, y = (start + (end - start) * step / 16 for start, end in zip((label.x, label.y), leader, strict=True))
            dot = Box(x - 0.5, y - 0.5, x + 0.5, y + 0.5)
            cost += 30 * sum(weight * dot.overlap(box) for box, weight in obstacles if weight > 1)
    return cost


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The positions, order kept, moved until neighbours stand `gap` apart, within low..high where they fit."""
    order = sorted(range(len(positions)), key=lambda i: (positions[i], i))
    moved = [positions[i] for i in order]
    for _ in range(200):
        for i in range(1, len(moved)):
            missing = gap - (moved[i] - moved[i - 1])
            if missing > 0:
                moved[i - 1], moved[i] = moved[i - 1] - missing / 2, moved[i] + missing / 2
        moved = [
            min(max(value, low + i * gap), max(high - (len(moved) - 1 - i) * gap, low + i * gap))
            for i, value in enumerate(moved)
        ]
    result = [0.0] * len(positions)
    for place, i in enumerate(order):
        result[i] = moved[place]
    return result


def _n(value: float) -> str:
    """A pixel position to a tenth, without a negative zero."""
    return f"{round(value, 1) + 0.0:g}"


def _opacity(opacity: float) -> str:
    return "" if opacity == 1 else f' opacity="{opacity:g}"'


_SHAPES: tuple[tuple[tuple[float, float], ...] | None, ...] = (
    None,  # a circle
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
    ((-0.4, -1.2), (0.4, -1.2), (0.4, 1.2), (-0.4, 1.2)),
    None,
)
