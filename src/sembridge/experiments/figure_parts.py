"""What the figures share: their head, their panels, and how they tell systems apart."""

from collections.abc import Sequence

from sembridge.experiments.charts import LINE_HEIGHT, N_COLOURS, Box, Drawing, Scale, text_width, tick_text
from sembridge.experiments.results import MEASURE, Mean, ResultRow, System, mean_of

WIDTH, NARROW = 880.0, 430.0  # of all figures, and of those of one language: a phone shows them whole
OWN, REFERENCE = "sembridge-default", N_COLOURS - 1
MARGIN = 16.0


def apart(ticks: Sequence[float], scale: Scale) -> list[float]:
    """The ticks whose texts have room beside the one before."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or scale(tick) - scale(kept[-1]) > text_width(f"{tick_text(tick)} "):
            kept.append(tick)
    return kept


def set_mean(rows: Sequence[ResultRow], data: str) -> Mean:
    """The rows' mean on one set."""
    return mean_of(rows, [[data]], lambda row: row.measures.get(MEASURE))


def panels(
    names: Sequence[str],
    height: float,
    title: str,
    rows: Sequence[ResultRow],
    *,
    stacked: bool = False,
) -> tuple[dict[str, Box], Drawing]:
    """A box for every name, beside each other or stacked, on a drawing with its title."""
    across, down = (1, len(names)) if stacked else (len(names), 1)
    width = min((WIDTH - MARGIN) / across, WIDTH if stacked else 600.0)
    least = 560.0
    if len(names) == 1 and is_narrow(rows):
        width, least = NARROW - MARGIN, NARROW
    drawing = Drawing(max(MARGIN + width * across, least), 62 + height * down + 26)
    head(drawing, title, sets_text(rows))
    boxes = {}
    for place, name in enumerate(names):
        left, top = MARGIN + place % across * width, 62 + place // across * height
        boxes[name] = Box(left + 52, top + 30, left + width - 16, top + height - 46)
        drawing.text(left + 52, top + 18, name, kind="strong")
    return boxes, drawing


def head(drawing: Drawing, title: str, below: str) -> None:
    """Title and the line below it."""
    drawing.text(MARGIN, 26, title, kind="title")
    drawing.text(MARGIN, 26 + LINE_HEIGHT, below, kind="muted small")


def foot(drawing: Drawing, note: str, below: float) -> None:
    """The note at the lower end, `below` from it, in as many lines as it takes; the drawing grows by all but one."""
    lines = wrapped(note, drawing.width - 2 * MARGIN)
    top = drawing.height - below
    for place, line in enumerate(lines):
        drawing.text(MARGIN, top + place * LINE_HEIGHT, line, kind="muted small")
    drawing.height += LINE_HEIGHT * (len(lines) - 1)


def wrapped(text: str, width: float) -> list[str]:
    """Small text in lines of at most this width."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, 11) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def is_narrow(rows: Sequence[ResultRow]) -> bool:
    """Whether a figure of the rows leaves most of the full width empty: they are of one language."""
    return len({row.language for row in rows}) == 1


def sets_text(rows: Sequence[ResultRow]) -> str:
    """What was measured: "3 test sets in 2 languages, 120 queries"."""
    sets = {row.data: row.n_queries for row in rows}
    languages = {row.language for row in rows}
    counts = ((len(sets), "test set"), (len(languages), "language"))
    places = " in ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts)
    return f"{places}, {sum(sets.values()):,} queries"


def encoders_of(rows: Sequence[ResultRow]) -> list[str]:
    """The source encoders that the rows are of, sorted."""
    return sorted({row.source_encoder for row in rows if row.source_encoder is not None})


def kind_of(system: System) -> int:
    """0: a reference, 1: another transfer, 2: sembridge."""
    return 0 if system.is_reference else 1 if system.is_baseline else 2


def weight_of(system: System) -> str:
    """The class of its name in the style sheet."""
    return "strong" if system.method == OWN else "muted" if system.is_reference else ""
