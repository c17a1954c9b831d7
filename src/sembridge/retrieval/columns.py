"""The columns of an evaluation: one list that the command line, grids, tables, pages and model cards read.

A new figure is a line in `EvaluationRow`, and one where it is computed (`evaluate_vectors`, or `evaluate` for speeds).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class Column:
    """A figure of an evaluation, and how it is shown everywhere.

    Attributes:
        name: its key in JSON, CSV and `results.jsonl`; a measure's is its name in ir-measures notation.
        heading: what stands above it.
        title: what it is, for a caption.
        is_speed: it tells of the machine, too, so that no grid and no card keeps it.
        in_brief: whether a short table has it.
    """

    name: str
    heading: str
    title: str
    decimals: int
    higher_is_better: bool
    is_measure: bool = False
    is_speed: bool = False
    in_brief: bool = True

    @property
    def key(self) -> str:
        """The heading in the name of a file."""
        return self.heading.lower().replace(" ", "-")

    def of(self, row: "EvaluationRow") -> float | None:
        """The row's value; None where there is none, as for the vectors of BM25."""
        value = row.measures.get(self.name) if self.is_measure else getattr(row, self.name)
        return None if value is None else value

    def text(self, value: float | None) -> str:
        """The value as people read it; nothing where there is none."""
        return "" if value is None else f"{value:,.{self.decimals}f}"


def measure_column(measure: str) -> Column:
    """The column of a measure."""
    return Column(measure, measure, measure, decimals=3, higher_is_better=True, is_measure=True)


def _figure(heading: str, title: str, *, decimals: int, higher_is_better: bool = False, **shown: bool) -> Any:
    facts = {"heading": heading, "title": title, "decimals": decimals, "higher_is_better": higher_is_better, **shown}
    return field(default=None, metadata=facts)


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationRow:
    """A row of a table: its measures, and what its vectors cost; None without vectors."""

    COLUMNS: ClassVar[tuple[Column, ...]]
    """The figures beside the measures, in the order of tables and files."""

    measures: dict[str, float] = field(default_factory=dict)
    flops: float | None = _figure("FLOPS", "FLOPS statistic", decimals=2)
    query_active_dims: float | None = _figure("query dims", "active dims of queries", decimals=1, in_brief=False)
    document_active_dims: float | None = _figure("document dims", "active dims of documents", decimals=1)
    postings: int | None = _figure("postings", "postings of an inverted index", decimals=0, in_brief=False)
    bytes_per_document: float | None = _figure("bytes a document", "bytes a document, uncompressed", decimals=0)
    queries_per_second: float | None = _figure(
        "queries a second", "queries encoded a second", decimals=1, higher_is_better=True, is_speed=True, in_brief=False
    )
    documents_per_second: float | None = _figure(
        "documents a second", "documents encoded a second", decimals=1, higher_is_better=True, is_speed=True,
        in_brief=False,
    )  # fmt: skip

    def columns(self, *, speeds: bool = True) -> tuple[Column, ...]:
        """The columns of its measures, then the figures."""
        return (*map(measure_column, self.measures), *(c for c in self.COLUMNS if speeds or not c.is_speed))

    def bare(self) -> "EvaluationRow":
        """The row alone, without what is behind it."""
        return EvaluationRow(**{f.name: getattr(self, f.name) for f in fields(EvaluationRow)})

    def figures(self, *, speeds: bool = True) -> dict[str, float | None]:
        """Name of a figure -> value."""
        return {column.name: column.of(self) for column in self.COLUMNS if speeds or not column.is_speed}


EvaluationRow.COLUMNS = tuple(Column(f.name, **f.metadata) for f in fields(EvaluationRow) if f.metadata)
KEPT_COLUMNS = tuple(column for column in EvaluationRow.COLUMNS if not column.is_speed)
COST_COLUMNS = tuple(column for column in KEPT_COLUMNS if not column.higher_is_better)


def figure_column(name: str) -> Column:
    """The column of a figure."""
    return next(column for column in EvaluationRow.COLUMNS if column.name == name)


def best_of(column: Column, rows: Iterable[EvaluationRow]) -> float | None:
    """The best value of a measure; None for a figure: a vector of zeros costs least."""
    values = [value for row in rows if (value := column.of(row)) is not None]
    return max(values) if values and column.is_measure else None
