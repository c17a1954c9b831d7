"""Writes benchmarks/README.md, and the results block of the README, from benchmarks/results/*.json.

python benchmarks/make_readme.py
"""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

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


def transfer_section() -> str:
    path = RESULTS / "transfer.md"
    return f"## Speed and memory of the initialisation\n\n{path.read_text(encoding='utf-8')}" if path.exists() else ""


def versions(result: dict) -> str:
    return "Versions: " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()) + "."


def main() -> None:
    sections = [
        "# Benchmarks\n\nOne script a claim; `results/` holds what they wrote, this page is made from it by `make_readme.py`.\n",
        bundled_section(),
        grid_section("grid", "Zero-shot retrieval, test splits", "recipes/mini/grid.yaml", SHOWN),
        grid_section("grid-dev", "Zero-shot retrieval, dev splits", "recipes/mini/grid-dev.yaml", ("zero-shot",)),
        transfer_section(),
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
