"""Laws of `sembridge.language_transfer.even_batches`: the vectors of `SentenceTransformer.encode`, without padding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling
from test_initialization import SOURCE, TARGET, inputs, no_answer
from tiny import ENGLISH_TEXTS, ENGLISH_WORDS, OVERLAP_TEXTS, TARGET_WORDS, assert_same_vectors, tiny_tokenizer
from transformers import BertConfig, BertModel

from sembridge.errors import SembridgeError
from sembridge.language_transfer import even_batches
from sembridge.language_transfer.bridge import bridge_fingerprint, embed_texts
from sembridge.language_transfer.bridge_pool import join_bridges
from sembridge.language_transfer.clock import Clock
from sembridge.language_transfer.even_batches import computable, encode_evenly, in_dtype, is_plain
from sembridge.language_transfer.recipe import TransferRecipe

TEXTS = [*ENGLISH_TEXTS, *TARGET_WORDS, *OVERLAP_TEXTS, *ENGLISH_WORDS[:5], "", "homes rivers"]
PROMPTS = {"prompts": {"query": "find home "}, "default_prompt_name": "query"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, tokenizer = tmp_path_factory.mktemp("bridge"), tiny_tokenizer("wordpiece")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def bridge_of(
    folder: Path, mode: str = "mean", *more: torch.nn.Module, with_prompt: bool = True, padding_side: str = "right",
    **settings: Any,
) -> SentenceTransformer:  # fmt: skip
    transformer = Transformer(str(folder), max_seq_length=10)
    transformer.tokenizer.padding_side = padding_side
    pooling = Pooling(32, pooling_mode=mode, include_prompt=with_prompt)
    return SentenceTransformer(modules=[transformer, pooling, *more], device="cpu", **settings).eval()


def even(bridge: SentenceTransformer, texts: list[str], most_texts: int = 256) -> torch.Tensor:
    assert is_plain(bridge)
    parts = list(encode_evenly(bridge, texts, most_texts))
    order = np.concatenate([rows for rows, _ in parts])
    assert sorted(order) == list(range(len(texts)))
    return torch.from_numpy(np.concatenate([vectors for _, vectors in parts])[np.argsort(order)])


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("mean", {}),
        ("mean", PROMPTS),
        ("mean", PROMPTS | {"with_prompt": False}),
        ("cls", PROMPTS),
        ("max", {"truncate_dim": 8}),
        ("lasttoken", PROMPTS | {"padding_side": "left"}),
        ("mean", {"padding_side": "left"}),
    ],
)
def test_vectors_are_those_of_encode(folder: Path, mode: str, settings: dict[str, Any]) -> None:
    bridge = bridge_of(folder, mode, **settings)
    found = even(bridge, TEXTS, most_texts=4)
    # BERT counts positions from the left, so that padding there moves them: encode's own answer is the unpadded one.
    size = 1 if settings.get("padding_side") == "left" else 32
    assert_same_vectors(found, torch.from_numpy(bridge.encode(TEXTS, batch_size=size)))


def test_projections_and_normalisation_are_the_bridges_own(folder: Path) -> None:
    torch.manual_seed(1)
    bridge = bridge_of(folder, "mean", Dense(32, 12), Normalize())
    found = even(bridge, TEXTS)
    assert_same_vectors(found, torch.from_numpy(bridge.encode(TEXTS)))


def test_no_batch_is_padded_and_none_is_above_its_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    bridge = bridge_of(folder)
    bridge[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]["attention_mask"]))
    monkeypatch.setattr(even_batches, "TOKENS_AT_ONCE", 24)
    even(bridge, TEXTS, most_texts=5)
    assert all(bool(mask.all()) for mask in seen)
    assert all(mask.numel() <= 24 and len(mask) <= 5 for mask in seen)
    widths = [mask.shape[1] for mask in seen]
    assert widths == sorted(widths, reverse=True)  # too little memory shows at once


def test_embed_texts_takes_this_way_with_a_cache_and_repetitions(folder: Path, tmp_path: Path) -> None:
    bridge = bridge_of(folder, **PROMPTS)
    expected = torch.from_numpy(bridge.encode([*TEXTS, *TEXTS[:3]], normalize_embeddings=True))
    for _ in ("cold", "warm"):
        assert_same_vectors(
            torch.from_numpy(embed_texts(bridge, [*TEXTS, *TEXTS[:3]], cache_folder=tmp_path)), expected
        )


def test_texts_that_the_bridge_reads_alike_are_computed_once(folder: Path) -> None:
    bridge, seen = bridge_of(folder), []
    bridge[0].register_forward_pre_hook(lambda _, given: seen.append(len(given[0]["input_ids"])))
    texts = ["home", " home", "river", "home ", "home"]  # white space is the normalizer's
    found = even(bridge, texts)
    assert sum(seen) == 2
    assert_same_vectors(found, torch.from_numpy(bridge.encode(texts)))


def test_a_dtype_is_for_bridges_that_compute_in_one(folder: Path) -> None:
    bridge, letters = bridge_of(folder), Letters()
    assert in_dtype([bridge, letters], None) == [bridge, letters]
    half, same = in_dtype([bridge, letters], "bfloat16")
    assert {value.dtype for value in half.parameters()} == {torch.bfloat16}
    assert same is letters
    with pytest.raises(SembridgeError, match=r"bridge_dtype is float32, and no bridge computes in one \(Letters"):
        in_dtype([letters], "float32")


def test_a_recipes_dtype_is_that_of_the_bridge_and_of_its_cache(folder: Path, tmp_path: Path) -> None:
    fingerprints = []
    for dtype in (None, "float32", "bfloat16"):
        recipe = TransferRecipe.build({"bridge_dtype": dtype})
        vocabularies = inputs(SOURCE, TARGET, recipe, no_answer).vocabularies
        joined = join_bridges([bridge_of(folder)], vocabularies, recipe, cache_folder=tmp_path, clock=Clock())
        joined(TEXTS)
        assert joined.settings is not None
        fingerprints.append(joined.settings["fingerprint"])
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert {path.name for path in tmp_path.iterdir()} == {*fingerprints}


class Scaled(SentenceTransformer):
    """A bridge with a way of its own, which must be asked."""

    def encode(self, inputs: Any, *arguments: Any, **settings: Any) -> Any:
        return super().encode(inputs, *arguments, **settings)[:, ::-1]


def test_a_bridge_with_an_encode_of_its_own_is_asked_by_it(folder: Path, tmp_path: Path) -> None:
    stock = bridge_of(folder)
    own = Scaled(modules=list(stock), device="cpu")
    assert not is_plain(own)
    found, expected = (torch.from_numpy(embed_texts(b, TEXTS, cache_folder=tmp_path)) for b in (own, stock))
    assert_same_vectors(found, expected.flip(1))


def test_a_cpu_computes_float16_weights_in_float32_and_leaves_the_bridge_as_it_is(folder: Path, tmp_path: Path) -> None:
    bridge = bridge_of(folder).half()
    expected = bridge_of(folder).half().float().encode(TEXTS, normalize_embeddings=True)
    found = embed_texts(bridge, TEXTS, cache_folder=tmp_path)
    assert_same_vectors(torch.from_numpy(found), torch.from_numpy(expected))
    assert {value.dtype for value in bridge.parameters()} == {torch.float16}


def test_bfloat16_is_a_copy_with_a_fingerprint_of_its_own(folder: Path) -> None:
    bridge = bridge_of(folder)
    assert computable(bridge) is bridge
    assert computable(bridge, "float32") is bridge
    half = computable(bridge, "bfloat16")
    assert {value.dtype for value in half.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in bridge.parameters()} == {torch.float32}
    assert bridge_fingerprint(half) != bridge_fingerprint(bridge)
    assert computable(Letters(), "bfloat16").encode(["a"]) == [[1.0]]


class Letters:
    def encode(self, sentences: list[str]) -> list[list[float]]:
        return [[float(len(text))] for text in sentences]
