"""Measurements for a page: headline, figures with their tables, and what training curves show."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sembridge.errors import SembridgeError
from sembridge.experiments.figure_parts import NARROW
from sembridge.experiments.figures import FIGURES
from sembridge.experiments.report.folders import TrainingFolder
from sembridge.experiments.report.standings import Headline, headlines
from sembridge.experiments.results import MEASURE, CurvePoint, ResultRow, Results
from sembridge.experiments.table_formats import Group, Number, Table
from sembridge.experiments.tables import grid_tables
from sembridge.retrieval.columns import COST_COLUMNS, EvaluationRow
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.sources import load_retrieval_data

N_PERMUTATIONS = 9999
N_CURVE_ROWS = 12  # of a curve in a table


@dataclass(frozen=True)
class Figure:
    """A picture and the tables that hold its numbers; `svg` is empty where there are only tables."""

    title: str
    about: str
    svg: str
    tables: tuple[Table, ...]

    @property
    def is_narrow(self) -> bool:
        """Whether a phone shows the picture whole, a little smaller."""
        width = re.search(r'width="([\d.]+)"', self.svg)
        return width is not None and float(width[1]) <= 1.2 * NARROW


@dataclass(frozen=True)
class Measurements:
    """One grid, or what was measured for this page.

    Attributes:
        verdicts: a sentence for every encoder measured for this page.
    """

    name: str
    about: str
    headlines: tuple[Headline, ...]
    figures: tuple[Figure, ...]
    versions: Mapping[str, str]
    verdicts: tuple[str, ...] = ()


def measurements(
    name: str,
    about: str,
    results: Results,
    texts: Mapping[str, RetrievalData],
    *,
    verdicts: tuple[str, ...] = (),
) -> Measurements:
    """The headline, figures and tables of results."""
    return Measurements(
        name=name,
        about=about,
        headlines=tuple(headlines(results, texts)),
        figures=tuple(figures(results)),
        versions=results.versions,
        verdicts=verdicts,
    )


def figures(results: Results) -> Iterable[Figure]:
    """Every figure that the results have something for, with its tables; tables without a figure last."""
    left = {table.name: table for table in grid_tables(results, n_permutations=N_PERMUTATIONS)}
    for name, draw in FIGURES.items():
        svg = draw(results)
        tables = tuple(left.pop(key) for key in list(left) if _belongs(key, name))
        if svg:
            yield Figure(*_ABOUT[name], svg=_without_style(svg), tables=tables)
        else:
            left |= {table.name: table for table in tables}
    if left:
        title, about = (
            "More tables",
            "What the figures do not show: significance, the least overlapping queries, words.",
        )
        yield Figure(title, about, "", tuple(left.values()))


_ABOUT = {
    "zero-shot": (
        "Zero-shot quality",
        "After the transfer, without any training: every method on every language, with 95 % intervals where the "
        "values of every query are at hand.",
    ),
    "fine-tuned": ("Fine-tuned quality", "Every method on every language after training on pairs of it."),
    "alpha-sweep": (
        "How sharp the weights are",
        "Quality and cost by α: higher means fewer English tokens behind a new one.",
    ),
    "flops": (
        "Cost against quality",
        "The FLOPS statistic is the mean work of a query on an inverted index; left and up is better.",
    ),
    "overlap-gain": (
        "Where meaning helps",
        "The gain over rows that know nothing of meaning, by how many words questions and answers share.",
    ),
    "training-curves": ("Training", "Loss and dev quality from every initialization."),
}


def _belongs(table: str, figure: str) -> bool:
    if figure in ("zero-shot", "fine-tuned"):
        return table in (figure, f"{figure}-bundled") or table.startswith(f"{figure}-sets-")
    if figure == "flops":
        return table in {f"zero-shot-{column.key}" for column in COST_COLUMNS}
    if figure == "overlap-gain":
        return table == "zero-shot-significance-sets"
    return {"alpha-sweep": "alpha-sweep", "training-curves": "steps-to-target"}.get(figure) == table


def _without_style(svg: str) -> str:
    """The page holds the charts' style sheet once."""
    start, end = svg.index("<style>"), svg.index("</style>") + len("</style>")
    return svg[:start] + svg[end:]


def load_texts(data_names: Iterable[str], grid_data: Path | None) -> tuple[dict[str, RetrievalData], tuple[str, ...]]:
    """The data sets whose texts are at hand, by name, and the names of the others.

    Bundled ones always are; others lie in `grid_data` under their names, as for `sembridge reproduce`.
    """
    found: dict[str, RetrievalData] = {}
    missing = []
    for name in sorted(set(data_names)):
        place = name if name.startswith("mini/") or grid_data is None else grid_data / name
        try:
            if grid_data is None and not name.startswith("mini/"):
                raise SembridgeError(f"no folder was given that holds {name}")
            found[name] = load_retrieval_data(place)
        except SembridgeError:  # the page shows ids then, and says so
            missing.append(name)
    return found, tuple(missing)


def training_figure(trainings: Sequence[TrainingFolder]) -> Figure | None:
    """Loss and dev curves of all trainings in one picture; None without any."""
    if not trainings:
        return None
    rows, curves = [], {}
    for training in trainings:
        transfer = training.transfer
        rows.append(
            ResultRow(
                cell=training.name,
                source_encoder=transfer.report.source_encoder if transfer else training.name,
                language=transfer.language if transfer else "",
                method=transfer.method if transfer else training.name,
                stage="fine-tuned",
                data=training.facts.dev or training.facts.data,
                n_queries=0,
                n_documents=0,
                evaluation=EvaluationRow(),
            )
        )
        curves[training.name] = training.curve
    svg = FIGURES["training-curves"](Results(rows=tuple(rows), curves=curves))
    tables = (_training_table(trainings), *(_curve_table(training) for training in trainings))
    return Figure(*_ABOUT["training-curves"], svg=_without_style(svg) if svg else "", tables=tables)


def _training_table(trainings: Sequence[TrainingFolder]) -> Table:
    rows = []
    for training in trainings:
        losses = [point.loss for point in training.curve if point.loss is not None]
        dev = [(point.dev, -point.step) for point in training.curve if point.dev is not None]
        best = max(dev, default=None)
        method = training.transfer.method if training.transfer else "–"
        rows.append(
            (
                *(training.name, method, training.facts.data, Number(training.facts.pairs, 0)),
                *(Number(training.facts.steps, 0), Number(losses[-1] if losses else None)),
                *(Number(dev[0][0] if dev else None), Number(best[0] if best else None)),
                Number(-best[1] if best else None, 0),
            )
        )
    heads = ("training", "started from", "data", "pairs", "steps", "last loss", "first dev", "best dev", "at step")
    return Table("trainings", "Trainings", heads, (Group("", tuple(rows)),), (f"dev: {MEASURE} on the dev data.",))


def _curve_table(training: TrainingFolder) -> Table:
    evaluated = [point for point in training.curve if point.dev is not None]
    shown = _thinned(evaluated or list(training.curve))
    rows = tuple((str(point.step), Number(point.loss), Number(point.dev)) for point in shown)
    caption = f"Curve of {training.name}: {len(shown)} of {len(training.curve)} logged steps"
    return Table(f"curve-{training.name}", caption, ("step", "loss", f"dev {MEASURE}"), (Group("", rows),))


def _thinned(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    if len(points) <= N_CURVE_ROWS:
        return list(points)
    places = [round(i * (len(points) - 1) / (N_CURVE_ROWS - 1)) for i in range(N_CURVE_ROWS)]
    return [points[place] for place in places]
