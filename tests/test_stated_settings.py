"""What an encoder states beside its weights is heeded by every verb, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import sembridge
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Normalize, Router
from sentence_transformers.sparse_encoder.modules import SpladePooling
from test_training import encoder as training_start
from test_training import recipe, toy_pairs, weights
from tiny import ENGLISH_TEXTS, WORDS, tiny_encoder, tiny_tokenizer
from tiny_bridge import save_tiny_bridge
from transformers import BertTokenizer

from sembridge.encoders.anatomy import check_source_encoder
from sembridge.encoders.fingerprint import sparse_encoder_fingerprint
from sembridge.encoders.loading import load_bridge, load_encoder
from sembridge.encoders.stated import prompt_of, stated_settings
from sembridge.encoders.vectors import encode_corpus, encode_queries
from sembridge.errors import SembridgeError
from sembridge.language_transfer.bridge import embed_texts
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import evaluate
from sembridge.training.data import pairs_data
from sembridge.training.fine_tuning import train
from sembridge.training.inference_free import inference_free_encoder
from sembridge.training.trainer import Teacher

TEXTS = list(ENGLISH_TEXTS)
LONG = " ".join(WORDS["en"])
WAYS = ("stock", "fast")


def english(**settings: object) -> SparseEncoder:
    made = tiny_encoder("BertForMaskedLM", tiny_tokenizer("wordpiece"))
    for name, value in settings.items():
        setattr(made, name, value)
    return made


def data() -> RetrievalData:
    corpus = {f"d{n}": text for n, text in enumerate(TEXTS)}
    return RetrievalData("tiny", "en", corpus, {"q": "green house", "r": "train"}, {"q": {"d1": 1}, "r": {"d3": 1}})


# --- the similarity ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_vectors_of_an_encoder_that_states_cosine_have_unit_length(way: str) -> None:
    cosine, dot = english(similarity_fn_name="cosine"), english()
    expected = dot.encode_document(TEXTS, convert_to_sparse_tensor=False).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encode_corpus(cosine, TEXTS, encode_with=way).toarray(), expected, atol=1e-5)
    assert sparse_encoder_fingerprint(cosine) != sparse_encoder_fingerprint(dot)


def test_evaluation_ranks_by_the_similarity_that_is_stated() -> None:
    for name in ("cosine", "dot"):
        model = english(similarity_fn_name=name)
        found = evaluate(model, data(), measures=["nDCG@10"])
        queries, documents = model.encode_query(list(data().queries.values())), model.encode_document(TEXTS)
        scores = model.similarity(queries, documents)
        for row, query in enumerate(data().queries):
            ours = [found.run[query].get(f"d{n}", 0.0) for n in range(len(TEXTS))]
            np.testing.assert_allclose(ours, scores[row].cpu().numpy(), rtol=1e-4, atol=1e-5)
        assert found.settings.get("similarity") == ("cosine" if name == "cosine" else None)


def test_index_scores_by_cosine(tmp_path: Path) -> None:
    model = english(similarity_fn_name="cosine")
    model.save_pretrained(str(tmp_path / "cosine"), create_model_card=False)
    loaded = load_encoder(tmp_path / "cosine")
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"_id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(TEXTS)))
    done = sembridge("index", tmp_path / "cosine", corpus, "--out", tmp_path / "index")
    assert done.code == 0, done.err
    (answer,) = json.loads(sembridge("search", tmp_path / "index", TEXTS[1], "--json").out)
    own = loaded.similarity(loaded.encode_query([TEXTS[1]]), loaded.encode_document(TEXTS))[0]
    assert answer["hits"][0]["id"] == "d1"
    for hit in answer["hits"]:
        assert hit["score"] == pytest.approx(float(own[int(hit["id"][1:])]), abs=1e-4)


@pytest.mark.parametrize("name", ["euclidean", "manhattan"])
def test_a_distance_is_refused_by_name(name: str) -> None:
    for call in (lambda m: encode_corpus(m, TEXTS), lambda m: evaluate(m, data()), stated_settings):
        with pytest.raises(SembridgeError, match=f"states the similarity {name}"):
            call(english(similarity_fn_name=name))


# --- lengths, prompts, active dims ---------------------------------------------------------------------------------


def with_lengths(model: SparseEncoder, query: int | None, document: int | None) -> SparseEncoder:
    model[0].query_length, model[0].document_length = query, document
    return model


@pytest.mark.parametrize("way", WAYS)
def test_each_side_is_cut_at_its_own_length(way: str) -> None:
    model, whole = with_lengths(english(), 5, 8), english()
    short = {5: " ".join(WORDS["en"][:3]), 8: " ".join(WORDS["en"][:6])}  # with [CLS] and [SEP]
    for length, encode in ((5, encode_queries), (8, encode_corpus)):
        found = encode(model, [LONG], encode_with=way).toarray()
        np.testing.assert_allclose(found, encode(whole, [short[length]]).toarray(), atol=1e-5)
        assert not np.allclose(found, encode(whole, [LONG]).toarray())
    assert evaluate(model, data()).settings["document_length"] == 8


def test_documents_are_cut_at_their_length_while_training(tmp_path: Path) -> None:
    found = []
    for ending in ("school", "night"):
        start = with_lengths(training_start(dropout=False), None, 8)
        long = pairs_data("long", *zip(*((w, f"{w} home " * 5 + ending) for w in WORDS["en"]), strict=True))
        train(start, long, tmp_path / ending, recipe=recipe(steps=2))
        found.append(weights(start))
        assert start[0].document_length == 8
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_shorter_training_goes_before_the_stated_length(tmp_path: Path) -> None:
    found = []
    for ending in ("school", "night"):
        start = with_lengths(training_start(dropout=False), 25, 25)
        long = pairs_data("long", *zip(*((w, f"{w} home " * 5 + ending) for w in WORDS["en"]), strict=True))
        train(start, long, tmp_path / ending, recipe=recipe(steps=2, max_length=8))
        found.append(weights(start))
        assert (start[0].query_length, start[0].document_length) == (25, 25)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_training_puts_the_prompts_before_the_texts_of_each_side(tmp_path: Path) -> None:
    pairs = toy_pairs()
    prompted, plain = training_start(dropout=False), training_start(dropout=False)
    prompted.prompts = {"query": "find ", "document": "read "}
    written = pairs_data("toy", [f"find {q}" for q in pairs.queries], [f"read {d}" for d in pairs.documents])
    train(prompted, pairs, tmp_path / "prompted", recipe=recipe(steps=3))
    train(plain, written, tmp_path / "plain", recipe=recipe(steps=3))
    ours, theirs = weights(prompted), weights(plain)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert load_encoder(tmp_path / "prompted").prompts["document"] == "read "


def test_inference_free_copies_keep_what_is_stated_for_documents() -> None:
    model = english(similarity_fn_name="cosine", max_active_dims=4)
    model.prompts = {"query": "find ", "document": "read "}
    made = inference_free_encoder(model, TEXTS)
    assert (made.max_active_dims, made.similarity_fn_name) == (4, "cosine")
    assert prompt_of(made, "query") in (None, "")
    np.testing.assert_allclose(encode_corpus(made, TEXTS).toarray(), encode_corpus(model, TEXTS).toarray(), atol=1e-6)


def test_training_says_that_it_ranks_by_dot_product(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start = training_start()
    start.similarity_fn_name = "cosine"
    train(start, toy_pairs(), tmp_path / "out", recipe=recipe(steps=1))
    assert "states the similarity cosine: it is trained by dot product" in caplog.text
    assert load_encoder(tmp_path / "out").similarity_fn_name == "cosine"


def test_teacher_reads_each_side_with_its_own_prompt(tmp_path: Path) -> None:
    bridge = load_bridge(save_tiny_bridge(tmp_path / "bridge"))
    plain = embed_texts(bridge, ["home river", "tree book"], cache_folder=tmp_path)
    bridge.prompts, bridge.default_prompt_name = {"query": "home ", "document": "tree "}, "query"
    teacher = Teacher(bridge, pairs_data("one", ["river"], ["book"]), recipe(), tmp_path)
    np.testing.assert_allclose(teacher.queries.numpy(), plain[:1], atol=1e-6)
    np.testing.assert_allclose(teacher.documents[0].numpy(), plain[1:], atol=1e-6)
    assert bridge.default_prompt_name == "query"


@pytest.mark.parametrize("way", WAYS)
def test_stated_active_dims_are_kept_on_both_sides(way: str) -> None:
    model = english(max_active_dims=3)
    for encode in (encode_corpus, encode_queries):
        assert np.diff(encode(model, TEXTS, encode_with=way).indptr).max() == 3
        assert np.diff(encode(model, TEXTS, encode_with=way, max_active_dims=5).indptr).max() == 5


# --- lower case, modules, routes -----------------------------------------------------------------------------------


def cased_folder(folder: Path, *, lowered: bool) -> Path:
    tokenizer = BertTokenizer(vocab=tiny_tokenizer("wordpiece").get_vocab(), do_lower_case=False)
    tiny_encoder("BertForMaskedLM", tokenizer).save_pretrained(str(folder), create_model_card=False)
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": lowered}))
    return folder


def test_lower_casing_outlives_loading_and_saving(tmp_path: Path) -> None:
    loaded = load_encoder(cased_folder(tmp_path / "lowered", lowered=True))
    loaded.save_pretrained(str(tmp_path / "again"), create_model_card=False)
    expected = load_encoder(cased_folder(tmp_path / "cased", lowered=False))
    for model in (loaded, load_encoder(tmp_path / "again"), SparseEncoder(str(tmp_path / "again"), device="cpu")):
        assert torch.equal(model.encode(["Find HOME"]).to_dense(), expected.encode(["find home"]).to_dense())
        assert model.max_seq_length == expected.max_seq_length


def normalized() -> SparseEncoder:
    model = english()
    return SparseEncoder(modules=[model[0], model[1], Normalize()], device="cpu")


def test_a_normalizing_module_counts_in_vectors_and_is_refused_by_name_where_rows_change() -> None:
    model = normalized()
    for way in WAYS:
        assert np.linalg.norm(encode_corpus(model, TEXTS, encode_with=way).toarray(), axis=1) == pytest.approx(1)
    with pytest.raises(SembridgeError, match="unknown modules \\(Normalize\\)"):
        check_source_encoder(model)


def routed(*names: str) -> SparseEncoder:
    model = english()
    routes = {name: [model[0], SpladePooling()] for name in names}
    return SparseEncoder(modules=[Router(routes, default_route=None, allow_empty_key=False)], device="cpu")


def test_a_router_without_a_side_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    for names, task in ((("query", "passage"), "document"), (("document",), "query")):
        routed(*names).save_pretrained(str(tmp_path / task), create_model_card=False)
        with pytest.raises(SembridgeError, match=f"has no route for {task} texts"):
            load_encoder(tmp_path / task)
    routed("query", "document").save_pretrained(str(tmp_path / "both"), create_model_card=False)
    assert isinstance(load_encoder(tmp_path / "both"), SparseEncoder)


def test_a_routed_bridge_without_a_default_is_refused(tmp_path: Path) -> None:
    static = SentenceTransformer(str(save_tiny_bridge(tmp_path / "static")), device="cpu")[0]
    router = Router({"query": [static], "document": [static]}, default_route=None, allow_empty_key=False)
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(str(tmp_path / "b"), create_model_card=False)
    with pytest.raises(SembridgeError, match="no route for texts without a task"):
        load_bridge(tmp_path / "b")
