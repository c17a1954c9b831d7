"""How often `inspect --false-friends` is right: German words that it should name or should not, and English ones.

    python benchmarks/false_friends.py --data DATA --bridge intfloat/multilingual-e5-small

German: `benchmarks/data/false-friends-de.tsv`, written for this: words with four sentences each, `false` for those that
mean something else in English. English: every word of English passages (DATA/NAME/en, BEIR layout) means what it means,
so each one named is a mistake; `--words` of them, drawn.
"""

import argparse
import json
import random
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sembridge import load_bridge, load_encoder
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.language_transfer.bridge import embed_texts
from sembridge.language_transfer.false_friends import FalseFriends, false_friends
from sembridge.language_transfer.overlap import Vocabularies, match_vocabularies
from sembridge.retrieval.corpus import stream_passages

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bridge", default="intfloat/multilingual-e5-small")
    parser.add_argument("--source", default="mini/splade-en")
    parser.add_argument("--lines", type=int, default=1500, help="English sentences")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "false_friends.json")
    args = parser.parse_args()
    source = read_vocabulary(load_encoder(args.source).tokenizer)
    alike = Vocabularies(source, source, match_vocabularies(source, source))  # every word is copied
    judge = partial(_judged, alike, partial(embed_texts, load_bridge(args.bridge), cache_folder=args.cache))
    rows = [line.split("\t") for line in (HERE / "data/false-friends-de.tsv").read_text(encoding="utf-8").splitlines()]
    named = {one.word: one.nearest for one in judge([s for *_, text in rows for s in text.split(" | ")]).suspects}
    known = set(source.texts)
    found: dict[str, Any] = {"bridge": Path(args.bridge).name}
    for kind in ("false", "true"):
        words = [word for its, word, _ in rows if its == kind and word in known]
        found[f"german {kind}"] = {"words": len(words), "named": {w: named[w] for w in words if w in named}}
    english = judge(_english(args.data, args.lines))
    found["english"] = {"words": english.n_judged, "named": len(english.suspects)}
    print(json.dumps(found, indent=1, ensure_ascii=False))
    args.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _judged(vocabularies: Vocabularies, embed: Any, lines: Sequence[str]) -> FalseFriends:
    return false_friends(vocabularies, lines, embed)


def _english(data: Path, n_lines: int) -> list[str]:
    passages = (p.text for path in sorted(data.glob("*/en/corpus.jsonl.gz")) for p in stream_passages(path))
    lines = [s for text in passages for s in re.split(r"(?<=[.?!]) +", text) if len(s) > 20]
    return random.Random(0).sample(lines, n_lines)


if __name__ == "__main__":
    main()
