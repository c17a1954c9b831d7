"""Laws of `sembridge.language_transfer.bridge_vectors`: vectors carried to another cache, of the same bridge only."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from test_bridge import LetterBridge
from tiny import tiny_tokenizer

from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.language_transfer.bridge import embed_texts
from sembridge.language_transfer.bridge_vectors import export_vectors, import_vectors, texts_of

TEXTS = ["home", "학교", "river", "home"]


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    assert export_vectors(LetterBridge(), TEXTS, tmp_path / "v.safetensors", cache_folder=tmp_path / "here") == 3
    return tmp_path / "v.safetensors"


def test_what_is_imported_is_not_computed_again(carried: Path, tmp_path: Path) -> None:
    there = LetterBridge()
    assert import_vectors(there, carried, cache_folder=tmp_path / "there") == 3
    vectors = embed_texts(there, [*TEXTS, "more"], cache_folder=tmp_path / "there")
    assert there.encoded == ["more"]
    np.testing.assert_array_equal(vectors[:4], embed_texts(LetterBridge(None), TEXTS))


def test_the_file_tells_whose_vectors_it_holds_and_no_text(carried: Path) -> None:
    with safe_open(carried, framework="np") as file:
        said = file.metadata()
    assert said["bridge"] == "LetterBridge"
    assert len(said["fingerprint"]) == 32
    assert "transformers " in said["versions"]
    assert b"river" not in carried.read_bytes()


def test_vectors_of_another_bridge_are_refused(carried: Path, tmp_path: Path) -> None:
    with pytest.raises(SembridgeError, match=r"holds vectors of LetterBridge \(fingerprint .*must be the same"):
        import_vectors(LetterBridge("letters 2"), carried, cache_folder=tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_damaged_file_is_refused(carried: Path, tmp_path: Path) -> None:
    content = bytearray(carried.read_bytes())
    content[-1] ^= 1
    carried.write_bytes(content)
    with pytest.raises(SembridgeError, match="is damaged"):
        import_vectors(LetterBridge(), carried, cache_folder=tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_bridge_without_a_fingerprint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SembridgeError, match="has no fingerprint, so its vectors cannot be carried"):
        export_vectors(LetterBridge(None), TEXTS, tmp_path / "v.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_texts_of_a_vocabulary_are_those_that_can_be_read() -> None:
    vocabulary = read_vocabulary(tiny_tokenizer("wordpiece"))
    texts = texts_of(vocabulary)
    assert texts == sorted({*texts})
    assert "home" in texts
    assert not any(text.startswith(("##", "[")) for text in texts)
