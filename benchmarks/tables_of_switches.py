"""Tables of single switches: what the default loses or gains when one of its settings is changed."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from page_tables import short, table

COLUMNS = {  # combinations of switches.py, by the parts that they have in common
    "published": ("tiny, e5, ko 32k", "tiny, e5, ru 82k", "tiny, e5, zh 21k", "tiny, e5, ar 32k"),
    "bundled": ("tiny, bundled, ko 24k", "six layers, bundled, ko 24k", "three layers, bundled, ru 24k"),
    "mixed": ("six layers, e5, ru 24k",),
}
DEFAULT = "default"
ROWS = {  # a setting, and what it is compared with
    "candidates: all": DEFAULT,
    "merge_twins: false": DEFAULT,
    "restore_norms: true": DEFAULT,
    "hub_neighbours: 0": DEFAULT,
    "evidence: false, residual: 0": DEFAULT,
    "residual: 0": DEFAULT,
    "residual: 0.3 without its rule": DEFAULT,
    "firing_cap: 1": DEFAULT,
    "firing_cap on new rows only": DEFAULT,
    "match_activity: false": DEFAULT,
    "through_words: true": "target_text",
}
RESIDUALS = {"residual: 0": 0.0, "residual: 0.3 without its rule": 0.3}
EARLIER = " \\*"  # measured when the firing cap reached new rows only, and compared with the default of then

Line = Mapping[str, Any]


@cache
def _measured(page: Path) -> dict[tuple[str, str], Line]:
    lines = (page.parent / "switches.jsonl").read_text(encoding="utf-8").splitlines()
    return {(line["setting"], line["combination"]): line for line in map(json.loads, lines)}


def switches(page: Path) -> str:
    """nDCG@10 of the default, and under it what every switch adds, by combination and over those of a kind."""
    return _table(page, "mean", short, lambda found, base: found - base, _signed)


def switch_dims(page: Path) -> str:
    """Active dims of a document of the default, and how many times as many there are under every switch."""
    return _table(page, "dims", "{:.0f}".format, lambda found, base: found / base, "{:.2f}".format)


def _table(
    page: Path,
    key: str,
    whole: Callable[[float], str],
    change: Callable[[float, float], float],
    text: Callable[[float], str],
) -> str:
    def cells(setting: str) -> list[str]:
        pairs = {name: _pair(page, setting, name) for names in COLUMNS.values() for name in names}
        changes = {name: change(pair[0][key], pair[1][key]) for name, pair in pairs.items() if pair}
        marks = {name: EARLIER if pair and "firing_cap" in pair[0] else "" for name, pair in pairs.items()}
        return _over_kinds(changes, text, marks)

    defaults = {name: line[key] for (setting, name), line in _measured(page).items() if setting == DEFAULT}
    first = [DEFAULT, *_over_kinds(defaults, whole, {})]
    header = ["", *(name for kind, names in COLUMNS.items() for name in (*names, *_mean_of(kind)))]
    return table(header, [first, *([f"`{setting}`", *cells(setting)] for setting in ROWS)])


def _pair(page: Path, setting: str, combination: str) -> tuple[Line, Line] | None:
    """A switch and what it is compared with; the default is its own switch where the rule decides so."""
    found, base = (_measured(page).get((name, combination)) for name in (setting, ROWS[setting]))
    if base is not None and setting in RESIDUALS and base["residual"] == RESIDUALS[setting]:
        found = base
    return None if found is None or base is None else (found, base)


def _mean_of(kind: str) -> list[str]:
    return [f"mean, {kind}"] if len(COLUMNS[kind]) > 1 else []


def _over_kinds(values: Mapping[str, float], text: Callable[[float], str], marks: Mapping[str, str]) -> list[str]:
    cells = []
    for kind, names in COLUMNS.items():
        cells += [text(values[name]) + marks.get(name, "") if name in values else "–" for name in names]
        if _mean_of(kind):
            whole = all(name in values for name in names)
            cells.append(text(fmean(values[name] for name in names)) if whole else "–")
    return cells


def _signed(value: float) -> str:
    return "0" if abs(value) < 0.0005 else f"{value:+.3f}".replace("0.", ".", 1)


MAKERS: dict[str, Callable[..., str]] = {"switches": switches, "switch-dims": switch_dims}
