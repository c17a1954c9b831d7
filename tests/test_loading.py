"""Laws of `sembridge.encoders.loading`: what loads, and that everything else is refused in one line that names it."""

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tiny import assert_same_vectors
from tiny_bridge import save_tiny_bridge
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizerFast

from sembridge.encoders.loading import CardFacts, load_bridge, load_encoder, load_tokenizer, read_model_card
from sembridge.encoders.names import mini_folder, mini_names, resolve
from sembridge.errors import SembridgeError

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "home", "school", "big", "##ger", "a"]
TEXTS = ["a big school", "home"]
CARD = """---
license: cc-by-nc-sa-4.0
language: [en]
base_model: bert-base-uncased
---
# A model
"""


def tiny_config(**changes) -> BertConfig:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertConfig(vocab_size=len(TOKENS), max_position_embeddings=32, **sizes, **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Folders `mlm` (a plain checkpoint), `sparse`, `dense`, `static`, `body` (no head)."""
    root = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    BertForMaskedLM(tiny_config()).save_pretrained(root / "mlm")
    BertModel(tiny_config()).save_pretrained(root / "body")
    tokenizer = BertTokenizerFast(vocab={token: i for i, token in enumerate(TOKENS)})
    for folder in ("mlm", "body"):
        tokenizer.save_pretrained(root / folder)
        (root / folder / "README.md").write_text(CARD)
    transformer = Transformer(str(root / "mlm"), transformer_task="fill-mask", max_seq_length=16)
    SparseEncoder(modules=[transformer, SpladePooling()], device="cpu").save_pretrained(str(root / "sparse"))
    dense = [Transformer(str(root / "body"), max_seq_length=16), Pooling(16)]
    SentenceTransformer(modules=dense, device="cpu").save_pretrained(str(root / "dense"))
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "home": 1, "학교": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    static = StaticEmbedding(words, embedding_weights=torch.randn(3, 8).half())
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(root / "static"))
    return root


@pytest.fixture
def copy(made, tmp_path):
    """A copy of one of the folders of `made`, to be broken."""

    def copied(name: str) -> Path:
        return shutil.copytree(made / name, tmp_path / name)

    return copied


def change_json(path: Path, **changes) -> None:
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def refusal(load, *args, **kwargs) -> str:
    with pytest.raises(SembridgeError) as refused:
        load(*args, **kwargs)
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["sparse", "mlm"])
def test_sparse_encoder_loads_from_both_kinds_of_folder(made, name):
    encoder = load_encoder(made / name)
    expected = SparseEncoder(str(made / name), device="cpu")
    assert isinstance(encoder[1], SpladePooling)
    assert not encoder.training
    weights = expected.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in encoder.state_dict().items())
    assert_same_vectors(encoder.encode(TEXTS).to_dense(), expected.encode(TEXTS).to_dense())


def test_half_precision_checkpoints_become_float32_on_a_cpu(made, copy):
    for name in ("mlm", "sparse"):
        folder = copy(name)
        weights = load_file(folder / "model.safetensors")
        save_file({k: v.half() for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
        change_json(folder / "config.json", dtype="float16")
        assert {p.dtype for p in load_encoder(folder).parameters()} == {torch.float32}
    assert {p.dtype for p in load_bridge(made / "static").parameters()} == {torch.float32}


@pytest.mark.parametrize(("name", "width"), [("dense", 16), ("static", 8)])
def test_bridge_loads_and_keeps_its_name(made, name, width):
    bridge = load_bridge(str(made / name))
    assert bridge.encode(TEXTS).shape == (2, width)
    assert bridge.model_card_data.model_id == str(made / name)


def test_model2vec_folder_becomes_a_sentence_transformer(tmp_path, made):
    weights = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    save_file({"embeddings": weights}, tmp_path / "model.safetensors")
    shutil.copy(next((made / "static").rglob("tokenizer.json")), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "model2vec", "architectures": ["StaticModel"]}))
    assert load_bridge(tmp_path).encode(["학교 home"]).tolist() == [[1.5, 2.5]]


def test_tokenizer_loads_from_model_and_tokenizer_folders(made, tmp_path):
    shutil.copy(made / "mlm" / "tokenizer.json", tmp_path)
    for folder in (made / "mlm", made / "sparse", tmp_path):
        tokenizer = load_tokenizer(folder)
        assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == TOKENS
        assert tokenizer.tokenize("bigger school") == ["big", "##ger", "school"]


def test_local_loading_asks_no_network(made, monkeypatch):
    def refuse(*args):
        raise AssertionError("asked the network")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(AssertionError, match="asked the network"):
        socket.create_connection(("localhost", 9))
    assert read_model_card(load_encoder(made / "mlm")).license == "cc-by-nc-sa-4.0"
    load_encoder(made / "sparse")
    load_bridge(made / "dense")
    load_tokenizer(made / "mlm")


@pytest.mark.parametrize("load", [load_encoder, load_tokenizer, load_bridge])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "The name is empty"),
        (" ", "The name is empty"),
        ("./nowhere", "The folder ./nowhere does not exist"),
        ("~/no/where", "The folder ~/no/where does not exist"),
        ("one/two/three", "The folder one/two/three does not exist"),
        (Path("nobody/nothing"), "The folder nobody/nothing does not exist"),
        ("nobody/no thing", "neither a folder nor mini/NAME nor a valid hub id"),
        ("mini/nothing", "Nothing is bundled under 'mini/nothing'; expected one of"),
        ("mini/../loading", "Nothing is bundled"),
    ],
)
def test_name_that_leads_nowhere_is_refused(load, name, message):
    assert message in refusal(load, name)


def test_file_instead_of_folder_is_refused(made):
    path = made / "mlm" / "tokenizer.json"
    assert "is a file; expected the folder that holds it" in refusal(load_tokenizer, path)


def test_revision_of_a_folder_is_refused(made):
    assert "only a hub id has revisions" in refusal(load_encoder, made / "mlm", revision="main")


@pytest.mark.parametrize(("device", "message"), [("gpu", "Device 'gpu' is unknown"), ("cuda", "torch finds none here")])
def test_device_that_is_not_there_is_refused(made, device, message):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has the device")
    assert message in refusal(load_encoder, made / "mlm", device=device)


def test_bundled_names_lead_to_folders():
    for name in mini_names():
        assert mini_folder(name).is_dir()
        assert resolve(name) == mini_folder(name)


def test_every_bundled_tokenizer_loads():
    names = [name for name in mini_names() if name.startswith("mini/tokenizer-")]
    assert all(len(load_tokenizer(name)) > 1000 for name in names)


def test_dense_encoder_given_as_sparse_is_refused(made):
    assert "is a SentenceTransformer, not a sparse encoder" in refusal(load_encoder, made / "dense")
    assert "is a BertModel without a vocabulary head" in refusal(load_encoder, made / "body")


def test_sparse_folder_that_lost_its_kind_is_refused_with_the_reason(copy):
    folder = copy("sparse")
    change_json(folder / "config_sentence_transformers.json", model_type=None)
    assert 'lacks "model_type": "SparseEncoder"' in refusal(load_encoder, folder)


def test_sparse_encoder_and_plain_transformer_are_refused_as_bridge(made):
    assert "is a SparseEncoder; a bridge must be a dense" in refusal(load_bridge, made / "sparse")
    assert "is a plain BertForMaskedLM without modules.json" in refusal(load_bridge, made / "mlm")


@pytest.mark.parametrize("name", ["mlm", "sparse"])
def test_checkpoint_without_its_head_is_refused(copy, name):
    folder = copy(name)
    weights = load_file(folder / "model.safetensors")
    body = {key: value for key, value in weights.items() if key.startswith("bert.")}
    save_file(body, folder / "model.safetensors", metadata={"format": "pt"})
    assert "no weights for its vocabulary head (cls.predictions" in refusal(load_encoder, folder)


def delete(name):
    return lambda folder: (folder / name).unlink()


def write(name, content):
    return lambda folder: (folder / name).write_text(content)


def cut_off_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickle_weights(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def lose_a_shard(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def keep_only_an_adapter(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


BROKEN = {
    "empty folder": (empty, "holds no model"),
    "adapter": (keep_only_an_adapter, "holds only an adapter"),
    "config cut off": (write("config.json", '{"model_type": "bert"'), "config.json is no valid JSON"),
    "config is a list": (write("config.json", "[]"), "config.json is damaged; expected a JSON object"),
    "weights cut off": (cut_off_weights, "model.safetensors is damaged or cut off"),
    "weights empty": (write("model.safetensors", ""), "model.safetensors is damaged or cut off"),
    "weights missing": (delete("model.safetensors"), "has no weights as safetensors"),
    "weights pickled": (pickle_weights, "only as pickle"),
    "weights as pointer": (write("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "shard missing": (lose_a_shard, "lacks the weights model-00002-of-00002.safetensors"),
    "tokenizer missing": (delete("tokenizer.json"), "has no tokenizer"),
    "tokenizer cut off": (write("tokenizer.json", '{"version"'), "tokenizer.json is no valid JSON"),
    "other sizes": (lambda f: change_json(f / "config.json", vocab_size=99), "weights have other sizes"),
    "unknown kind": (lambda f: change_json(f / "config.json", model_type="newthing"), "model type `newthing`"),
    "own code": (
        lambda f: change_json(f / "config.json", model_type="newthing", auto_map={"AutoConfig": "own.Config"}),
        "brings its own Python code",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_folder_is_refused_by_name(copy, case):
    breaks, message = BROKEN[case]
    folder = copy("mlm")
    breaks(folder)
    refused = refusal(load_encoder, folder)
    assert message in refused
    assert str(folder) in refused


def test_own_module_class_is_refused(copy):
    folder = copy("dense")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "own_pooling.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "own Python code (own_pooling.Pooling)" in refusal(load_bridge, folder)


@pytest.mark.parametrize("content", ["{}", '["x"]', "["])
def test_broken_module_list_is_refused(copy, content):
    folder = copy("dense")
    (folder / "modules.json").write_text(content)
    assert "modules.json" in refusal(load_bridge, folder)


def test_pickled_weights_load_only_when_allowed(made, copy):
    folder = copy("mlm")
    pickle_weights(folder)
    assert "allow_pickle" in refusal(load_encoder, folder)
    loaded = load_encoder(folder, allow_pickle=True).encode(TEXTS).to_dense()
    assert_same_vectors(loaded, load_encoder(made / "mlm").encode(TEXTS).to_dense())


def test_vocabulary_file_alone_is_refused_as_tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(TOKENS))
    assert "does not say what kind of tokenizer" in refusal(load_tokenizer, tmp_path)


CARDS = {
    "usual": (CARD, CardFacts(license="cc-by-nc-sa-4.0", language=("en",), base_model=("bert-base-uncased",))),
    "other licence": (
        "---\nlicense: other\nlicense_name: own\nlicense_link: LICENSE\n---\n",
        CardFacts(license="other", license_name="own", license_link="LICENSE"),
    ),
    "no front matter": ("# Only words\n", CardFacts()),
    "broken front matter": ("---\nlicense: [a\n---\n", CardFacts()),
    "several": (
        "---\nlanguage:\n- en\n- ko\nbase_model: [a/b, c/d]\n---\n",
        CardFacts(None, None, None, ("en", "ko"), ("a/b", "c/d")),
    ),
}


@pytest.mark.parametrize("case", CARDS)
def test_card_facts_are_read_from_the_front_matter(tmp_path, case):
    text, facts = CARDS[case]
    (tmp_path / "README.md").write_text(text)
    assert read_model_card(tmp_path) == facts


def test_missing_card_gives_no_facts(tmp_path):
    assert read_model_card(tmp_path) == CardFacts()
    assert read_model_card("./nowhere") == CardFacts()


class SmallHub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face hub's protocol as a snapshot download needs; `files` is what me/model holds."""

    files: Path
    commit = "0123456789abcdef0123456789abcdef01234567"

    def do_HEAD(self) -> None:
        self.respond(with_body=False)

    def do_GET(self) -> None:
        self.respond(with_body=True)

    def respond(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        names = [name for name in ("me/model", "me/gated", "me/nothing") if f"/{name}/" in f"{path}/"]
        code = {"me/model": None, "me/gated": "GatedRepo"}.get(names[0] if names else "", "RepoNotFound")
        if code:
            self.answer(403 if code == "GatedRepo" else 404, b"{}", {"X-Error-Code": code})
        elif path.startswith("/api/models/me/model/tree/"):
            listing = [
                {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": self.etag(p)}
                for p in self.files.iterdir()
            ]
            self.answer(200, json.dumps(listing).encode())
        elif path.startswith("/api/models/me/model/revision/other"):
            self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith("/api/models/me/model"):
            self.answer(200, json.dumps({"id": "me/model", "sha": self.commit}).encode())
        else:
            file = self.files / path.rsplit("/", 1)[-1]
            headers = {"ETag": f'"{self.etag(file)}"', "X-Repo-Commit": self.commit}
            self.answer(200, file.read_bytes(), headers, with_body=with_body)

    def etag(self, path: Path) -> str:
        return hashlib.sha1(path.read_bytes()).hexdigest()

    def answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, with_body: bool = True
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body and self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


@contextlib.contextmanager
def small_hub(files: Path) -> Iterator[str]:
    handler = type("Hub", (SmallHub,), {"files": files})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def in_new_process(code: str, home: Path, **environment: str) -> list[str]:
    """Lines that `code` prints, under a fresh HF_HOME; `tell` prints a result or the refusal."""
    start = """
from sembridge.errors import SembridgeError
from sembridge.encoders.loading import *
def tell(f, *args, **kwargs):
    try: print(f(*args, **kwargs))
    except SembridgeError as error: print(error)
"""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGINGFACE"))}
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        env=kept | {"HF_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


LIST_FILES = """
print(sorted(path.name for path in resolve("me/model").iterdir()))
print(read_model_card("me/model").license)
"""


def test_hub_model_is_downloaded_once_and_then_works_offline(made, copy, tmp_path):
    files = copy("mlm")
    (files / "pytorch_model.bin").write_bytes(b"never wanted")
    (files / "own.py").write_text("never wanted")
    with small_hub(files) as endpoint:
        online = in_new_process(LIST_FILES, tmp_path, HF_ENDPOINT=endpoint)
    offline = in_new_process(LIST_FILES, tmp_path, HF_HUB_OFFLINE="1")
    unreachable = in_new_process(LIST_FILES + "print(resolve('me/model'))", tmp_path, HF_ENDPOINT=endpoint)
    folder = unreachable.pop()
    wanted = ["README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert online == offline == unreachable == [str(wanted), "cc-by-nc-sa-4.0"]
    expected = load_encoder(made / "mlm").encode(TEXTS).to_dense()
    assert_same_vectors(load_encoder(folder).encode(TEXTS).to_dense(), expected)


def test_only_the_tokenizer_is_downloaded_for_a_tokenizer(made, tmp_path):
    with small_hub(made / "mlm") as endpoint:
        (folder,) = in_new_process("print(resolve('me/model', weights=False))", tmp_path, HF_ENDPOINT=endpoint)
    assert len(load_tokenizer(folder)) == len(TOKENS)
    assert list(tmp_path.rglob("*.safetensors")) == []
    (refused,) = in_new_process("tell(load_encoder, 'me/model')", tmp_path, HF_HUB_OFFLINE="1")
    assert "me/model has no weights as safetensors" in refused


def test_pickled_hub_weights_are_downloaded_only_when_allowed(copy, tmp_path):
    files = copy("mlm")
    pickle_weights(files)
    code = "tell(load_encoder, 'me/model'); print(resolve('me/model', allow_pickle=True))"
    with small_hub(files) as endpoint:
        refused, folder = in_new_process(code, tmp_path, HF_ENDPOINT=endpoint)
    assert "me/model has no weights as safetensors" in refused
    assert "allow_pickle" in refused
    assert (Path(folder) / "pytorch_model.bin").exists()


def test_hub_refusals_are_one_line_each(made, tmp_path):
    code = "tell(resolve, 'me/gated'); tell(resolve, 'me/nothing'); tell(resolve, 'me/model', revision='other')"
    with small_hub(made / "mlm") as endpoint:
        gated, unknown, revision = in_new_process(code, tmp_path, HF_ENDPOINT=endpoint)
    assert gated.startswith("me/gated is gated on the hub; accept its conditions at http://127.0.0.1")
    assert "HF_TOKEN" in gated
    assert unknown.startswith("me/nothing is neither a folder here nor a repository on the hub")
    assert revision.startswith("me/model has no revision 'other'")
    (unreachable,) = in_new_process("tell(resolve, 'me/other')", tmp_path, HF_ENDPOINT=endpoint)
    assert "me/other is no folder here and not in the cache" in unreachable
    assert "the hub cannot be reached" in unreachable


def test_unknown_name_without_network_is_one_line(tmp_path):
    (line,) = in_new_process("tell(load_encoder, 'naver/splade-v3')", tmp_path, HF_HUB_OFFLINE="1")
    assert line.startswith("naver/splade-v3 is no folder here and not in the cache")
    assert "HF_HUB_OFFLINE is set" in line


def test_card_of_an_unreachable_model_gives_no_facts(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert read_model_card("nobody/nothing-at-all") == CardFacts()


def test_a_default_prompt_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Sentence Transformers warns of one at every loading, once a process and prompt; reports name it."""
    folder = save_tiny_bridge(tmp_path / "bridge")
    for prompt, load in (("loudly", SentenceTransformer), ("quietly", load_bridge)):
        settings = {"prompts": {prompt: "query: "}, "default_prompt_name": prompt}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")
        assert load(str(folder)).default_prompt_name == prompt
    said = [record.getMessage() for record in caplog.records if "Default prompt name" in record.getMessage()]
    assert [message.split("'")[1] for message in said] == ["loudly"]
