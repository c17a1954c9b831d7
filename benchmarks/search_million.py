"""Search among many vectors: `exact` and qdrant-edge beside Seismic, PISA, BMP and splade-index, at the same recall.

    python benchmarks/search_million.py --data DATA --n 1000000 --out benchmarks/results/search_million.json

The vectors are made of those of real Korean passages under the bundled encoder, each of two that were drawn
(`synthetic` of module `search_engines`); queries are real, of the same sets, in BEIR layout below DATA. Every engine
builds and searches in a process of its own, on one thread, and an engine whose package is missing is left out and named
(pyseismic-lsr, pyterrier-pisa, bmp, splade-index with numba). Milliseconds are of processor time, so that a shared
machine does not decide; of approximate engines several settings are tried, and of those that reach a recall the fastest
stands in its column. Recall is the share of exact search's ten best, and one of equal score counts as well. Engines
that `--out` has already of the same vectors stay there, so that they can be run one by one.
"""

import argparse
import dataclasses
import gzip
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from outcome import processor, versions, write
from scipy.sparse import csr_array, load_npz, save_npz
from search_engines import TOP_K, add_all, document, folder_mb, resident, started, synthetic

from sembridge.deployment.search.protocol import SparseVector, rows
from sembridge.retrieval.corpus import stream_corpus

RECALLS = (0.95, 0.99, 1.0)
PACKAGES = {"seismic": "seismic", "pisa": "pyterrier_pisa", "bmp": "bmp", "splade-index": "splade_index",
            "qdrant-edge": "qdrant_edge", "exact": "numpy"}  # fmt: skip
DISTRIBUTIONS = ("sembridge", "numpy", "scipy", "qdrant-edge-py", "pyseismic-lsr", "pyterrier-pisa", "bmp",
                 "splade-index", "numba")  # fmt: skip
LARGEST = 255  # of the integers that BMP and PISA keep
TIE = 1e-5

Search = Callable[[SparseVector], list[int]]
"""A query to the numbers of the documents found."""


@dataclass(frozen=True)
class Setting:
    """How an engine does at one of its settings; milliseconds are of processor time."""

    setting: str
    recall_at_10: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    queries_per_core_second: float


@dataclass(frozen=True)
class Found:
    """An engine over the vectors: what building took, and its settings."""

    engine: str
    n_documents: int
    build_core_seconds: float
    disk_mb: float
    memory_mb: float
    settings: list[Setting]

    def at(self, recall: float) -> Setting | None:
        """The fastest setting that reaches a recall."""
        enough = [setting for setting in self.settings if setting.recall_at_10 >= recall - 1e-9]
        return min(enough, key=lambda setting: setting.p50_ms, default=None)


SETS = ("korquad/ko", "kobest_boolq/ko", "tydiqa/ko", "coursedocs/ko")


def encoded(data: Path, work: Path, *, n_documents: int, n_queries: int) -> tuple[csr_array, csr_array]:
    """(documents, queries): vectors of passages and queries of the sets in turn, kept in `work`."""
    files = [work / f"real-{n_documents}-{n_queries}-{side}.npz" for side in ("documents", "queries")]
    if not all(file.exists() for file in files):
        from sembridge import load_bridge, load_encoder, load_tokenizer, transfer
        from sembridge.encoders.vectors import encode_corpus, encode_queries

        result = transfer(
            load_encoder("mini/splade-en"), load_tokenizer("mini/tokenizer-ko"), load_bridge("mini/bridge")
        )
        texts = alternating([[text.content for text in stream_corpus(data / name)] for name in SETS])[:n_documents]
        queries = alternating([questions(data / name) for name in SETS])[:n_queries]
        save_npz(files[0], encode_corpus(result.encoder, texts, encode_with="fast-bf16"))
        save_npz(files[1], encode_queries(result.encoder, queries, encode_with="fast"))
    documents, asked = (csr_array(load_npz(file)) for file in files)
    return documents, asked


def questions(folder: Path) -> list[str]:
    with gzip.open(folder / "queries.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def alternating(lists: list[list[str]]) -> list[str]:
    return [text for row in itertools.zip_longest(*lists) for text in row if text is not None]


# --- engines: vectors and a folder -> named ways to search; what is done before the first yield is building


def sembridge_engine(name: str) -> Callable[[csr_array, Path, ExitStack], Iterator[tuple[str, Search]]]:
    def build(vectors: csr_array, folder: Path, stack: ExitStack) -> Iterator[tuple[str, Search]]:
        engine, _ = stack.enter_context(started(name, folder, vectors.shape[1]))
        add_all(engine, vectors)
        yield "", lambda query: [int(hit.id[1:]) for hit in engine.search(query, top_k=TOP_K)]

    return build


def seismic(vectors: csr_array, folder: Path, _: ExitStack) -> Iterator[tuple[str, Search]]:
    from seismic import SeismicDataset, SeismicIndex, get_seismic_string

    dataset = SeismicDataset(dim=vectors.shape[1])
    ids = [document(number).id for number in range(vectors.shape[0])]
    dataset.add_documents_by_id(
        ids, vectors.indices.astype(np.int64), vectors.data.astype(np.float32), vectors.indptr.astype(np.int64)
    )
    index = SeismicIndex.build_from_dataset(dataset, n_postings=6000, num_threads=1)
    index.save(str(folder / "index"))

    def at(query_cut: int, heap_factor: float) -> Search:
        def search(query: SparseVector) -> list[int]:
            tokens = np.array([str(dimension) for dimension in query.indices], dtype=get_seismic_string())
            found = index.search("q", tokens, query.values, TOP_K, query_cut, heap_factor, sorted=True)
            return [int(str(id_)[1:]) for _, _, id_ in found]

        return search

    for cut, factor in ((5, 0.9), (10, 0.9), (10, 0.8), (20, 0.8), (20, 0.6), (40, 0.4), (100, 0.1)):
        yield f"query_cut {cut}, heap_factor {factor}", at(cut, factor)


def integers(vectors: csr_array) -> tuple[csr_array, float]:
    """Weights as whole numbers up to `LARGEST`, and the scale."""
    scale = LARGEST / float(vectors.data.max())
    whole = vectors.copy()  # index arrays, too: dropping zeros changes them in place
    whole.data = np.rint(whole.data * scale)
    whole.eliminate_zeros()
    return whole, scale


def dictionaries(whole: csr_array) -> Iterator[tuple[str, dict[str, int]]]:
    names = [str(dimension) for dimension in range(whole.shape[1])]
    for number in range(whole.shape[0]):
        part = slice(whole.indptr[number], whole.indptr[number + 1])
        dimensions, weights = whole.indices[part].tolist(), whole.data[part].astype(int).tolist()
        yield document(number).id, {names[d]: w for d, w in zip(dimensions, weights, strict=True)}


def bmp(vectors: csr_array, folder: Path, _: ExitStack) -> Iterator[tuple[str, Search]]:
    from bmp import Indexer, Searcher

    indexer = Indexer(str(folder / "index"), bsize=32, compress_range=False)
    for name, vector in dictionaries(integers(vectors)[0]):
        indexer.add_document(name, vector)
    indexer.finish()
    searcher = Searcher(str(folder / "index"))

    def at(alpha: float, beta: float) -> Search:
        def search(query: SparseVector) -> list[int]:
            asked = {str(d): float(w) for d, w in zip(query.indices.tolist(), query.values.tolist(), strict=True)}
            ids, _ = searcher.search(asked, k=TOP_K, alpha=alpha, beta=beta)
            return [int(name[1:]) for name in ids]

        return search

    for alpha, beta in ((0.6, 0.5), (0.7, 0.7), (0.8, 1.0), (0.9, 1.0), (1.0, 1.0)):
        yield f"alpha {alpha}, beta {beta}", at(alpha, beta)


def pisa(vectors: csr_array, folder: Path, _: ExitStack) -> Iterator[tuple[str, Search]]:
    import pandas as pd
    from pyterrier_pisa import PisaIndex

    from sembridge.deployment.export.pisa import _quiet

    with _quiet():
        index = PisaIndex(str(folder / "index"), stemmer="none", batch_size=50_000, threads=1)
        told = ({"docno": name, "toks": vector} for name, vector in dictionaries(integers(vectors)[0]))
        index.toks_indexer("toks", scale=1.0).index(told)

    def at(algorithm: str) -> Search:
        retrieve = PisaIndex(str(folder / "index"), stemmer="none", stops="none", threads=1).quantized(
            num_results=TOP_K, toks_scale=100.0, query_algorithm=algorithm
        )

        def search(query: SparseVector) -> list[int]:
            tokens = {str(d): float(w) for d, w in zip(query.indices.tolist(), query.values.tolist(), strict=True)}
            with _quiet():
                found = retrieve.transform(pd.DataFrame([{"qid": "q", "query_toks": tokens}]))
            return [int(name[1:]) for name in found["docno"]]

        return search

    for algorithm in ("maxscore", "block_max_wand"):
        yield algorithm, at(algorithm)


class _Vectors:
    """What splade-index takes for a model: here the vectors are made already."""

    def __init__(self, vectors: csr_array) -> None:
        import torch

        self._torch, self._vectors = torch, vectors
        self.tokenizer = self
        self.asked: SparseVector | None = None

    def get_vocab(self) -> dict[str, int]:
        return {str(dimension): dimension for dimension in range(self._vectors.shape[1])}

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        v, torch = self._vectors, self._torch
        parts = (torch.from_numpy(np.asarray(part)) for part in (v.indptr, v.indices, v.data))
        return torch.sparse_csr_tensor(*parts, size=v.shape)

    def encode_query(self, texts: list[str], **_: Any) -> list[Any]:
        torch, query = self._torch, self.asked
        if query is None:
            return [torch.sparse_coo_tensor([[0]], [1.0], (self._vectors.shape[1],))]
        indices = torch.from_numpy(np.asarray(query.indices, np.int64))[None]
        return [torch.sparse_coo_tensor(indices, torch.from_numpy(query.values), (self._vectors.shape[1],))]


def splade_index(vectors: csr_array, folder: Path, _: ExitStack) -> Iterator[tuple[str, Search]]:
    from splade_index import SPLADE

    model, retriever = _Vectors(vectors), SPLADE(backend="numba")
    ids = list(range(vectors.shape[0]))
    retriever.index(model=model, documents=[""] * len(ids), document_ids=ids, show_progress=False)
    retriever.save(str(folder / "index"))

    def search(query: SparseVector) -> list[int]:
        model.asked = query
        return retriever.retrieve([""], k=TOP_K, show_progress=False, return_as="doc_ids")[0].tolist()

    yield "", search


ENGINES: dict[str, Callable[[csr_array, Path, ExitStack], Iterator[tuple[str, Search]]]] = {
    "exact": sembridge_engine("exact"),
    "qdrant-edge": sembridge_engine("qdrant-edge"),
    "bmp": bmp,
    "splade-index": splade_index,
    "seismic": seismic,
    "pisa": pisa,
}


# --- measuring


def measure(name: str, file: Path, query_file: Path) -> Found:
    """To be called in a process of its own, since memory is that of the process."""
    vectors, queries = csr_array(load_npz(file)), csr_array(load_npz(query_file))
    before = resident()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        start = time.process_time()
        ways = ENGINES[name](vectors, Path(folder), stack)
        first = next(ways)
        seconds, disk, memory = time.process_time() - start, folder_mb(Path(folder)), resident() - before
        inverted = vectors.tocsc()
        settings = [time_searches(way, search, queries, inverted) for way, search in (first, *ways)]
    return Found(name, vectors.shape[0], seconds, disk, memory / 2**20, settings)


def time_searches(setting: str, search: Search, queries: csr_array, inverted: Any) -> Setting:
    asked = rows(queries)
    search(asked[0])
    seconds, answers = [], []
    for query in asked:
        start = time.process_time()
        answers.append(search(query))
        seconds.append(time.process_time() - start)
    p50, p95, p99 = (float(value) for value in np.quantile(np.array(seconds) * 1000, [0.5, 0.95, 0.99]))
    recall = np.mean([recall_of(answer, query, inverted) for answer, query in zip(answers, asked, strict=True)])
    return Setting(setting, float(recall), p50, p95, p99, len(asked) / sum(seconds))


def recall_of(answer: list[int], query: SparseVector, inverted: Any) -> float:
    """Share of the ten best that `answer` has; another one of the same score counts."""
    scores = np.zeros(inverted.shape[0])
    for dimension, weight in zip(query.indices.tolist(), query.values.tolist(), strict=True):
        part = slice(inverted.indptr[dimension], inverted.indptr[dimension + 1])
        scores[inverted.indices[part]] += weight * inverted.data[part].astype(np.float64)
    n_right = min(TOP_K, int((scores > 0).sum()))
    if not n_right:
        return 1.0
    least = np.partition(scores, -n_right)[-n_right] * (1 - TIE)
    return float((scores[[*{*answer}]] >= least).sum()) / n_right if answer else 0.0


def startable(names: list[str]) -> list[str]:
    missing = [name for name in names if find_spec(PACKAGES[name]) is None]
    for name in missing:
        print(f"{name} is left out: package {PACKAGES[name]} is not installed", file=sys.stderr)
    return [name for name in names if name not in missing]


def known_engines(out: Path | None, made: dict[str, int]) -> dict[str, Any]:
    """What an earlier run over the same vectors found, by engine."""
    if out is None or not out.is_file():
        return {}
    earlier = json.loads(out.read_text(encoding="utf-8"))
    return {of["engine"]: of for of in earlier["engines"]} if {k: earlier.get(k) for k in made} == made else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--real", type=int, default=4000, help="passages encoded, which the others are made of")
    parser.add_argument("--engines", nargs="+", default=[*ENGINES], choices=[*ENGINES])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sembridge-search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    arguments.work.mkdir(parents=True, exist_ok=True)
    sizes = {"n_documents": arguments.real, "n_queries": arguments.queries}
    real, queries = encoded(arguments.data, arguments.work, **sizes)
    file = arguments.work / f"many-{arguments.n}-{arguments.real}-{arguments.seed}.npz"
    query_file = arguments.work / "many-queries.npz"
    if not file.exists():
        save_npz(file, synthetic(real, arguments.n, arguments.seed), compressed=False)
    save_npz(query_file, queries, compressed=False)
    dims = load_npz(file).nnz / arguments.n
    made = {"n_documents": arguments.n, "n_queries": queries.shape[0], "n_real": arguments.real, "seed": arguments.seed}
    engines = known_engines(arguments.out, made)
    for name in startable(arguments.engines):
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            found = fresh.apply(measure, (name, file, query_file))
        at = {str(r): s and dataclasses.asdict(s) for r in RECALLS for s in [found.at(r)]}
        engines[name] = {**asdict(found), "at": at}
        print(json.dumps(engines[name]), file=sys.stderr, flush=True)
    result = {
        **made,
        "active_dims": dims,
        "processor": processor(),
        "engines": [engines[name] for name in ENGINES if name in engines],
        "versions": versions(*DISTRIBUTIONS),
    }
    write(arguments.out, result)


if __name__ == "__main__":
    main()
