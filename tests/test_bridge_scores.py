"""Laws of a bridge's score: it tells the bundled bridge from one that knows nothing, and says what it counted."""

from __future__ import annotations

import gzip
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import sembridge
from tiny import tiny_encoder, tiny_tokenizer
from tiny_bridge import MEANINGS, TinyBridge, save_tiny_bridge

from sembridge.encoders.loading import load_bridge, load_encoder, load_tokenizer
from sembridge.errors import SembridgeError
from sembridge.language_transfer.bridge_quality import BridgeScore, score_bridges
from sembridge.language_transfer.overlap import Vocabularies
from sembridge.language_transfer.preparation import prepare_transfer
from sembridge.language_transfer.recipe import TransferRecipe

RECIPE = TransferRecipe.build({})
# Some plain words; which are tokens of both bundled vocabularies the score says.
WORDS = (
    "school\t학교\nteacher\t선생님\nwater\t물\nriver\t강\ncity\t도시\nfriend\t친구\nsong\t노래\nmother\t어머니\n"
    "house\t집\nhome\t집\npresident\t대통령\nhospital\t병원\nmoney\t돈\ncar\t자동차\nsea\t바다\nmountain\t산\n"
)


class RandomBridge:
    """A direction of its own for every text."""

    fingerprint = "random"

    def encode(self, sentences: list[str]) -> np.ndarray:
        drawn = b"".join(hashlib.shake_128(text.encode()).digest(2 * 64) for text in sentences)
        return np.frombuffer(drawn, np.int16).reshape(-1, 64).astype(np.float32)


def scores(vocabularies: Vocabularies, bridges: dict[str, Any], dictionary: Path | None = None) -> list[BridgeScore]:
    return score_bridges(bridges, vocabularies, RECIPE, dictionary=dictionary)


@cache
def bundled() -> Vocabularies:
    encoder, tokenizer = load_encoder("mini/splade-en"), load_tokenizer("mini/tokenizer-ko")
    return prepare_transfer(encoder, tokenizer, RECIPE).vocabularies


@cache
def tiny() -> Vocabularies:
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    return prepare_transfer(encoder, tiny_tokenizer("wordpiece", language="target"), RECIPE).vocabularies


def test_texts_that_a_bridge_does_not_know_are_counted(tmp_path: Path) -> None:
    """Of whole words in the target vocabulary, the tiny bridge knows those that have a meaning; of pieces, none."""
    bridge = load_bridge(save_tiny_bridge(tmp_path / "bridge"))
    (found, without_tokenizer) = scores(tiny(), {"static": bridge, "own": TinyBridge()})[:2]
    texts = {tiny().target.texts[i] for i in set(tiny().target.text_ids) - set(tiny().overlap.target_ids)}
    assert found.unknown == pytest.approx(len(texts - set(MEANINGS)) / len(texts), abs=1e-4)
    assert without_tokenizer.unknown is None


def write(folder: Path, text: str = WORDS) -> Path:
    path = folder / "words.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_bundled_bridge_scores_far_above_a_random_one_and_is_not_harmed_by_it(tmp_path: Path) -> None:
    bridges = {"good": load_bridge("mini/bridge"), "random": RandomBridge()}
    good, random, together = scores(bundled(), bridges, write(tmp_path))
    assert [good.bridge, random.bridge, together.bridge] == ["good", "random", "good + random"]
    assert good.n_pairs is not None
    assert good.n_pairs > 8
    assert (random.n_pairs, random.n_round_trips) == (good.n_pairs, 2000)
    for figure, least, most in (("accuracy", 0.5, 0.1), ("accuracy_at_10", 0.7, 0.1), ("round_trip", 0.4, 0.1),
                                ("above_chance", 0.4, 0.05)):  # fmt: skip
        assert getattr(good, figure) > least
        assert getattr(random, figure) < most
        assert getattr(together, figure) == getattr(good, figure)


def test_on_a_real_dictionary_the_bundled_bridge_finds_many_words(shared: Path) -> None:
    dictionary = shared / "data" / "dictionaries" / "en-ko.tsv.gz"
    (found,) = scores(bundled(), {"good": load_bridge("mini/bridge")}, dictionary)
    assert found.n_pairs is not None
    assert found.n_pairs > 2000
    assert found.accuracy is not None
    assert found.accuracy_at_10 is not None
    assert 0.3 < found.accuracy < found.accuracy_at_10 < 0.7


def test_with_known_meanings_the_share_can_be_counted_by_hand(tmp_path: Path) -> None:
    right = "".join(f"{english}\t{other}\n" for english, other in (("school", "학교"), ("river", "강"), ("book", "책")))
    wrong = "tree\t도시\nschool\t나무\n"
    (found,) = scores(tiny(), {"tiny": TinyBridge()}, write(tmp_path, right + wrong))
    assert (found.n_pairs, found.accuracy) == (5, pytest.approx(3 / 5))
    assert found.above_chance is None  # too few tokens to tell


def test_one_of_several_translations_is_enough_and_case_does_not_matter(tmp_path: Path) -> None:
    (found,) = scores(tiny(), {"tiny": TinyBridge()}, write(tmp_path, "Tree\t학교\nSCHOOL\t학교\n"))
    assert (found.n_pairs, found.accuracy) == (1, 1.0)


def test_a_word_without_a_vector_is_not_found(tmp_path: Path) -> None:
    dictionary = write(tmp_path, "school\t학교\nriver\t강\n")
    (found,) = scores(tiny(), {"tiny": TinyBridge(silent=("학교",))}, dictionary)
    assert (found.n_pairs, found.accuracy) == (2, 0.5)
    (nothing,) = scores(tiny(), {"none": TinyBridge(silent=(*tiny().source.texts, *tiny().target.texts))}, dictionary)
    assert (nothing.accuracy, nothing.accuracy_at_10, nothing.round_trip) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("", "is empty"),
        ("school\t학교\nriver\n", "entry 2: 1 columns"),
        ("학교\tschool\n", "none of its 1 pairs leads from a source token to a target token"),
    ],
)
def test_a_bad_dictionary_is_refused_in_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "absent.tsv" if content is None else write(tmp_path, content)
    with pytest.raises(SembridgeError, match=message) as refused:
        scores(tiny(), {"tiny": TinyBridge()}, path)
    assert "\n" not in str(refused.value)


def test_the_same_scores_in_another_order_of_tokens_and_no_draw_is_left_behind() -> None:
    state = torch.get_rng_state()
    first, second = (scores(tiny(), {"tiny": TinyBridge()}) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)


def test_inspect_prints_a_line_a_bridge_and_one_for_all(tmp_path: Path) -> None:
    tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece")).save_pretrained(str(tmp_path / "en"))
    tiny_tokenizer("wordpiece", language="target").save_pretrained(str(tmp_path / "tokenizer"))
    a, b = save_tiny_bridge(tmp_path / "a"), save_tiny_bridge(tmp_path / "b", {w: MEANINGS[w] for w in ("강", "river")})
    dictionary = tmp_path / "words.tsv.gz"
    dictionary.write_bytes(gzip.compress("school\t학교\nriver\t강\n".encode()))
    command = ["inspect", str(tmp_path / "en"), str(tmp_path / "tokenizer"), "--bridge", str(a), "--bridge", str(b)]
    command += ["--dictionary", str(dictionary), "--cache", str(tmp_path / "cache")]
    found = json.loads(sembridge(*command, "--json").out)["bridges"]
    assert [score["bridge"] for score in found] == [str(a), str(b), f"{a} + {b}"]
    assert [score["accuracy"] for score in found[:2]] == [1.0, 0.5]
    printed = sembridge(*command).out
    assert "share of 2 target tokens of the dictionary" in printed
    assert "no proof of right answers" in printed
