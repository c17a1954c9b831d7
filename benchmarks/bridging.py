"""Texts a second through a bridge: `embed_texts` against `SentenceTransformer.encode`, in one run.

    python benchmarks/bridging.py --bridge intfloat/multilingual-e5-small --tokenizer monologg/kobigbird-bert-base \\
        --source naver/splade-v3 --shape 24,1024,16,4096 --out benchmarks/results/bridging.json

The texts are those of a vocabulary's tokens, drawn with a seed and kept in the order of their ids. Stock is `encode` in
batches of 32, as its default is. All ways take turns within every repeat, so that a busy machine slows all of them; a
ratio is the median over repeats. Processor seconds count, on one thread: the machine may be shared. The limit is that
of the processor: the bridge's matrix products alone, at the best speed that one of its shapes reaches here, without
attention, activations or padding. With `--shape` a second bridge of that size (bge-m3's above) is measured too, with
random weights and the first one's tokenizer, on every second text and in three rounds. With `--source` the same texts
are placed among 3,000 words of that vocabulary, too, and it is counted how many get the source tokens that float32
gives them, in bfloat16 and in int8 (torch's own dynamic quantisation of the linear layers).
"""

import argparse
import copy
import itertools
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from outcome import processor, versions, write
from sentence_transformers import SentenceTransformer
from torch import nn

from sembridge import load_bridge, load_tokenizer
from sembridge.encoders.fingerprint import default_prompt
from sembridge.encoders.prepacked import prepacked
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.language_transfer.entmax import Entmax
from sembridge.language_transfer.even_batches import computable, encode_evenly
from sembridge.language_transfer.initialization.hub_correction import hub_corrected
from sembridge.language_transfer.recipe import PRESETS
from sembridge.language_transfer.similarity import sparse_weights

STOCK = "encode, batches of 32"


def token_texts(tokenizer: str, n_texts: int, seed: int) -> list[str]:
    """Distinct texts of the tokens of a vocabulary, in the order of their ids."""
    texts = list(dict.fromkeys(text for text in read_vocabulary(load_tokenizer(tokenizer)).texts if text.strip()))
    drawn = sorted(random.Random(seed).sample(range(len(texts)), min(n_texts, len(texts))))
    return [texts[place] for place in drawn]


def even(bridge: SentenceTransformer, texts: list[str]) -> np.ndarray:
    """As `embed_texts` asks a bridge, without its cache."""
    found = list(encode_evenly(bridge, texts, 256))
    order = np.argsort(np.concatenate([rows for rows, _ in found]))
    vectors: np.ndarray = np.concatenate([vectors for _, vectors in found])[order]
    return vectors


def ways(bridge: SentenceTransformer) -> dict[str, Callable[[list[str]], np.ndarray]]:
    half = computable(bridge, "bfloat16")
    return {
        STOCK: lambda texts: bridge.encode(texts, batch_size=32, show_progress_bar=False),
        "embed_texts": lambda texts: even(bridge, texts),
        "embed_texts in bfloat16": lambda texts: even(half, texts),
    }


def rows_of(name: str, bridge: SentenceTransformer, texts: list[str], repeats: int) -> list[dict[str, object]]:
    of_dtype = limits(bridge, texts)
    rows = measure(bridge, texts, repeats)
    stock = float(str(rows[0]["texts/s"]))
    for row in rows:
        limit = of_dtype["bfloat16" if "bfloat16" in str(row["way"]) else "float32"]
        row |= {"bridge": name, "limit, texts/s": limit, "limit, times stock": limit / stock}
        print(row, file=sys.stderr, flush=True)
    return rows


def measure(bridge: SentenceTransformer, texts: list[str], repeats: int) -> list[dict[str, object]]:
    """A row a way: texts/s, how many times stock's, and the smallest cosine with stock's vectors."""
    seconds: dict[str, list[float]] = {}
    vectors = {}
    known = ways(bridge)
    for embed in known.values():  # warms up
        embed(texts[:64])
    for _ in range(repeats):
        for way, embed in known.items():
            start = time.process_time()
            vectors[way] = embed(texts)
            seconds.setdefault(way, []).append(time.process_time() - start)
    unit = {way: found / np.linalg.norm(found, axis=1, keepdims=True) for way, found in vectors.items()}
    return [
        {
            "way": way,
            "texts/s": len(texts) / statistics.median(taken),
            "times stock": statistics.median(s / t for s, t in zip(seconds[STOCK], taken, strict=True)),
            "smallest cosine": float((unit[way] * unit[STOCK]).sum(1).min()),
        }
        for way, taken in seconds.items()
    ]


def linear_layers(bridge: SentenceTransformer) -> list[nn.Linear]:
    return [module for module in bridge.modules() if isinstance(module, nn.Linear)]


def limits(bridge: SentenceTransformer, texts: list[str]) -> dict[str, float]:
    """Texts a second if nothing but the matrix products were computed, by dtype."""
    mask = bridge.preprocess(texts, prompt=default_prompt(bridge) or None)["attention_mask"]
    per_token = sum(2 * layer.weight.numel() for layer in linear_layers(bridge))
    per_text = per_token * float(mask.sum()) / len(texts)
    return {name: product_speed(bridge, getattr(torch, name)) / per_text for name in ("float32", "bfloat16")}


def product_speed(bridge: SentenceTransformer, dtype: torch.dtype, n_tokens: int = 1536) -> float:
    """Operations a second of the fastest of the bridge's products, the best of many."""
    shapes = {layer.weight.shape for layer in linear_layers(bridge)}
    best = 0.0
    for n_out, n_in in shapes:
        layer, given = nn.Linear(n_in, n_out).to(dtype), torch.randn(n_tokens, n_in).to(dtype)
        with torch.inference_mode(), prepacked(layer, n_tokens):
            layer(given)
            for _ in range(20):
                start = time.process_time()
                layer(given)
                best = max(best, 2 * n_tokens * n_in * n_out / (time.process_time() - start))
    return best


def of_shape(like: SentenceTransformer, shape: str) -> SentenceTransformer:
    """A bridge of `layers,width,heads,intermediate` with random weights, and the tokenizer and prompt of another."""
    from transformers import AutoModel

    layers, width, heads, intermediate = map(int, shape.split(","))
    config = copy.deepcopy(like[0].auto_model.config)
    config.num_hidden_layers, config.hidden_size = layers, width
    config.num_attention_heads, config.intermediate_size = heads, intermediate
    torch.manual_seed(0)
    bridge = copy.deepcopy(like)
    bridge[0].model = AutoModel.from_config(config).eval()
    if hasattr(bridge[1], "embedding_dimension"):
        bridge[1].embedding_dimension = width
    return bridge


def supports(bridge: SentenceTransformer, source: str, targets: list[str], n_source: int) -> list[dict[str, object]]:
    """A row a number format: speed against float32, and shares of targets with the same source tokens by preset."""
    words = [text for text in token_texts(source, 10**9, 0) if text.isalpha() and text.isascii() and len(text) > 1]
    words = words[:n_source]
    int8 = copy.copy(bridge)
    int8._modules = dict(bridge._modules)
    int8[0] = copy.copy(bridge[0])
    int8[0]._modules = {"model": torch.ao.quantization.quantize_dynamic(bridge[0].model, {nn.Linear}, torch.qint8)}
    known = {"float32": bridge, "bfloat16": computable(bridge, "bfloat16"), "int8": int8}
    rows: list[dict[str, object]] = []
    expected: dict[str, list[list[int]]] = {}
    for name, of in known.items():
        even(of, targets[:64])
        start = time.process_time()
        vectors = even(of, [*words, *targets])
        seconds = time.process_time() - start
        unit = torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        found = {preset: source_tokens(unit[: len(words)], unit[len(words) :], preset) for preset in PRESETS}
        expected = expected or found
        same = {
            preset: sum(a == b for a, b in zip(found[preset], expected[preset], strict=True)) / len(targets)
            for preset in found
        }
        rows.append({"format": name, "texts/s": (len(words) + len(targets)) / seconds, "same source tokens": same})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def source_tokens(source: torch.Tensor, target: torch.Tensor, preset: str) -> list[list[int]]:
    settings = PRESETS[preset]
    placed = hub_corrected(target, source, settings["hub_neighbours"], memory_budget=2**30, device="cpu")
    weights = sparse_weights(
        placed.target, placed.source, rule=Entmax(settings["alpha"]), memory_budget=2**30, device="cpu"
    )
    starts, columns = weights.crow_indices.tolist(), weights.col_indices.tolist()
    return [sorted(columns[start:end]) for start, end in itertools.pairwise(starts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bridge", required=True, help="a dense transformer: hub id or folder")
    parser.add_argument("--name", help="of the bridge in the table; as given")
    parser.add_argument("--tokenizer", default="mini/tokenizer-ko")
    parser.add_argument("--shape", metavar="LAYERS,WIDTH,HEADS,INTERMEDIATE", help="of a second bridge")
    parser.add_argument("--shape-name", default="bge-m3's shape")
    parser.add_argument("--source", help="tokenizer or encoder whose words the texts are placed among")
    parser.add_argument("--texts", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = token_texts(arguments.tokenizer, arguments.texts, arguments.seed)
    bridge, name = load_bridge(arguments.bridge), arguments.name or arguments.bridge
    rows = rows_of(name, bridge, texts, arguments.repeats)
    if arguments.shape:
        large = of_shape(bridge, arguments.shape)
        rows += rows_of(arguments.shape_name, large, texts[::2], min(3, arguments.repeats))
    placed = supports(bridge, arguments.source, texts, 3000) if arguments.source else []
    result = {
        "bridge": name,
        "tokenizer": arguments.tokenizer,
        "n_texts": len(texts),
        "repeats": arguments.repeats,
        "processor_has_bfloat16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "processor": processor(),
        "rows": rows,
        "supports": placed,
        "versions": versions(),
    }
    write(arguments.out, result)


if __name__ == "__main__":
    main()
