"""Laws of several bridges as one: what each adds, what a useless one costs, and that their order is no matter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_encoder, tiny_tokenizer
from tiny_bridge import MEANINGS, TinyBridge, save_tiny_bridge

from sembridge.encoders.loading import load_bridge
from sembridge.errors import SembridgeError
from sembridge.language_transfer.assembly import transfer
from sembridge.language_transfer.bridge_pool import combine
from sembridge.language_transfer.entmax import TopKSoftmax
from sembridge.language_transfer.initialization.hub_correction import hub_corrected
from sembridge.language_transfer.initialization.sembridge import Embed
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.language_transfer.similarity import sparse_weights

pytestmark = pytest.mark.numerics

N = 600
SOURCE, TARGET = [f"s{i:03}" for i in range(N)], [f"t{i:03}" for i in range(N)]  # word i translates word i
RECIPE = TransferRecipe.build({})


def table_embed(table: Mapping[str, np.ndarray]) -> Embed:
    def embed(texts: Sequence[str]) -> np.ndarray:
        vectors = np.stack([table[text] for text in texts])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        found: np.ndarray = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return found

    return embed


def oracle(seed: int, *, noise: float, offset: float = 0.0, dim: int = 64, silent: Sequence[str] = ()) -> Embed:
    """Words of one meaning share a direction; `noise` hides it, `offset` is what all vectors have in common."""
    generator = np.random.default_rng(seed)
    meanings = generator.normal(size=(N, dim))
    table = {}
    for words in (SOURCE, TARGET):
        own = generator.normal(size=(N, dim))
        table |= dict(zip(words, (1 - noise) * meanings + noise * own + offset, strict=True))
    return table_embed(table | {text: np.zeros(dim) for text in silent})


def accuracy(embed: Embed, words: Sequence[int] = range(N)) -> float:
    """Share of the target words whose nearest source word, less hubs, is their translation."""
    source, target = (torch.from_numpy(embed(texts)) for texts in (SOURCE, TARGET))
    vectors = hub_corrected(target, source, 10, memory_budget=1 << 26, device="cpu")
    best = sparse_weights(vectors.target, vectors.source, rule=TopKSoftmax(k=1)).col_indices.numpy()
    return float((best[list(words)] == list(words)).mean())


def together(*embeds: Embed, source: Sequence[str] = SOURCE, target: Sequence[str] = TARGET) -> Any:
    return combine(embeds, source, target, RECIPE)


def test_two_copies_of_a_bridge_are_that_bridge() -> None:
    one = oracle(0, noise=0.5)
    found = together(one, one)
    assert found.weights == (0.5, 0.5)
    assert np.array_equal(found.embed(SOURCE), one(SOURCE))


def test_two_bridges_know_more_than_either() -> None:
    first, second = oracle(0, noise=0.55), oracle(1, noise=0.55)
    alone = max(accuracy(first), accuracy(second))
    assert 0.4 < alone < 0.8
    assert accuracy(together(first, second).embed) > max(alone + 0.2, 0.8)


def test_a_bridge_that_knows_nothing_does_no_harm() -> None:
    good, random = oracle(0, noise=0.55), oracle(1, noise=1.0)
    found = together(random, good)
    assert found.weights == (0.0, 1.0)
    assert np.array_equal(found.embed(TARGET), good(TARGET))
    plain_mean = accuracy(lambda texts: np.concatenate([good(texts), random(texts)], 1) / np.float32(2**0.5))
    assert plain_mean < accuracy(good) / 2


def test_where_no_bridge_is_above_chance_all_count() -> None:
    found = together(oracle(0, noise=1.0), oracle(1, noise=1.0))
    assert found.weights == pytest.approx((0.5, 0.5), abs=0.05)


@pytest.mark.parametrize("noise", [0.62, 0.7, 0.8])
def test_a_worse_bridge_weighs_less_and_what_it_knows_is_used(noise: float) -> None:
    """At noise .62 one word in five is found with it alone, at .8 one in a hundred."""
    good, poor = oracle(0, noise=0.55), oracle(1, noise=noise)
    found = together(good, poor)
    assert found.weights[0] > 1.5 * found.weights[1]
    assert accuracy(found.embed) > accuracy(good) + (0.1 if noise < 0.65 else -0.02)


def test_cosines_that_all_lie_high_do_not_outweigh_others() -> None:
    wide, narrow = oracle(0, noise=0.5), oracle(1, noise=0.5, offset=1.0)
    spreads = [float((embed(TARGET) @ embed(SOURCE).T).std()) for embed in (wide, narrow)]
    assert spreads[1] < 0.5 * spreads[0]
    found = together(wide, narrow)
    # They know the same, so each decides about as much.
    assert found.weights[1] * spreads[1] == pytest.approx(found.weights[0] * spreads[0], rel=0.45)


def test_the_product_is_the_weighted_mean_of_the_cosines() -> None:
    first, second = oracle(0, noise=0.5), oracle(1, noise=0.5, dim=48)
    found = together(first, second)
    assert sum(found.weights) == pytest.approx(1, abs=1e-4)
    mean = sum(w * e(TARGET) @ e(SOURCE).T for w, e in zip(found.weights, (first, second), strict=True))
    np.testing.assert_allclose(found.embed(TARGET) @ found.embed(SOURCE).T, mean, atol=2e-4)


def test_neither_the_order_of_bridges_nor_of_texts_matters() -> None:
    first, second = oracle(0, noise=0.5), oracle(1, noise=0.6, dim=48)
    one, other = together(first, second), together(second, first, source=SOURCE[::-1], target=TARGET[::-1])
    assert one.weights == other.weights[::-1]
    assert np.array_equal(one.embed(SOURCE), other.embed(SOURCE))


def test_a_word_that_one_bridge_does_not_know_is_placed_by_the_other() -> None:
    silent = [*SOURCE[:100], *TARGET[:100]]
    first, second = oracle(0, noise=0.4), oracle(1, noise=0.4, silent=silent)
    found = together(first, second)
    vectors = found.embed(TARGET)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert accuracy(found.embed, range(100)) > accuracy(first, range(100)) - 0.1
    nothing = together(oracle(0, noise=0.4, silent=TARGET[:1]), oracle(1, noise=0.4, silent=TARGET[:1]))
    assert not nothing.embed(TARGET[:1]).any()


def test_texts_that_were_not_named_are_embedded_too() -> None:
    first, second = oracle(0, noise=0.5), oracle(1, noise=0.5)
    weights = np.array(together(first, second).weights)
    found = together(first, second, source=SOURCE[:500]).embed(SOURCE[490:])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    assert found.shape == (110, 128)
    assert weights.min() > 0


def test_a_bridge_without_any_vector_counts_nothing() -> None:
    good, empty = oracle(0, noise=0.4), table_embed(dict.fromkeys([*SOURCE, *TARGET], np.zeros(8)))
    assert together(empty, good).weights == (0.0, 1.0)
    assert not together(empty, table_embed(dict.fromkeys([*SOURCE, *TARGET], np.zeros(4)))).embed(SOURCE).any()


# --- in a transfer -------------------------------------------------------------------------------------------------


def run(bridge: Any, **options: Any) -> Any:
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    return transfer(encoder, tiny_tokenizer("wordpiece", language="target"), bridge, **options)


def embedding(result: Any) -> torch.Tensor:
    return next(p for name, p in result.encoder.named_parameters() if "word_embeddings" in name).detach()


def test_a_transfer_with_two_copies_is_that_with_one() -> None:
    one, two = run(TinyBridge()), run([TinyBridge(), TinyBridge()])
    torch.testing.assert_close(embedding(two), embedding(one), rtol=0, atol=1e-5)
    assert two.alignment.weights.col_indices.equal(one.alignment.weights.col_indices)


def test_a_transfer_with_several_bridges_says_so_wherever_they_are_given(tmp_path: Path) -> None:
    half = {word: MEANINGS[word] for word in list(MEANINGS)[:16]}
    bridges = [load_bridge(save_tiny_bridge(tmp_path / "a")), load_bridge(save_tiny_bridge(tmp_path / "b", half))]
    one, other = (run(some, cache_folder=tmp_path / "cache") for some in (bridges, bridges[::-1]))
    assert torch.equal(embedding(one), embedding(other))
    folder = one.save(tmp_path / "out")
    described = json.loads((folder / "report.json").read_text(encoding="utf-8"))["bridge"]
    assert described["name"] == f"{tmp_path / 'a'} + {tmp_path / 'b'}"
    assert [part["name"] for part in described["bridges"]] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert sum(part["weight"] for part in described["bridges"]) == pytest.approx(1, abs=1e-3)
    assert described == other.report.to_dict()["bridge"]
    assert f"| bridge | `{described['name']}` |" in (folder / "README.md").read_text(encoding="utf-8")


def test_no_bridge_at_all_is_refused() -> None:
    with pytest.raises(SembridgeError, match="needs a bridge"):
        run([])
