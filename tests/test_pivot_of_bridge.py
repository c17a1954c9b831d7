"""Pivots whose body is a multilingual dense encoder's: it reads, the source's decoder writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import sembridge
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from test_aligning import TRANSLATIONS, questions
from test_pivot import family_of
from tiny import ENGLISH_TEXTS, assert_same_vectors, tiny_encoder, tiny_inference_free, tiny_tokenizer
from tiny_bridge import save_tiny_bridge

from sembridge.encoders.anatomy import read_anatomy
from sembridge.encoders.loading import load_encoder
from sembridge.encoders.vectors import encode_corpus, encode_queries
from sembridge.errors import SembridgeError
from sembridge.language_transfer.pivot import Pivot
from sembridge.language_transfer.pivot_of_bridge import bridge_pivot

pytestmark = [pytest.mark.numerics, pytest.mark.usefixtures("one_thread")]


def dense(body_of: SparseEncoder, folder: Path) -> SentenceTransformer:
    """A dense encoder with the body and the tokenizer of a sparse one."""
    read_anatomy(body_of).model.base_model.save_pretrained(folder)
    body_of.tokenizer.save_pretrained(folder)
    first = Transformer(str(folder))
    return SentenceTransformer(modules=[first, Pooling(first.get_embedding_dimension())], device="cpu").eval()


def source_and_reader(architecture: str = "BertForMaskedLM") -> tuple[SparseEncoder, SparseEncoder]:
    """An English encoder, and another of the same architecture that reads other words."""
    family = family_of(architecture)
    return (
        tiny_encoder(architecture, tiny_tokenizer(family), seed=1),
        tiny_encoder(architecture, tiny_tokenizer(family, language="target"), seed=2),
    )


@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "XLMRobertaForMaskedLM"])
def test_a_bridge_with_the_body_of_the_source_gives_its_vectors(architecture: str, tmp_path: Path) -> None:
    source, _ = source_and_reader(architecture)
    n_layers = read_anatomy(source).model.config.num_hidden_layers
    pivot = bridge_pivot(source, dense(source, tmp_path / "dense"), n_layers=n_layers)
    found, expected = (encode_queries(encoder, ENGLISH_TEXTS) for encoder in (pivot, source))
    assert_same_vectors(torch.from_numpy(found.toarray()), torch.from_numpy(expected.toarray()))


def test_layers_are_the_bridges_the_decoder_the_sources_and_what_is_filled_up_never_fires(tmp_path: Path) -> None:
    source, reader = source_and_reader()
    n_source, n_target = len(source.tokenizer), len(reader.tokenizer)
    pivot = bridge_pivot(source, dense(reader, tmp_path / "dense"), n_layers=1)
    model, body = read_anatomy(pivot).model, read_anatomy(reader).model.base_model.state_dict()
    assert model.config.num_hidden_layers == 1
    for name, value in model.base_model.state_dict().items():
        assert torch.equal(value[: len(body[name])], body[name]), name
    decoder = model.cls.predictions.decoder
    assert torch.equal(decoder.weight[:n_source], read_anatomy(source).model.cls.predictions.decoder.weight)
    assert pivot.tokenizer.get_vocab() == reader.tokenizer.get_vocab()
    vectors = encode_queries(pivot, list(TRANSLATIONS))
    assert vectors.shape[1] == max(n_source, n_target)
    assert vectors[:, n_source:].nnz == 0


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    source, reader = source_and_reader()
    bridge = dense(reader, tmp_path / "dense")
    with pytest.raises(SembridgeError, match="ModernBertForMaskedLM; a bridge can"):
        bridge_pivot(tiny_encoder("ModernBertForMaskedLM", tiny_tokenizer("wordpiece")), bridge)
    with pytest.raises(SembridgeError, match="static query weights"):
        bridge_pivot(tiny_inference_free("BertForMaskedLM", tiny_tokenizer("wordpiece")), bridge)
    with pytest.raises(SembridgeError, match="give 1 to"):
        bridge_pivot(source, bridge, n_layers=99)
    with pytest.raises(SembridgeError, match="The bridge's body is"):
        bridge_pivot(source, SentenceTransformer(str(save_tiny_bridge(tmp_path / "static"))))


def test_the_head_alone_is_trained_on_english_and_translations(tmp_path: Path) -> None:
    source, reader = source_and_reader()
    source.save_pretrained(str(tmp_path / "source"), create_model_card=False)
    dense(reader, tmp_path / "body").save_pretrained(str(tmp_path / "bridge"), create_model_card=False)
    lines = ["english\ttranslation", *(f"{english}\t{other}" for other, english in TRANSLATIONS.items())]
    (tmp_path / "words.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    english = [json.dumps({"_id": doc, "text": text}) for doc, text in questions().corpus.items()]
    (tmp_path / "english.jsonl").write_text("\n".join(english) + "\n", encoding="utf-8")
    command = (
        "train", tmp_path / "bridge", tmp_path / "words.tsv", tmp_path / "out", "--align-to", tmp_path / "source",
        "--also", f"corpus:{tmp_path / 'english.jsonl'}", "--steps", 60, "--batch-size", 5, "--learning-rate", 2e-2,
        "--document-weight", 0.00003, "--freeze-body", "--layers", 1,
    )  # fmt: skip
    done = sembridge(*command, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["pairs"] == len(TRANSLATIONS) + len(questions().corpus)
    trained = Pivot.load(tmp_path / "out", load_encoder(tmp_path / "source"))
    start = bridge_pivot(source, SentenceTransformer(str(tmp_path / "bridge")), n_layers=1)
    model, before = read_anatomy(trained.encoder).model, read_anatomy(start).model
    for name, value in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], value) == ("transform" not in name), name
    aimed = encode_corpus(source, list(TRANSLATIONS.values()))

    def distance(encoder: SparseEncoder) -> float:
        apart = encode_corpus(encoder, list(TRANSLATIONS))[:, : aimed.shape[1]] - aimed
        return float(apart.multiply(apart).sum())

    assert distance(trained.encoder) < 0.5 * distance(start)
    assert all(parameter.requires_grad for parameter in trained.encoder.parameters())
    it_reads_documents_of_a_language_that_is_named(tmp_path)


def it_reads_documents_of_a_language_that_is_named(place: Path) -> None:
    (place / "korean.jsonl").write_text('{"_id": "d0", "text": "학교 강"}\n', encoding="utf-8")
    assert sembridge("index", place / "source", place / "english.jsonl", "--out", place / "index").code == 0
    command = ("index", place / "out", place / "korean.jsonl", "--into", place / "index")
    assert "--language which" in sembridge(*command).line
    assert sembridge(*command, "--language", "ko").code == 0
    done = sembridge("search", place / "index", "학교", "--query-encoder", place / "out", "--filter", "language=ko",
                     "--explain", "--json")  # fmt: skip
    (hit,) = json.loads(done.out)[0]["hits"]
    assert hit["id"] == "ko:d0"
    assert sum(term["product"] for term in hit["terms"]) == pytest.approx(hit["score"], rel=1e-5)


def test_settings_of_such_a_training_are_refused_elsewhere(tmp_path: Path) -> None:
    source, _ = source_and_reader()
    source.save_pretrained(str(tmp_path / "source"), create_model_card=False)
    (tmp_path / "pairs.tsv").write_text("query\tdocument\nhome\tschool\nriver\ttree\n", encoding="utf-8")
    command = ("train", tmp_path / "source", tmp_path / "pairs.tsv", tmp_path / "out", "--steps", 1, "--batch-size", 2)
    assert "give --align-to" in sembridge(*command, "--freeze-body").line
    assert "belongs to --align-to" in sembridge(*command, "--layers", 2).err
