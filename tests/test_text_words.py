"""Laws of pieces through words: a token's vector meets those of the words of a text that contain it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import spelled_tokenizer
from test_initialization import inputs
from tiny import tiny_encoder, tiny_tokenizer
from tiny_bridge import TinyBridge
from transformers import PreTrainedTokenizerFast

from sembridge import transfer
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.encoders.words import written_words
from sembridge.errors import SembridgeError
from sembridge.language_transfer.initialization.initialize import build_rows
from sembridge.language_transfer.initialization.rows import Initialization
from sembridge.language_transfer.initialization.sembridge import bridged_rows
from sembridge.language_transfer.initialization.text_words import (
    WORDS_A_TOKEN,
    TextWords,
    no_words,
    read_text_words,
    vectors_through_words,
)
from sembridge.language_transfer.recipe import TransferRecipe

pytestmark = pytest.mark.numerics


def wordpiece(*tokens: str) -> PreTrainedTokenizerFast:
    return spelled_tokenizer("wordpiece", tokens)


class Table:
    """A bridge that knows the texts of a table, and remembers what it was asked."""

    def __init__(self, vectors: Mapping[str, Sequence[float]]) -> None:
        self.vectors, self.asked = vectors, Counter[str]()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.update(texts)
        width = len(next(iter(self.vectors.values())))
        rows = np.array([self.vectors.get(text, np.zeros(width)) for text in texts]).reshape(len(texts), width)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.where(norms > 0, norms, 1)).astype(np.float32)


def through(
    counts: Mapping[str, int], embed: Table, *tokens: str, only: tuple[str, ...] = ()
) -> dict[str, list[float]]:
    """Token -> vector, of a WordPiece vocabulary of `tokens`; of `only` some of them where they are named."""
    vocabulary = read_vocabulary(wordpiece(*tokens))
    words = read_text_words(Counter(counts), wordpiece(*tokens), n_tokens=len(vocabulary))
    ids = np.array([vocabulary.tokens.index(token) for token in only or tokens])
    texts = [vocabulary.texts[i] for i in ids]
    found = vectors_through_words(embed(texts), texts, ids, words, embed)
    assert found.dtype == np.float32
    return dict(zip(only or tokens, found.tolist(), strict=True))


def test_a_piece_of_one_known_word_gets_that_words_vector() -> None:
    found = through({"강가": 3, "강물": 2}, Table({"강": [1, 0], "강가": [3, 4]}), "강", "##가", "##물")
    assert found["##가"] == pytest.approx([0.6, 0.8])
    assert found["##물"] == [0, 0]  # neither the piece nor its word is known


def test_a_known_token_stands_halfway_to_the_mean_of_its_words() -> None:
    embed = Table({"강": [1, 0, 0], "강가": [0, 1, 0], "강물": [0, 0, 1]})
    found = through({"강가": 7, "강물": 1, "강": 90}, embed, "강", "##가", "##물")
    mean = np.array([0, np.log1p(7), np.log1p(1)])
    halfway = np.array([1, 0, 0]) + mean / np.linalg.norm(mean)
    assert found["강"] == pytest.approx(halfway / np.linalg.norm(halfway))


def test_a_token_in_no_other_word_keeps_its_vector_bit_for_bit() -> None:
    embed = Table({"강": [0.3, 0.7], "나무": [1, 3]})
    found = through({"강": 5, "나무": 2}, embed, "강", "나무", "집")
    assert [found["강"], found["나무"]] == embed(["강", "나무"]).tolist()


def test_only_the_most_frequent_words_of_a_token_are_read_each_once() -> None:
    letters = [chr(ord("가") + i) for i in range(WORDS_A_TOKEN + 10)]
    counts = {f"집{letter}": 100 - i for i, letter in enumerate(letters)}
    embed = Table({"집": [1.0, 0.0]})
    through(counts, embed, "집", "##집", *(f"##{letter}" for letter in letters), only=("집",))
    assert embed.asked == Counter(["집", *(f"집{letter}" for letter in letters[:WORDS_A_TOKEN])])


def random_case() -> tuple[list[str], Counter[str], Table]:
    draw = np.random.default_rng(0)
    pieces = [chr(ord("가") + 7 * i) for i in range(40)]
    drawn = ["".join(draw.choice(pieces, draw.integers(2, 5))) for _ in range(300)]
    counts = Counter({word: int(n) for word, n in zip(drawn, draw.integers(1, 50, 300), strict=True)})
    vectors = {text: draw.normal(size=8).tolist() for text in [*pieces, *counts]}
    return [*pieces, *[f"##{piece}" for piece in pieces]], counts, Table(vectors)


def test_neither_the_order_of_the_vocabulary_nor_that_of_the_text_leaves_a_trace() -> None:
    tokens, counts, embed = random_case()
    shuffled = np.random.default_rng(1).permutation(tokens).tolist()
    backwards = dict(reversed(counts.items()))
    assert through(counts, embed, *tokens) == through(backwards, embed, *shuffled)


def test_a_byte_level_token_is_found_at_and_after_a_word_start() -> None:
    tokenizer = tiny_tokenizer("bpe", language="target")
    vocabulary = read_vocabulary(tokenizer)
    words: TextWords = read_text_words(Counter({"학교": 2}), tokenizer, n_tokens=len(vocabulary))
    cut = {vocabulary.tokens[i] for i in tokenizer(" 학교", add_special_tokens=False)["input_ids"]}
    assert cut <= {vocabulary.tokens[i] for i in np.unique(words.membership.nonzero()[0])}


def test_words_are_read_as_they_are_written() -> None:
    assert written_words("Der Fluß, die\u00adses Haus (2)!") == ["Der", "Fluß", "dieses", "Haus", "2"]


# --- in a transfer -------------------------------------------------------------------------------------------------


def rows_of(words: TextWords | None, **settings: Any) -> Initialization:
    source, target = (read_vocabulary(tiny_tokenizer("wordpiece", language=name)) for name in ("en", "target"))
    bridge = TinyBridge()
    recipe = TransferRecipe.build(settings)
    given = inputs(source, target, recipe, lambda texts: np.asarray(bridge.encode(list(texts)), np.float32))
    return build_rows(given, bridged_rows(given, no_words(len(target)) if words is None else words))


def test_words_that_no_token_is_part_of_change_nothing() -> None:
    tokenizer = tiny_tokenizer("wordpiece", language="target")
    words = read_text_words(Counter({"∞": 3}), tokenizer, n_tokens=len(tokenizer))
    with_words, without = rows_of(words), rows_of(None)
    assert torch.equal(with_words.weights.values, without.weights.values)
    assert torch.equal(with_words.weights.col_indices, without.weights.col_indices)


def state(n_bridges: int = 1, **settings: Any) -> dict[str, torch.Tensor]:
    source, target = (tiny_tokenizer("wordpiece", language=name) for name in ("en", "target"))
    encoder = tiny_encoder("BertForMaskedLM", source)
    result = transfer(encoder, target, [TinyBridge()] * n_bridges, recipe=TransferRecipe.build(settings))
    return {name: value.clone() for name, value in result.encoder.state_dict().items()}


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_without_a_text_and_without_the_switch_nothing_changes(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("학교 학교강 강가 나무집\n" * 3, encoding="utf-8")
    before = state(firing_cap=1.0)  # which would read the text too
    assert same(before, state(firing_cap=1.0, through_words=True))
    assert same(before, state(firing_cap=1.0, target_text=str(text)))


def test_a_text_places_the_tokens_that_its_words_contain(tmp_path: Path) -> None:
    lines = ["강가 강물 강", "나무집 학교"]
    (tmp_path / "text").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "turned").write_text("\n".join(reversed(lines)), encoding="utf-8")
    found = [state(through_words=True, target_text=str(tmp_path / name)) for name in ("text", "turned")]
    assert same(*found)
    assert not same(state(), found[0])


def test_the_words_are_read_by_several_bridges_too(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("강가 강물 강\n나무집 학교", encoding="utf-8")
    settings = {"through_words": True, "target_text": str(tmp_path / "text")}
    assert same(state(**settings), state(n_bridges=2, **settings))  # the same bridge twice is that bridge


def test_a_text_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SembridgeError, match=r"target_text: .*/none does not exist"):
        state(through_words=True, target_text=str(tmp_path / "none"))
    assert state(firing_cap=1.0, target_text=str(tmp_path / "none"))  # not read: no switch asks for it


@pytest.mark.parametrize("line", ["... !", "战国无双，三国志"])
def test_a_text_without_words_between_spaces_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text(line, encoding="utf-8")
    with pytest.raises(SembridgeError, match=r"text has no words between spaces"):
        state(through_words=True, target_text=str(tmp_path / "text"))
