"""Texts a second through a bridge: `embed_texts` against `SentenceTransformer.encode`, in one run.

    python benchmarks/bridging.py --bridge intfloat/multilingual-e5-small --tokenizer monologg/kobigbird-bert-base \\
        --shape 24,1024,16,4096 --out benchmarks/results/bridging.json

The texts are those of a vocabulary's tokens, drawn with a seed and kept in the order of their ids. Stock is `encode` in
batches of 32, as its default is. All ways take turns within every repeat, so that a busy machine slows all of them; a
ratio is the median over repeats. Processor seconds count, on one thread: the machine may be shared. The limit is that
of the processor: the bridge's matrix products alone, at the best speed that one of its shapes reaches here, without
attention, activations or padding. With `--shape` a second bridge of that size (bge-m3's above) is measured too, with
random weights and the first one's tokenizer, on an eighth of the texts.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from sembridge import load_bridge, load_tokenizer
from sembridge.encoders.fingerprint import default_prompt
from sembridge.encoders.prepacked import prepacked
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.language_transfer.even_batches import computable, encode_evenly

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


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


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
    import copy

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bridge", required=True, help="a dense transformer: hub id or folder")
    parser.add_argument("--name", help="of the bridge in the table; as given")
    parser.add_argument("--tokenizer", default="mini/tokenizer-ko")
    parser.add_argument("--shape", metavar="LAYERS,WIDTH,HEADS,INTERMEDIATE", help="of a second bridge")
    parser.add_argument("--shape-name", default="bge-m3's shape")
    parser.add_argument("--texts", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = token_texts(arguments.tokenizer, arguments.texts, arguments.seed)
    bridge, name = load_bridge(arguments.bridge), arguments.name or arguments.bridge
    bridges = {name: (bridge, texts)}
    if arguments.shape:
        bridges[arguments.shape_name] = (of_shape(bridge, arguments.shape), texts[::8])
    result = {
        "bridge": name,
        "tokenizer": arguments.tokenizer,
        "n_texts": len(texts),
        "repeats": arguments.repeats,
        "processor_has_bfloat16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "processor": processor(),
        "rows": [row for called, of in bridges.items() for row in rows_of(called, *of, arguments.repeats)],
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "sentence-transformers")},
        },
    }
    content = json.dumps(result, indent=1)
    print(content)
    if arguments.out:
        arguments.out.write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
