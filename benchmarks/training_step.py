"""Time and memory of a training step on a CPU: the stock head and attention against those of `sembridge train`.

    python benchmarks/training_step.py --out benchmarks/results/training_step.json

A step is the way forth and back of a batch of query-document pairs under the contrastive loss and the regularisers (no
optimizer, which is the same for both). Each way runs in a process of its own, so that its most resident memory is its
own; the two take turns.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from outcome import finish

WAYS = ("stock", "sembridge")


def step(way: str, *, bf16: bool, batch_size: int, length: int, repeats: int) -> dict[str, float]:
    """Median seconds of a step, and the megabytes that steps took beyond the loaded encoder."""
    import torch
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss

    from sembridge import load_bridge, load_encoder, load_tokenizer, transfer
    from sembridge.encoders.anatomy import read_anatomy
    from sembridge.training.head import plain_attention, without_logits

    torch.set_num_threads(1)
    encoder = transfer(load_encoder("mini/splade-en"), load_tokenizer("mini/tokenizer-ko"), load_bridge("mini/bridge"))
    encoder, texts = encoder.encoder.train(), random.Random(0)
    words = [token for token in encoder.tokenizer.get_vocab() if token.isalpha()]
    encoder.max_seq_length = length
    queries = [" ".join(texts.choices(words, k=12)) for _ in range(batch_size)]
    documents = [" ".join(texts.choices(words, k=length)) for _ in range(batch_size)]
    features = [encoder.preprocess(side) for side in (queries, documents)]
    ranking = SparseMultipleNegativesRankingLoss(encoder)
    loss = SpladeLoss(encoder, ranking, document_regularizer_weight=0.03, query_regularizer_weight=0.03)
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    with ExitStack() as stack:
        if way == "sembridge":
            stack.enter_context(without_logits(read_anatomy(encoder)))
            stack.enter_context(plain_attention(read_anatomy(encoder), batch_size))
        for _ in range(repeats + 1):
            start = time.perf_counter()
            encoder.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                value = sum(loss([dict(side) for side in features], None).values())
            value.backward()
            seconds.append(time.perf_counter() - start)
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": statistics.median(seconds[1:]), "megabytes": megabytes, "loss": value.item()}


def measured(bf16: bool, batch_size: int, length: int, repeats: int, rounds: int) -> dict[str, object]:
    """Both ways, taking turns: medians over the rounds."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, "--batch-size", str(batch_size), "--length", str(length)]
            command += ["--repeats", str(repeats), *(["--bf16"] if bf16 else [])]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        way: {key: statistics.median(one[key] for one in runs) for key in ("seconds", "megabytes", "loss")}
        for way, runs in found.items()
    }
    return {
        "bf16": bf16, "batch_size": batch_size, "length": length, **medians,
        "times faster": medians["stock"]["seconds"] / medians["sembridge"]["seconds"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=WAYS, help="of one process; without it both are compared")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--length", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.way:
        settings = {"bf16": args.bf16, "batch_size": args.batch_size, "length": args.length, "repeats": args.repeats}
        print(json.dumps(step(args.way, **settings)))
        return
    shapes = [(bf16, args.batch_size, length) for bf16 in (False, True) for length in (args.length, 2 * args.length)]
    rows = [measured(*shape, args.repeats, args.rounds) for shape in shapes]
    settings = {"encoder": "mini/splade-en moved to Korean (24,000 tokens)", "threads": 1, "rounds": args.rounds}
    finish(args.out, settings=settings, rows=rows)


if __name__ == "__main__":
    main()
