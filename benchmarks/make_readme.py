"""Fills the tables and figures of the pages of benchmarks/ and of the README, from benchmarks/results.

    python benchmarks/make_readme.py           writes them
    python benchmarks/make_readme.py --check   names the pages that would change, and fails if there are any

The pages are written by hand. Only what stands between `<!-- made: NAME ARGUMENT... -->` and `<!-- /made -->` is made
here: a block where a line ends after the first marker, otherwise a figure inside a sentence.
"""

import argparse
import itertools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean

import yaml

from sembridge.experiments.charts import Box, Drawing, Plot, round_up
from sembridge.experiments.results import (
    MEASURE,
    ZERO_SHOT,
    ResultRow,
    Results,
    mean_of,
    read_results,
    sets_by_language,
)
from sembridge.retrieval.significance import SIGNIFICANT, holm

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- made: ([^\n]+?) -->)(.*?)(<!-- /made -->)", re.DOTALL)
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
DOCS = ("bring-your-language", "across-languages")  # pages of docs/ with tables of theirs


def pages() -> list[Path]:
    """The README, the pages of benchmarks/, and those of docs/ that have a table of theirs."""
    own = sorted([*RESULTS.glob("*.md"), *RESULTS.glob("*/README.md")])
    return [
        ROOT / "README.md",
        ROOT / "benchmarks" / "README.md",
        *(ROOT / "docs" / f"{name}.md" for name in DOCS),
        *own,
    ]


def filled(path: Path) -> str:
    """The text of a page with everything between its markers made anew."""

    def made(found: re.Match[str]) -> str:
        begin, words, old, end = found.groups()
        name, *arguments = words.split()
        new = MAKERS[name](path, *arguments)
        return f"{begin}\n{new}\n{end}" if old.startswith("\n") else f"{begin}{new}{end}"

    return MARKED.sub(made, path.read_text(encoding="utf-8"))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def short(value: float) -> str:
    """A measure as the tables of a grid print it: .662."""
    return f"{value:.3f}".lstrip("0")


@cache
def load(name: str) -> dict:
    found: dict = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


@cache
def grid(name: str) -> Results:
    return read_results(RESULTS / name)


# Figures inside a sentence.


def value(_: Path, name: str, place: str, form: str) -> str:
    """A figure of NAME.json: `value pruning rows.0.postings_kept .2f`, with _ for a space in a key."""
    found = load(name)
    for key in place.split("."):
        found = found[int(key)] if isinstance(found, list) else found.get(key, found.get(key.replace("_", " ")))
    return format(found, form)


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


# Of a grid.


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
    return "\n\n".join([*blocks, _versions("ladder")])


# Of the other scripts.


def bundled_encoders(_: Path, split: str = "encoder") -> str:
    """A row a set; on dev splits, where goals are means, the mean of each encoder too."""
    header = ["encoder", "set", "queries", "documents", MEASURE, "BM25", "query dims", "document dims", "FLOPS"]
    rows = load("bundled_models")[split]
    lines = [
        [r["encoder"], r["data"], f"{r['n_queries']:,}", f"{r['n_documents']:,}", *_encoder_figures([r])] for r in rows
    ]
    for encoder in dict.fromkeys(r["encoder"] for r in rows) if split == "development" else ():
        lines.append([encoder, "mean", "", "", *_encoder_figures([r for r in rows if r["encoder"] == encoder])])
    return table(header, lines)


def _encoder_figures(rows: list[dict]) -> list[str]:
    """Means over rows: nDCG@10, BM25's, dims of a query and of a document, FLOPS."""
    keys = (MEASURE, f"bm25 {MEASURE}", "query_active_dims", "document_active_dims", "flops")
    found, bm25, query_dims, document_dims, flops = (fmean(r[key] for r in rows) for key in keys)
    return [short(found), short(bm25), f"{query_dims:.0f}", f"{document_dims:.0f}", f"{flops:.2f}"]


def bundled_bridge(_: Path) -> str:
    rows = load("bundled_models")["bridge"]
    body = [[r["language"], r["words"], str(r["n_words"]), f"{r['top 1']:.2f}", f"{r['top 5']:.2f}"] for r in rows]
    return table(["language", "words", "number", "top 1", "top 5"], body) + "\n\n" + _versions("bundled_models")


def confidence(_: Path, name: str = "confidence") -> str:
    """Shares of right rows by confidence, over all languages, and of the most believed a language.

    The bundled bridge was trained on some headwords and not on others; other bridges know no such difference.
    """
    rows = load(name)["rows"]
    bands = sorted({r["from"] for r in rows})
    body = []
    for source, bridge in dict.fromkeys((r["source"], r["bridge"]) for r in rows):
        of_pair = [r for r in rows if (r["source"], r["bridge"]) == (source, bridge)]
        kinds = {k: [r for r in of_pair if r["headwords"] == k] for k in ("seen", "held out")}
        for headwords, own in kinds.items() if bridge == "mini/bridge" else [("all", of_pair)]:
            languages = sorted({r["language"] for r in own})
            most = [_share(r for r in own if r["language"] == one and r["from"] == bands[-1]) for one in languages]
            cells = [_share(r for r in own if r["from"] == low) for low in bands]
            by_language = ", ".join(map(" ".join, zip(languages, most, strict=True)))
            body.append([source, bridge, headwords, *cells, by_language])
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise([*bands, 1.0])]
    header = ["source encoder", "bridge", "headwords", *names, "the last, by language"]
    return table(header, body) + "\n\n" + _versions(name)


def _share(rows: Iterable[dict]) -> str:
    found = list(rows)
    n = sum(r["n"] for r in found)
    return f"{sum(r['right'] for r in found) / n:.2f} of {n:,}" if n else "none"


def encode_speed(_: Path) -> str:
    ways = ("fast", "fast-bf16")
    body = [
        [r["encoder"], f"{r['mean_tokens']:.0f}",
         f"{max(v for way, v in r['documents_per_second'].items() if way not in ways):.1f}",
         *(f"{r['times_stock'][way]:.2f}" for way in ways), *(f"{r['largest_difference'][way]:.1e}" for way in ways)]
        for r in load("encode_throughput")["rows"]
    ]  # fmt: skip
    header = ["encoder", "tokens a document", "stock, documents/s", *(f"{way}: times stock" for way in ways)]
    return table([*header, *(f"{way}: largest difference" for way in ways)], body)


def encode_quality(_: Path) -> str:
    engines = ("stock", "fast", "fast-bf16")
    body = [
        [r["data"], str(r["n_queries"]), str(r["n_documents"]), *(f"{r[engine]:.4f}" for engine in engines)]
        for r in load("encode_throughput")["quality"]
    ]
    header = ["set", "queries", "documents", *(f"{engine}: {MEASURE}" for engine in engines)]
    return table(header, body) + "\n\n" + _versions("encode_throughput")


def training_step(_: Path) -> str:
    body = [
        [
            f"{'bf16' if r['bf16'] else 'fp32'}, {r['batch_size']} pairs of {r['length']} tokens",
            *(f"{r[way]['seconds']:.2f} s, {r[way]['megabytes']:.0f} MB" for way in ("stock", "sembridge")),
            f"{r['times faster']:.2f}", f"{r['stock']['megabytes'] / r['sembridge']['megabytes']:.1f}",
        ]
        for r in load("training_step")["rows"]
    ]  # fmt: skip
    header = ["", "stock", "sembridge train", "times faster", "times less memory"]
    return table(header, body) + "\n\n" + _versions("training_step")


def preset_cost(_: Path) -> str:
    body = [
        [r["case"], *(f"{r['seconds'][preset]:.1f} s" for preset in ("paper", "default")), f"{r['ratio']:.2f}",
         f"{r['stages']['default'].get('calibration', 0):.1f} s"]
        for r in load("preset_cost")["rows"]
    ]  # fmt: skip
    return table(["", "paper", "default", "ratio", "of it calibration"], body) + "\n\n" + _versions("preset_cost")


def bridging(_: Path) -> str:
    body = [
        [r["bridge"], r["way"], f"{r['texts/s']:.0f}", f"{r['times stock']:.2f}", f"{r['limit, times stock']:.2f}",
         f"{r['smallest cosine']:.5f}"]
        for r in load("bridging")["rows"]
    ]  # fmt: skip
    header = ["bridge", "way", "texts/s", "times stock", "limit of the processor, times stock", "smallest cosine"]
    return table(header, body) + "\n\n" + _versions("bridging")


def bridging_formats(_: Path) -> str:
    body = [
        [r["format"], f"{r['texts/s']:.0f}", *(f"{r['same source tokens'][p]:.1%}" for p in ("default", "paper"))]
        for r in load("bridging")["supports"]
    ]
    return table(["", "texts/s", "same source tokens, preset default", "preset paper"], body)


def cold_transfer(_: Path) -> str:
    """Whole transfers as they were run, and the stock order: the warm run and a rate of a sample."""
    found: dict[tuple[str, str], dict[str, dict]] = {}
    for r in load("cold_transfer")["rows"]:
        found.setdefault((r["encoder"], r["tokenizer"]), {})[r["dtype"]] = r
    body = []
    for (encoder, tokenizer), of in found.items():
        known = next(r for r in of.values() if "texts" in r)
        warm = next(r["seconds"]["warm"] for r in of.values() if "warm" in r["seconds"])
        stock = warm + known["texts"] / known["stock texts/s"]
        runs = [of.get("float32", {}), of.get("bfloat16", {})]
        times = [
            r.get("seconds", {}).get(way) for r, way in zip([*runs, runs[1]], ["cold", "cold", "carried"], strict=True)
        ]
        cells = ["not run" if t is None else f"{t:.0f} s ({stock / t:.1f})" for t in times]
        name = f"{encoder} to {tokenizer}, {known['n_target']:,}"
        body.append([name, f"{known['texts']:,}", f"{stock:.0f} s", *cells, f"{warm:.0f} s ({stock / warm:.1f})"])
    header = [
        "transfer",
        "texts",
        "cold, stock order",
        "cold",
        "cold, bfloat16",
        "the same, English vectors carried",
        "warm",
    ]
    return table(header, body) + "\n\n" + _versions("cold_transfer")


def search_million(_: Path) -> str:
    """Every engine at its fastest setting that reaches a recall."""
    body = []
    for r in load("search_million")["engines"]:
        cells = [_at_recall(r["at"][recall]) for recall in ("0.95", "0.99", "1.0")]
        body.append([r["engine"], f"{r['build_core_seconds']:.0f}", f"{r['disk_mb']:,.0f}", f"{r['memory_mb']:,.0f}",
                     *cells])  # fmt: skip
    if million := load("search_million").get("million"):
        figures = [f"{million[key]:,.0f}" for key in ("build_core_seconds", "disk_mb", "memory_mb")]
        body.append([f"exact, {million['n_documents']:,}", *figures, *[_at_recall(million)] * 3])
    header = ["engine", "build, core s", "disk MB", "memory MB", "recall .95", "recall .99", "recall 1"]
    return table(header, body) + "\n\n" + _versions("search_million")


def _at_recall(found: dict | None) -> str:
    if found is None:
        return "not reached"
    return (
        f"{found['p50_ms']:.2f} / {found['p95_ms']:.2f} / {found['p99_ms']:.2f} ms, "
        f"{found['queries_per_core_second']:,.0f} /s"
    )


def encode_rivals(_: Path) -> str:
    body = [
        [r["way"], f"{r['documents/s']:.1f}", f"{r['times stock']:.2f}", f"{r['largest difference']:.1e}",
         f"{r['nDCG@10']:.4f}", f"{r['peak megabytes']:.0f}"]
        for r in load("encode_rivals")["rows"]
    ]  # fmt: skip
    header = ["", "documents/s", "times stock", "largest difference", MEASURE, "peak MB"]
    return table(header, body) + "\n\n" + _versions("encode_rivals")


def start_up(_: Path) -> str:
    body = [
        [f"`{r['command']}`", f"{r['processor seconds']:.2f}", f"{r['times torch']:.2f}"]
        for r in load("start_up")["rows"]
    ]
    return table(["", "processor s", "times `import torch`"], body) + "\n\n" + _versions("start_up")


def gpu(_: Path) -> str:
    if not (RESULTS / "gpu.json").exists():
        return (
            "Not measured: no GPU was at hand. `python benchmarks/gpu.py --out benchmarks/results/gpu.json` fills this."
        )
    body = [
        [r["what"], r["way"], f"{r['seconds']:.2f} s", f"{r['baseline']} {r['baseline seconds']:.2f} s",
         f"{r['times faster']:.2f}"]
        for r in load("gpu")["rows"]
    ]  # fmt: skip
    return table(["", "way", "seconds", "beside", "times faster"], body) + "\n\n" + _versions("gpu")


def how_fast(_: Path) -> str:
    """What a user waits for: ours, the best other way, and the limit where there is one."""
    bridge = load("bridging")["rows"]
    stock, own = bridge[0], next(r for r in bridge if r["way"] == "embed_texts")
    ways = {r["way"]: r for r in load("encode_rivals")["rows"]}
    others = [r for way, r in ways.items() if not way.startswith("sembridge") and "int8" not in way]
    rival, fast = max(others, key=lambda r: r["documents/s"]), ways["sembridge, fast"]
    many = load("search_million")
    engines = {r["engine"]: r for r in many["engines"]}
    exact = engines["exact"]
    rest = [r for name, r in engines.items() if name != "exact"]
    built = min(rest, key=lambda r: r["build_core_seconds"])
    found = min((r for r in rest if r["at"]["1.0"]), key=lambda r: r["at"]["1.0"]["p50_ms"])
    own_ms, other_ms = exact["at"]["1.0"]["p50_ms"], found["at"]["1.0"]["p50_ms"]
    step = load("training_step")["rows"][0]
    starts = {r["command"]: r for r in load("start_up")["rows"]}
    search, imports = starts["sembridge search"], starts["import sentence_transformers"]
    n = f"{many['n_documents']:,}"
    body = [
        ["transfer: texts through e5-small", f"{own['texts/s']:.0f} /s",
         f"SentenceTransformer.encode {stock['texts/s']:.0f} /s", f"{own['times stock']:.2f}",
         f"{own['limit, texts/s']:.0f} /s, the bare matrix products"],
        ["encode: documents, `fast`", f"{fast['documents/s']:.1f} /s", f"{rival['way']} {rival['documents/s']:.1f} /s",
         f"{fast['documents/s'] / rival['documents/s']:.2f}", "the matrix products of the body"],
        [f"index: {n} vectors, `exact`", f"{exact['build_core_seconds']:.1f} s",
         f"{built['engine']} {built['build_core_seconds']:.1f} s",
         f"{built['build_core_seconds'] / exact['build_core_seconds']:.2f}", "writing them"],
        [f"query: among {n}, `exact`", f"{own_ms:.2f} ms", f"{found['engine']} {other_ms:.2f} ms",
         f"{other_ms / own_ms:.2f}", "reading the query's lists once"],
        ["train: a step, fp32", f"{step['sembridge']['seconds']:.2f} s",
         f"the stock trainer's {step['stock']['seconds']:.2f} s", f"{step['times faster']:.2f}", ""],
        ["start: `sembridge search`", f"{search['processor seconds']:.1f} s",
         f"importing sentence-transformers {imports['processor seconds']:.1f} s",
         f"{imports['processor seconds'] / search['processor seconds']:.1f}", "importing scipy and pydantic"],
    ]  # fmt: skip
    return table(["what one waits for", "sembridge", "best other way", "times faster", "limit"], body)


def memory_picture() -> str:
    """Resident memory over the documents encoded, as SVG."""
    points = [(point["documents"] / 1000, point["megabytes"]) for point in load("encode_memory")["curve"]]
    title = "Resident memory of sembridge encode"
    drawing = Drawing(620, 300)
    plot = Plot.of(Box(70, 46, 600, 240), (0, points[-1][0]), (0, round_up(max(y for _, y in points))))
    drawing.text(16, 26, title, kind="strong")
    plot.draw_axes(drawing, x_name="thousand documents", y_name="MB")
    drawing.path([(plot.x(x), plot.y(y)) for x, y in points], 0, width=2)
    return drawing.svg(title, f"{len(points)} measurements, one a shard.")


LATIN_ROWS = {
    "english": "untouched English encoder",
    "paper": "transferred, preset paper",
    "default": "transferred, preset default",
    "without accents": "the same, accents stripped",
    "fused": "default fused with BM25",
}


def latin_script(_: Path) -> str:
    """Languages in Latin letters: encoders by rows, and what they are compared with."""
    found = load("latin_script")
    languages = list(dict.fromkeys(row["language"] for row in found))
    values = {(row["source"], row["row"], row["language"]): row["all"] for row in found}

    def line(label: str, source: str, row: str) -> list[str]:
        of_row = [values[source, row, language] for language in languages]
        return [label, *map(short, of_row), short(sum(of_row) / len(of_row))]

    body = [line("BM25", "", "bm25"), line("dense search with the bridge", "", "bridge")]
    for source in dict.fromkeys(row["source"] for row in found if row["source"]):
        body += [line(f"{source}: {label}", source, row) for row, label in LATIN_ROWS.items()]
    return table(["", *languages, "mean"], body)


def pruning(_: Path) -> str:
    rows = load("pruning")["rows"]
    sets = list(dict.fromkeys(r["data"] for r in rows))
    found = {(r["data"], r["max_active_dims"], r["min_weight"]): r for r in rows}
    body = []
    for most, least in dict.fromkeys((r["max_active_dims"], r["min_weight"]) for r in rows):
        cells = [found[data, most, least] for data in sets]
        kept = [f"{short(r[MEASURE])} ({r['postings kept']:.0%})" for r in cells]
        body.append(["all" if most is None else str(most), f"{least:g}", *kept])
    return table(["--max-active-dims", "--min-weight", *sets], body) + "\n\n" + _versions("pruning")


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


def part(page: Path, name: str) -> str:
    """The tables that a script wrote itself, as NAME.md beside its JSON."""
    return (page.parent / f"{name}.md").read_text(encoding="utf-8").strip()


def _versions(name: str) -> str:
    return "Versions: " + ", ".join(f"{package} {number}" for package, number in load(name)["versions"].items()) + "."


MAKERS: dict[str, Callable[..., str]] = {
    "value": value, "mean": mean, "readme": readme, "table": grid_table, "figures": figures,
    "more-tables": more_tables,
    "sampling": sampling, "ladder": ladder, "bundled-encoders": bundled_encoders, "bundled-bridge": bundled_bridge,
    "confidence": confidence, "encode-speed": encode_speed, "encode-quality": encode_quality,
    "training-step": training_step, "preset-cost": preset_cost, "bridging": bridging, "pruning": pruning, "part": part,
    "across": across, "across-pairs": across_pairs, "across-costs": across_costs, "across-mixed": across_mixed,
    "across-latency": across_latency, "across-mean": across_mean,
    "latin-script": latin_script,
    "search-million": search_million, "encode-rivals": encode_rivals, "start-up": start_up, "gpu": gpu,
    "how-fast": how_fast, "cold-transfer": cold_transfer, "bridging-formats": bridging_formats,
    "versions": lambda _, name: _versions(name),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page would change")
    check = parser.parse_args().check
    new = {RESULTS / "encode_memory.svg": memory_picture(), **{path: filled(path) for path in pages()}}
    changed = [path for path, text in new.items() if text != path.read_text(encoding="utf-8")]
    for path in changed:
        print(path.relative_to(ROOT))
        if not check:
            path.write_text(new[path], encoding="utf-8")
    raise SystemExit(bool(check and changed))


if __name__ == "__main__":
    main()
