"""Laws of `sembridge.language_transfer.bridge`: what is encoded, what is kept, what is refused."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizerFast

import sembridge.language_transfer.bridge as bridge_module
from sembridge.errors import SembridgeError
from sembridge.files.atomic import PARTIAL
from sembridge.language_transfer.bridge import bridge_fingerprint, bridge_settings, default_cache_folder, embed_texts

WORDS = ["school", "학교", "дом", "بيت", "home", "学校", "घर", "a", "to", "play"]
SOURCE_TEXTS = ["home", "school", "to play", "school home school", "a"]
TARGET_TEXTS = ["학교", "home", "дом", "بيت"]


class LetterBridge:
    """A real, if simple, bridge: counts of hashed letters. Remembers what it was asked to encode."""

    def __init__(self, fingerprint: str | None = "letters 1", *, width: int = 16) -> None:
        self.fingerprint = fingerprint
        self.width = width
        self.encoded: list[str] = []

    def encode(self, sentences):
        self.encoded += sentences
        vectors = np.zeros((len(sentences), self.width))
        for row, text in enumerate(sentences):
            for letter in text:
                vectors[row, ord(letter) % self.width] += 1
        return vectors


class CountingTransformer(SentenceTransformer):
    """A SentenceTransformer that remembers what it was asked to encode."""

    def encode(self, inputs, *args, **kwargs):
        self.encoded = [*getattr(self, "encoded", []), *inputs]
        return super().encode(inputs, *args, **kwargs)


def static_bridge(*, seed: int = 0, dim: int = 8, truncate_dim: int | None = None) -> CountingTransformer:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = torch.randn(len(WORDS), dim, generator=torch.Generator().manual_seed(seed))
    return CountingTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu", truncate_dim=truncate_dim
    )


def bert_tokenizer() -> BertTokenizerFast:
    return BertTokenizerFast(vocab={t: i for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])})


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=15, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    bert_tokenizer().save_pretrained(folder)
    return folder


def bert_bridge(folder: Path, *, normalize: bool = True, **kwargs) -> CountingTransformer:
    transformer = Transformer(str(folder), max_seq_length=kwargs.pop("max_seq_length", 16))
    modules = [transformer, Pooling(16, pooling_mode="mean")] + ([Normalize()] if normalize else [])
    return CountingTransformer(modules=modules, device="cpu", **kwargs)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_vectors_are_the_bridges_own_at_unit_length(tmp_path):
    model = static_bridge()
    vectors = embed_texts(model, SOURCE_TEXTS, cache_folder=tmp_path)
    expected = SentenceTransformer.encode(model, SOURCE_TEXTS, normalize_embeddings=True)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, 8)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)  # float32 rounding of one division
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.numerics
@pytest.mark.parametrize("make", [static_bridge, LetterBridge])
def test_order_and_repetitions_do_not_matter(make, tmp_path):
    texts = [*SOURCE_TEXTS, *TARGET_TEXTS]
    once = embed_texts(make(), texts, cache_folder=tmp_path / "once")
    shuffled = [texts[i] for i in [3, 3, 0, 8, 1, 7, 0, 2, 4, 6, 5, 3]]
    other = make()
    again = embed_texts(other, shuffled, cache_folder=tmp_path / "again", batch_size=2)
    rows = dict(zip(texts, once, strict=True))
    np.testing.assert_array_equal(again, np.stack([rows[text] for text in shuffled]))
    assert sorted(other.encoded) == sorted(set(texts))


def test_longest_texts_come_first(tmp_path):
    model = LetterBridge()
    embed_texts(model, ["a", "ccc", "bb", "aaa"], cache_folder=tmp_path)
    assert model.encoded == ["aaa", "ccc", "bb", "a"]


@pytest.mark.parametrize("make", [static_bridge, LetterBridge])
def test_second_run_encodes_nothing(make, tmp_path):
    first = embed_texts(make(), SOURCE_TEXTS, cache_folder=tmp_path)
    model = make()
    second = embed_texts(model, SOURCE_TEXTS[::-1], cache_folder=tmp_path)
    assert getattr(model, "encoded", []) == []
    np.testing.assert_array_equal(second, first[::-1])


def test_second_target_encodes_only_its_own_texts(tmp_path):
    embed_texts(LetterBridge(), SOURCE_TEXTS + TARGET_TEXTS, cache_folder=tmp_path)
    model = LetterBridge()
    embed_texts(model, [*SOURCE_TEXTS, "घर", *TARGET_TEXTS], cache_folder=tmp_path)
    assert model.encoded == ["घर"]


@pytest.mark.numerics
def test_many_shards_and_batches_give_the_same_vectors(tmp_path, monkeypatch):
    texts = [f"text {i}" for i in range(50)]
    whole = embed_texts(LetterBridge(), texts, cache_folder=tmp_path / "whole")
    monkeypatch.setattr(bridge_module, "SHARD_TEXTS", 7)
    pieces = embed_texts(LetterBridge(), texts, cache_folder=tmp_path / "pieces", batch_size=3)
    cached = embed_texts(LetterBridge(), texts, cache_folder=tmp_path / "pieces")
    assert len(shards(tmp_path / "pieces")) == 8
    np.testing.assert_array_equal(pieces, whole)
    np.testing.assert_array_equal(cached, whole)


def test_interrupted_run_keeps_its_finished_shards_and_says_how_to_go_on(tmp_path, monkeypatch, caplog):
    class Interrupted(LetterBridge):
        stop_after = 6

        def encode(self, sentences):
            if len(self.encoded) >= self.stop_after:
                raise KeyboardInterrupt
            return super().encode(sentences)

    monkeypatch.setattr(bridge_module, "SHARD_TEXTS", 4)
    texts = [f"{i:02}" for i in range(10)]
    with pytest.raises(KeyboardInterrupt):
        embed_texts(Interrupted(), texts, cache_folder=tmp_path, batch_size=2)
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "Bridging was interrupted; what is done is kept, and the same command goes on from there"
    ]
    model = Interrupted()
    model.stop_after = 100
    vectors = embed_texts(model, texts, cache_folder=tmp_path)
    assert model.encoded == texts[4:]
    np.testing.assert_array_equal(vectors, embed_texts(LetterBridge(None), texts))


KILLED_WRITER = """
import os, sys
from pathlib import Path
import numpy as np
from sembridge.files.vector_cache import VectorCache

def stop_before_the_rename(descriptor):  # the data are written, the name is not given yet
    print("writing", flush=True)
    sys.stdin.read()

os.fsync = stop_before_the_rename
VectorCache(Path(sys.argv[1]), "b").write([f"t{i}" for i in range(1000)], np.ones((1000, 64), dtype=np.float32))
"""


def test_killed_writer_leaves_nothing_readable(tmp_path):
    from sembridge.files.vector_cache import VectorCache

    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert writer.stdout.readline() == "writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    (part,) = tmp_path.iterdir()
    assert part.name.startswith(PARTIAL)
    cache = VectorCache(tmp_path, "b")
    assert list(cache.read(["t1"])) == []
    cache.remove_stale()
    assert part.exists()  # it could be another run's
    os.utime(part, (time.time() - 2 * 86400,) * 2)
    cache.remove_stale()
    assert not part.exists()


def cut_off(shard: bytes) -> bytes:
    return shard[: len(shard) // 2]


def without_content(shard: bytes) -> bytes:
    return b""


def with_one_bit_changed(shard: bytes) -> bytes:
    return shard[:-1] + bytes([shard[-1] ^ 1])


@pytest.mark.parametrize("damage", [cut_off, without_content, with_one_bit_changed])
def test_damaged_shard_is_reported_and_encoded_again(damage, tmp_path, caplog):
    good = embed_texts(LetterBridge(), SOURCE_TEXTS, cache_folder=tmp_path)
    (shard,) = shards(tmp_path)
    shard.write_bytes(damage(shard.read_bytes()))
    model = LetterBridge()
    with caplog.at_level(logging.WARNING, logger="sembridge"):
        again = embed_texts(model, SOURCE_TEXTS, cache_folder=tmp_path)
    assert "damaged" in caplog.text
    assert shard.name in caplog.text
    assert sorted(model.encoded) == sorted(SOURCE_TEXTS)
    np.testing.assert_array_equal(again, good)
    repaired = LetterBridge()
    embed_texts(repaired, SOURCE_TEXTS, cache_folder=tmp_path)
    assert repaired.encoded == []


TWO_WRITERS = """
import sys
import numpy as np
from sembridge.files.vector_cache import VectorCache
from pathlib import Path

for start in range(0, 200, 10):
    texts = [f"t{i}" for i in range(start, start + 10)]
    VectorCache(Path(sys.argv[1]), "b").write(texts, np.full((10, 4), start, dtype=np.float32))
"""


def test_two_processes_at_once_leave_a_whole_cache(tmp_path):
    from sembridge.files.vector_cache import VectorCache

    writers = [subprocess.Popen([sys.executable, "-c", TWO_WRITERS, str(tmp_path)]) for _ in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len(shards(tmp_path)) == len(list(tmp_path.iterdir())) == 20
    found = dict(
        pair for texts, vectors in VectorCache(tmp_path, "b").read([f"t{i}" for i in range(200)])
        for pair in zip(texts, vectors[:, 0], strict=True)
    )  # fmt: skip
    assert found == {f"t{i}": i // 10 * 10 for i in range(200)}


FULL_DISK = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from sembridge.errors import SembridgeError
from sembridge.files.vector_cache import VectorCache

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # a write fails after 1,000 bytes, as on a full disk
try:
    VectorCache(Path(sys.argv[1]), "b").write(["t"] * 100, np.ones((100, 64), dtype=np.float32))
except SembridgeError as error:
    print(error)
"""


def test_full_disk_is_one_clear_line_and_leaves_no_file(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert str(tmp_path) in line
    assert "File too large" in line
    assert "another folder with --cache" in line
    assert list(tmp_path.iterdir()) == []


def test_unwritable_cache_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SembridgeError, match="cannot be written"):
        embed_texts(LetterBridge(), ["a"], cache_folder=tmp_path / "file")


def test_object_without_fingerprint_is_not_kept_on_disk(tmp_path, caplog):
    model = LetterBridge(None)
    with caplog.at_level(logging.INFO, logger="sembridge"):
        embed_texts(model, ["a", "a", "b"], cache_folder=tmp_path)
    assert model.encoded == ["a", "b"]
    assert list(tmp_path.iterdir()) == []
    assert "LetterBridge has no fingerprint" in caplog.text


def test_other_bridge_reads_no_vectors_of_the_first(tmp_path):
    embed_texts(LetterBridge("letters 1"), SOURCE_TEXTS, cache_folder=tmp_path)
    model = LetterBridge("letters 2", width=5)
    assert embed_texts(model, SOURCE_TEXTS, cache_folder=tmp_path).shape == (5, 5)
    assert len(model.encoded) == 5


def test_static_fingerprint_changes_with_weights_and_truncation():
    fingerprints = [
        bridge_fingerprint(model) for model in (static_bridge(), static_bridge(seed=1), static_bridge(truncate_dim=4))
    ]
    assert len(set(fingerprints)) == 3
    assert bridge_fingerprint(static_bridge()) == fingerprints[0]


def test_transformer_fingerprint_changes_with_everything_that_changes_vectors(bert_folder):
    base = bert_bridge(bert_folder)
    nudged = bert_bridge(bert_folder)
    with torch.no_grad():
        nudged[0].model.embeddings.word_embeddings.weight[7, 3] += 1e-6
    prompted = bert_bridge(bert_folder, prompts={"query": "home: "}, default_prompt_name="query")
    pooled = bert_bridge(bert_folder)
    pooled[1].pooling_mode = "cls"
    other_tokens = bert_bridge(bert_folder)
    other_tokens.tokenizer.add_tokens(["घरघर"])
    variants = [
        base, nudged, prompted, pooled, other_tokens, bert_bridge(bert_folder, max_seq_length=8),
        bert_bridge(bert_folder, normalize=False), bert_bridge(bert_folder, truncate_dim=4),
        bert_bridge(bert_folder).half(),
    ]  # fmt: skip
    assert len({bridge_fingerprint(model) for model in variants}) == len(variants)


def test_fingerprint_survives_use_and_another_folder(bert_folder, tmp_path):
    model = bert_bridge(bert_folder)
    before = bridge_fingerprint(model)
    model.encode(SOURCE_TEXTS)
    assert bridge_fingerprint(model) == before
    model.save(str(tmp_path / "copy"))
    assert bridge_fingerprint(CountingTransformer(str(tmp_path / "copy"), device="cpu")) == before


def test_default_prompt_is_part_of_the_vectors(bert_folder, tmp_path):
    plain = embed_texts(bert_bridge(bert_folder), ["school"], cache_folder=tmp_path)
    prompted = bert_bridge(bert_folder, prompts={"query": "home "}, default_prompt_name="query")
    expected = embed_texts(bert_bridge(bert_folder), ["home school"], cache_folder=tmp_path)
    vectors = embed_texts(prompted, ["school"], cache_folder=tmp_path)
    assert not np.allclose(vectors, plain)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_half_precision_bridge_gives_unit_float32_vectors(bert_folder, tmp_path):
    model = bert_bridge(bert_folder).bfloat16()
    vectors = embed_texts(model, SOURCE_TEXTS, cache_folder=tmp_path)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_text_of_unknown_pieces_is_a_row_of_zeros(tmp_path):
    letters = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    model = SentenceTransformer(modules=[StaticEmbedding(letters, embedding_weights=torch.eye(2))], device="cpu")
    vectors = embed_texts(model, ["aab", "학교", ""], cache_folder=tmp_path)
    np.testing.assert_allclose(vectors, np.array([[2, 1], [0, 0], [0, 0]]) / [[5**0.5], [1], [1]], atol=1e-6)


def test_no_texts_give_no_rows(tmp_path):
    assert embed_texts(static_bridge(), [], cache_folder=tmp_path).shape == (0, 8)
    assert list(tmp_path.rglob("*.safetensors")) == []


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_length_of_the_bridges_vectors_does_not_matter(scale):
    class Scaled(LetterBridge):
        def encode(self, sentences):
            return super().encode(sentences) * scale

    np.testing.assert_allclose(
        embed_texts(Scaled(None), TARGET_TEXTS), embed_texts(LetterBridge(None), TARGET_TEXTS), atol=1e-7
    )


class Answers:
    """Gives whatever it was made with, for every batch."""

    def __init__(self, answer):
        self.answer = answer

    def encode(self, sentences):
        return self.answer(sentences)


def widths_that_grow(sentences):
    widths_that_grow.width += 1
    return np.ones((len(sentences), widths_that_grow.width))


widths_that_grow.width = 3

REFUSED_ANSWERS = {
    "NaN": (lambda s: np.where(np.array(s)[:, None] == "bad", np.nan, np.ones((len(s), 3))), "NaN.*'bad'"),
    "infinite": (lambda s: torch.full((len(s), 3), torch.inf), "infinite.*finite numbers"),
    "too few rows": (lambda s: np.ones((len(s) - 1, 3)), r"\(1, 3\) for 2 texts"),
    "one dimension": (lambda s: np.ones(len(s)), r"\(2,\) for 2 texts"),
    "token vectors": (lambda s: np.ones((len(s), 4, 3)), r"\(2, 4, 3\)"),
    "no width": (lambda s: np.ones((len(s), 0)), r"\(2, 0\)"),
    "ragged": (lambda s: [[1.0], [1.0, 2.0]], "no array"),
    "quantised": (lambda s: np.ones((len(s), 3), dtype=np.int8), "int8; expected floats"),
    "sparse": (lambda s: torch.eye(len(s)).to_sparse(), "sparse tensor"),
    "nothing": (lambda s: None, "expected"),
    "growing width": (widths_that_grow, "5 dimensions; expected 4"),
}


@pytest.mark.parametrize("case", REFUSED_ANSWERS)
def test_bad_vectors_are_refused_by_name_in_one_line(case):
    answer, message = REFUSED_ANSWERS[case]
    with pytest.raises(SembridgeError, match=message) as refusal:
        embed_texts(Answers(answer), ["good", "bad", "fine", "fair"], batch_size=2)
    assert "Bridge Answers" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_bad_vectors_are_not_cached(tmp_path):
    class Broken(LetterBridge):
        def encode(self, sentences):
            return super().encode(sentences) * np.nan

    with pytest.raises(SembridgeError, match="NaN"):
        embed_texts(Broken(), ["a"], cache_folder=tmp_path)
    assert shards(tmp_path) == []


def test_width_other_than_in_the_cache_is_refused(tmp_path):
    embed_texts(LetterBridge(), ["a"], cache_folder=tmp_path)
    with pytest.raises(SembridgeError, match="9 dimensions; expected 16"):
        embed_texts(LetterBridge(width=9), ["a", "b"], cache_folder=tmp_path)


def test_sparse_encoder_is_refused(bert_folder):
    folder = bert_folder.parent / "mlm"
    BertForMaskedLM(BertConfig.from_pretrained(bert_folder)).save_pretrained(folder)
    bert_tokenizer().save_pretrained(folder)
    sparse = SparseEncoder(
        modules=[Transformer(str(folder), transformer_task="fill-mask"), SpladePooling()], device="cpu"
    )
    with pytest.raises(SembridgeError, match="is a SparseEncoder; expected a multilingual dense encoder"):
        embed_texts(sparse, ["a"])


@pytest.mark.parametrize("bridge", ["BAAI/bge-m3", None, LetterBridge])
def test_object_without_encode_is_refused(bridge):
    with pytest.raises(SembridgeError, match="load_bridge"):
        embed_texts(bridge, ["a"])


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ("home", {}, "single text"),
        (["a", 3], {}, r"texts\[1\] is a int"),
        (["a"], {"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_arguments_are_refused(texts, options, message):
    with pytest.raises(SembridgeError, match=message):
        embed_texts(LetterBridge(), texts, **options)


@pytest.mark.parametrize("fingerprint", ["", 7])
def test_fingerprint_that_is_no_text_is_refused(fingerprint):
    with pytest.raises(SembridgeError, match="fingerprint of type"):
        embed_texts(LetterBridge(fingerprint), ["a"])


def test_progress_goes_to_stderr_and_only_when_asked(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    embed_texts(LetterBridge(None), SOURCE_TEXTS, cache_folder=tmp_path)
    assert capsys.readouterr() == ("", "")
    embed_texts(LetterBridge(None), SOURCE_TEXTS, cache_folder=tmp_path, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "bridge vectors:" in err
    assert "/5" in err


def test_settings_name_the_bridge_and_survive_json(bert_folder):
    settings = bridge_settings(bert_bridge(bert_folder, prompts={"query": "q: "}, default_prompt_name="query"))
    assert json.loads(json.dumps(settings, allow_nan=False)) == settings
    assert settings["name"] == str(bert_folder)
    assert (settings["dim"], settings["max_seq_length"], settings["prompt"]) == (16, 16, "q: ")
    assert bridge_settings(static_bridge())["max_seq_length"] is None
    assert bridge_settings(LetterBridge(None)) == {
        "name": "LetterBridge", "dim": None, "max_seq_length": None, "prompt": None, "fingerprint": None,
    }  # fmt: skip


def test_default_cache_lies_under_hf_home(tmp_path):
    code = "from sembridge.language_transfer.bridge import default_cache_folder; print(default_cache_folder())"
    environment = {k: v for k, v in os.environ.items() if k != "HF_ASSETS_CACHE"} | {"HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_default_cache_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path))
    embed_texts(LetterBridge(), ["a"])
    assert [path.parent.parent for path in shards(tmp_path)] == [default_cache_folder()]


def test_model2vec_model_is_a_bridge(tmp_path):
    model2vec = pytest.importorskip("model2vec", reason="model2vec is not installed")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["[UNK]", *WORDS])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.random.default_rng(0).normal(size=(11, 8)).astype(np.float16)
    model = model2vec.StaticModel(weights, tokenizer)
    vectors = embed_texts(model, WORDS, cache_folder=tmp_path)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert len(shards(tmp_path)) == 1
    assert bridge_fingerprint(model2vec.StaticModel(weights * 2, tokenizer)) != bridge_fingerprint(model)


def test_import_needs_no_torch():
    code = """
        import sys, sembridge.language_transfer.bridge, sembridge.encoders.loading
        print([m for m in ("torch", "transformers", "sentence_transformers") if m in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
