"""Retrieval datasets of the hub as training data: the layout of WebFAQ and mteb, in a local repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("datasets", reason="training needs the extra train")

from sembridge.errors import SembridgeError
from sembridge.training.data import load_training_data

CARD = """---
configs:
- config_name: kor-qrels
  data_files: [{split: train, path: kor/train.jsonl}, {split: test, path: kor/test.jsonl}]
- config_name: kor-corpus
  data_files: [{split: corpus, path: kor/corpus.jsonl}]
- config_name: kor-queries
  data_files: [{split: queries, path: kor/queries.jsonl}]
- config_name: pairs
  data_files: [{split: train, path: pairs.jsonl}]
---
"""
LINES = {
    "kor/train.jsonl": [
        {"query-id": "q1", "corpus-id": "d1", "score": 1.0},
        {"query-id": "q1", "corpus-id": "d2", "score": 0.0},
        {"query-id": "q2", "corpus-id": "d2", "score": 1.0},
    ],
    "kor/test.jsonl": [{"query-id": "q3", "corpus-id": "d1", "score": 1.0}],
    "kor/corpus.jsonl": [
        {"_id": "d1", "title": "", "text": "학교는 아홉 시에 엽니다."},
        {"_id": "d2", "title": "도서관", "text": "책은 두 주 동안 빌립니다."},
    ],
    "kor/queries.jsonl": [{"_id": f"q{n}", "text": text} for n, text in enumerate(("학교 시간?", "대출?", "언제?"), 1)],
    "pairs.jsonl": [{"question": "물은 어디에?", "answer": "정수기는 복도에 있습니다."}],
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "webfaq"
    (folder / "kor").mkdir(parents=True)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    for name, rows in LINES.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_judged_pairs_come_with_their_texts(repository: Path) -> None:
    data = load_training_data(f"hub:{repository}:kor")
    assert data.queries == ["학교 시간?", "대출?"]
    assert data.documents == ["학교는 아홉 시에 엽니다.", "도서관 책은 두 주 동안 빌립니다."]
    assert load_training_data(f"hub:{repository}:kor", split="test").queries == ["언제?"]


def test_a_subset_of_pairs_is_read_as_pairs(repository: Path) -> None:
    data = load_training_data(f"hub:{repository}:pairs")
    assert (data.queries, data.documents) == (["물은 어디에?"], ["정수기는 복도에 있습니다."])


def test_what_is_not_there_is_said_in_one_line(repository: Path) -> None:
    with pytest.raises(SembridgeError, match=r"\(train\) cannot be read from the hub: ") as refusal:
        load_training_data(f"hub:{repository}:jpn")
    assert "\n" not in str(refusal.value)
    (repository / "kor" / "queries.jsonl").write_text('{"_id": "q1", "text": "학교 시간?"}\n', encoding="utf-8")
    with pytest.raises(SembridgeError, match="a judgement names query 'q2' and document 'd2', not both here"):
        load_training_data(f"hub:{repository}:kor")
