"""Makes a bridge that errs more often than the one it starts from: noise on the vector of every piece.

    python reproduction/mini/weak_bridge.py mini/bridge VECTORS/weak-bridge --noise 0.7

The noise is Gaussian with the covariance of the piece vectors, so the vectors keep their shape and lose only what they
say: of a piece's variance the share 1 / (1 + noise^2) is still its own. For ladders that ask what an initialisation
does where its bridge is wrong (`grid-ladder.yaml`). `sembridge inspect --bridge` tells how often it is.
"""

import argparse
from pathlib import Path

import torch

from sembridge import load_bridge
from sembridge.files.atomic import write_folder
from sembridge.language_transfer.initialization import multivariate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bridge", help="a static bridge: a SentenceTransformer with a StaticEmbedding")
    parser.add_argument("out", type=Path)
    parser.add_argument("--noise", type=float, required=True, help="standard deviation, that of the pieces being 1")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bridge = load_bridge(args.bridge)
    weight = bridge[0].embedding.weight.data
    rows = weight.float()
    noise = multivariate.draw(rows, len(rows), torch.Generator().manual_seed(args.seed)) - rows.mean(0)
    weight.copy_(rows + args.noise * noise)
    write_folder(args.out, lambda folder: bridge.save(str(folder), create_model_card=False))


if __name__ == "__main__":
    main()
