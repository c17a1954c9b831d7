"""The page: one HTML file with its style, script and data inside, made from a template."""

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from jinja2 import Environment
from markupsafe import Markup, escape

from sembridge.experiments.charts import style_sheet, theme_rules
from sembridge.experiments.report.coverage import Coverage
from sembridge.experiments.report.measurements import Figure, Measurements
from sembridge.experiments.report.transfers import Examples
from sembridge.experiments.results import Mean
from sembridge.experiments.table_formats import DASH, PARTIAL, Number
from sembridge.files.templates import page_environment, template

RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur", "ps", "sd", "ug", "yi", "dv", "ckb"})


_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # HTML has no way to write them


@dataclass(frozen=True, eq=False)
class Content:
    """What the page shows; every part may be empty.

    Attributes:
        notes: what a reader has to know before a decision, the loudest first.
        explorer: of `pack_explorer`.
        missing_texts: data sets whose queries are shown as ids only.
    """

    title: str
    notes: tuple[str, ...]
    measurements: tuple[Measurements, ...]
    training: Figure | None
    coverages: tuple[Coverage, ...]
    explorer: dict[str, object] | None
    examples: tuple[Examples, ...]
    missing_texts: tuple[str, ...]


def render(content: Content) -> str:
    """The whole page; the same content gives the same bytes."""
    page = _environment().get_template("page.html")
    text = page.render(
        content=content,
        style=Markup(template("sembridge.experiments.report", "page.css") + _chart_style()),
        script=Markup(template("sembridge.experiments.report", "page.js")),
        version=version("sembridge"),
    )
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text.strip() + "\n")


@cache
def _environment() -> Environment:
    environment = page_environment("sembridge.experiments.report")
    environment.filters |= {
        "share": lambda part, whole: f"{part / whole:.1%}" if whole else DASH,
        "percent": lambda value: f"{100 * value:.4g}",
        "figure": _figure,
        "mean": _mean,
        "cell": _cell,
        "svg": Markup,
        "data": _data,
        "direction": _direction,
        "marked": _marked,
    }
    return environment


def _chart_style() -> str:
    """The charts follow the page's switch, which goes over the reader's colour scheme."""
    switched = (theme_rules(theme, f":root[data-theme={theme}]") for theme in ("light", "dark"))
    return style_sheet() + "".join(switched)


def _figure(value: float | None) -> str:
    return DASH if value is None else Number(value).text()


def _mean(mean: Mean) -> str:
    return Number(mean.value).text() + ("" if mean.complete or mean.value is None else PARTIAL)


def _cell(value: Number | str) -> str:
    if isinstance(value, str):
        return value
    return value.text() + value.marks()


def _data(value: object) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _marked(text: str) -> Markup:
    """The text with `commands` as code, and its options and commands broken between words only."""
    parts = (escape(part) if place % 2 == 0 else _code(part) for place, part in enumerate(text.split("`")))
    return Markup("").join(parts)


def _code(command: str) -> Markup:
    words = (Markup('<span class="nowrap">{}</span>').format(word) for word in command.split())
    return Markup("<code>{}</code>").format(Markup(" ").join(words))


def _direction(language: str | None) -> str:
    return "rtl" if language in RIGHT_TO_LEFT else "auto"
