"""Writes what pivots are aligned on: English texts, and sentences of five languages with their English.

    python benchmarks/aligning_texts.py --data DATA --out FOLDER

`english.jsonl` has questions of train splits and the beginnings of passages, for `corpus:FOLDER/english.jsonl`;
`parallel.jsonl` has lines {"english", "translation"} for `sembridge train --align-to`, at most so many of each source
and language that none drowns the others. Test splits, dev splits and XQuAD are left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

from sembridge import load_retrieval_data

ENGLISH_SETS = ("squadshifts", "tydiqa", "medquad")
PARALLEL_SETS = ("ntrex", "tico19", "tatoeba", "korean_news", "hiwiki", "coursedocs")
LANGUAGES = ("ar", "hi", "ko", "ru", "zh")
CHARACTERS = 200  # of a passage: a sentence or two
FEWEST, MOST = 9, 149  # characters of an English sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=5000)
    parser.add_argument("--passages", type=int, default=3000)
    parser.add_argument("--pairs", type=int, default=1300, help="of a language")
    parser.add_argument("--pairs-of-a-source", type=int, default=400)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    texts = english(args, rng)
    write(args.out / "english.jsonl", ({"_id": str(n), "text": text} for n, text in enumerate(texts)))
    pairs = [pair for language in LANGUAGES for pair in parallel(args, language, rng)]
    rng.shuffle(pairs)
    write(args.out / "parallel.jsonl", pairs)


def english(args: argparse.Namespace, rng: random.Random) -> list[str]:
    sets = [load_retrieval_data(args.data / name / "en", split="train") for name in ENGLISH_SETS]
    questions = [text for data in sets for text in data.queries.values()]
    passages = [text[:CHARACTERS] for data in sets for text in data.corpus.values()]
    chosen = [*rng.sample(questions, args.questions), *rng.sample(passages, args.passages)]
    rng.shuffle(chosen)
    return chosen


def parallel(args: argparse.Namespace, language: str, rng: random.Random) -> list[dict[str, str]]:
    found = []
    for name in PARALLEL_SETS:
        path = args.data / "parallel" / name / f"en-{language}.tsv.gz"
        if path.exists():
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                pairs = [line.rstrip("\n").split("\t") for line in lines]
            fitting = [pair for pair in pairs if len(pair) == 2 and FEWEST <= len(pair[0]) <= MOST and pair[1].strip()]
            found += rng.sample(fitting, min(len(fitting), args.pairs_of_a_source))
    chosen = rng.sample(found, min(len(found), args.pairs))
    return [{"english": pair[0], "translation": pair[1], "language": language} for pair in chosen]


def write(path: Path, records: Iterable[Mapping[str, str]]) -> None:
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
