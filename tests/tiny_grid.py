"""A grid small enough to be computed in seconds: tiny encoder, tokenizer and bridge, and six documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from tiny import tiny_encoder, tiny_tokenizer
from tiny_bridge import save_tiny_bridge

DOCUMENTS = ("학교 선생님 책", "дом река школа", "seoul 도시 2024", "home 나무 книга учитель", "강 집 나무", "город 책")
QUERIES = ("선생님", "река", "서울 2024", "home 나무", "집", "책 город")


def write_tiny_grid(folder: Path) -> Path:
    """`folder` with grid.yaml and everything it names."""
    tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece")).save_pretrained(str(folder / "tiny-en"))
    tiny_tokenizer("wordpiece", language="target").save_pretrained(str(folder / "tokenizer"))
    save_tiny_bridge(folder / "bridge")
    data = folder / "data" / "school" / "ko"
    (data / "qrels").mkdir(parents=True)
    _write_texts(data / "corpus.jsonl", "d", DOCUMENTS)
    _write_texts(data / "queries.jsonl", "q", QUERIES)
    lines = [f"q{number}\td{number}\t1\n" for number in range(len(QUERIES))]
    for split in ("train", "dev", "test"):  # what a training learns here can be seen
        (data / "qrels" / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    (folder / "grid.yaml").write_text(yaml.safe_dump(settings(folder), allow_unicode=True), encoding="utf-8")
    return folder


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """The content of grid.yaml, with changes: seven cells that compute eight."""
    return {
        "source_encoders": [str(folder / "tiny-en")],
        "bridge": str(folder / "bridge"),
        "data": "data",
        "languages": {
            "ko": {"target_tokenizer": str(folder / "tokenizer"), "test_sets": ["school/ko"], "words": ["학교", "없음"]}
        },
        "methods": {"default": {"preset": "default"}, "mean": {"method": "mean"}, "paper": {"preset": "paper"}},
        "seeds": [0, 1],
        "alpha_sweeps": [{"method": "paper", "alphas": [1.5]}],
        "references": ["bm25-tokens", "english"],
        "hybrids": ["paper"],
        "measures": ["nDCG@10"],
        **changes,
    }


def trained_settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """As `settings`, with stage fine-tuned of two methods, `mean` with one seed only."""
    language = {
        "target_tokenizer": str(folder / "tokenizer"),
        "test_sets": ["school/ko"],
        "training_sets": ["school/ko"],
        "dev_set": "school/ko",
    }
    training = {"steps": 20, "batch_size": 3, "learning_rate": 1e-3, "eval_steps": 5, "bf16": "no", "collapse": "warn"}
    own = {
        "languages": {"ko": language},
        "stages": ["zero-shot", "fine-tuned"],
        "fine_tuning": {"settings": training, "methods": ["default", "mean"], "once": ["mean"]},
        "hybrids": ["default"],
    }
    return settings(folder, **{**own, **changes})


def _write_texts(path: Path, prefix: str, texts: Sequence[str]) -> None:
    lines = [json.dumps({"_id": f"{prefix}{i}", "text": text}) + "\n" for i, text in enumerate(texts)]
    path.write_text("".join(lines), encoding="utf-8")
