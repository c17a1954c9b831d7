"""How long a whole transfer takes, cold and warm: texts for the bridge, and the seconds of everything else, measured.

    python benchmarks/cold_transfer.py --encoders mini/splade-en splade-tiny \\
        --tokenizers monologg/kobigbird-bert-base DeepPavlov/rubert-base-cased \\
        --out benchmarks/results/cold_transfer.json

The bridge is replaced by random vectors of its width, which cost nothing and leave as much to be computed; the table
then adds the number of texts over the texts a second that `bridging.py` measured, so its cold figures are estimates.
Processor seconds on one thread.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from outcome import finish

from sembridge import load_encoder, load_tokenizer, transfer
from sembridge.language_transfer.initialization.sembridge import bridged_texts
from sembridge.language_transfer.preparation import prepare_transfer
from sembridge.language_transfer.recipe import TransferRecipe


class RandomBridge:
    """A vector by chance a text, the same for the same text."""

    def __init__(self, width: int = 384) -> None:
        self._width, self.seconds = width, 0.0

    def encode(self, sentences: list[str]) -> np.ndarray:
        start = time.process_time()
        seeds = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) for text in sentences]
        drawn = [np.random.default_rng(seed).standard_normal(self._width, np.float32) for seed in seeds]
        self.seconds += time.process_time() - start
        return np.stack(drawn)


def measured(source: str, target: str, names: dict[str, str]) -> dict[str, object]:
    encoder, tokenizer, recipe = load_encoder(source), load_tokenizer(target), TransferRecipe.build({})
    prepared = prepare_transfer(encoder, tokenizer, recipe)
    of_source, of_target = bridged_texts(prepared.vocabularies, recipe)
    own, start = RandomBridge(), time.process_time()
    transfer(encoder, tokenizer, own, recipe=recipe)
    row: dict[str, object] = {
        "encoder": names.get(source, source), "tokenizer": names.get(target, target),
        "n_target": len(prepared.vocabularies.target), "source texts": len(of_source),
        "texts": len({*of_source, *of_target}),
        "other seconds": time.process_time() - start - own.seconds,
    }  # fmt: skip
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["mini/splade-en"])
    parser.add_argument("--tokenizers", nargs="+", default=["mini/tokenizer-ko"])
    parser.add_argument("--names", nargs="*", default=[], metavar="FOLDER=NAME", help="as the table shows a folder")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = dict(text.split("=", 1) for text in arguments.names)
    rows = [measured(source, target, names) for source in arguments.encoders for target in arguments.tokenizers]
    finish(arguments.out, settings={"preset": "default", "threads": 1, "bridge_width": 384}, rows=rows)


if __name__ == "__main__":
    main()
