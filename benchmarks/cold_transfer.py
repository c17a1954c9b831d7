"""How long a whole `sembridge transfer` takes, cold and warm, beside the stock order of its bridge.

    python benchmarks/cold_transfer.py --bridge intfloat/multilingual-e5-small --encoder naver/splade-v3 \\
        --tokenizer monologg/kobigbird-bert-base --out benchmarks/results/cold_transfer.json

Every transfer is the command itself, a process of its own with an empty cache of vectors: cold; then once more: warm;
and once with only the vectors of the source's vocabulary, carried from the first by `bridge-vectors`. Counted are
processor seconds on one thread, own and of the system, from the shell to the end. The stock order is that of
`SentenceTransformer.encode` in batches of 32: `--sample` of the transfer's own texts are timed, and the time of all of
them is put in the place of the bridge's: cold - texts over our rate is not needed, the warm run is everything else. A
run of the same pair replaces its rows in the file, others stay, so that pairs can be run one by one.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from outcome import processor, versions

SEMBRIDGE = (sys.executable, "-m", "sembridge.cli")


def spent(words: list[str], store: Path) -> float:
    """Processor seconds of a command with its cache of vectors in `store`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_ASSETS_CACHE": str(store)}
    subprocess.run([*SEMBRIDGE, *words], check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def transfers(pair: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Seconds of the cold, the warm and the carried transfer of one pair in one number format."""
    half = ["--bridge-dtype", "bfloat16"] if pair.dtype == "bfloat16" else []
    words = ["transfer", pair.encoder, pair.tokenizer, "--bridge", pair.bridge, *half]
    first, second, vectors = folder / "first", folder / "second", folder / "english.safetensors"
    found = {"cold": spent([*words[:3], str(folder / "cold"), *words[3:]], first)}
    print(pair.encoder, pair.tokenizer, pair.dtype, found, file=sys.stderr, flush=True)
    if "warm" in pair.ways:
        found["warm"] = spent([*words[:3], str(folder / "warm"), *words[3:]], first)
    if "carried" in pair.ways:
        spent(["bridge-vectors", "export", pair.bridge, pair.encoder, str(vectors), *half], first)
        spent(["bridge-vectors", "import", pair.bridge, str(vectors), *half], second)
        found["carried"] = spent([*words[:3], str(folder / "carried"), *words[3:]], second)
    return found


def stock_rate(pair: argparse.Namespace) -> dict[str, Any]:
    """Texts of the transfer, and of them a second in the stock order, on a sample in the order of their ids."""
    import torch

    from sembridge import load_bridge, load_encoder, load_tokenizer
    from sembridge.language_transfer.initialization.sembridge import bridged_texts
    from sembridge.language_transfer.preparation import prepare_transfer
    from sembridge.language_transfer.recipe import TransferRecipe

    torch.set_num_threads(1)
    recipe = TransferRecipe.build({})
    prepared = prepare_transfer(load_encoder(pair.encoder), load_tokenizer(pair.tokenizer), recipe)
    of_source, of_target = bridged_texts(prepared.vocabularies, recipe)
    texts = list(dict.fromkeys([*of_source, *of_target]))
    drawn = sorted(random.Random(0).sample(range(len(texts)), min(pair.sample, len(texts))))
    bridge = load_bridge(pair.bridge)
    bridge.encode([texts[place] for place in drawn[:64]], show_progress_bar=False)
    start = time.process_time()
    bridge.encode([texts[place] for place in drawn], batch_size=32, show_progress_bar=False)
    rate = len(drawn) / (time.process_time() - start)
    return {"n_target": len(prepared.vocabularies.target), "source texts": len(of_source), "texts": len(texts),
            "sample": len(drawn), "stock texts/s": rate}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bridge", default="mini/bridge")
    parser.add_argument("--encoder", default="mini/splade-en")
    parser.add_argument("--tokenizer", default="mini/tokenizer-ko")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--ways", nargs="*", default=["warm", "carried"], help="beside cold")
    parser.add_argument("--sample", type=int, default=1000, help="texts in the stock order")
    parser.add_argument("--names", nargs="*", default=[], metavar="FOLDER=NAME", help="as the table shows a folder")
    parser.add_argument("--out", type=Path)
    pair = parser.parse_args()
    names = dict(text.split("=", 1) for text in pair.names)
    with tempfile.TemporaryDirectory() as folder:
        seconds = transfers(pair, Path(folder))
    row = {
        "encoder": names.get(pair.encoder, pair.encoder), "tokenizer": names.get(pair.tokenizer, pair.tokenizer),
        "bridge": names.get(pair.bridge, pair.bridge), "dtype": pair.dtype, "seconds": seconds,
        **(stock_rate(pair) if pair.sample else {}),
    }  # fmt: skip
    known = json.loads(pair.out.read_text(encoding="utf-8"))["rows"] if pair.out and pair.out.exists() else []
    key = ("encoder", "tokenizer", "bridge", "dtype")
    rows = [other for other in known if [other.get(k) for k in key] != [row[k] for k in key]] + [row]
    result = {"processor": processor(), "threads": 1, "rows": rows, "versions": versions()}
    if pair.out:
        pair.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
