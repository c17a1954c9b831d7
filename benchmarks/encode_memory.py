"""Memory of `sembridge encode` over a corpus stream of any size, as a curve.

    python benchmarks/encode_memory.py --gigabytes 2 --out benchmarks/results/encode_memory.json

Writes a synthetic corpus (texts of 200 to 4,000 characters, seeded), encodes it with an encoder of one layer,
16 wide (what matters here is the stream, not the model), and reads the resident size of the encoding process after
every shard (Linux only). Flat means: the second half of the run does not need more than the first.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ENCODE = """
import sys
from pathlib import Path
import torch
from sentence_transformers import SparseEncoder
from sembridge import load_encoder
from sembridge.deployment.encoding import encode_shards
from sembridge.deployment.recipe import EncodeRecipe
torch.set_num_threads(1)
folder, corpus = Path(sys.argv[1]), Path(sys.argv[2])
encoder = load_encoder(folder / "encoder")
recipe = EncodeRecipe(encode_with="fast", batch_size=256)
report = encode_shards(
    encoder, corpus, folder / "shards", name="tiny", recipe=recipe, on_progress=lambda n: print(n, flush=True)
)
"""


def write_corpus(path: Path, n_bytes: int, seed: int) -> int:
    """The number of documents in about `n_bytes` of JSON lines."""
    generator = random.Random(seed)
    words = [f"{a}{b}" for a in ("an", "be", "co", "di", "en", "fo") for b in ("ta", "ri", "no", "le", "sum", "ver")]
    block = " ".join(generator.choices(words, k=20_000))
    written = n_documents = 0
    with path.open("w", encoding="utf-8") as file:
        while written < n_bytes:
            start, length = generator.randrange(len(block) // 2), generator.randint(200, 4000)
            written += file.write(json.dumps({"_id": f"d{n_documents}", "text": block[start : start + length]}) + "\n")
            n_documents += 1
    return n_documents


def write_encoder(folder: Path) -> None:
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling
    from transformers import BertConfig, BertForMaskedLM

    from sembridge import load_tokenizer

    torch.manual_seed(0)
    tokenizer = load_tokenizer("mini/splade-en")
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
    )
    model = BertForMaskedLM(config)
    with torch.no_grad():
        model.cls.predictions.decoder.bias.fill_(-0.25)  # a few active dims a document
    with tempfile.TemporaryDirectory() as base:
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
        transformer = Transformer(base, transformer_task="fill-mask", processor_kwargs={"model_max_length": 32})
        SparseEncoder(modules=[transformer, SpladePooling()], device="cpu").save_pretrained(str(folder))


def resident_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def measured(folder: Path, corpus: Path) -> list[dict[str, float]]:
    """A point a second: documents done and resident megabytes of the encoding process."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENCODE, str(folder), str(corpus)], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    start, curve = time.perf_counter(), []
    for line in process.stdout:  # a line a shard
        point = {
            "seconds": time.perf_counter() - start,
            "documents": int(line),
            "megabytes": resident_megabytes(process.pid),
        }
        curve.append({key: round(value, 1) for key, value in point.items()})
        print(json.dumps(curve[-1]), file=sys.stderr, flush=True)
    if process.wait():
        raise SystemExit(f"the encoding process ended with {process.returncode}")
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", type=Path, help="folder for the corpus and its shards; the system's own without")
    args = parser.parse_args()
    if args.scratch is not None:
        args.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        folder = Path(scratch)
        n_documents = write_corpus(folder / "corpus.jsonl", int(args.gigabytes * 10**9), args.seed)
        write_encoder(folder / "encoder")
        curve = measured(folder, folder / "corpus.jsonl")
        shard_bytes = sum(path.stat().st_size for path in (folder / "shards").glob("*.parquet"))
        corpus_bytes = (folder / "corpus.jsonl").stat().st_size
    half = len(curve) // 2
    result = {
        "settings": {"gigabytes": args.gigabytes, "seed": args.seed, "shard_size": 10_000},
        "versions": {package: version(package) for package in ("torch", "sentence-transformers", "pyarrow")},
        "corpus_bytes": corpus_bytes,
        "n_documents": n_documents,
        "shard_bytes": shard_bytes,
        "highest_megabytes_first_half": max(point["megabytes"] for point in curve[:half]),
        "highest_megabytes_second_half": max(point["megabytes"] for point in curve[half:]),
        "curve": curve,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "curve"}))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
