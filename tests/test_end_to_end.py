"""The main job, whole, on the bundled models and real sentences."""

import pytest
from bundle import small_bundle_installed
from sentence_transformers import SparseEncoder
from transferred import transferred

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


def search_quality(encoder: SparseEncoder, language: str) -> float:
    data = load_retrieval_data(f"mini/faq-{language}").sample(32, 48)
    return evaluate(encoder, data, measures=[MEASURE], encode_with="fast").measures[MEASURE]


@pytest.mark.parametrize("language", ["ar", "zh", "hi", "ko", "ru"])
def test_a_transferred_encoder_beats_a_random_one_in_every_language(language: str) -> None:
    """To Korean with the whole vocabulary, to the others with their most frequent tokens."""
    with small_bundle_installed(whole_tokenizers=language == "ko"):
        beats_a_random_one(language)


def beats_a_random_one(language: str) -> None:
    source, tokenizer = load_encoder("mini/splade-en"), load_tokenizer(f"mini/tokenizer-{language}")
    random = transfer(source, tokenizer, None, recipe=TransferRecipe.build({"method": "random"})).encoder
    ours = SparseEncoder(str(transferred(language)), device="cpu")
    assert search_quality(ours, language) > search_quality(random, language) + 0.1


@pytest.mark.parametrize("family", ["bpe", "unigram"])
def test_the_job_works_over_other_tokenizer_families(family: str) -> None:
    source, tokenizer = load_encoder("mini/splade-en"), load_tokenizer(f"mini/tokenizer-ko-{family}")
    assert search_quality(transfer(source, tokenizer, load_bridge("mini/bridge")).encoder, "ko") > 0.2
