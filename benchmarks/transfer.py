"""Speed and memory of an initialisation, from bridge vectors to rows, against two yardsticks on the same vectors.

    python benchmarks/transfer.py --rows 32000 120000 --sources 30000 --dim 1024 --out benchmarks/results/transfer.json

*Product*: the bare product of all target with all source vectors in blocks of 1,024 rows, results thrown away; no exact
method that looks at every similarity can be faster. *Published routine*: its steps as the paper and its repository
describe them, written anew: the whole similarity matrix, then for every token one `entmax_bisect` over all source
tokens and the weighted sum of the source rows that have weight. It is timed on a sample of tokens and scaled up.

The three take turns within every repeat, so that a busy machine slows all of them; ratios are medians over repeats.
On a machine too busy even for that, `--clock processor --threads 1` counts processor seconds in place of wall time.
Memory is the highest resident size of a fresh process, less what it held before the call (Linux only).

Vectors are drawn: families of tokens around shared centres, with near ties; `compressed` adds one direction to all, as
single words have in bge. Writes a Markdown table beside the JSON.
"""

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from entmax import entmax_bisect
from outcome import processor, versions
from torch import Tensor
from torch.nn.functional import normalize

from sembridge.language_transfer.entmax import Entmax
from sembridge.language_transfer.similarity import sparse_weights
from sembridge.language_transfer.sparse_matrix import SparseWeights

BLOCK_ROWS = 1024
COMMON_SHARE = {"spread": 0.0, "compressed": 0.8}  # length of the direction shared by all vectors; noise is about 1


@dataclass(frozen=True)
class Size:
    n_target: int
    n_source: int
    dim: int
    width: int  # of a source row
    cosines: str
    alpha: float
    seed: int


@dataclass(frozen=True)
class Inputs:
    target: Tensor  # (n_target, dim)
    source: Tensor  # (n_source, dim)
    source_rows: Tensor  # (n_source, width)


def draw_vectors(n: int, size: Size, seed: int) -> Tensor:
    """(n, dim) unit vectors of about four tokens a family, families in 200 fields, some tokens far from all."""
    shared, own = torch.Generator().manual_seed(size.seed), torch.Generator().manual_seed(seed)
    n_families = max(1, size.n_source // 4)
    fields = torch.randn(200, size.dim, generator=shared)
    families = 0.6 * torch.randn(n_families, size.dim, generator=shared)
    families += 0.5 * fields[torch.arange(n_families) % 200]
    families += COMMON_SHARE[size.cosines] * torch.randn(size.dim, generator=shared)
    vectors = torch.empty(n, size.dim)
    for part in vectors.split(8192):
        part[:] = families[torch.randint(0, n_families, (len(part),), generator=own)]
        distance = 0.15 + 0.75 * torch.rand(len(part), 1, generator=own)
        part += distance * torch.randn(part.shape, generator=own)
        part[:] = normalize(part, dim=1)
    return vectors


def draw(size: Size) -> Inputs:
    rows = torch.randn(size.n_source, size.width, generator=torch.Generator().manual_seed(size.seed))
    return Inputs(
        draw_vectors(size.n_target, size, size.seed + 1), draw_vectors(size.n_source, size, size.seed + 2), rows
    )


def initialise(inputs: Inputs, alpha: float) -> tuple[SparseWeights, Tensor]:
    weights = sparse_weights(inputs.target, inputs.source, rule=Entmax(alpha))
    return weights, weights.matmul(inputs.source_rows)


def multiply(inputs: Inputs) -> None:
    buffer = torch.empty(BLOCK_ROWS, len(inputs.source))
    for block in inputs.target.split(BLOCK_ROWS):
        torch.mm(block, inputs.source.T, out=buffer[: len(block)])


def published_routine(inputs: Inputs, alpha: float) -> Tensor:
    similarities = inputs.target @ inputs.source.T
    rows = torch.empty(len(similarities), inputs.source_rows.shape[1])
    for token, row in enumerate(similarities):
        weights = entmax_bisect(row, alpha=alpha, dim=0)
        (support,) = weights.nonzero(as_tuple=True)
        rows[token] = (weights[support, None] * inputs.source_rows[support]).sum(0)
    return rows


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


def seconds(call: Callable[[], object], clock: str) -> float:
    start = CLOCKS[clock]()
    call()
    return CLOCKS[clock]() - start


def time_size(size: Size, *, n_sample: int, n_repeats: int, clock: str) -> dict[str, object]:
    inputs = draw(size)
    sample = Inputs(inputs.target[:n_sample], inputs.source, inputs.source_rows)
    warm_up = Inputs(inputs.target[:BLOCK_ROWS], inputs.source, inputs.source_rows)
    weights, rows = initialise(warm_up, size.alpha)
    multiply(warm_up)
    difference = float((published_routine(sample, size.alpha) - rows[:n_sample]).abs().max())
    ours, product, published = [], [], []
    for repeat in range(n_repeats):
        product.append(seconds(lambda: multiply(inputs), clock))
        ours.append(seconds(lambda: initialise(inputs, size.alpha), clock))
        on_sample = seconds(lambda: published_routine(sample, size.alpha), clock)
        published.append(on_sample * size.n_target / len(sample.target))
        print(
            f"{size.n_target:,} rows, repeat {repeat + 1}: product {product[-1]:.1f} s, ours {ours[-1]:.1f} s, "
            f"published routine {published[-1]:.0f} s (scaled)",
            file=sys.stderr,
        )
    cosines = inputs.target[:256] @ inputs.source.T
    quantiles = torch.tensor([0.01, 0.5, 0.99])
    return {
        **asdict(size),
        "seconds": ours,
        "seconds product": product,
        "seconds published routine, scaled": published,
        "rows/s": size.n_target / statistics.median(ours),
        "times product": statistics.median(a / b for a, b in zip(ours, product, strict=True)),
        "times faster than published": statistics.median(a / b for a, b in zip(published, ours, strict=True)),
        "largest difference of a row entry from the published routine": difference,
        "mean support": float(weights.support_sizes().double().mean()),
        "cosine quantiles 1 %, 50 %, 99 %": cosines.flatten()[:: max(1, cosines.numel() // 10**6)]
        .quantile(quantiles)
        .tolist(),
        "best cosine quantiles 1 %, 50 %, 99 %": cosines.amax(1).quantile(quantiles).tolist(),
        "MiB similarity matrix": size.n_target * size.n_source * 4 / 2**20,
    }


def resident(field: str) -> int:
    """Bytes of a field of /proc/self/status: VmRSS now, VmHWM at its highest."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(field))
    return int(line.split()[1]) * 1024


def peak_memory(size: Size) -> float:
    """MiB an initialisation takes beyond its inputs, rows included. To be called in a process of its own."""
    inputs = draw(size)
    initialise(Inputs(inputs.target[:8], inputs.source[:64], inputs.source_rows[:64]), size.alpha)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before = resident("VmRSS")
    initialise(inputs, size.alpha)
    return (resident("VmHWM") - before) / 2**20


def measure(size: Size, *, n_sample: int, n_repeats: int, clock: str) -> dict[str, object]:
    result = time_size(size, n_sample=n_sample, n_repeats=n_repeats, clock=clock)
    if platform.system() != "Linux":
        return {**result, "MiB beyond inputs": None}
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        return {**result, "MiB beyond inputs": fresh.apply(peak_memory, (size,))}


def table(results: Sequence[dict]) -> str:
    header = [
        "target x source", "cosines", "mean support", "rows/s", "s", "s product", "times product",
        "s published routine (scaled)", "times faster", "MiB beyond inputs", "MiB similarity matrix",
    ]  # fmt: skip
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)]]
    for r in results:
        memory = r["MiB beyond inputs"]
        lines.append([
            f"{r['n_target']:,} x {r['n_source']:,}", r["cosines"], f"{r['mean support']:.1f}", f"{r['rows/s']:,.0f}",
            f"{statistics.median(r['seconds']):.1f}", f"{statistics.median(r['seconds product']):.1f}",
            f"**{r['times product']:.2f}**", f"{statistics.median(r['seconds published routine, scaled']):,.0f}",
            f"**{r['times faster than published']:.0f}**", "" if memory is None else f"{memory:,.0f}",
            f"{r['MiB similarity matrix']:,.0f}",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[32000, 120000], help="target tokens, one table row each"
    )
    parser.add_argument("--sources", type=int, default=30000)
    parser.add_argument("--dim", type=int, default=1024, help="width of the bridge vectors")
    parser.add_argument("--width", type=int, default=768, help="width of the source rows")
    parser.add_argument("--alpha", type=float, default=4.0)
    parser.add_argument("--cosines", choices=[*COMMON_SHARE], nargs="+", default=["compressed"])
    parser.add_argument("--sample", type=int, default=200, help="tokens that the published routine is timed on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=[*CLOCKS], default="wall")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="JSON file; the table goes beside it as .md")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    sizes = [
        Size(n, arguments.sources, arguments.dim, arguments.width, cosines, arguments.alpha, arguments.seed)
        for cosines in arguments.cosines
        for n in arguments.rows
    ]
    results = [
        measure(size, n_sample=arguments.sample, n_repeats=arguments.repeats, clock=arguments.clock) for size in sizes
    ]
    record = {
        "results": results,
        "threads": torch.get_num_threads(),
        "seed": arguments.seed,
        "sample": arguments.sample,
        "clock": arguments.clock,
        "processor": processor(),
        "versions": versions("sembridge", "torch", "numpy", "entmax"),
    }
    text = table(results)
    print(text)
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        note = (
            f"`python benchmarks/transfer.py`, alpha {arguments.alpha:g}, dim {arguments.dim}, rows {arguments.width} "
            f"wide, medians of {arguments.repeats} repeats ({arguments.clock} time) on {record['threads']} threads of "
            f"{record['processor']}, seed {arguments.seed}.\n"
            "Versions: " + ", ".join(f"{name} {number}" for name, number in record["versions"].items()) + "."
        )
        arguments.out.with_suffix(".md").write_text(f"{text}\n\n{note}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
