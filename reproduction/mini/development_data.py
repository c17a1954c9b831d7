"""Reads the development data (BEIR folders, dictionaries, parallel text) that the bundled models are made from."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

LANGUAGES = ("ar", "zh", "hi", "ko", "ru")
# Never trained on: XQuAD is a test set, KorQuAD and QRCD carry a no-derivatives licence.
FORBIDDEN = ("xquad", "korquad", "qrcd")
PARALLEL = ("ntrex", "tico19", "tico19_terms", "tatoeba", "korean_news", "hiwiki", "coursedocs")


def read_texts(path: Path) -> dict[str, str]:
    """Id -> "title text" of a BEIR corpus or query file, without the distractors taken from other sets."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = map(json.loads, lines)
        return {r["_id"]: f"{r.get('title', '')} {r['text']}".strip() for r in records if "-dx-" not in r["_id"]}


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(English, target) of a dictionary or a parallel text."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = (line.rstrip("\n").split("\t") for line in lines)
        return [(row[0], row[1]) for row in rows if len(row) == 2]


def corpora(data: Path, language: str) -> Iterator[str]:
    """Every passage of `language` that a model may be trained on."""
    for folder in sorted(data.glob(f"*/{language}")):
        if folder.parent.name not in FORBIDDEN and (folder / "corpus.jsonl.gz").exists():
            yield from read_texts(folder / "corpus.jsonl.gz").values()


def parallel_pairs(data: Path, language: str) -> list[tuple[str, str]]:
    paths = [data / "parallel" / name / f"en-{language}.tsv.gz" for name in PARALLEL]
    return [pair for path in paths if path.exists() for pair in read_pairs(path)]


def dictionary_pairs(data: Path, language: str) -> list[tuple[str, str]]:
    return read_pairs(data / "dictionaries" / f"en-{language}.tsv.gz")


def compact_json(path: Path) -> None:
    """Rewrites a JSON file without white space: half the size for a tokenizer."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
