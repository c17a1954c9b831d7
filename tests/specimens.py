"""One good specimen of everything that a verb reads, small: to be damaged, killed over, or asked by many at once."""

from __future__ import annotations

import json
from pathlib import Path

from commands import sembridge
from test_cli import transfer
from tiny import tiny_encoder, tiny_tokenizer
from tiny_bridge import save_tiny_bridge

DOCUMENTS = [("d1", "학교 선생님"), ("d2", "дом река"), ("d3", "seoul 도시 2024"), ("d4", "home 나무")]
QUERIES = [("q1", "학교"), ("q2", "дом")]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n"
PAIRS = [("학교", "학교 선생님"), ("дом", "дом река"), ("도시", "seoul 도시 2024"), ("나무", "home 나무")]


def json_lines(records: list[dict[str, object]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def write_data(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        text = json_lines([{"_id": id_, "text": text} for id_, text in rows])
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    for split in ("train", "dev", "test"):
        (folder / "qrels" / f"{split}.tsv").write_text(QRELS, encoding="utf-8")
    return folder


def write_specimens(root: Path) -> Path:
    """One good specimen of everything a verb reads, in `root`."""
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), seed=1)
    source.save_pretrained(str(root / "source"), create_model_card=False)
    tiny_tokenizer("wordpiece", language="target").save_pretrained(root / "target")
    save_tiny_bridge(root / "bridge")
    write_data(root / "data")
    pairs = json_lines([{"query": query, "positive": document} for query, document in PAIRS])
    (root / "pairs.jsonl").write_text(pairs, encoding="utf-8")
    for arguments in (
        transfer(root, root / "ko"),
        ("index", root / "ko", root / "data", "--out", root / "index", "--engine", "exact"),
        ("encode", root / "ko", root / "data", "--out", root / "shards"),
    ):
        done = sembridge(*arguments)
        assert done.code == 0, done.err
    return root
