"""Results of a grid of experiments: what was measured in every cell, and its means over seeds, sets and languages."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sembridge.errors import SembridgeError
from sembridge.language_transfer.methods import METHODS as TRANSFER_METHODS
from sembridge.retrieval.columns import EvaluationRow

MEASURE = "nDCG@10"
ZERO_SHOT, FINE_TUNED = "zero-shot", "fine-tuned"
DENSE = "bridge"  # the reference that searches with the bridge itself
GAUSSIANS = ("univariate", "multivariate")
METHODS = (  # order of the rows: reference, baselines as in the paper, sembridge last
    *("bm25-words", "bm25-tokens", DENSE, "english"),
    *(name for name, method in TRANSFER_METHODS.items() if not method.needs_bridge),
    *("sembridge-paper", "sembridge-default"),
)

_SWEEP = re.compile(r"-alpha-[\d.e+-]+$")

PerQuery = Mapping[str, Mapping[str, float]]
"""Measure -> query id -> value, as in `Evaluation.per_query`."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ResultRow(_Record):
    """One encoder (or reference run) measured on one data set: a line of `results.jsonl`.

    Attributes:
        seed: None where nothing is drawn.
        alpha: the entmax exponent, None where there is none.
        least_overlapping: the measures over the third of the queries that share fewest words with what answers them.
        lexical_overlap: mean share of a query's words that its relevant documents repeat.
        evaluation: measures and figures; in the file they are keys of the line itself.
    """

    cell: str
    source_encoder: str | None = None
    language: str
    method: str
    stage: str = ZERO_SHOT
    seed: int | None = None
    alpha: float | None = None
    data: str
    split: str = "test"
    n_queries: int
    n_documents: int
    evaluation: EvaluationRow
    least_overlapping: dict[str, float | None] | None = None
    lexical_overlap: float | None = None
    seconds: float | None = None
    engine: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, line: Any) -> Any:
        """The line with its measures and figures in one."""
        if not isinstance(line, Mapping) or "evaluation" in line:
            return line
        names = {"measures", *(column.name for column in EvaluationRow.COLUMNS)}
        return {**line, "evaluation": {name: line[name] for name in names & line.keys()}}

    @property
    def measures(self) -> dict[str, float]:
        """Measure -> mean over the queries."""
        return self.evaluation.measures

    @property
    def system(self) -> "System":
        """What this row measured, over all seeds and data sets."""
        return System(None if self.method.startswith("bm25") else self.source_encoder, self.method)


class SourceWord(_Record):
    """The source tokens that a method made a target word of, heaviest first, with their weights; or why none."""

    word: str
    language: str
    method: str
    source_encoder: str
    parts: tuple[tuple[str, float], ...]
    note: str | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it one line of the table, over all seeds."""
        return self.language, self.word, self.source_encoder, self.method


class CurvePoint(_Record):
    """Training loss and the measure on the dev set at one step; None where it was not taken."""

    step: int
    loss: float | None = None
    dev: float | None = Field(default=None, alias="nDCG@10")


class _Cell(_Record):
    """What the tables need of `result.json`."""

    cell: str
    per_query: dict[str, dict[str, dict[str, float]]] = {}
    words: tuple[SourceWord, ...] = ()
    versions: dict[str, str] = {}


@dataclass(frozen=True)
class System:
    """A row of a table: a method applied to a source encoder (None: BM25, which knows no encoder)."""

    source_encoder: str | None
    method: str

    @property
    def is_reference(self) -> bool:
        """Whether nothing was transferred, or BM25 had a part in it."""
        return self.is_untrained or self.method.startswith("hybrid")

    @property
    def is_untrained(self) -> bool:
        """Whether it is the same at every stage: BM25, the bridge, or the untouched source encoder."""
        return self.method.startswith("bm25") or self.method in (DENSE, "english")

    @property
    def is_baseline(self) -> bool:
        """Whether it is a transfer by another method than sembridge."""
        return not self.is_reference and not self.method.startswith("sembridge")


@dataclass(frozen=True)
class Results:
    """A grid's results.

    Attributes:
        rows: one for every cell and data set.
        per_query: (cell, data) -> measure -> query id -> value; empty where only `results.jsonl` is left.
        words: top source tokens of a word per method and language; of a drawn method's seeds the first.
        curves: cell -> training curve; empty before fine-tuning.
        versions: package -> version, or versions where cells were computed with several.
    """

    rows: tuple[ResultRow, ...]
    per_query: Mapping[tuple[str, str], PerQuery] = field(default_factory=dict)
    words: tuple[SourceWord, ...] = ()
    curves: Mapping[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def stages(self) -> list[str]:
        """The stages that were run, zero-shot first; of references alone, which belong to every stage, zero-shot."""
        stages = {row.stage for row in self.rows if not row.system.is_untrained} or {row.stage for row in self.rows}
        return sorted(stages, key=lambda stage: (stage != ZERO_SHOT, stage))

    def table_rows(self, stage: str) -> list[ResultRow]:
        """The rows of one stage and the references that nothing trains; none of the alpha sweep's own."""
        own = [row for row in self.rows if row.stage == stage and not is_sweep(row.method)]
        if not own or stage == ZERO_SHOT:
            return own
        return [row for row in self.rows if row.stage == ZERO_SHOT and row.system.is_untrained] + own


@dataclass(frozen=True)
class Mean:
    """A mean over data sets (and languages) and seeds.

    Attributes:
        value: None where nothing was measured.
        spread: standard deviation over seeds (n - 1); None with fewer than two.
        complete: whether every data set was measured (with every seed).
    """

    value: float | None
    spread: float | None = None
    complete: bool = True


def read_results(folder: Path) -> Results:
    """The results in a grid's output folder: `results.jsonl`, and `cells/*/` where they are there.

    Raises:
        SembridgeError: no results, or a file that is not what the grid writes.
    """
    path = Path(folder) / "results.jsonl"
    if not path.is_file():
        raise SembridgeError(f"{folder} has no results.jsonl; give the output folder of `sembridge reproduce`.")
    rows = _read_lines(path, ResultRow)
    if not rows:
        raise SembridgeError(f"{path} is empty: no cell is finished yet; run `sembridge reproduce` again.")
    cells, curves = {}, {}
    for name in sorted({row.cell for row in rows}):  # other cells were computed under other settings
        own = Path(folder) / "cells" / name.replace("/", "__")
        if (file := own / "result.json").is_file():
            cells[name] = _parse(_Cell, _text(file), str(file))
        if (curve := own / "curve.jsonl").is_file():
            curves[name] = tuple(_read_lines(curve, CurvePoint))
    words: dict[tuple[str, str, str, str], SourceWord] = {}
    for word in (word for cell in cells.values() for word in cell.words if not is_sweep(word.method)):
        words.setdefault(word.key, word)
    return Results(
        rows=tuple(rows),
        per_query={(name, data): values for name, cell in cells.items() for data, values in cell.per_query.items()},
        words=tuple(words.values()),
        curves=curves,
        versions=_versions(cell.versions for cell in cells.values()),
    )


def _versions(found: Iterable[Mapping[str, str]]) -> dict[str, str]:
    pairs = sorted({pair for versions in found for pair in versions.items()})
    return {package: ", ".join(version for its, version in pairs if its == package) for package, _ in pairs}


_Record_ = TypeVar("_Record_", bound=_Record)


def _read_lines(path: Path, kind: type[_Record_]) -> list[_Record_]:
    lines = _text(path).split("\n")  # a text may hold other line separators
    return [_parse(kind, line, f"{path}, line {i}") for i, line in enumerate(lines, start=1) if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SembridgeError(f"{path} cannot be read ({reason}); run `sembridge reproduce` to write it anew.") from None


def _parse(kind: type[_Record_], text: str, place: str) -> _Record_:
    try:
        return kind.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise SembridgeError(
            f"{place}: {where}: {first['msg']}; remove that cell and run `sembridge reproduce`."
        ) from None
    except json.JSONDecodeError as error:
        raise SembridgeError(
            f"{place} is not JSON ({error.msg}); run `sembridge reproduce` to write it anew."
        ) from None


def is_sweep(method: str) -> bool:
    """Whether a method's name says that it is a step of the alpha sweep, as `sembridge-paper-alpha-2`."""
    return _SWEEP.search(method) is not None


def sweep_family(method: str) -> str:
    """The method whose alpha is swept: `sembridge-paper` of `sembridge-paper-alpha-2`."""
    return _SWEEP.sub("", method)


def systems(rows: Iterable[ResultRow]) -> list[System]:
    """The systems measured: references first, then by source encoder, methods in the order of `METHODS`."""

    def place(system: System) -> tuple[object, ...]:
        method = system.method.removeprefix("hybrid-")
        rank = _method_rank(method)
        encoder = system.source_encoder or ""
        if system.is_reference:
            return (0, system.method.startswith("hybrid"), rank, method, encoder)
        return (1, encoder, rank, method)

    return sorted({row.system for row in rows}, key=place)


def _method_rank(method: str) -> float:
    """The place in `METHODS`; a variant (`multivariate-1e-5`) after what it varies, others before sembridge."""
    if method in METHODS:
        return METHODS.index(method)
    varied = [place for place, known in enumerate(METHODS) if method.startswith(f"{known}-")]
    if varied:
        return varied[-1] + 0.5
    return len(METHODS) if method.startswith("sembridge") else METHODS.index("sembridge-paper") - 0.5


def sets_by_language(rows: Iterable[ResultRow]) -> dict[str, list[str]]:
    """Language -> its data sets, both sorted."""
    pairs = sorted({(row.language, row.data) for row in rows})
    return {language: [data for its, data in pairs if its == language] for language, _ in pairs}


def mean_of(
    rows: Iterable[ResultRow], groups: Sequence[Sequence[str]], value: Callable[[ResultRow], float | None]
) -> Mean:
    """The mean of one system over groups of data sets: sets within a group first, then the groups.

    A drawn method's mean and spread are taken over its seeds' own means. Where a set (or a seed on it) is missing the
    mean is over what is there, without a spread, and `complete` is false.
    """
    found: dict[int | None, dict[str, list[float]]] = {}
    for row in rows:
        if (number := value(row)) is not None:
            found.setdefault(row.seed, {}).setdefault(row.data, []).append(number)
    wanted = [data for group in groups for data in group]
    if not any(data in by_set for by_set in found.values() for data in wanted):
        return Mean(None, complete=False)
    if all(data in by_set for by_set in found.values() for data in wanted):
        means = [fmean(fmean(fmean(by_set[data]) for data in group) for group in groups) for by_set in found.values()]
        return Mean(fmean(means), stdev(means) if len(means) > 1 else None)
    seeds_of = {data: [fmean(by_set[data]) for by_set in found.values() if data in by_set] for data in wanted}
    present = [[fmean(seeds_of[data]) for data in group if seeds_of[data]] for group in groups]
    return Mean(fmean(fmean(group) for group in present if group), complete=False)


def per_query_of(results: Results, rows: Iterable[ResultRow], measure: str = MEASURE) -> dict[str, dict[str, float]]:
    """Data set -> query id -> value of one system, averaged over its seeds; sets without per-query values are absent.

    Raises:
        SembridgeError: two seeds were measured on different queries.
    """
    found: dict[str, dict[str, PerQuery]] = {}
    for row in rows:
        values = results.per_query.get((row.cell, row.data), {})
        if measure in values:
            found.setdefault(row.data, {})[row.cell] = values
    averaged = {}
    for data, by_cell in sorted(found.items()):
        runs = [values[measure] for values in by_cell.values()]
        if any(run.keys() != runs[0].keys() for run in runs):
            raise SembridgeError(f"{data}: the cells {', '.join(by_cell)} were not measured on the same queries.")
        averaged[data] = {query: fmean(run[query] for run in runs) for query in sorted(runs[0])}
    return averaged


def sweep_rows(results: Results) -> dict[System, dict[float, list[ResultRow]]]:
    """Swept system -> alpha, rising -> zero-shot rows; those of its own alpha are the method's, with the same seeds."""
    found: dict[System, dict[float, list[ResultRow]]] = {}
    for row in results.rows:
        if is_sweep(row.method) and row.alpha is not None and row.stage == ZERO_SHOT:
            system = System(row.source_encoder, sweep_family(row.method))
            found.setdefault(system, {}).setdefault(row.alpha, []).append(row)
    for system, by_alpha in found.items():
        sets = {row.data for rows in by_alpha.values() for row in rows}
        seeds = {row.seed for rows in by_alpha.values() for row in rows}
        of_method = [row for row in results.table_rows(ZERO_SHOT) if row.system == system and row.data in sets]
        own = [row for row in of_method if row.seed in seeds]
        for alpha in {row.alpha for row in own if row.alpha is not None} - by_alpha.keys():
            by_alpha[alpha] = [row for row in own if row.alpha == alpha]
    return {system: dict(sorted(by_alpha.items())) for system, by_alpha in sorted(found.items(), key=str)}


def pooled(by_set: Mapping[str, Mapping[str, float]], groups: Sequence[Sequence[str]]) -> dict[str, float]:
    """The queries of all sets in one, ids made distinct by the set's name; a test of them tests the mean of the tables.

    A query's value is scaled by its share in the mean over groups of the means over sets, so that the mean of all
    values is that mean: a set counts once, however many queries it has.
    """
    n_queries = sum(len(by_set[data]) for group in groups for data in group)
    return {
        f"{data}\t{query}": value * n_queries / (len(groups) * len(group) * len(by_set[data]))
        for group in groups
        for data in group
        for query, value in by_set[data].items()
    }
