"""Encoding documents on a CPU by everything that can: torch, ONNX Runtime, OpenVINO, and `fast`, in one run.

    python benchmarks/encode_rivals.py --out benchmarks/results/encode_rivals.json

The bundled encoder, documents as in `encode_throughput`, one thread, processor seconds; the ways take turns and a ratio
is the median over repeats. Memory is the most that a process of its own takes beyond its imports. ONNX Runtime runs the
graph that `sembridge export onnx` writes, as fastembed would, in float32 and with its weights quantised to int8
(`quantize_dynamic`); OpenVINO runs the same graph where it is there. Sentence Transformers' own ONNX and OpenVINO
backends are left out: optimum-onnx and optimum-intel want transformers below 4.58 and below 5.6.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from encode_throughput import draw_texts
from outcome import PACKAGES, versions, write
from search_engines import resident
from sentence_transformers import SparseEncoder

from sembridge import load_encoder, load_retrieval_data
from sembridge.deployment.export.onnx_model import _features, export_onnx
from sembridge.encoders.vectors import TextEncoder

STOCK = "SparseEncoder, torch"
BATCH = 32
Encode = Callable[[list[str]], np.ndarray]
"""Texts to (n_texts, n_dims) float32 weights."""


def export_graphs(encoder: SparseEncoder, folder: Path) -> None:
    """The graph of `sembridge export onnx`, and it in int8, where the packages are there."""
    if find_spec("onnxruntime") and find_spec("onnxscript"):
        from onnxruntime.quantization import QuantType, quantize_dynamic

        export_onnx(encoder, folder / "onnx", name="mini/splade-en")
        quantize_dynamic(folder / "onnx" / "model.onnx", folder / "int8.onnx", weight_type=QuantType.QInt8)


def stock(encoder: SparseEncoder) -> Encode:
    return lambda texts: encoder.encode_document(
        texts, batch_size=BATCH, convert_to_sparse_tensor=False, show_progress_bar=False
    ).numpy()


def ours(encoder: SparseEncoder, way: str) -> Encode:
    fast = TextEncoder(encoder, "document", way, batch_size=BATCH)  # type: ignore[arg-type]
    return lambda texts: fast(texts).toarray()


def ways(folder: Path) -> dict[str, Callable[[str], Encode]]:
    """Way -> what makes it ready, from the name of the encoder; `folder` holds the graphs."""
    graph = folder / "onnx" / "model.onnx"
    found: dict[str, Callable[[str], Encode]] = {STOCK: lambda name: stock(load_encoder(name))}
    if graph.exists():
        found["ONNX Runtime, float32"] = lambda name: onnx_runtime(graph)
        found["ONNX Runtime, int8"] = lambda name: onnx_runtime(folder / "int8.onnx", tokenizer=graph.parent)
        if find_spec("openvino"):
            found["OpenVINO, float32"] = lambda name: openvino(graph)
    for way in ("fast", "fast-bf16"):
        found[f"sembridge, {way}"] = lambda name, way=way: ours(load_encoder(name), way)  # type: ignore[misc]
    return found


def peak_megabytes(way: str, name: str, folder: Path, texts: list[str]) -> float:
    """Most resident memory beyond the imports; to be called in a process of its own."""
    torch.set_num_threads(1)
    import sentence_transformers.sparse_encoder.modules  # noqa: F401 (what is imported is no part of it)

    before = resident()
    ways(folder)[way](name)(texts)
    return (resident() - before) / 2**20


def in_batches(tokenizer_folder: Path, run: Callable[[dict[str, np.ndarray]], np.ndarray]) -> Encode:
    """Longest first, as Sentence Transformers does it."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))

    def encode(texts: list[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        blocks = []
        for start in range(0, len(texts), BATCH):
            blocks.append(run(_features(tokenizer, [texts[place] for place in order[start : start + BATCH]])))
        weights: np.ndarray = np.concatenate(blocks)[np.argsort(order)]
        return weights

    return encode


def onnx_runtime(graph: Path, tokenizer: Path | None = None) -> Encode:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return in_batches(
        tokenizer or graph.parent, lambda features: session.run(None, {name: features[name] for name in names})[0]
    )


def openvino(graph: Path) -> Encode:
    import openvino as ov

    core = ov.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    model = core.compile_model(core.read_model(str(graph)), "CPU")
    names = [given.get_any_name() for given in model.inputs]
    return in_batches(graph.parent, lambda features: model({name: features[name] for name in names})[model.output(0)])


def ndcg(encode: Encode, queries: dict[str, str], corpus: dict[str, str], qrels: dict[str, dict[str, int]]) -> float:
    """nDCG@10 where queries are encoded as documents are: an encoder with one side."""
    import ir_measures

    ids, texts = list(corpus), list(corpus.values())
    scores = encode(list(queries.values())) @ encode(texts).T
    run = {
        query: {ids[place]: float(row[place]) for place in np.argsort(-row)[:10]}
        for query, row in zip(queries, scores, strict=True)
    }
    return float(ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10])


def alone(function: Callable[..., float], *arguments: object) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        return fresh.apply(function, arguments)


def measure(name: str, texts: list[str], repeats: int, n_queries: int) -> list[dict[str, object]]:
    data = load_retrieval_data("mini/faq-en")
    queries = dict(list(data.queries.items())[:n_queries])
    qrels = {query: dict(data.qrels[query]) for query in queries if query in data.qrels}
    with tempfile.TemporaryDirectory() as folder:
        export_graphs(load_encoder(name), Path(folder))
        known = {way: prepare(name) for way, prepare in ways(Path(folder)).items()}
        for encode in known.values():
            encode(texts[:4])
        seconds: dict[str, list[float]] = {}
        for _ in range(repeats):
            for way, encode in known.items():
                start = time.process_time()
                encode(texts)
                seconds.setdefault(way, []).append(time.process_time() - start)
        expected = known[STOCK](texts)
        rows = []
        for way, encode in known.items():
            taken = seconds[way]
            ratio = statistics.median(s / t for s, t in zip(seconds[STOCK], taken, strict=True))
            row: dict[str, object] = {
                "way": way,
                "documents/s": len(texts) / statistics.median(taken),
                "times stock": ratio,
                "largest difference": float(np.abs(encode(texts) - expected).max()),
                "peak megabytes": alone(peak_megabytes, way, name, Path(folder), texts),
                "nDCG@10": ndcg(encode, queries, data.corpus, qrels) if n_queries else None,
            }
            print(json.dumps(row), file=sys.stderr, flush=True)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="mini/splade-en")
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--queries", type=int, default=100, help="for nDCG@10; 0: not computed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = draw_texts(arguments.texts, 83, arguments.seed)
    rows = measure(arguments.encoder, texts, arguments.repeats, arguments.queries)
    result = {
        "encoder": arguments.encoder, "n_texts": len(texts), "repeats": arguments.repeats,
        "n_queries": arguments.queries, "rows": rows,
        "processor_has_bfloat16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "versions": versions(*PACKAGES, "onnxruntime", "openvino"),
    }  # fmt: skip
    write(arguments.out, result)


if __name__ == "__main__":
    main()
