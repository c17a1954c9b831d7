"""Laws of the alignment file: W with its names, the same bytes each time, readable by anybody, refused if damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sembridge.errors import SembridgeError
from sembridge.language_transfer.alignment import ALIGNMENT_FILE, Alignment
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.language_transfer.sparse_matrix import SparseWeights

SOURCE_TOKENS = ("[CLS]", "school", "##학", "▁강", 'quote"\\', "")
KINDS = np.array([RowKind.SPECIAL, RowKind.COMBINED, RowKind.FALLBACK, RowKind.COMBINED], np.uint8)
CONFIDENCE = np.array([math.nan, 0.25, math.nan, 1.0], np.float32)


def alignment() -> Alignment:
    """Rows: a copy, a combination of three, a fallback, a combination of one."""
    weights = SparseWeights.from_rows(
        4,
        torch.tensor([0, 1, 1, 1, 3]),
        torch.tensor([0, 3, 1, 2, 1]),
        torch.tensor([1.0, 0.25, 0.5, 0.25, 1.0]),
        torch.tensor([math.nan, 0.6, 0.8, 0.7, 0.9]),
        len(SOURCE_TOKENS),
    )
    return Alignment(weights, KINDS, SOURCE_TOKENS, CONFIDENCE)


def refusal(folder: Path) -> str:
    with pytest.raises(SembridgeError) as refused:
        Alignment.load(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_parts_are_the_heaviest_first_and_equal_ones_by_name() -> None:
    parts = alignment().parts(1)
    assert [(part.token, part.weight) for part in parts] == [("school", 0.5), ("##학", 0.25), ("▁강", 0.25)]
    assert [part.similarity for part in parts] == pytest.approx([0.8, 0.7, 0.6])
    assert [part.token for part in alignment().parts(3)] == ["school"]


def test_a_copied_row_has_one_part_without_a_similarity_and_a_fallback_row_none() -> None:
    (part,) = alignment().parts(0)
    assert (part.token, part.weight, part.similarity) == ("[CLS]", 1.0, None)
    assert alignment().parts(2) == []


def test_a_saved_alignment_reads_back_the_same(tmp_path: Path) -> None:
    alignment().save(tmp_path)
    found, expected = Alignment.load(tmp_path), alignment()
    for name in ("crow_indices", "col_indices", "values", "similarities"):
        before, after = getattr(expected.weights, name), getattr(found.weights, name)
        assert before.dtype == after.dtype
        assert torch.equal(before.nan_to_num(-2), after.nan_to_num(-2)), name
    assert (found.weights.n_rows, found.weights.n_columns) == (4, 6)
    assert found.kinds.tolist() == KINDS.tolist()
    assert found.source_tokens == SOURCE_TOKENS
    assert found.confidence is not None
    assert found.confidence.tolist() == pytest.approx(CONFIDENCE.tolist(), nan_ok=True)


def test_an_alignment_without_confidence_is_read_as_unknown(tmp_path: Path) -> None:
    alignment().save(tmp_path)
    changed({"confidence": None}, {}, tmp_path)
    found = Alignment.load(tmp_path)
    assert found.confidence is None
    found.save(tmp_path)
    assert Alignment.load(tmp_path).confidence is None


def test_the_same_alignment_is_the_same_bytes(tmp_path: Path) -> None:
    contents = set()
    for _ in range(8):  # safetensors alone orders four entries of metadata at random
        alignment().save(tmp_path)
        contents.add((tmp_path / ALIGNMENT_FILE).read_bytes())
    assert len(contents) == 1


def test_the_file_is_a_csr_matrix_with_a_legend_for_people_without_sembridge(tmp_path: Path) -> None:
    alignment().save(tmp_path)
    tensors = load_file(tmp_path / ALIGNMENT_FILE)
    with safe_open(tmp_path / ALIGNMENT_FILE, framework="pt") as file:
        metadata = file.metadata()
    shape = json.loads(metadata["shape"])
    matrix = torch.sparse_csr_tensor(
        tensors["crow_indices"], tensors["col_indices"].long(), tensors["values"], shape, check_invariants=True
    )
    assert matrix.to_dense()[1].tolist() == [0, 0.5, 0.25, 0.25, 0, 0]
    legend = json.loads(metadata["kind"])
    assert [legend[str(kind)] for kind in tensors["kind"].tolist()] == ["special", "combined", "fallback", "combined"]
    assert tuple(json.loads(metadata["source_tokens"])) == SOURCE_TOKENS
    # The way back: the transpose maps a target vector into the English vocabulary.
    back = matrix.to_dense().T @ torch.tensor([0.0, 2.0, 0.0, 1.0])
    assert dict(zip(SOURCE_TOKENS, back.tolist(), strict=True))["school"] == 2.0


def test_tensors_start_at_a_multiple_of_eight(tmp_path: Path) -> None:
    alignment().save(tmp_path)
    content = (tmp_path / ALIGNMENT_FILE).read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0


def test_a_folder_without_an_alignment_is_refused(tmp_path: Path) -> None:
    assert f"holds no {ALIGNMENT_FILE}" in refusal(tmp_path)
    assert "sembridge transfer" in refusal(tmp_path / "none")


def changed(tensors: dict[str, Any], metadata: dict[str, str], folder: Path) -> None:
    path = folder / ALIGNMENT_FILE
    with safe_open(path, framework="pt") as file:
        old_metadata = dict(file.metadata())
    new = {key: value for key, value in (load_file(path) | tensors).items() if value is not None}
    save_file(new, path, metadata={**old_metadata, **metadata})


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"values": None}, {}),
        ({"crow_indices": torch.tensor([0, 1, 4, 4, 9])}, {}),
        ({"crow_indices": torch.tensor([0, 1, 4])}, {}),
        ({"crow_indices": torch.zeros(0, dtype=torch.int64)}, {}),
        ({"col_indices": torch.tensor([0, 1, 2, 99, 1], dtype=torch.int32)}, {}),
        ({"values": torch.tensor([1.0, 0.9, 0.9, 0.9, 1.0])}, {}),
        ({"kind": torch.zeros(2, dtype=torch.uint8)}, {}),
        ({"confidence": torch.zeros(2)}, {}),
        ({}, {"source_tokens": json.dumps(["only", "two"])}),
        ({}, {"source_tokens": "["}),
        ({}, {"shape": "[]"}),
    ],
)
def test_a_damaged_alignment_is_refused(tmp_path: Path, tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    alignment().save(tmp_path)
    changed(tensors, metadata, tmp_path)
    assert "is damaged" in refusal(tmp_path)


def test_a_file_that_is_cut_off_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    alignment().save(tmp_path)
    path = tmp_path / ALIGNMENT_FILE
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], content[:-1], b"", b"version https://git-lfs.github.com/spec/v1\n"):
        path.write_bytes(broken)
        assert "is damaged" in refusal(tmp_path)
    save_file({"weight": torch.zeros(2)}, path)
    assert "is damaged" in refusal(tmp_path)
