"""Tables of retrieval across languages, as `across_languages.py` measured it."""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from page_tables import load, short, table

from sembridge.experiments.results import MEASURE
from sembridge.retrieval.significance import SIGNIFICANT, holm

ACROSS_ROWS = {  # of across_languages.py, in the order of a table
    "English": "English questions, English documents",
    "untouched": "English encoder, untouched",
    "dictionary, BM25": "dictionary, BM25",
    "mapped": "mapped",
    "pivot": "pivot",
    "pivot, words": "pivot with whole words",
    "reading pivot": "pivot that reads as the bridge, from English text",
    "reading pivot, parallel": "the same, then parallel text",
    "bridge": "the bridge itself, dense",
    "bridge + pivot": "fusion of the bridge and the pivot above it",
}


def across(_: Path, data: str, bridge: str, split: str, way: str) -> str:
    """Rows by languages of one set, for questions that go `to` English documents or come `from` English.

    A star: told apart from the bridge (Holm over the table).
    """
    found = _across(data, bridge, split, way)
    if not found:
        return "Not measured."
    languages = sorted({r["language"] for r in found})
    tested = [r for r in found if "p" in r]
    corrected = dict(zip(((r["row"], r["language"]) for r in tested), holm([r["p"] for r in tested]), strict=True))
    of = {(r["row"], r["language"]): r[MEASURE] for r in found}
    body = []
    for row in (name for name in ACROSS_ROWS if any(r["row"] == name for r in found)):
        there = [of[row, one] for one in languages if (row, one) in of]
        cells = [
            short(of[row, one]) + (" \\*" if corrected.get((row, one), 1.0) < SIGNIFICANT else "")
            if (row, one) in of
            else ""
            for one in languages
        ]
        body.append([ACROSS_ROWS[row], *cells, short(fmean(there)) if len(there) == len(languages) else ""])
    return table(["", *languages, "mean"], body)


def across_mean(_: Path, data: str, bridge: str, way: str, row: str) -> str:
    """A row's mean over languages, inside a sentence, with _ for a space in its name."""
    found = [r[MEASURE] for r in _across(data, bridge, "test", way) if r["row"] == row.replace("_", " ")]
    return short(fmean(found)) if found else "not measured"


def across_costs(_: Path, data: str, bridge: str, split: str) -> str:
    """Active dims of a question and of a document, mean over languages."""
    to, back = (_across(data, bridge, split, way) for way in ("to", "from"))
    body = []
    for row, name in ACROSS_ROWS.items():
        sides = [
            [r[side] for r in rows if r["row"] == row and side in r]
            for rows, side in ((to, "dims"), (back, "document dims"))
        ]
        if all(sides):
            body.append([name, *(f"{fmean(found):.0f}" for found in sides)])
    return table(["", "dims of a question", "dims of a document"], body)


def _across(data: str, bridge: str, split: str, way: str) -> list[dict]:
    wanted, ways = (data, bridge, split), (f"{way} English", "both")
    rows = load("across_languages")["rows"]
    return [r for r in rows if (r["set"], r["bridge"], r["split"]) == wanted and r.get("way") in ways]


def across_latency(_: Path, bridge: str) -> str:
    """Milliseconds of a question encoded alone, and as a share of those within the language."""
    rows = load("across_languages")["rows"]
    found = [r for r in rows if r["set"] == "faq, ms a question" and r["bridge"] == bridge]
    if not found:
        return "Not measured."
    within = next(r["ms"] for r in found if r["row"] == "within")
    names = {**ACROSS_ROWS, "within": "transferred encoder, within its language"}
    body = [[names[r["row"]], f"{r['ms']:.1f}", f"{r['ms'] / within:.2f}"] for r in found]
    return table(["", "ms a question", "times that within the language"], body)


def across_pairs(_: Path, bridge: str) -> str:
    """Questions of every language against documents of every language."""
    found = [r for r in load("across_languages")["rows"] if r["bridge"] == bridge and "asked in" in r]
    languages = list(dict.fromkeys(r["asked in"] for r in found))
    of = {(r["asked in"], r["documents in"]): short(r[MEASURE]) for r in found}
    return table(["asked in", *languages], [[one, *(of[one, other] for other in languages)] for one in languages])


def across_mixed(_: Path, bridge: str) -> str:
    """Documents of two languages in one collection."""
    rows = load("across_languages")["rows"]
    found = [r for r in rows if r["set"] == "faq, en and ko mixed" and r["bridge"] == bridge]
    body = [[r["row"], r["way"], short(r[MEASURE]), f"{r['dims']:.0f}" if "dims" in r else ""] for r in found]
    return table(["", "", MEASURE, "dims of a question"], body)


MAKERS: dict[str, Callable[..., str]] = {
    "across": across, "across-pairs": across_pairs, "across-costs": across_costs, "across-mixed": across_mixed,
    "across-latency": across_latency, "across-mean": across_mean,
}  # fmt: skip
