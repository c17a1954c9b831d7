"""The main job, whole, on the bundled models and real sentences."""

import pytest

from sembridge import (
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
    data = load_retrieval_data(f"mini/faq-{language}").sample(64, 80)
    return evaluate(result.encoder, data, measures=[MEASURE], encode_with="fast").measures[MEASURE]


@pytest.mark.parametrize("language", ["ar", "zh", "hi", "ko", "ru"])
def test_a_transferred_encoder_beats_a_random_one_in_every_language(language: str) -> None:
    ours = search_quality(language, f"mini/tokenizer-{language}", {})
    random = search_quality(language, f"mini/tokenizer-{language}", {"method": "random"})
    assert ours > random + 0.1


@pytest.mark.parametrize("family", ["bpe", "unigram"])
def test_the_job_works_over_other_tokenizer_families(family: str) -> None:
    assert search_quality("ko", f"mini/tokenizer-ko-{family}", {}) > 0.2
