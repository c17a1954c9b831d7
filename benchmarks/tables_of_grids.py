"""Tables of grids: what `sembridge reproduce` measured, and the ladder of `ladder.py`."""

import re
from collections.abc import Callable
from pathlib import Path

import yaml
from page_tables import RESULTS, load, short, table, versions_of

from sembridge.experiments.results import (
    MEASURE,
    ZERO_SHOT,
    ResultRow,
    Results,
    mean_of,
    read_results,
    sets_by_language,
)

SYSTEMS = {  # rows of the README's table
    "english": "English encoder, untouched",
    "random": "random rows",
    "multivariate": "multivariate Gaussian rows",
    "sembridge-paper": "the paper's rule",
    "sembridge-default": "**SemBridge's default**",
    "hybrid-sembridge-default": "**the same fused with BM25**",
    "bm25-words": "BM25 over words",
    "bm25-tokens": "BM25 over tokens",
    "bridge": "dense search with the bridge",
}
README_SOURCE = "mini/splade-en"


def grid(name: str) -> Results:
    return read_results(RESULTS / name)


def mean(_: Path, name: str, method: str, stage: str = ZERO_SHOT, source: str = README_SOURCE) -> str:
    """A method's mean over sets and then languages: `mean grid sembridge-default`."""
    rows = [row for row in grid(name).table_rows(stage) if row.source_encoder in (source, None)]
    sets = [row for row in rows if row.stage == stage or stage == ZERO_SHOT]
    found = mean_of([row for row in sets if row.method == method], list(sets_by_language(sets).values()), _measure)
    if found.value is None:
        raise SystemExit(f"{name} has no {method} at {stage} of {source}.")
    return short(found.value)


def _measure(row: ResultRow) -> float:
    return row.measures[MEASURE]


def readme(_: Path, name: str, source: str) -> str:
    """A row a system, a column a language, the mean over its sets before any training: `readme grid mini/splade-en`."""
    rows = [row for row in grid(name).table_rows(ZERO_SHOT) if row.source_encoder in (source, None)]
    groups = sets_by_language(rows)
    columns = {**{language: [sets] for language, sets in groups.items()}, "mean": list(groups.values())}
    body = []
    for method, label in SYSTEMS.items():
        own = [row for row in rows if row.method == method]
        if own:
            means = (mean_of(own, sets, _measure) for sets in columns.values())
            body.append([label, *("–" if m.value is None else short(m.value) for m in means)])
    return table(["", *columns], body)


def grid_table(page: Path, name: str) -> str:
    """A table of the grid beside the page."""
    return (page.parent / "tables" / f"{name}.md").read_text(encoding="utf-8").strip()


def figures(page: Path, *names: str) -> str:
    """Pictures of the grid beside the page."""
    return "\n\n".join(f"![{name}](figures/{name}.svg)" for name in names)


def more_tables(page: Path) -> str:
    """Links to the tables of the grid that the page does not show."""
    shown = re.findall(r"<!-- made: table (\S+) -->", page.read_text(encoding="utf-8"))
    others = sorted(path.stem for path in (page.parent / "tables").glob("*.md") if path.stem not in shown)
    return "More tables: " + ", ".join(f"[{name}](tables/{name}.md)" for name in others) + "."


def sampling(page: Path) -> str:
    """How much of each set was used, and what encoded it."""
    recipe = yaml.safe_load((page.parent / "recipe.yaml").read_text(encoding="utf-8"))
    caps = recipe.get("sampling") or {}
    size = "whole splits"
    if "queries" in caps:
        size = f"at most {caps['queries']} queries and {caps['documents']} documents a set, relevant ones among them"
    return f"{size}, encoded with {recipe['encode_with']}"


def ladder(_: Path) -> str:
    """The steps from the paper's preset to the default, a table for each encoder, vocabulary and bridge."""

    def line(row: dict) -> list[str]:
        step = ""
        if "difference" in row:
            step = f"{row['difference']:+.3f}" + (" \\*" if row["p_holm"] < 0.05 else "")
        costs = [f"{row['flops']:.2f}", *(f"{row[side + '_active_dims']:.0f}" for side in ("query", "document"))]
        return [row["method"], short(row[MEASURE]), step, *costs]

    blocks = []
    for steps in load("ladder")["ladders"]:
        told_apart = [s for s in steps["sets"] if s["p_holm"] < 0.05]
        ahead = sum(s["difference"] > 0 for s in told_apart)
        behind = ", ".join(s["data"] for s in told_apart if s["difference"] < 0) or "none"
        blocks.append(
            f"**{steps['encoder']}, {steps['vocabulary']}, {steps['bridge']} bridge.** 8-default is significantly "
            f"ahead of the better of 0-paper and multivariate on {ahead} of {len(steps['sets'])} sets, behind on "
            f"{behind}.\n\n"
            + table(["", MEASURE, "step", "FLOPS", "query dims", "document dims"], map(line, steps["rows"]))
        )
    return "\n\n".join([*blocks, versions_of("ladder")])


MAKERS: dict[str, Callable[..., str]] = {
    "mean": mean, "readme": readme, "table": grid_table, "figures": figures, "more-tables": more_tables,
    "sampling": sampling, "ladder": ladder,
}  # fmt: skip
