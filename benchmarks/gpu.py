"""What a GPU does with the long parts, in one run of a few minutes; one command fills the table of the speed page.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json
    python benchmarks/gpu.py --device cpu --small      # the same at a size that shows only that it runs

Initialisation: sparse weights of n_target x n_source similarities, beside the bare matrix product of the same device.
Bridging: token texts through a bridge of e5-small's shape, `embed_texts`' way beside `SentenceTransformer.encode` in
batches of 32. Encoding: documents through an encoder of BERT-base's shape with 30,522 entries, in float32 and bfloat16.
Training: forth and back of a batch of 32 pairs under the losses of `sembridge train`, with bfloat16 autocast. Models
have random weights; seconds are medians of `--repeats` after one call that is not counted.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from outcome import processor, versions, write
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import BertConfig, BertForMaskedLM, BertModel

from sembridge import load_tokenizer
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.language_transfer.entmax import Entmax
from sembridge.language_transfer.even_batches import computable, encode_evenly
from sembridge.language_transfer.similarity import sparse_weights


@dataclass(frozen=True)
class Size:
    """How much is computed."""

    n_target: int
    n_source: int
    dim: int
    bridge: dict[str, int]
    encoder: dict[str, int]
    n_texts: int
    n_documents: int
    n_pairs: int
    n_tokens: int


def shape(layers: int, width: int, heads: int) -> dict[str, int]:
    return {
        "num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads, "intermediate_size": 4 * width
    }  # fmt: skip


FULL = Size(120_000, 30_000, 1024, shape(12, 384, 12), shape(12, 768, 12), 20_000, 1024, 32, 128)
SMALL = Size(300, 100, 16, shape(1, 32, 2), shape(1, 32, 2), 80, 8, 2, 16)


@dataclass(frozen=True)
class Clock:
    """Median seconds of a call on a device, which works on after a call has returned."""

    device: str
    repeats: int

    def __call__(self, call: Callable[[], object]) -> float:
        call()
        self._wait()
        seconds = []
        for _ in range(self.repeats):
            start = time.perf_counter()
            call()
            self._wait()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    def _wait(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


def initialisation(size: Size, clock: Clock) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(0)
    target, source = (
        torch.nn.functional.normalize(torch.randn(n, size.dim, generator=generator))
        for n in (size.n_target, size.n_source)
    )
    weights = clock(lambda: sparse_weights(target, source, rule=Entmax(4.0), memory_budget=2**30, device=clock.device))
    there, block = source.to(clock.device), max(1, 2**28 // size.n_source)

    def product() -> None:
        for start in range(0, size.n_target, block):
            target[start : start + block].to(clock.device) @ there.T

    what = f"initialisation, {size.n_target:,} x {size.n_source:,} x {size.dim:,}"
    return [row(what, "sembridge", weights, baseline=clock(product), baseline_name="bare matrix product")]


def bridging(size: Size, clock: Clock) -> list[dict[str, object]]:
    tokenizer = load_tokenizer("mini/tokenizer-ko")
    texts = [text for text in read_vocabulary(tokenizer).texts if text.strip()][: size.n_texts]
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(tokenizer), **size.bridge)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        modules = [Transformer(folder), Pooling(size.bridge["hidden_size"])]
        bridge = SentenceTransformer(modules=modules, device=clock.device).eval()
    stock = clock(lambda: bridge.encode(texts, batch_size=32, show_progress_bar=False))
    half = computable(bridge, "bfloat16")
    what = f"bridging, {len(texts):,} texts"
    return [
        row(what, name, clock(lambda of=of: list(encode_evenly(of, texts, 256))), baseline=stock,
            baseline_name="SentenceTransformer.encode")
        for name, of in (("float32", bridge), ("bfloat16", half))
    ]  # fmt: skip


def encoder_of(size: Size, device: str) -> SparseEncoder:
    tokenizer = load_tokenizer("mini/splade-en")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        n_entries = max(len(tokenizer), 30522) if size is FULL else len(tokenizer)
        BertForMaskedLM(BertConfig(vocab_size=n_entries, **size.encoder)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder, transformer_task="fill-mask")
    encoder = SparseEncoder(modules=[transformer, SpladePooling()], device=device)
    with torch.no_grad():
        encoder[0].model.cls.predictions.decoder.bias.fill_(-1.0)  # random rows fire in every text
    return encoder


def documents(encoder: SparseEncoder, n: int, n_tokens: int) -> list[str]:
    words = sorted(token for token in encoder.tokenizer.get_vocab() if token.isalpha())
    drawn = random.Random(0)
    return [" ".join(drawn.choices(words, k=n_tokens)) for _ in range(n)]


def encoding(size: Size, clock: Clock) -> list[dict[str, object]]:
    encoder = encoder_of(size, clock.device).eval()
    texts = documents(encoder, size.n_documents, size.n_tokens)
    plain = clock(lambda: encoder.encode_document(texts, batch_size=32, show_progress_bar=False))
    encoder.to(torch.bfloat16)
    half = clock(lambda: encoder.encode_document(texts, batch_size=32, show_progress_bar=False))
    what = f"encoding, {len(texts):,} documents of {size.n_tokens}"
    return [row(what, "bfloat16", half, baseline=plain, baseline_name="float32")]


def training(size: Size, clock: Clock) -> list[dict[str, object]]:
    encoder = encoder_of(size, clock.device).train()
    loss = SpladeLoss(
        encoder, SparseMultipleNegativesRankingLoss(encoder), document_regularizer_weight=3e-5,
        query_regularizer_weight=5e-5,
    )  # fmt: skip
    sides = [documents(encoder, size.n_pairs, n) for n in (12, size.n_tokens)]
    features = [{k: v.to(clock.device) for k, v in encoder.preprocess(side).items() if hasattr(v, "to")}
                for side in sides]  # fmt: skip
    kind = clock.device.partition(":")[0]

    def step(half: bool) -> None:
        encoder.zero_grad()
        with torch.autocast(kind, torch.bfloat16, enabled=half):
            value = sum(loss([dict(side) for side in features], None).values())
        value.backward()

    plain = clock(lambda: step(False))
    what = f"training step, {size.n_pairs} pairs of {size.n_tokens}"
    return [row(what, "bfloat16 autocast", clock(lambda: step(True)), baseline=plain, baseline_name="float32")]


def row(what: str, way: str, seconds: float, *, baseline: float, baseline_name: str) -> dict[str, object]:
    return {
        "what": what, "way": way, "seconds": seconds, "baseline": baseline_name, "baseline seconds": baseline,
        "times faster": baseline / seconds,
    }  # fmt: skip


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes that show only that it runs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(given)
    size, clock = SMALL if arguments.small else FULL, Clock(arguments.device, arguments.repeats)
    on_gpu = arguments.device.startswith("cuda")
    rows = [row for part in (initialisation, bridging, encoding, training) for row in part(size, clock)]
    result = {
        "device": torch.cuda.get_device_name(arguments.device) if on_gpu else processor(),
        "repeats": arguments.repeats,
        "rows": rows,
        "versions": versions(),
    }
    write(arguments.out, result)


if __name__ == "__main__":
    main()
