"""Queries without torch are the stock encoder's; searching, and explaining a token, import neither it nor models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import sembridge
from sentence_transformers import SparseEncoder
from tiny import ENGLISH_TEXTS, tiny_encoder, tiny_inference_free, tiny_tokenizer
from tiny_bridge import TinyBridge

from sembridge.deployment.recipe import IndexRecipe
from sembridge.deployment.search.index import SearchIndex
from sembridge.deployment.search.indexing import index_corpus
from sembridge.deployment.search.light import PLACE, LightWay
from sembridge.encoders.light import MOST_QUERIES, PLAN_FILE, TOKENIZER_FILE, LightQueries
from sembridge.encoders.light_plan import keep_light_queries
from sembridge.encoders.loading import load_encoder
from sembridge.encoders.vectors import encode_queries
from sembridge.errors import SembridgeError
from sembridge.language_transfer.assembly import transfer

FAMILIES = {"RobertaForMaskedLM": "bpe", "XLMRobertaForMaskedLM": "unigram"}
KNOWN = ("BertForMaskedLM", "DistilBertForMaskedLM", *FAMILIES)
TEXTS = (*ENGLISH_TEXTS, "", "  Home,  HOUSE ", "home " * 90, "<pad> tree [PAD] <mask>", "나무 😀")
HEAVY = ("torch", "transformers", "sentence_transformers", "sklearn", "pyarrow")


def kept(encoder: SparseEncoder, folder: Path) -> LightQueries | None:
    """The light way of an encoder that was saved and loaded again, from its files alone."""
    encoder.save_pretrained(str(folder / "encoder"), create_model_card=False)
    keep_light_queries(load_encoder(folder / "encoder"), folder / "encoder", folder / "light")
    return LightQueries.open(folder / "light", folder / "encoder")


def assert_same(light: LightQueries | None, encoder: SparseEncoder) -> None:
    assert light is not None
    # One by one: beside a longer text, a [PAD] in a static query has weight or none as torch's scatter pleases.
    expected = np.vstack([encode_queries(encoder, [text]).toarray() for text in TEXTS])
    assert (expected > 0).any(axis=1).sum() >= len(ENGLISH_TEXTS)
    np.testing.assert_allclose(light(TEXTS).toarray(), expected, atol=1e-4, rtol=0)


@pytest.mark.numerics
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", KNOWN)
def test_queries_are_the_stock_encoders(architecture: str, tied: bool, tmp_path: Path) -> None:
    encoder = tiny_encoder(architecture, tiny_tokenizer(FAMILIES.get(architecture, "wordpiece")), tied=tied)
    assert_same(kept(encoder, tmp_path), encoder)


@pytest.mark.numerics
def test_settings_of_the_query_side_are_heeded(tmp_path: Path) -> None:
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), activation_function="log1p_relu")
    encoder.prompts, encoder.max_active_dims, encoder.max_seq_length = {"query": "find book "}, 9, 7
    encoder.similarity_fn_name = "cosine"
    assert_same(light := kept(encoder, tmp_path), load_encoder(tmp_path / "encoder"))
    assert light is not None
    assert (light.plan.prompt, light.plan.unit_length, light.plan.n_logarithms) == ("find book ", True, 2)


@pytest.mark.numerics
def test_static_queries_are_looked_up(tmp_path: Path) -> None:
    encoder = tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    assert_same(light := kept(encoder, tmp_path), encoder)
    assert light is not None
    assert light.plan.n_layers == 0


@pytest.mark.parametrize("architecture", ["MPNetForMaskedLM", "ModernBertForMaskedLM"])
def test_other_layers_have_no_light_way_and_leave_none_behind(architecture: str, tmp_path: Path) -> None:
    (tmp_path / "light").mkdir()
    assert kept(tiny_encoder(architecture, tiny_tokenizer("bpe")), tmp_path) is None
    assert not (tmp_path / "light").exists()


def test_vectors_that_are_not_the_same_have_no_light_way(tmp_path: Path) -> None:
    """The check that everything else rests on: a plan is tried before it is kept."""
    encoder = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    other = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"), seed=9)
    other.save_pretrained(str(tmp_path / "other"), create_model_card=False)
    assert not keep_light_queries(encoder, tmp_path / "other", tmp_path / "light")
    assert not (tmp_path / "light").exists()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transferred encoder `ko` and an `index` of it."""
    root = tmp_path_factory.mktemp("light")
    source = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    result = transfer(source, tiny_tokenizer("wordpiece", language="target"), TinyBridge())
    result.save(root / "ko")
    lines = [{"_id": f"d{n}", "text": text} for n, text in enumerate(("학교 책", "나무 강", "школа дом", "home 2024"))]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    recipe = IndexRecipe.build({"engine": "exact"})
    index_corpus(load_encoder(root / "ko"), root / "corpus.jsonl", root / "index", name=str(root / "ko"), recipe=recipe)
    return root / "index"


def answer(*words: object) -> Any:
    done = sembridge("search", *words, "--json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


@pytest.mark.numerics
def test_the_light_way_finds_what_the_whole_encoder_finds(index: Path) -> None:
    words = (index, "학교 책", "дом", "--explain")
    light = answer(*words)
    (index / PLACE).rename(index.parent / PLACE)
    try:
        whole = answer(*words)
    finally:
        (index.parent / PLACE).rename(index / PLACE)
    assert [len(of["hits"]) for of in whole] == [len(of["hits"]) for of in light]
    for of_light, of_whole in zip(light, whole, strict=True):
        for mine, theirs in zip(of_light["hits"], of_whole["hits"], strict=True):
            assert (mine["id"], mine["score"]) == (theirs["id"], pytest.approx(theirs["score"], abs=1e-4))
            assert [(t["token"], t["parts"]) for t in mine["terms"]] == [
                (t["token"], t["parts"]) for t in theirs["terms"]
            ]


def test_search_and_explain_import_neither_torch_nor_models(index: Path) -> None:
    code = f"""
import sys
from sembridge.cli import main
for words in (["search", {str(index)!r}, "학교", "--explain"], ["explain", {str(index.parent / "ko")!r}, "학교"]):
    try:
        main(words)
    except SystemExit as exit_:
        assert not exit_.code, exit_.code
    print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines.count("[]") == 2, done.stdout
    assert "d0" in done.stdout


def test_another_encoder_in_its_place_goes_the_full_way_and_is_refused(index: Path, tmp_path: Path) -> None:
    other = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece", language="target"), seed=9)
    other.save_pretrained(str(tmp_path / "other"), create_model_card=False)
    done = sembridge("search", index, "학교", "--encoder", tmp_path / "other")
    assert done.code == 1
    assert "was made with the encoder" in done.line


def test_a_plan_holds_for_its_versions_and_only_while_it_can_be_read(index: Path) -> None:
    place, name = index / PLACE, str(index.parent / "ko")
    assert LightWay.open(index, name, n_queries=MOST_QUERIES) is not None
    assert LightWay.open(index, name, n_queries=MOST_QUERIES + 1) is None
    assert LightWay.open(index, "somebody/on-the-hub", n_queries=1) is None
    before = (place / PLAN_FILE).read_text(encoding="utf-8")
    other = json.dumps(json.loads(before) | {"versions": {"transformers": "4.0"}})
    roles = json.loads(before)["names"]
    fewer = json.dumps(json.loads(before) | {"names": {role: roles[role] for role in list(roles)[1:]}})
    for content in (other, fewer, "{", "{}"):
        (place / PLAN_FILE).write_text(content, encoding="utf-8")
        assert LightWay.open(index, name, n_queries=1) is None
    (place / PLAN_FILE).write_text(before, encoding="utf-8")
    tokenizer = (place / TOKENIZER_FILE).read_text(encoding="utf-8")
    for content in (tokenizer.replace("학교", "학생"), "{", ""):
        (place / TOKENIZER_FILE).write_text(content, encoding="utf-8")
        assert LightWay.open(index, name, n_queries=1) is None
    (place / TOKENIZER_FILE).write_text(tokenizer, encoding="utf-8")
    assert LightWay.open(index, name, n_queries=1) is not None


def test_vectors_of_another_width_are_refused(index: Path) -> None:
    way = LightWay.open(index, str(index.parent / "ko"), n_queries=1)
    assert way is not None
    with SearchIndex.open(index) as opened, pytest.raises(SembridgeError, match="encode the queries with its encoder"):
        opened.find(way.queries(["학교"])[:, :5])
