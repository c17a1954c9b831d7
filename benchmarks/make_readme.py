"""Writes benchmarks/README.md, and the results block of the README, from benchmarks/results/*.json.

python benchmarks/make_readme.py
"""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from sembridge.charts import Box, Drawing, Plot, round_up
from sembridge.results import Results, read_results

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MEASURE = "nDCG@10"
SYSTEMS = (
    "english", "random", "mean", "univariate", "multivariate", "focus", "ofa", "wechsel", "sembridge-paper",
    "sembridge-default", "hybrid-sembridge-default", "bm25-tokens",
)  # fmt: skip
SHOWN = ("zero-shot", "alpha-sweep")
README_SOURCE = "mini/splade-en"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def load(name: str) -> dict | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def zero_shot_table(results: Results, source_encoder: str) -> str:
    """A row a set, a column a method of one source encoder; drawn methods as the mean over seeds, zero-shot."""
    figures: dict[tuple[str, str], list[float]] = {}
    for row in results.rows:
        if row.source_encoder in (source_encoder, None) and row.stage == "zero-shot" and row.method in SYSTEMS:
            figures.setdefault((row.data, row.method), []).append(row.measures[MEASURE])
    sets = list(dict.fromkeys(data for data, _ in figures))
    systems = [system for system in SYSTEMS if all((data, system) in figures for data in sets)]
    means = {key: statistics.mean(values) for key, values in figures.items()}
    body = [[data, *(f"{means[data, system]:.3f}" for system in systems)] for data in sets]
    total = [f"**{statistics.mean(means[data, system] for data in sets):.3f}**" for system in systems]
    return table(["", *systems], [*body, ["**mean**", *total]])


def grid_section(name: str, title: str, recipe: str, shown: Sequence[str]) -> str:
    """The tables and pictures that `sembridge reproduce` wrote."""
    folder = RESULTS / name
    if not (folder / "results.jsonl").exists():
        return ""
    settings = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    caps = settings["sampling"]
    tables = [
        (folder / "tables" / f"{file}.md").read_text(encoding="utf-8").strip()
        for file in shown
        if (folder / "tables" / f"{file}.md").exists()
    ]
    pictures = [
        f"![{path.stem}]({path.relative_to(ROOT / 'benchmarks')})"
        for path in sorted((folder / "figures").glob("*.svg"))
    ]
    others = sorted(path.stem for path in (folder / "tables").glob("*.md") if path.stem not in shown)
    links = ", ".join(f"[{file}](results/{name}/tables/{file}.md)" for file in others)
    return "\n\n".join(
        [
            f"## {title}",
            f"`sembridge reproduce {recipe} --jobs 2 ...`: at most {caps['queries']} queries and {caps['documents']} "
            f"documents a set (seed {caps['seed']}; gold documents stay), encoded by the engine {settings['engine']}. "
            "[How to read it](../docs/reading-results.md). Passages of arcd, cmrc2018 and danetqa were read, without "
            "labels, by the tokenizers, the bridge's vocabulary and the word vectors of focus, ofa and wechsel; those of "
            "xquad and korquad were not. The word vectors are small (a few thousand passages), which holds focus and "
            "wechsel back; those of ofa are made from parallel text.",
            *pictures,
            *tables,
            f"More tables: {links}." if links else "",
            "Versions: " + (folder / "versions.json").read_text(encoding="utf-8").strip().replace("\n", " "),
            "",
        ]
    )


def bundled_section() -> str:
    result = load("bundled_models")
    if result is None:
        return ""
    encoder = table(
        ["encoder", "set", "queries", "documents", MEASURE, "BM25", "active dims, query", "active dims, document", "FLOPS"],
        [
            [r["encoder"], r["data"], str(r["n_queries"]), str(r["n_documents"]), f"{r[MEASURE]:.3f}", f"{r[f'bm25 {MEASURE}']:.3f}",
             f"{r['query_active_dims']:.0f}", f"{r['document_active_dims']:.0f}", f"{r['flops']:.2f}"]
            for r in result["encoder"]
        ],
    )  # fmt: skip
    bridge = table(
        ["language", "words", "number", "top 1", "top 5"],
        [
            [r["language"], r["words"], str(r["n_words"]), f"{r['top 1']:.2f}", f"{r['top 5']:.2f}"]
            for r in result["bridge"]
        ],
    )
    return f"""## The bundled models

`python benchmarks/bundled_models.py --data DATA`. English encoder, whole test splits:

{encoder}

Bridge: translation of words whose English headword was left out of its training, among all words of the encoder's
vocabulary ("all": every such target word; "in vocabulary": those that are one token of the target tokenizer; "trained on":
the same for words that were in its training, which is what most tokens of a transfer are):

{bridge}

{versions(result)}
"""


def throughput_section() -> str:
    result = load("encode_throughput")
    if result is None:
        return ""
    ways = ("fast", "fast-bf16")
    speed = table(
        ["encoder", "tokens a document", "stock, documents/s", *(f"{way}: times stock" for way in ways),
         *(f"{way}: largest difference" for way in ways)],
        [
            [r["encoder"], f"{r['mean_tokens']:.0f}",
             f"{max(v for way, v in r['documents_per_second'].items() if way not in ways):.1f}",
             *(f"{r['times_stock'][way]:.2f}" for way in ways), *(f"{r['largest_difference'][way]:.1e}" for way in ways)]
            for r in result["rows"]
        ],
    )  # fmt: skip
    engines = ("stock", *ways)
    quality = table(
        ["set", "queries", "documents", *(f"{engine}: {MEASURE}" for engine in engines)],
        [
            [r["data"], str(r["n_queries"]), str(r["n_documents"]), *(f"{r[engine]:.4f}" for engine in engines)]
            for r in result["quality"]
        ],
    )
    s = result["settings"]
    return f"""## Encoding on a CPU

`python benchmarks/encode_throughput.py`: {s["texts"]} documents, {s["threads"]} threads, median of {s["repeats"]} repetitions
in turn with the faster of `SparseEncoder.encode_document`'s outputs; bfloat16 in hardware: {result["amx_bf16"]}.

{speed}

{quality}

{versions(result)}
"""


def memory_figure(result: dict) -> Path:
    """The picture of resident memory over the documents encoded."""
    points = [(point["documents"] / 1000, point["megabytes"]) for point in result["curve"]]
    title = "Resident memory of sembridge encode"
    drawing = Drawing(620, 300)
    plot = Plot.of(Box(70, 46, 600, 240), (0, points[-1][0]), (0, round_up(max(y for _, y in points))))
    drawing.text(16, 26, title, kind="strong")
    plot.draw_axes(drawing, x_name="thousand documents", y_name="MB")
    drawing.path([(plot.x(x), plot.y(y)) for x, y in points], 0, width=2)
    path = RESULTS / "encode_memory.svg"
    path.write_text(drawing.svg(title, f"{len(points)} measurements, one a shard."), encoding="utf-8")
    return path


def memory_section() -> str:
    result = load("encode_memory")
    if result is None:
        return ""
    return f"""## Memory of encoding a stream

`python benchmarks/encode_memory.py`: {result["corpus_bytes"] / 1e9:.1f} GB of text, {result["n_documents"]:,} documents through
`sembridge encode`. Most resident memory: {result["highest_megabytes_first_half"]:.0f} MB in the first half,
{result["highest_megabytes_second_half"]:.0f} MB in the second.

![Resident memory over the documents encoded](results/{memory_figure(result).name})

{versions(result)}
"""


def pruning_section() -> str:
    result = load("pruning")
    if result is None:
        return ""
    rows, sets = result["rows"], list(dict.fromkeys(r["data"] for r in result["rows"]))
    prunings = list(dict.fromkeys((r["max_active_dims"], r["min_weight"]) for r in rows))
    found = {(r["data"], r["max_active_dims"], r["min_weight"]): r for r in rows}

    def cell(data: str, pruning: tuple[int | None, float]) -> str:
        r = found[data, *pruning]
        return f"{r[MEASURE]:.3f} ({r['postings kept']:.0%})"

    body = [
        ["all" if most is None else str(most), f"{least:g}", *(cell(data, (most, least)) for data in sets)]
        for most, least in prunings
    ]
    s = result["settings"]
    return f"""## Quality against postings

`python benchmarks/pruning.py`: {MEASURE}, and in brackets the share of postings left, of `mini/splade-en` moved to Korean and
Chinese; documents pruned, queries not; at most {s["queries"]} queries and {s["documents"]} documents.

{table(["--max-active-dims", "--min-weight", *sets], body)}

{versions(result)}
"""


def page(name: str, title: str) -> str:
    path = RESULTS / f"{name}.md"
    return f"## {title}\n\n{path.read_text(encoding='utf-8')}" if path.exists() else ""


def versions(result: dict) -> str:
    return "Versions: " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()) + "."


def main() -> None:
    sections = [
        "# Benchmarks\n\nOne script a claim; `results/` holds what they wrote, this page is made from it by `make_readme.py`.\n",
        bundled_section(),
        grid_section("grid", "Zero-shot retrieval, test splits", "recipes/mini/grid.yaml", SHOWN),
        grid_section("grid-dev", "Zero-shot retrieval, dev splits", "recipes/mini/grid-dev.yaml", ("zero-shot",)),
        page("transfer", "Speed and memory of the initialisation"),
        throughput_section(),
        memory_section(),
        page("search_engines", "Search engines"),
        pruning_section(),
    ]
    text = "\n".join(section for section in sections if section)
    (ROOT / "benchmarks" / "README.md").write_text(text, encoding="utf-8")
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split("<!-- results -->")
    after = rest.split("<!-- /results -->")[1]
    shown = zero_shot_table(read_results(RESULTS / "grid"), README_SOURCE)
    readme.write_text(f"{before}<!-- results -->\n{shown}\n<!-- /results -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
