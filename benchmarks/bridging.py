"""Texts a second through a bridge: `embed_texts` against `SentenceTransformer.encode`, in one run.

    python benchmarks/bridging.py --bridge intfloat/multilingual-e5-small --out benchmarks/results/bridging.json

The texts are those of a bundled vocabulary's tokens, drawn with a seed and kept in the order of their ids. Stock is
`encode` in batches of 32, as its default is. All ways take turns within every repeat, so that a busy machine slows all
of them; a ratio is the median over repeats. Processor seconds count, on one thread: the machine may be shared.
"""

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from sembridge import load_bridge, load_tokenizer
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bridge", required=True, help="a dense transformer: hub id or folder")
    parser.add_argument("--name", help="of the bridge in the table; as given")
    parser.add_argument("--tokenizer", default="mini/tokenizer-ko")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = token_texts(arguments.tokenizer, arguments.texts, arguments.seed)
    result = {
        "bridge": arguments.name or arguments.bridge,
        "tokenizer": arguments.tokenizer,
        "n_texts": len(texts),
        "repeats": arguments.repeats,
        "processor_has_bfloat16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "rows": measure(load_bridge(arguments.bridge), texts, arguments.repeats),
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
