"""The main job, whole, on the bundled models and real sentences."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sembridge import (
    Explainer,
    TransferRecipe,
    evaluate,
    load_bridge,
    load_encoder,
    load_retrieval_data,
    load_tokenizer,
    transfer,
)

MEASURE = "nDCG@10"


def search_quality(language: str, tokenizer: str, settings: dict[str, object]) -> float:
    bridge = load_bridge("mini/bridge") if settings.get("method", "sembridge") == "sembridge" else None
    result = transfer(
        load_encoder("mini/splade-en"), load_tokenizer(tokenizer), bridge, recipe=TransferRecipe.build(settings)
    )
    data = load_retrieval_data(f"mini/faq-{language}")
    return evaluate(result.encoder, data, measures=[MEASURE]).measures[MEASURE]


@pytest.mark.parametrize("language", ["ar", "zh", "hi", "ko", "ru"])
def test_a_transferred_encoder_beats_a_random_one_in_every_language(language: str) -> None:
    ours = search_quality(language, f"mini/tokenizer-{language}", {})
    random = search_quality(language, f"mini/tokenizer-{language}", {"method": "random"})
    assert ours > random + 0.1


@pytest.mark.parametrize("family", ["bpe", "unigram"])
def test_the_job_works_over_other_tokenizer_families(family: str) -> None:
    assert search_quality("ko", f"mini/tokenizer-ko-{family}", {}) > 0.2


def test_the_demo_shows_its_work(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sembridge.cli", "demo", "--language", "ko", "--out", str(tmp_path / "demo")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    for expected in ("Ten words", "Three questions", MEASURE, "untouched English encoder", "BM25", "Written to"):
        assert expected in shown
    folder = tmp_path / "demo" / "splade-ko"
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert sum(report["counts"].values()) == report["n_target"] == 24_000
    parts = Explainer.load(folder).token(Explainer.load(folder).token_ids("학교")[0]).parts
    assert "school" in {part.token for part in parts}
