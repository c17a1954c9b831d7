"""What the makers of tables share: the results they read, and how a table and a figure are written."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def short(value: float) -> str:
    """A measure as the tables of a grid print it: .662."""
    return f"{value:.3f}".lstrip("0")


def load(name: str) -> dict:
    found: dict = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def versions_of(name: str) -> str:
    return "Versions: " + ", ".join(f"{package} {number}" for package, number in load(name)["versions"].items()) + "."
