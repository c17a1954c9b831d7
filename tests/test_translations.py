"""Laws of a dictionary in the method's hands: its words stand at their English words, all others where they stood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import tiny_encoder, tiny_tokenizer
from tiny_bridge import TinyBridge

from sembridge import transfer
from sembridge.errors import SembridgeError
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.language_transfer.recipe import TransferRecipe


def moved(dictionary: str | None, folder: Path, **settings: Any) -> tuple[list[str], Any]:
    """The target's tokens, and the alignment of a transfer by the published rule."""
    if dictionary is not None:
        (folder / "words.tsv").write_text(dictionary, encoding="utf-8")
        settings["dictionary"] = str(folder / "words.tsv")
    target = tiny_tokenizer("wordpiece", language="target")
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    recipe = TransferRecipe.build({"preset": "paper", **settings})
    result = transfer(encoder, target, TinyBridge(), recipe=recipe)
    return target.convert_ids_to_tokens(range(len(target))), result.alignment


def row(alignment: Any, i: int) -> dict[str, float]:
    start, end = alignment.weights.crow_indices[i : i + 2].tolist()
    columns, values = alignment.weights.col_indices[start:end], alignment.weights.values[start:end]
    return {alignment.source_tokens[int(c)]: float(v) for c, v in zip(columns, values, strict=True)}


def test_a_word_that_english_spells_the_same_is_placed_by_its_translation(tmp_path: Path) -> None:
    tokens, alignment = moved("river\ttree\nriver\t강\n", tmp_path)
    tree, river = tokens.index("tree"), tokens.index("강")
    assert (alignment.kinds[tree], alignment.kinds[river]) == (RowKind.COMBINED, RowKind.COMBINED)
    assert row(alignment, tree) == row(alignment, river)
    assert max(row(alignment, tree), key=row(alignment, tree).__getitem__) == "river"


def test_all_other_tokens_stay_as_they_were(tmp_path: Path) -> None:
    tokens, before = moved(None, tmp_path)
    _, after = moved("river\tTree\nhome\tдача\n", tmp_path)
    others = [i for i, token in enumerate(tokens) if token != "tree"]
    assert row(before, tokens.index("tree")) == {"tree": 1.0}
    assert row(after, tokens.index("tree")) != {"tree": 1.0}
    assert [row(after, i) for i in others] == [row(before, i) for i in others]
    assert np.array_equal(after.kinds[others], before.kinds[others])


def test_several_english_words_share_a_row_and_unknown_ones_change_nothing(tmp_path: Path) -> None:
    tokens, one = moved("river\t강\n", tmp_path)
    _, both = moved("river\t강\nwinter\t강\n", tmp_path)
    i = tokens.index("강")
    assert {"river", "winter"} <= set(row(both, i))
    assert row(one, i) != row(both, i)


def test_the_words_of_an_extended_vocabulary_keep_their_english_sense(tmp_path: Path) -> None:
    (tmp_path / "words.tsv").write_text("river\ttree\n", encoding="utf-8")
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    target = tiny_tokenizer("wordpiece", language="target")
    recipe = TransferRecipe.build({"extend": True, "dictionary": str(tmp_path / "words.tsv")})
    result = transfer(encoder, target, TinyBridge(), recipe=recipe)
    tree = result.encoder.tokenizer.convert_tokens_to_ids("tree")
    assert row(result.alignment, tree) == {"tree": 1.0}


def test_a_missing_or_broken_dictionary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SembridgeError, match=r"entry 1: 3 columns; expected an English word"):
        moved("river\ttree\tmore\n", tmp_path)
    with pytest.raises(SembridgeError, match="does not exist"):
        TransferRecipe.build({"dictionary": str(tmp_path / "none.tsv")}).check_files()
