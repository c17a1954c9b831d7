"""Tables of speed, memory and size."""

from collections.abc import Callable
from pathlib import Path

from page_tables import RESULTS, load, short, table, versions_of

from sembridge.experiments.charts import Box, Drawing, Plot, round_up
from sembridge.experiments.results import MEASURE


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
    return table(header, body) + "\n\n" + versions_of("encode_throughput")


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
    return table(header, body) + "\n\n" + versions_of("training_step")


def preset_cost(_: Path) -> str:
    body = [
        [r["case"], *(f"{r['seconds'][preset]:.1f} s" for preset in ("paper", "default")), f"{r['ratio']:.2f}",
         f"{r['stages']['default'].get('calibration', 0):.1f} s"]
        for r in load("preset_cost")["rows"]
    ]  # fmt: skip
    return table(["", "paper", "default", "ratio", "of it calibration"], body) + "\n\n" + versions_of("preset_cost")


def bridging(_: Path) -> str:
    body = [
        [r["bridge"], r["way"], f"{r['texts/s']:.0f}", f"{r['times stock']:.2f}", f"{r['limit, times stock']:.2f}",
         f"{r['smallest cosine']:.5f}"]
        for r in load("bridging")["rows"]
    ]  # fmt: skip
    header = ["bridge", "way", "texts/s", "times stock", "limit of the processor, times stock", "smallest cosine"]
    return table(header, body) + "\n\n" + versions_of("bridging")


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
    return table(header, body) + "\n\n" + versions_of("cold_transfer")


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
    return table(header, body) + "\n\n" + versions_of("search_million")


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
    return table(header, body) + "\n\n" + versions_of("encode_rivals")


def start_up(_: Path) -> str:
    body = [
        [f"`{r['command']}`", f"{r['processor seconds']:.2f}", f"{r['times torch']:.2f}"]
        for r in load("start_up")["rows"]
    ]
    return table(["", "processor s", "times `import torch`"], body) + "\n\n" + versions_of("start_up")


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
    return table(["", "way", "seconds", "beside", "times faster"], body) + "\n\n" + versions_of("gpu")


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


def pruning(_: Path) -> str:
    rows = load("pruning")["rows"]
    sets = list(dict.fromkeys(r["data"] for r in rows))
    found = {(r["data"], r["max_active_dims"], r["min_weight"]): r for r in rows}
    body = []
    for most, least in dict.fromkeys((r["max_active_dims"], r["min_weight"]) for r in rows):
        cells = [found[data, most, least] for data in sets]
        kept = [f"{short(r[MEASURE])} ({r['postings kept']:.0%})" for r in cells]
        body.append(["all" if most is None else str(most), f"{least:g}", *kept])
    return table(["--max-active-dims", "--min-weight", *sets], body) + "\n\n" + versions_of("pruning")


MAKERS: dict[str, Callable[..., str]] = {
    "encode-speed": encode_speed, "encode-quality": encode_quality, "training-step": training_step,
    "preset-cost": preset_cost, "bridging": bridging, "bridging-formats": bridging_formats,
    "cold-transfer": cold_transfer, "search-million": search_million, "encode-rivals": encode_rivals,
    "start-up": start_up, "gpu": gpu, "how-fast": how_fast, "pruning": pruning,
}  # fmt: skip
