"""Laws of the model card: it says what the model is, whose licence it carries, and it is valid on the Hub."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from tiny import ENGLISH_WORDS, tiny_encoder, tiny_tokenizer

from sembridge.encoders.model_card import (
    CardContent,
    Score,
    is_non_commercial,
    render_model_card,
    with_scores,
    with_training,
    write_model_card,
)

CONTENT = CardContent(
    title="splade-v3 for ko",
    language="ko",
    license="apache-2.0",
    source_encoder="naver/splade-v3",
    target_tokenizer="monologg/kobigbird-bert-base",
    bridge="BAAI/bge-m3",
    method="sembridge, preset default",
    n_target=32_500,
    counts={"special": 5, "exact": 1200, "combined": 31_295},
    recipe={"preset": "default", "alpha": 4.0},
    versions={"python": "3.11.7", "torch": "2.13.0"},
)


def front_matter(content: CardContent) -> dict[str, object]:
    data: dict[str, object] = ModelCard(render_model_card(content)).data.to_dict()
    return data


def test_the_front_matter_is_what_the_hub_reads() -> None:
    assert front_matter(CONTENT) == {
        "language": "ko",
        "license": "apache-2.0",
        "base_model": "naver/splade-v3",
        "library_name": "sentence-transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["sentence-transformers", "sparse-encoder", "sparse", "splade", "sembridge"],
    }


def test_what_is_not_known_is_left_out() -> None:
    unknown = replace(CONTENT, language=None, license=None, source_encoder="./folder", bridge=None)
    assert not {"language", "license", "base_model"} & front_matter(unknown).keys()
    text = render_model_card(unknown)
    assert "None" not in text
    assert "| bridge | none |" in text
    assert "states none that could be read" in text


def test_a_language_code_that_yaml_takes_for_a_truth_value_stays_text() -> None:
    assert front_matter(replace(CONTENT, language="no"))["language"] == "no"


@pytest.mark.parametrize(
    ("name", "base_model"),
    [
        ("naver/splade-v3", "naver/splade-v3"),
        ("mini/splade-en", None),
        ("./models/splade", None),
        ("../splade", None),
        ("~/splade", None),
        ("/models/splade", None),
        ("models/splade/", None),
        ("a/b/c", None),
        ("splade", None),
        ("source encoder", None),
    ],
)
def test_only_a_hub_id_is_a_base_model(name: str, base_model: str | None) -> None:
    assert front_matter(replace(CONTENT, source_encoder=name)).get("base_model") == base_model


def test_a_folder_that_looks_like_a_hub_id_is_no_base_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "naver" / "splade-v3").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "base_model" not in front_matter(CONTENT)


@pytest.mark.parametrize(
    ("license_name", "expected"),
    [
        ("cc-by-nc-sa-4.0", True),
        ("CC-BY-NC-4.0", True),
        ("cc-by-nc-nd-4.0", True),
        ("apache-2.0", False),
        ("cc-by-sa-4.0", False),
        ("ncsa", False),
        ("mit", False),
        (None, False),
    ],
)
def test_non_commercial_licences_are_told_from_others(license_name: str | None, expected: bool) -> None:
    assert is_non_commercial(license_name) is expected
    text = render_model_card(replace(CONTENT, license=license_name))
    assert ("**Not for commercial use.**" in text) is expected
    assert license_name is None or f"`{license_name}`" in text


def test_a_licence_of_its_own_name_keeps_name_and_link() -> None:
    content = replace(CONTENT, license="other", license_name="deepmind-terms", license_link="https://example.org/terms")
    found = front_matter(content)
    assert (found["license"], found["license_name"]) == ("other", "deepmind-terms")
    assert found["license_link"] == "https://example.org/terms"
    assert "`deepmind-terms`" in render_model_card(content)


def test_the_card_says_how_the_model_was_made() -> None:
    text = render_model_card(CONTENT)
    for expected in (
        "# splade-v3 for ko",
        "vocabulary of 32,500 tokens",
        "| source encoder | `naver/splade-v3` |",
        "| target tokenizer | `monologg/kobigbird-bert-base` |",
        "| bridge | `BAAI/bge-m3` |",
        "| exact | 1,200 |",
        "    alpha: 4.0",
        "python 3.11.7, torch 2.13.0",
    ):
        assert expected in text
    # The page says zero-shot where no training happened, and where nothing of sembridge is needed.
    assert "zero-shot" in text


def test_the_example_in_the_card_is_python() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", render_model_card(CONTENT), re.DOTALL)
    assert "sembridge" not in code
    ast.parse(code)


def test_the_card_is_the_folder_s_readme_in_utf_8(tmp_path: Path) -> None:
    write_model_card(tmp_path, replace(CONTENT, title="학교"))
    assert "# 학교" in (tmp_path / "README.md").read_bytes().decode("utf-8")


# --- after a training, with measures ---------------------------------------------------------------------------------

FACTS = {"data": "mini/faq-ko", "pairs": 64, "steps": 8, "dev": None}
SCORES = [Score("mini/faq-ko", "dev", "nDCG@10", 0.45678), Score("xquad/ko", None, "R@100", 1)]
FOREIGN = """---
language: en
license: cc-by-nc-sa-4.0
tags: [splade]
model-index:
- name: foreign
  results:
  - task: {type: retrieval}
    dataset: {type: msmarco, name: msmarco}
    metrics: [{type: mrr, value: 0.4}]
---

# Somebody's encoder

It scores 40.2 on MS MARCO.
"""


def test_a_training_is_added_to_the_card_with_its_data_and_figures() -> None:
    card = with_training(render_model_card(CONTENT), FACTS, {"step": 8, "loss": 0.123456})
    assert "(zero-shot)" not in card
    for expected in ("# splade-v3 for ko", "| data | mini/faq-ko |", "| pairs | 64 |", "| loss | 0.1235 |"):
        assert expected in card
    assert "| dev |" not in card
    assert ModelCard(card).data.base_model == "naver/splade-v3"


def test_measures_are_in_the_table_and_in_what_the_hub_reads() -> None:
    card = with_scores(render_model_card(CONTENT), SCORES)
    assert "| mini/faq-ko | dev | nDCG@10 | 0.4568 |" in card
    found = ModelCard(card).data
    assert found.model_name == "splade-v3 for ko"
    assert [(r.dataset_name, r.dataset_split, r.metric_type, r.metric_value) for r in found.eval_results] == [
        ("mini/faq-ko", "dev", "nDCG@10", 0.4568),
        ("xquad/ko", None, "R@100", 1.0),
    ]
    assert ModelCard(str(ModelCard(card))).data.to_dict() == found.to_dict()


def test_a_measure_taken_again_replaces_its_old_value_and_no_other() -> None:
    card = with_scores(with_scores(render_model_card(CONTENT), SCORES), [replace(SCORES[0], value=0.5)])
    assert [result.metric_value for result in ModelCard(card).data.eval_results] == [0.5, 1.0]
    assert card.count("## Quality") == 1
    assert "0.4568" not in card
    assert "## How it was made" in card


def test_measures_of_before_a_training_are_gone_after_it() -> None:
    card = with_training(with_scores(render_model_card(CONTENT), SCORES), FACTS, {})
    assert ModelCard(card).data.eval_results is None
    assert "## Quality" not in card
    assert "## Training" in card


def test_of_a_foreign_card_licence_and_language_stay_and_its_claims_go() -> None:
    card = with_training(FOREIGN, FACTS, {})
    found = ModelCard(card).data
    assert (found.license, found.language, found.eval_results) == ("cc-by-nc-sa-4.0", "en", None)
    assert "sembridge" in found.tags
    assert "**Not for commercial use.**" in card
    assert "40.2" not in card


def test_a_start_without_a_card_gets_one_that_says_so() -> None:
    card = with_training(None, FACTS, {})
    assert "license" not in ModelCard(card).data.to_dict()
    assert "states none that could be read" in card


def test_the_licence_stands_before_everything_but_the_title() -> None:
    for card in (
        render_model_card(replace(CONTENT, license="cc-by-nc-sa-4.0")),
        with_training(render_model_card(replace(CONTENT, license="cc-by-nc-sa-4.0")), FACTS, {}, SCORES),
        with_training(FOREIGN, FACTS, {}),
    ):
        body = ModelCard(card).text.strip().splitlines()
        assert body[0].startswith("# ")
        assert body[2].startswith("> **Not for commercial use.**")


# --- as the verbs write it -------------------------------------------------------------------------------------------


def test_a_training_from_an_encoder_given_by_name_keeps_its_licence_and_tells_the_kept_step(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    from sembridge.encoders.loading import load_encoder
    from sembridge.retrieval.data import RetrievalData
    from sembridge.training.data import pairs_data
    from sembridge.training.fine_tuning import train
    from sembridge.training.recipe import TrainRecipe

    tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece")).save_pretrained(
        str(tmp_path / "start"), create_model_card=False
    )
    (tmp_path / "start" / "README.md").write_text(FOREIGN, encoding="utf-8")
    words = sorted(ENGLISH_WORDS)[:16]
    documents = [f"{word} {words[place - 1]}" for place, word in enumerate(words)]
    corpus = {f"d{place}": document for place, document in enumerate(documents)}
    queries = {f"q{place}": word for place, word in enumerate(words)}
    dev = RetrievalData("toy-dev", "en", corpus, queries, {f"q{i}": {f"d{i}": 1} for i in range(len(words))}, "dev")
    settings = {
        "steps": 4,
        "eval_steps": 2,
        "batch_size": 8,
        "learning_rate": 1e-9,
        "max_length": 16,
    }  # start and checkpoints tie
    result = train(
        load_encoder(tmp_path / "start"), pairs_data("toy", words, documents), tmp_path / "out", dev=dev,
        recipe=TrainRecipe.build(settings),
    )  # fmt: skip
    card = ModelCard((tmp_path / "out" / "README.md").read_text(encoding="utf-8"))
    assert card.data.license == "cc-by-nc-sa-4.0"
    assert "**Not for commercial use.**" in card.text
    assert "| data | toy |" in card.text
    measured = [row for row in result.curve if "nDCG@10" in row and row["step"] > 0]  # step 0 is the start
    best = max(row["nDCG@10"] for row in measured)
    (kept,) = card.data.eval_results
    assert (kept.dataset_name, kept.dataset_split, kept.metric_type) == ("toy-dev", "dev", "nDCG@10")
    assert kept.metric_value == pytest.approx(best, abs=1e-4)
    assert "| step | 2 |" in card.text
