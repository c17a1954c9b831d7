"""Time of a whole transfer, preset `default` against preset `paper`: what evidence and calibration cost.

    python benchmarks/preset_cost.py --out benchmarks/results/preset_cost.json

Both presets take turns on the same loaded models, and the ratio is the median over the rounds. With a cold cache the
bridge encodes every token text; with a warm one it encodes nothing. The encoder of BERT-base's shape and the bridge of
MiniLM's have random weights: their time is that of trained ones, and what they say is not looked at.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from encode_throughput import SHAPES, draw_texts, random_encoder
from outcome import finish
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel

from sembridge import load_bridge, load_encoder, load_tokenizer, transfer
from sembridge.language_transfer.recipe import TransferRecipe

PRESETS = ("paper", "default")
TARGET = "mini/tokenizer-ko"


@dataclass(frozen=True)
class Case:
    name: str
    encoder: SparseEncoder
    bridge: Any
    warm: bool


def small_bridge(folder: Path) -> SentenceTransformer:
    tokenizer, shape = load_tokenizer("mini/tokenizer-ko-unigram"), SHAPES["6 layers, 384"]
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return SentenceTransformer(modules=[Transformer(str(folder)), Pooling(shape["hidden_size"])], device="cpu")


def seconds(case: Case, preset: str, cache: Path) -> tuple[float, dict[str, float]]:
    """Of one transfer, and of its stages."""
    start = time.perf_counter()
    recipe = TransferRecipe.build({"preset": preset})
    result = transfer(case.encoder, load_tokenizer(TARGET), case.bridge, recipe=recipe, cache_folder=cache)
    return time.perf_counter() - start, result.report.seconds


def measured(case: Case, rounds: int, folder: Path) -> dict[str, object]:
    found: dict[str, list[float]] = {preset: [] for preset in PRESETS}
    stages: dict[str, dict[str, float]] = {}
    shared = Path(tempfile.mkdtemp(dir=folder))
    if case.warm:
        seconds(case, "paper", shared)
    for _ in range(rounds):
        for preset in PRESETS:
            taken, stages[preset] = seconds(case, preset, shared if case.warm else Path(tempfile.mkdtemp(dir=folder)))
            found[preset].append(taken)
    ratios = [default / paper for paper, default in zip(found["paper"], found["default"], strict=True)]
    return {
        "case": case.name,
        "seconds": {preset: statistics.median(its) for preset, its in found.items()},
        "stages": stages,
        "ratio": statistics.median(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    static = load_bridge("mini/bridge")
    encoders = {name: load_encoder(f"mini/{name}") for name in ("splade-en", "splade-roberta-en")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cases = [
            *(Case(f"{name}, static bridge, cold", encoder, static, False) for name, encoder in encoders.items()),
            *(Case(f"{name}, static bridge, warm", encoder, static, True) for name, encoder in encoders.items()),
            Case(
                "BERT-base's shape, static bridge, cold",
                random_encoder(SHAPES["BERT-base"], draw_texts(20, 60, seed=0)),
                static,
                False,
            ),
        ]
        slow = Case(
            "splade-en, bridge of MiniLM's shape, cold", encoders["splade-en"], small_bridge(folder / "b"), False
        )
        rows = [measured(case, args.rounds, folder) for case in cases] + [measured(slow, 1, folder)]
    settings = {"target": TARGET, "threads": args.threads, "rounds": args.rounds}
    finish(args.out, settings=settings, rows=rows)


if __name__ == "__main__":
    main()
