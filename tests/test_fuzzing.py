"""Files that something has damaged: they are read right, or refused by a SembridgeError, and nothing else happens.

A few examples each by default; `SEMBRIDGE_EXAMPLES=1000` tries a thousand of each.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import spelled_tokenizer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from tiny import FAMILIES, tiny_encoder, tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sembridge.deployment.search.manifest import read_index_manifest
from sembridge.deployment.shards import SHARDS_MANIFEST, read_shards, read_shards_manifest
from sembridge.encoders.loading import load_encoder, load_tokenizer
from sembridge.encoders.tokenizer_habits import tokenizer_habits
from sembridge.encoders.vocabulary import read_vocabulary
from sembridge.errors import SembridgeError
from sembridge.experiments.recipe import GridRecipe
from sembridge.files.word_pairs import read_dictionary
from sembridge.language_transfer.alignment import ALIGNMENT_FILE, Alignment
from sembridge.language_transfer.folder import read_report
from sembridge.language_transfer.initialization.word_vectors import read_word_vectors
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.retrieval.runs import ranked, write_run
from sembridge.retrieval.sources import load_retrieval_data
from sembridge.training.data import load_training_data
from sembridge.training.recipe import TrainRecipe

# A profile of hypothesis would not do: what a test states goes over it.
N_EXAMPLES = int(os.environ.get("SEMBRIDGE_EXAMPLES", "0"))
ONE_FOLDER = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]


def examples(usual: int) -> settings:
    """The same examples in every run; not shrunk, which costs more than it tells, as the damage is shown whole."""
    phases = [Phase.explicit, Phase.generate]
    n = N_EXAMPLES or usual
    return settings(max_examples=n, phases=phases, deadline=None, derandomize=True, suppress_health_check=ONE_FOLDER)


few, more = examples(10), examples(40)

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


TOKENIZERS: dict[str, Callable[[], Any]] = {
    **{family: partial(tiny_tokenizer, family) for family in FAMILIES},
    "byte-fallback": partial(spelled_tokenizer, "byte-fallback", ["▁home", "▁", "학교", "дом", "e", "s"]),
    "wordlevel": lambda: word_level_tokenizer(["home", "학교", "дом"]),
}
TEXTS = ["home 학교", "дом, 2024!", "ᚠ", ""]


def word_level_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    ids = {word: id_ for id_, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    backend = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


@pytest.mark.parametrize("family", TOKENIZERS)
@given(data=st.data())
@more
def test_a_damaged_tokenizer_is_read_or_refused(family: str, tmp_path: Path, data: st.DataObject) -> None:
    """As `inspect` and `transfer` read it: what is read can cut any text, and every id has its row."""
    folder = tmp_path / "tokenizer"
    if not folder.exists():
        TOKENIZERS[family]().save_pretrained(folder)
        shutil.copytree(folder, tmp_path / "good")
    name = data.draw(st.sampled_from(["tokenizer.json", "tokenizer.json", "tokenizer_config.json"]))
    shutil.copytree(tmp_path / "good", folder, dirs_exist_ok=True)
    good = json.loads((tmp_path / "good" / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(data.draw(with_one_value_changed(good))), encoding="utf-8")

    def read() -> Any:
        tokenizer = load_tokenizer(folder)
        return tokenizer, read_vocabulary(tokenizer), tokenizer_habits(tokenizer)

    if (found := read_or_refused(read)) is not None:
        tokenizer, vocabulary, habits = found
        assert len(habits) == 4
        assert len(vocabulary.tokens) == len(vocabulary.texts) > max(tokenizer.get_vocab().values())
        assert max(id_ for ids in tokenizer(TEXTS)["input_ids"] for id_ in ids) < len(vocabulary)


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
@few
def test_a_changed_config_of_a_model_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "encoder"
    if not folder.exists():
        tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece")).save_pretrained(str(folder))
        shutil.copytree(folder, tmp_path / "good")
    shutil.copytree(tmp_path / "good", folder, dirs_exist_ok=True)
    names = ["config.json", "modules.json", "sentence_bert_config.json", "1_SpladePooling/config.json"]
    name = data.draw(st.sampled_from([*names, "config_sentence_transformers.json"]))
    good = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(data.draw(with_one_value_changed(good))), encoding="utf-8")
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
    for path in (folder / "qrels").iterdir():
        path.unlink()
    if data.draw(st.booleans()):  # judgments as TREC writes them
        del good["qrels/test.tsv"]
        good["qrels/test.trec"] = "q1 0 d1 1\nq1 0 d2 -1\n"
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


PAIRS = {
    "pairs.jsonl": '{"query": "학교", "positive": "책", "negative": ["дом"]}\n{"query": "дом", "positive": "река"}\n',
    "pairs.json": '[{"query": "학교", "positive": "책", "label": 1}, {"query": "дом", "positive": "река", "label": 0}]',
    "pairs.csv": 'query,positive\n학교,"선생님, 책"\nдом,река\n',
    "pairs.tsv": 'query\tpositive\n학교\t"선생님\nдом\tрека\n',
}


@pytest.mark.parametrize("name", [*PAIRS, "pairs.jsonl.gz"])
@given(data=st.data())
@more
def test_damaged_pairs_are_read_or_refused(name: str, tmp_path: Path, data: st.DataObject) -> None:
    good = PAIRS[name.removesuffix(".gz")].encode()
    path = tmp_path / name
    path.write_bytes(data.draw(damaged(gzip.compress(good, mtime=0) if name.endswith(".gz") else good)))
    found = read_or_refused(lambda: load_training_data(path))
    if found is not None:
        assert len(found) == len(found.queries) == len(found.documents) > 0
        assert all(isinstance(text, str) and text for text in (*found.queries, *found.documents))


@pytest.mark.parametrize("name", ["words.vec", "words.vec.gz"])
@given(data=st.data())
@more
def test_damaged_word_vectors_are_read_or_refused(name: str, tmp_path: Path, data: st.DataObject) -> None:
    good = "3 2\nhome 0.5 -1e-3\n학교 1 2\nдом 3.25 0\n".encode()
    path = tmp_path / name
    path.write_bytes(data.draw(damaged(gzip.compress(good, mtime=0) if name.endswith(".gz") else good)))
    found = read_or_refused(lambda: read_word_vectors(path))
    if found is not None:
        assert found.vectors.shape == (len(found.words), found.dim)
        assert np.isfinite(found.vectors).all()


@given(data=st.data())
@more
def test_a_damaged_dictionary_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "words.tsv"
    path.write_bytes(data.draw(damaged("school\t학교\nriver река\n".encode())))
    found = read_or_refused(lambda: read_dictionary(path))
    if found is not None:
        assert all(english and other for english, other in found)


ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
scores = st.floats(allow_nan=False, width=32) | st.sampled_from([0.0, -0.0, 1e-45, 3.4e38, 1 + 1e-9, 1.0])


@given(run=st.dictionaries(ids, st.dictionaries(ids, scores, min_size=1, max_size=5), max_size=3))
@more
def test_any_run_is_written_so_that_others_rank_it_alike_or_refused(
    run: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    """trec_eval splits at white space and ranks by score, ties by id backwards: so there must be none."""
    path = tmp_path / "run.trec"
    path.unlink(missing_ok=True)
    read_or_refused(lambda: write_run(run, path))
    has_space = any(text.split() != [text] for query, documents in run.items() for text in (query, *documents))
    assert path.exists() is not has_space
    if has_space:
        return
    read: dict[str, list[tuple[str, float]]] = {}
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        query, _, document, _, score, _ = line.split()
        read.setdefault(query, []).append((document, float(score)))
    assert {query: [document for document, _ in found] for query, found in read.items()} == {
        query: ranked(documents) for query, documents in run.items()
    }
    for found in read.values():
        values = [np.float32(score) for _, score in found]
        assert values == sorted(set(values), reverse=True)


RECORDS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "index": ("index.json", read_index_manifest),
    "ko": ("report.json", read_report),
    "shards": (SHARDS_MANIFEST, read_shards_manifest),
}


@given(data=st.data())
@more
def test_a_damaged_journal_of_shards_is_read_or_refused(specimens: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "shards"
    shutil.copytree(specimens / "shards", folder, dirs_exist_ok=True)
    journal = next(folder.glob("shards-*.jsonl"))
    journal.write_bytes(data.draw(damaged(journal.read_bytes())))
    found = read_or_refused(lambda: [ids for ids, _ in read_shards(folder)])
    if found is not None:
        assert [id_ for ids in found for id_ in ids] == ["d1", "d2", "d3", "d4"]


@pytest.mark.parametrize("name", RECORDS)
@given(data=st.data())
@more
def test_a_changed_record_of_our_own_is_read_or_refused(
    name: str, specimens: Path, tmp_path: Path, data: st.DataObject
) -> None:
    file, read = RECORDS[name]
    good = (specimens / name / file).read_text(encoding="utf-8")
    changed = with_one_value_changed(json.loads(good)).map(lambda value: json.dumps(value).encode())
    (tmp_path / file).write_bytes(data.draw(changed | damaged(good.encode())))
    read_or_refused(lambda: read(tmp_path))
