"""Laws of static bridges: of model2vec folders what its own library computes, and of all what they do not know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from sembridge.encoders.loading import load_bridge
from sembridge.errors import SembridgeError
from sembridge.files.vector_cache import VectorCache
from sembridge.language_transfer.bridge import bridge_fingerprint, embed_texts, time_bridging

WORDS = ["[PAD]", "[UNK]", "school", "book", "water", "학교", "책", "물", "##s"]
TEXTS = ["school", "books", "school 日本", "日本", "한국", "학교 water", "물 日本 물", ""]
VECTORS = np.random.default_rng(0).normal(size=(len(WORDS), 6)).astype(np.float32)


def tokenizer_of(family: str) -> Tokenizer:
    ids = {word: id_ for id_, word in enumerate(WORDS)}
    model = {
        "wordpiece": lambda: models.WordPiece(ids, unk_token="[UNK]"),
        "wordlevel": lambda: models.WordLevel(ids, unk_token="[UNK]"),
        "unigram": lambda: models.Unigram([(word, -1.0 - id_) for word, id_ in ids.items()], unk_id=1),
    }[family]()
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def save_model2vec(folder: Path, family: str, *, stock: bool = False, **tensors: np.ndarray) -> Path:
    """As model2vec writes it; `stock` adds the module list for Sentence Transformers, as models on the hub have it."""
    folder.mkdir()
    tokenizer_of(family).save(str(folder / "tokenizer.json"))
    save_file(tensors or {"embeddings": VECTORS}, folder / "model.safetensors")
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "hidden_dim": 6, "normalize": True}
    (folder / "config.json").write_text(json.dumps(config))
    if stock:
        modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}]
        (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def mean_of_known(family: str, rows: np.ndarray, text: str) -> np.ndarray:
    """Unit vector by the definition: the rows of the known pieces, averaged; zero where none is known."""
    ids = [id_ for id_ in tokenizer_of(family).encode(text, add_special_tokens=False).ids if id_ != 1]
    mean = rows[ids].mean(axis=0) if ids else np.zeros(rows.shape[1])
    return mean / (np.linalg.norm(mean) or 1)


@pytest.mark.parametrize("stock", [False, True])
@pytest.mark.parametrize("family", ["wordpiece", "wordlevel", "unigram"])
def test_unknown_pieces_are_left_out_of_the_mean(tmp_path, family, stock):
    bridge = load_bridge(save_model2vec(tmp_path / "m", family, stock=stock))
    expected = [mean_of_known(family, VECTORS, text) for text in TEXTS]
    assert expected[3].tolist() == [0] * 6
    np.testing.assert_allclose(embed_texts(bridge, TEXTS, cache_folder=tmp_path / "c"), expected, atol=1e-6)


def test_quantized_vocabularies_keep_their_mapping_and_weights(tmp_path):
    mapping = np.array([0, 1, 2, 3, 4, 2, 3, 4, 5])
    weights = np.random.default_rng(1).uniform(0.2, 2, len(WORDS))
    tensors = {"embeddings": VECTORS[:6].copy(), "mapping": mapping.astype(np.int32), "weights": weights}
    bridge = load_bridge(save_model2vec(tmp_path / "m", "wordpiece", **tensors))
    rows = VECTORS[:6][mapping] * weights[:, None]
    expected = [mean_of_known("wordpiece", rows, text) for text in TEXTS]
    np.testing.assert_allclose(embed_texts(bridge, TEXTS, cache_folder=tmp_path / "c"), expected, atol=1e-6)


def test_vectors_of_the_other_rule_are_not_read_from_the_cache(tmp_path):
    """The same folder under Sentence Transformers averages the unknown token in: another fingerprint."""
    folder = save_model2vec(tmp_path / "m", "wordpiece", stock=True)
    stock = SentenceTransformer(str(folder), device="cpu")
    ours = load_bridge(folder)
    assert bridge_fingerprint(stock) != bridge_fingerprint(ours)
    both = [embed_texts(bridge, ["school 日本"], cache_folder=tmp_path / "c")[0] for bridge in (stock, ours)]
    assert not np.allclose(*both, atol=1e-3)


def test_fewer_rows_than_tokens_are_refused(tmp_path):
    folder = save_model2vec(tmp_path / "m", "wordpiece", embeddings=VECTORS[:5].copy())
    with pytest.raises(SembridgeError, match="'학교' the id 5 but its matrix has 5 rows"):
        load_bridge(folder)


@pytest.mark.parametrize("family", ["wordpiece", "wordlevel", "unigram"])
def test_same_vectors_as_the_library_itself(tmp_path, family):
    model2vec = pytest.importorskip("model2vec", reason="parity with model2vec needs the package")
    folder = save_model2vec(tmp_path / "m", family)
    own = model2vec.StaticModel.from_pretrained(str(folder)).encode(TEXTS)
    np.testing.assert_allclose(embed_texts(load_bridge(folder), TEXTS, cache_folder=tmp_path / "c"), own, atol=1e-6)


@pytest.mark.parametrize("family", ["wordpiece", "wordlevel", "unigram"])
def test_what_a_static_bridge_knows_nothing_of_has_no_vector(tmp_path, family):
    """Sentence Transformers gives all such texts the unknown token's row: they would be translations of one another."""
    module = StaticEmbedding(tokenizer_of(family), embedding_weights=VECTORS)
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(tmp_path / "static"))
    bridge = load_bridge(tmp_path / "static")
    stock = bridge.encode(["日本", "한국", "학교 water"])
    assert np.array_equal(stock[0], stock[1])
    assert stock[0].any()
    texts = ["日本", "학교 water", "한국", "日本"]
    found = embed_texts(bridge, texts, cache_folder=tmp_path / "c")
    assert not found[[0, 2, 3]].any()
    np.testing.assert_allclose(found[1], stock[2] / np.linalg.norm(stock[2]), atol=1e-6)
    assert embed_texts(bridge, ["日本", "한국"], cache_folder=tmp_path / "c").tolist() == np.zeros((2, 6)).tolist()
    assert time_bridging(bridge, texts, cache_folder=tmp_path / "c").cached == 1


def test_vectors_of_unknown_texts_that_an_earlier_version_kept_are_not_read(tmp_path):
    module = StaticEmbedding(tokenizer_of("wordlevel"), embedding_weights=VECTORS)
    bridge = SentenceTransformer(modules=[module], device="cpu")
    cache = VectorCache(tmp_path / bridge_fingerprint(bridge), "earlier")
    cache.write(["日本"], np.ones((1, 6), np.float32))
    assert not embed_texts(bridge, ["日本"], cache_folder=tmp_path).any()
