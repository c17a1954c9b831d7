"""Writes benchmarks/README.md, and the results block of the README, from benchmarks/results/*.json.

python benchmarks/make_readme.py
"""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MEASURE = "nDCG@10"
SYSTEMS = (
    "untouched English encoder", "random", "univariate", "multivariate", "sembridge paper", "sembridge default", "bm25"
)  # fmt: skip


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def load(name: str) -> dict | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def zero_shot_table(result: dict, figure: str = MEASURE, digits: int = 3) -> str:
    """A row a set, a column a system; drawn systems as the mean over seeds."""
    rows, sets = result["rows"], list(dict.fromkeys(row["data"] for row in result["rows"]))
    systems = [system for system in SYSTEMS if any(r["system"] == system and r[figure] is not None for r in rows)]

    def cell(data: str, system: str) -> float:
        return statistics.mean(r[figure] for r in rows if r["data"] == data and r["system"] == system)

    body = [[data, *(f"{cell(data, system):.{digits}f}" for system in systems)] for data in sets]
    means = [f"{statistics.mean(cell(data, system) for data in sets):.{digits}f}" for system in systems]
    return table(["", *systems], [*body, ["**mean**", *(f"**{mean}**" for mean in means)]])


def zero_shot_section(name: str, title: str) -> str:
    result = load(name)
    if result is None:
        return ""
    s = result["settings"]
    lost = [
        f"{r['data']} against {r['against']} ({r['gain']:+.3f})"
        for r in result["significance"]
        if r["gain"] < 0 and r["p_holm"] < 0.05
    ]
    won = sum(r["gain"] > 0 and r["p_holm"] < 0.05 for r in result["significance"])
    return f"""## {title}

`python benchmarks/zero_shot.py --split {s["split"]} ...`: {MEASURE} of `{s["source"]}` moved through `{s["bridge"]}`; at most
{s["queries"]} queries and {s["documents"]} documents a set (seed {s["seed"]}); drawn initialisations: {"one seed" if s["seeds"] == 1 else f"means over {s['seeds']} seeds"};
BM25 over the target tokenizer's tokens.{" Encoded under bfloat16 autocast." if s["bf16"] else ""}

{zero_shot_table(result)}

Active dims of a document:

{zero_shot_table(result, "document_active_dims", 0)}

FLOPS statistic:

{zero_shot_table(result, "flops", 2)}

`sembridge default` against every other column, set by set (paired permutation test, Holm): significantly ahead in {won} of
{len(result["significance"])} comparisons; significantly behind: {", ".join(lost) or "none"}.

{versions(result)}
"""


def bundled_section() -> str:
    result = load("bundled_models")
    if result is None:
        return ""
    encoder = table(
        ["set", "queries", "documents", MEASURE, "BM25", "active dims, query", "active dims, document", "FLOPS"],
        [
            [r["data"], str(r["n_queries"]), str(r["n_documents"]), f"{r[MEASURE]:.3f}", f"{r[f'bm25 {MEASURE}']:.3f}",
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
        zero_shot_section("zero_shot", "Zero-shot retrieval, test splits"),
        zero_shot_section("zero_shot_dev", "Zero-shot retrieval, dev splits"),
        transfer_section(),
    ]
    text = "\n".join(section for section in sections if section)
    (ROOT / "benchmarks" / "README.md").write_text(text, encoding="utf-8")
    result = load("zero_shot")
    if result is not None:
        readme = ROOT / "README.md"
        before, rest = readme.read_text(encoding="utf-8").split("<!-- results -->")
        after = rest.split("<!-- /results -->")[1]
        block = f"<!-- results -->\n{zero_shot_table(result)}\n<!-- /results -->"
        readme.write_text(before + block + after, encoding="utf-8")


if __name__ == "__main__":
    main()
