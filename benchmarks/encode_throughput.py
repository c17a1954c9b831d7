"""Encoding speed of the engines against `SparseEncoder.encode_document`, in one run.

    python benchmarks/encode_throughput.py --out benchmarks/results/encode_throughput.json

The bundled encoder, and encoders of random weights in two common sizes with 30,522 dims and about 200 active dims a
document (set by their decoder bias; random weights alone would leave half of all dims active, as no trained encoder
does). Texts are bundled FAQ texts joined to lengths around 120 tokens. The engines take turns within every repeat, so
that a busy machine slows all of them; a ratio is the median over repeats of stock time over engine time. Stock is
timed twice, with the sparse tensors it returns by default and with dense ones, and the faster of both counts. On a
machine too busy even for that, `--clock processor --threads 1` counts processor seconds in place of wall time.
"""

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import BertConfig, BertForMaskedLM

from sembridge import evaluate, load_encoder, load_retrieval_data
from sembridge.encoders.vectors import TextEncoder

N_DIMS = 30522
ACTIVE_DIMS = 200
SHAPES = {
    "BERT-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "6 layers, 384": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
}
STOCK = ("stock", "stock, dense")
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def draw_texts(n_texts: int, mean_words: float, seed: int) -> list[str]:
    """FAQ texts one after the other, cut to log-normal lengths (standard deviation half of the mean)."""
    words = " ".join(load_retrieval_data("mini/faq-en").corpus.values()).split()
    generator = random.Random(seed)
    texts = []
    for _ in range(n_texts):
        length = round(mean_words * generator.lognormvariate(-0.11, 0.47))
        start = generator.randrange(len(words))
        texts.append(" ".join((words * 4)[start : start + max(1, length)]))
    return texts


def random_encoder(shape: dict[str, int], texts: list[str]) -> SparseEncoder:
    """An encoder of random weights whose documents have about ACTIVE_DIMS weights around 1."""
    tokenizer = load_encoder("mini/splade-en").tokenizer
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        BertForMaskedLM(BertConfig(vocab_size=N_DIMS, **shape)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder, transformer_task="fill-mask", processor_kwargs={"model_max_length": 512})
    encoder = SparseEncoder(modules=[transformer, SpladePooling()], device="cpu").eval()
    head = encoder[0].model.cls.predictions
    with torch.no_grad():
        head.decoder.bias.fill_(5.0)  # all positive: exp(weight) - 1 is the logit
        logits = torch.expm1(encoder.encode_document(texts, convert_to_sparse_tensor=False)) - 5.0
        scale = 3.0 / float(logits.std())
        head.transform.LayerNorm.weight *= scale
        head.decoder.bias.fill_(-float(torch.quantile((logits * scale).flatten()[: 10**7], 1 - ACTIVE_DIMS / N_DIMS)))
    return encoder


def engines(encoder: SparseEncoder, batch_size: int) -> dict[str, Callable[[list[str]], object]]:
    return {
        "stock": lambda texts: encoder.encode_document(texts, batch_size=batch_size),
        "stock, dense": lambda texts: encoder.encode_document(
            texts, batch_size=batch_size, convert_to_sparse_tensor=False
        ),
        "fast": lambda texts: TextEncoder(encoder, "document", "fast", batch_size=batch_size)(texts),
        "fast-bf16": lambda texts: TextEncoder(encoder, "document", "fast-bf16", batch_size=batch_size)(texts),
    }


def timed(encode: Callable[[list[str]], object], texts: list[str], clock: Callable[[], float]) -> float:
    start = clock()
    encode(texts)
    return clock() - start


def measure(name: str, encoder: SparseEncoder, texts: list[str], args: argparse.Namespace) -> dict[str, object]:
    ways = engines(encoder, args.batch_size)
    for encode in ways.values():
        encode(texts[:8])
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    generator = random.Random(args.seed)
    for _ in range(args.repeats):
        for way in generator.sample(sorted(ways), len(ways)):
            seconds[way].append(timed(ways[way], texts, CLOCKS[args.clock]))
    best_stock = [min(times) for times in zip(*(seconds[way] for way in STOCK), strict=True)]
    stock = encoder.encode_document(texts, convert_to_sparse_tensor=False).numpy()
    vectors = {way: TextEncoder(encoder, "document", way)(texts).toarray() for way in ("fast", "fast-bf16")}  # type: ignore[arg-type]
    lengths = encoder.preprocess(texts)["attention_mask"].sum(dim=1)
    result = {
        "encoder": name,
        "n_dims": stock.shape[1],
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "active_dims": float((stock > 0).sum(axis=1).mean()),
        "mean_tokens": float(lengths.float().mean()),
        "longest": int(lengths.max()),
        "documents_per_second": {way: len(texts) / statistics.median(times) for way, times in seconds.items()},
        "times_stock": {
            way: statistics.median(stock / time for stock, time in zip(best_stock, seconds[way], strict=True))
            for way in ("fast", "fast-bf16")
        },
        "largest_difference": {way: float(np.abs(vectors[way] - stock).max()) for way in vectors},
        "seconds": seconds,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "seconds"}), flush=True)
    return result


def quality(args: argparse.Namespace) -> list[dict[str, object]]:
    """nDCG@10 of the bundled encoder by the way of encoding."""
    encoder = load_encoder("mini/splade-en")
    rows: list[dict[str, object]] = []
    for name in ["mini/faq-en", *args.data]:
        data = load_retrieval_data(name)
        values = {
            way: evaluate(encoder, data, measures=["nDCG@10"], encode_with=way).measures["nDCG@10"]
            for way in ("stock", "fast", "fast-bf16")
        }
        rows.append({"data": data.name, "n_queries": len(data.queries), "n_documents": len(data.corpus), **values})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--words", type=float, default=83, help="mean length; 83 words are about 120 tokens")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shapes", nargs="*", default=["mini/splade-en", *SHAPES])
    parser.add_argument("--data", nargs="*", default=[], help="BEIR folders in English for nDCG@10, beside mini/faq-en")
    parser.add_argument("--no-quality", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    texts = draw_texts(args.texts, args.words, args.seed)
    rows = []
    for name in args.shapes:
        encoder = random_encoder(SHAPES[name], texts[:16]) if name in SHAPES else load_encoder(name)
        rows.append(measure(name, encoder, texts, args))
    result = {
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()},
        "versions": {
            "python": platform.python_version(),
            **{p: version(p) for p in ("torch", "sentence-transformers")},
        },
        "processor": torch.cpu.get_capabilities().get("cpu_name"),
        "amx_bf16": torch.cpu.get_capabilities().get("amx_bf16"),
        "rows": rows,
        "quality": [] if args.no_quality else quality(args),
    }
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
