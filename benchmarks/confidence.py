"""Whether confidence means what it says: of the tokens believed at .9, how many stand on a right English word?

    python benchmarks/confidence.py --data DATA --out benchmarks/results/confidence.json \\
        --run mini/splade-en mini/bridge mini/tokenizer-LANGUAGE

A `--run` is a source encoder, a bridge and a tokenizer; LANGUAGE in its name stands for ar, zh, hi, ko and ru in turn.
Tested are combined rows of tokens that the language's dictionary knows, with a headword among the words of the source
encoder. A row is right if its heaviest source token is one of these headwords, up to case, or a `form` of one, by the
stem that Snowball's English stemmer gives (`cars` for `car`). Dictionaries name one or two words and no synonyms, so a
share is a lower bound. Headwords are either those that the bundled bridge never saw (`held out`) or the others.
"""

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import snowballstemmer
from sentence_transformers import SentenceTransformer, SparseEncoder

from sembridge import load_bridge, load_encoder, load_tokenizer, transfer
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.language_transfer.sparse_matrix import SparseWeights

sys.path.insert(0, str(Path(__file__).parents[1] / "reproduction" / "mini"))
from bridge import dictionary
from development_data import LANGUAGES

BANDS = (0.0, 0.25, 0.5, 0.75, 0.9)  # lower ends; the last reaches 1
STEM = snowballstemmer.stemmer("english").stemWord
ROWS_ALONE = {"match_activity": False, "firing_cap": 1.0}  # confidence is told before any calibration


def rows_of(
    source: SparseEncoder, bridge: SentenceTransformer, tokenizer: str, data: Path, language: str
) -> list[dict[str, object]]:
    """A row a band of confidence and kind of headword."""
    target = load_tokenizer(tokenizer)
    recipe = TransferRecipe.build(ROWS_ALONE)
    alignment = transfer(source, target, bridge, recipe=recipe).alignment
    assert alignment.confidence is not None
    texts = read_vocabulary(target).texts
    spelled = read_vocabulary(source.tokenizer).texts
    lenders = {text.lower() for text in spelled}
    found = []
    for name, is_held_out in (("held out", True), ("seen", False)):
        headwords: dict[str, set[str]] = {}
        for english, word in dictionary(data, language, test=is_held_out):
            if english.lower() in lenders:
                headwords.setdefault(word.lower(), set()).add(english.lower())
        tested = [i for i in np.flatnonzero(~np.isnan(alignment.confidence)) if texts[i].lower() in headwords]
        meant = [(heaviest(alignment.weights, i, spelled), headwords[texts[i].lower()]) for i in tested]
        right = np.array([word in wanted for word, wanted in meant], bool)
        form = np.array([STEM(word) in map(STEM, wanted) for word, wanted in meant], bool) & ~right
        band = np.searchsorted(BANDS, alignment.confidence[tested], side="right") - 1
        for k, low in enumerate(BANDS):
            inside = band == k
            counts = {"n": int(inside.sum()), "right": int(right[inside].sum()), "form": int(form[inside].sum())}
            found.append({"headwords": name, "from": low, **counts})
    return found


def heaviest(weights: SparseWeights, row: int, spelled: Sequence[str]) -> str:
    """The text of the source token of most weight, in lower case."""
    start, end = weights.crow_indices[row : row + 2].tolist()
    values, columns = weights.values[start:end], weights.col_indices[start:end]
    return spelled[int(columns[int(values.argmax())])].lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", nargs=3, action="append", required=True, metavar=("SOURCE", "BRIDGE", "TOKENIZER"))
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    for source, bridge, tokenizer in args.run:
        encoder, loaded = load_encoder(source), load_bridge(bridge)
        for language in args.languages:
            name = tokenizer.replace("LANGUAGE", language)
            for row in rows_of(encoder, loaded, name, args.data, language):
                rows.append({"source": source, "bridge": bridge, "language": language, **row})
                print(rows[-1], flush=True)
    packages = {name: version(name) for name in ("sembridge", "sentence-transformers", "torch")}
    result = {"versions": {"python": platform.python_version(), **packages}, "rows": rows}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
