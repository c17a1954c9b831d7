"""Files that something has damaged: they are read right, or refused by a SembridgeError, and nothing else happens.

A few examples each by default; `pytest --hypothesis-profile campaign` tries a thousand.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from tiny import FAMILIES, tiny_encoder, tiny_tokenizer

from sembridge.encoders.loading import load_encoder, load_tokenizer
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.experiments.recipe import GridRecipe
from sembridge.language_transfer.alignment import ALIGNMENT_FILE, Alignment
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.retrieval.sources import load_retrieval_data
from sembridge.training.recipe import TrainRecipe

# The same examples in every run of the suite; shrinking costs more than it tells, as the damage is shown whole.
settings.register_profile("campaign", max_examples=1000, deadline=None)
ONE_FOLDER = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
few = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=ONE_FOLDER)
more = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=ONE_FOLDER)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**6) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def read_or_refused(read: Callable[[], Any]) -> Any:
    """What `read` gives; None where it refuses, in one line."""
    try:
        return read()
    except SembridgeError as refusal:
        message = str(refusal)
    assert len(message.splitlines()) == 1
    return None


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content cut off, with bytes overwritten, or with a piece doubled."""
    start = draw(st.integers(0, len(content) - 1))
    kind = draw(st.sampled_from(("cut", "overwritten", "doubled")))
    if kind == "cut":
        return content[:start]
    piece = draw(st.binary(min_size=1, max_size=6)) if kind == "overwritten" else content[start : start + 40]
    return content[:start] + piece + content[start + (len(piece) if kind == "overwritten" else 0) :]


@st.composite
def with_one_value_changed(draw: st.DrawFn, tree: Any) -> Any:
    """The JSON tree with one value, anywhere in it, replaced or taken out."""
    tree = json.loads(json.dumps(tree))
    here: Any = tree
    while isinstance(here, dict | list) and here:
        keys = sorted(here) if isinstance(here, dict) else list(range(len(here)))
        key = draw(st.sampled_from(keys))
        if isinstance(here[key], dict | list) and here[key] and draw(st.booleans()):
            here = here[key]
            continue
        if draw(st.booleans()):
            del here[key]
        else:
            here[key] = draw(json_values)
        break
    return tree


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
@more
def test_a_damaged_tokenizer_is_read_or_refused(family: str, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "tokenizer"
    if not folder.exists():
        tiny_tokenizer(family).save_pretrained(folder)
        shutil.copy(folder / "tokenizer.json", tmp_path / "good.json")
    good = json.loads((tmp_path / "good.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(data.draw(with_one_value_changed(good))), encoding="utf-8")
    vocabulary = read_or_refused(lambda: read_vocabulary(load_tokenizer(folder)))
    if vocabulary is not None:
        assert len(vocabulary.tokens) == len(vocabulary.texts) > max(load_tokenizer(folder).get_vocab().values())


@given(data=st.data())
@few
def test_a_damaged_checkpoint_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    folder, good = tmp_path / "encoder", tmp_path / "good.safetensors"
    if not folder.exists():
        tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece")).save_pretrained(str(folder))
        shutil.copy(folder / "model.safetensors", good)
    content = good.read_bytes()
    header_size = 8 + int.from_bytes(content[:8], "little")
    header = data.draw(damaged(content[:header_size]))
    (folder / "model.safetensors").write_bytes(header + content[header_size:])
    encoder = read_or_refused(lambda: load_encoder(folder))
    if encoder is not None:
        assert all(torch.isfinite(p).all() for p in encoder.parameters())


@given(data=st.data())
@more
def test_a_damaged_alignment_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    tensors = {
        "crow_indices": torch.tensor([0, 1, 3]),
        "col_indices": torch.tensor([0, 1, 2], dtype=torch.int32),
        "values": torch.tensor([1.0, 0.25, 0.75]),
        "similarities": torch.tensor([float("nan"), 0.5, 0.6]),
        "kind": torch.tensor([1, 4], dtype=torch.uint8),
    }
    metadata = {"format": "pt", "shape": "[2, 3]", "kind": "{}", "source_tokens": '["a", "b", "c"]'}
    (tmp_path / ALIGNMENT_FILE).write_bytes(data.draw(damaged(save(tensors, metadata))))
    alignment = read_or_refused(lambda: Alignment.load(tmp_path))
    if alignment is not None:
        alignment.weights.validate(allow_empty_rows=True)
        assert (len(alignment.kinds), len(alignment.source_tokens)) == (2, 3)


@given(data=st.data())
@more
def test_damaged_data_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    good = {
        "corpus.jsonl": '{"_id": "d1", "title": "학교", "text": "선생님"}\n{"_id": "d2", "text": "дом река"}\n',
        "queries.jsonl": '{"_id": "q1", "text": "학교"}\n',
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
    }
    broken = data.draw(st.sampled_from(sorted(good)))
    for name, text in good.items():
        content = text.encode()
        (folder / name).write_bytes(data.draw(damaged(content)) if name == broken else content)
    found = read_or_refused(lambda: load_retrieval_data(folder))
    if found is not None:
        assert found.corpus
        assert all(isinstance(text, str) and text for text in found.corpus.values())
        assert found.queries.keys() == found.qrels.keys()


@pytest.mark.parametrize("kind", [TransferRecipe, TrainRecipe, GridRecipe])
@given(data=st.data())
@more
def test_a_damaged_recipe_is_read_or_refused(kind: Any, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "recipe.yaml"
    if kind is GridRecipe:
        content = (Path(__file__).parents[1] / "reproduction" / "mini" / "faq.yaml").read_bytes()
    else:
        kind.build({}).write(path)
        content = path.read_bytes()
    path.write_bytes(data.draw(damaged(content)))
    recipe = read_or_refused(lambda: kind.read(path))
    if recipe is not None:
        assert kind.build(recipe.model_dump()) == recipe
