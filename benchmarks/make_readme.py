"""Writes benchmarks/README.md, and the results block of the README, from benchmarks/results/*.json.

python benchmarks/make_readme.py
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import yaml

from sembridge.experiments.charts import Box, Drawing, Plot, round_up
from sembridge.experiments.results import FINE_TUNED, ZERO_SHOT, Results, mean_of, read_results, sets_by_language

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MEASURE = "nDCG@10"
SYSTEMS = {  # rows of the README's table
    "english": "English encoder, untouched",
    "random": "random rows",
    "multivariate": "multivariate Gaussian rows",
    "ofa": "OFA",
    "sembridge-paper": "SemBridge, the published rule",
    "sembridge-default": "**SemBridge**",
    "hybrid-sembridge-default": "**SemBridge fused with BM25**",
    "bm25-tokens": "BM25",
}
README_SOURCE = "mini/splade-en"
TEXTS = (
    "Passages of arcd, cmrc2018 and danetqa were read, without labels, by the tokenizers, the bridge's vocabulary and the "
    "word vectors of focus, ofa and wechsel; those of xquad and korquad were not. The word vectors are small (a few thousand "
    "passages), which holds focus and wechsel back; those of ofa are made from parallel text."
)
TRAINED = """Sixty steps of sixteen pairs from the train splits that the recipe names (1,700 to 10,000 pairs a language),
the same for every method, about two minutes a training on one core of a busy two-core machine. Learning rate and regulariser
were chosen on dev data of ko. Three seeds for sembridge-default, multivariate and ofa, one for the others.

What it shows. SemBridge starts ahead of every initialization in every language on dev, and is within 5 % of the best after 7
to 27 steps, with every seed; multivariate needs 15 to 50 and gets there with every seed in zh only; no other initialization
gets there in sixty. At the end SemBridge is ahead of the Gaussian on the test sets by .009 on average (p = .015), and of all
others by .18 and more. Set by set: ahead on the FAQ in all five languages, danetqa and xquad in ru (p < .05 before correction
but in the Hindi FAQ), level on the others, and significantly behind on one, xquad in hi (.804 to .859). Random rows learn
little in sixty steps; "steps to random's last" is therefore 0 for nearly everybody. Training costs sparsity: FLOPS of 10.5
against 1.7 before it (the Gaussian's 9.8).

Against BM25: the fine-tuned SemBridge encoder fused with BM25 is ahead on danetqa (.770 to .716), with it in Russian as a whole
(.728 to .709), and by a hair on the Russian FAQ (.468 to .465). On the third of the queries with the least overlap (50 to 85
queries; not tested for significance) the encoder alone is ahead on the FAQ in ru (.063 to .048), ar (.072 to .067) and hi (.069
to .066) and on cmrc2018 (.967 to .948), the fusion on danetqa (.606 to .561). On whole sets in Arabic nothing is (arcd .812 to
.817): the bundled bridge finds the right English word for 6 % of the Arabic words that it was not trained on, and 583 native
pairs are all there is. A fusion by rank gives both lists the same say, which costs where one of them is much better."""
LADDER = """`sembridge reproduce reproduction/mini/grid-ladder.yaml ...` and `grid-ladder-8k.yaml`, one seed, then
`python benchmarks/ladder.py`. Test sets of the grid above, the mean over sets and then over languages. *step*: the difference
from the row above, and from 8-default for the rows below it; a star: significant (paired permutation test over all queries, a
set counting once; Holm's correction within the table, p < .05). The weakened bridge has noise on the vectors of its pieces: it
finds the right English token for 22 % of a Korean dictionary's words where the bundled one finds 39 %. no-evidence is 8-default
with a fixed residual of .4 in place of evidence; calibrated-gaussian is its calibration on rows that know nothing of the bridge.

What it shows. On every ladder the paper's rows lose to the Gaussian and the default's are ahead of it, significantly on
average, and on no single set significantly behind it or the paper's. Hub correction and evidence are the large steps (+.03 to
+.20, and +.08 to +.12). Leaving out candidates that are no words (2-words) costs, in FLOPS above all, until the hub
correction follows. Calibration adds .02 to .04 with six layers and .05 to .07 with three: match_activity makes texts dense
enough to be found, firing_cap takes back the dimensions that fire everywhere. The residual of .3, chosen on dev, brings .02 with
three layers and with six nothing or less; a fixed residual of .4 in place of evidence and it (no-evidence) is as good with six
layers and worse by .02 to .04 with three. With the weakened bridge `paper` falls to .36 and .18; what keeps `default` above the
Gaussian there is the calibration, which lifts Gaussian rows by .03 to .07. Text for the calibration, and pieces through words,
bring at most .01. Smaller vocabularies cost nothing here. FLOPS stay near those of the source encoders on English (1.5 and
1.8, 2.8 and 3.0: the bundled models' table)."""
DEV = """The default with one setting left out or changed at a time; one seed, and another seed of the same row moves a mean by up
to .02. Hub correction (.03) and calibration (.02 and .04) earn their place with both encoders. Evidence with a residual, no
evidence with a larger one, and no residual are about equal on average over both. `candidates: words` and `merge_twins` bring
nothing any more where there is evidence and calibration."""
BEFORE = "Computed with the default preset as it was before evidence and calibration (alpha 6, residual .4)."
DOMAIN = f"""{BEFORE}

The 64 dev questions of the bundled FAQ train the encoder for forty steps, its 256 test questions measure it; the
answers are the same 160. Settings as in the grid above, none chosen on this data.

What it shows. So few questions, seen ten times, do not help the SemBridge encoder alone (.487 before, .481 after), its fusion
with BM25 a little (.515 to .523) and the Gaussian more (.425 to .452); SemBridge stays ahead of it (p < .001). The fusion is
ahead of BM25 in Chinese only (.580 to .573)."""
ABLATION = f"""{BEFORE}

Dev splits of ko and ru, one seed; zh and negatives mined by the encoder itself (`hard_negatives: self`) are in the
recipe and were not computed. sembridge-default is the training without any optional stage. Distillation from the bridge keeps
the encoder sparse (FLOPS 3.5 for 9.3) at a score that is no lower; negatives of BM25 gain most, at the highest cost; training
rows first, or new rows faster, changed nothing that one seed can show."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def load(name: str) -> dict | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def measured(name: str, section: Callable[[dict], str]) -> str:
    """The section of a benchmark's result, nothing where it was not run."""
    result = load(name)
    return "" if result is None else section(result)


def readme_table(zero_shot: Results, trained: Results | None) -> str:
    """A row a system, a column a language: the mean over its sets, zero-shot and, where it was trained, afterwards."""
    rows = [r for r in zero_shot.table_rows(ZERO_SHOT) if r.source_encoder in (README_SOURCE, None)]
    after = trained.table_rows(FINE_TUNED) if trained else []
    groups = sets_by_language(rows)
    columns = {**{language: [sets] for language, sets in groups.items()}, "mean": list(groups.values())}
    body = []
    for method, name in SYSTEMS.items():
        before, trained_rows = ([r for r in its if r.method == method] for its in (rows, after))
        trained_rows = [r for r in trained_rows if r.stage == FINE_TUNED]
        cells = []
        for sets in columns.values():
            stages = [mean_of(its, sets, lambda row: row.measures[MEASURE]) for its in (before, trained_rows)]
            cells.append(" → ".join(f"{mean.value:.3f}".lstrip("0") for mean in stages if mean.value is not None))
        body.append([name, *cells])
    return table(["", *columns], body)


def grid_section(name: str, title: str, recipe: str, shown: Sequence[str], about: str = "") -> str:
    """The tables and pictures that `sembridge reproduce` wrote."""
    folder = RESULTS / name
    if not (folder / "results.jsonl").exists():
        return ""
    settings = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    caps = settings.get("sampling", {})
    size = (
        f"at most {caps['queries']} queries and {caps['documents']} documents a set (seed {caps['seed']}; gold documents stay)"
        if "queries" in caps
        else "whole test splits"
    )
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
            f"`sembridge reproduce {recipe} --jobs 2 ...`: {size}, encoded by the engine {settings['encode_with']}. "
            "[How to read it](../docs/reading-results.md).",
            *([about] if about else []),
            *pictures,
            *tables,
            f"More tables: {links}." if links else "",
            "Versions: " + (folder / "versions.json").read_text(encoding="utf-8").strip().replace("\n", " "),
            "",
        ]
    )


def ladder_section(result: dict) -> str:
    """The steps from the paper's preset to the default, a table for each encoder, vocabulary and bridge."""

    def line(row: dict) -> list[str]:
        step = ""
        if "difference" in row:
            step = f"{row['difference']:+.3f}" + (" \\*" if row["p_holm"] < 0.05 else "")
        figures = [f"{row['flops']:.2f}", *(f"{row[side + '_active_dims']:.0f}" for side in ("query", "document"))]
        return [row["method"], f"{row[MEASURE]:.3f}".lstrip("0"), step, *figures]

    blocks = []
    for ladder in result["ladders"]:
        ahead = [s for s in ladder["sets"] if s["p_holm"] < 0.05 and s["difference"] > 0]
        behind = [s for s in ladder["sets"] if s["p_holm"] < 0.05 and s["difference"] < 0]
        blocks.append(
            f"**{ladder['encoder']}, {ladder['vocabulary']}, {ladder['bridge']} bridge.** On its own, 8-default is significantly "
            f"ahead of the better of 0-paper and multivariate on {len(ahead)} of {len(ladder['sets'])} sets and behind on "
            f"{len(behind)}{' (' + ', '.join(s['data'] for s in behind) + ')' if behind else ''}.\n\n"
            + table(["", MEASURE, "step", "FLOPS", "query dims", "document dims"], map(line, ladder["rows"]))
        )
    return "\n\n".join(["## From paper to default", LADDER, *blocks, versions(result) + "\n"])


def bundled_section(result: dict) -> str:
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


def throughput_section(result: dict) -> str:
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


def training_section(result: dict) -> str:
    body = [
        [
            f"{'bf16' if r['bf16'] else 'fp32'}, {r['batch_size']} pairs of {r['length']} tokens",
            *(f"{r[way]['seconds']:.2f} s, {r[way]['megabytes']:.0f} MB" for way in ("stock", "sembridge")),
            f"{r['times faster']:.2f}", f"{r['stock']['megabytes'] / r['sembridge']['megabytes']:.1f}",
        ]
        for r in result["rows"]
    ]  # fmt: skip
    return f"""## Training step on a CPU

`python benchmarks/training_step.py`: forward and backward of a batch, {result["settings"]["encoder"]}, one thread; memory beyond
the loaded encoder. The head goes without its block of logits and attention is computed plainly; vectors and gradients are the
stock ones (tests).

{table(["", "stock", "sembridge train", "times faster", "times less memory"], body)}

{versions(result)}
"""


def preset_section(result: dict) -> str:
    body = [
        [r["case"], *(f"{r['seconds'][preset]:.1f} s" for preset in ("paper", "default")), f"{r['ratio']:.2f}",
         f"{r['stages']['default'].get('calibration', 0):.1f} s"]
        for r in result["rows"]
    ]  # fmt: skip
    return f"""## Time of a transfer, by preset

`python benchmarks/preset_cost.py`: a whole transfer to Korean (24,000 tokens), {result["settings"]["threads"]} threads, median of
{result["settings"]["rounds"]} rounds in turn, of one with the bridge of MiniLM's shape. Cold: the bridge encodes every token text; warm:
its vectors are cached.

{table(["", "paper", "default", "ratio", "of it calibration"], body)}

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


def memory_section(result: dict) -> str:
    return f"""## Memory of encoding a stream

`python benchmarks/encode_memory.py`: {result["corpus_bytes"] / 1e9:.1f} GB of text, {result["n_documents"]:,} documents through
`sembridge encode`. Most resident memory: {result["highest_megabytes_first_half"]:.0f} MB in the first half,
{result["highest_megabytes_second_half"]:.0f} MB in the second.

![Resident memory over the documents encoded](results/{memory_figure(result).name})

{versions(result)}
"""


def pruning_section(result: dict) -> str:
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
        measured("bundled_models", bundled_section),
        grid_section(
            "grid",
            "Zero-shot retrieval, test splits",
            "reproduction/mini/grid.yaml",
            ("zero-shot", "alpha-sweep"),
            TEXTS,
        ),
        measured("ladder", ladder_section),
        grid_section(
            "grid-trained",
            "Fine-tuned retrieval, test splits",
            "reproduction/mini/grid-trained.yaml",
            ("fine-tuned", "steps-to-target", "fine-tuned-significance"),
            TRAINED,
        ),
        grid_section(
            "grid-domain",
            "Fine-tuned on a few questions of one's own",
            "reproduction/mini/grid-domain.yaml",
            ("zero-shot", "fine-tuned", "fine-tuned-significance"),
            DOMAIN,
        ),
        grid_section(
            "grid-ablation",
            "The optional stages of a training, dev splits",
            "reproduction/mini/grid-ablation.yaml",
            ("fine-tuned", "fine-tuned-significance"),
            ABLATION,
        ),
        grid_section(
            "grid-dev", "Zero-shot retrieval, dev splits", "reproduction/mini/grid-dev.yaml", ("zero-shot",), DEV
        ),
        page("transfer", "Speed and memory of the initialisation"),
        measured("preset_cost", preset_section),
        measured("encode_throughput", throughput_section),
        measured("training_step", training_section),
        measured("encode_memory", memory_section),
        page("search_engines", "Search engines"),
        measured("pruning", pruning_section),
    ]
    text = "\n".join(section for section in sections if section)
    (ROOT / "benchmarks" / "README.md").write_text(text, encoding="utf-8")
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split("<!-- results -->")
    after = rest.split("<!-- /results -->")[1]
    trained = RESULTS / "grid-trained"
    shown = readme_table(read_results(RESULTS / "grid"), read_results(trained) if trained.is_dir() else None)
    readme.write_text(f"{before}<!-- results -->\n{shown}\n<!-- /results -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
