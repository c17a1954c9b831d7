"""Laws of `sembridge.encoders.checkpoint`: nothing that is loaded computes with numbers its checkpoint lacks."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Dense, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
from tiny_bridge import save_tiny_bridge
from torch import Tensor
from transformers import AutoModel, PreTrainedModel

from sembridge.encoders.checkpoint import accounts_of_loading
from sembridge.encoders.loading import load_bridge, load_encoder
from sembridge.errors import SembridgeError

Weights = dict[str, Tensor]
TEXTS = ["find small green house", "school"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Folders `plain` (a checkpoint of transformers), `sparse`, `router`, `dense` (with a projection), `untied`."""
    root = tmp_path_factory.mktemp("checkpoints")
    tokenizer = tiny.tiny_tokenizer("wordpiece")
    encoder = tiny.tiny_encoder("BertForMaskedLM", tokenizer)
    encoder[0].model.save_pretrained(root / "plain")
    encoder.tokenizer.save_pretrained(root / "plain")
    encoder.save_pretrained(str(root / "sparse"), create_model_card=False)
    untied = tiny.tiny_encoder("BertForMaskedLM", tokenizer, tied=False)
    untied.save_pretrained(str(root / "untied"), create_model_card=False)
    queries = SparseStaticEmbedding(encoder.tokenizer, torch.rand(len(encoder.tokenizer)), frozen=True)
    router = Router.for_query_document([queries], [encoder[0], SpladePooling()])
    SparseEncoder(modules=[router], device="cpu").save_pretrained(str(root / "router"), create_model_card=False)
    body = Transformer(str(root / "plain"), max_seq_length=16)
    modules = [body, Pooling(tiny.HIDDEN_SIZE), Dense(tiny.HIDDEN_SIZE, 8)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(root / "dense"), create_model_card=False)
    return root


@pytest.fixture
def changed(made, tmp_path) -> Callable[..., Path]:
    """A copy of a folder of `made` with other weights, as safetensors, as two shards, or as pickle."""

    def copy(name: str, change: Callable[[Weights], Mapping[str, Tensor]], *, kind: str = "safetensors") -> Path:
        folder = shutil.copytree(made / name, tmp_path / name)
        path = next(p for p in sorted(folder.rglob("model.safetensors")) if any("layer" in k for k in load_file(p)))
        weights = {key: tensor.contiguous().clone() for key, tensor in change(load_file(path)).items()}
        path.unlink()
        if kind == "pickle":
            torch.save(weights, path.with_name("pytorch_model.bin"))
        elif kind == "shards":
            save_shards(weights, path.parent)
        else:
            save_file(weights, path, metadata={"format": "pt"})
        return folder

    return copy


def save_shards(weights: Weights, folder: Path) -> None:
    keys = sorted(weights)
    shards = {f"model-0000{i + 1}-of-00002.safetensors": keys[i::2] for i in range(2)}
    for name, names in shards.items():
        save_file({key: weights[key] for key in names}, folder / name, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": {key: name for name, ks in shards.items() for key in ks}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {key: tensor for key, tensor in weights.items() if part not in key}


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {key.replace(old, new, 1): tensor for key, tensor in weights.items()}


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + key: tensor for key, tensor in weights.items()}


def with_more(**more: Tensor) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {key.replace("__", "."): tensor for key, tensor in more.items()}


def with_decoder(weights: Weights) -> Weights:
    return weights | {"cls.predictions.decoder.weight": weights["bert.embeddings.word_embeddings.weight"]}


def refusal(load: Callable[..., object], folder: Path, **options: bool) -> str:
    with pytest.raises(SembridgeError) as refused:
        load(folder, **options)
    message = str(refused.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


WRONG = {
    "body under another prefix": (renamed("bert.", "encoder_q."), "bert.embeddings.LayerNorm"),
    "saved inside a wrapper": (prefixed("module."), "module.bert.embeddings"),
    "saved as a backbone": (prefixed("backbone.model."), "backbone.model.bert.embeddings"),
    "no layers": (without(".encoder.layer."), "bert.encoder.layer.0.attention"),
    "one layer less": (without(".layer.1."), "bert.encoder.layer.1.attention"),
    "no positions": (without("position_embeddings"), "lacks bert.embeddings.position_embeddings.weight, which its"),
    "no tokens": (without("word_embeddings"), "lacks bert.embeddings.word_embeddings.weight"),
    "no transform of the head": (without("predictions.transform"), "cls.predictions.transform.LayerNorm"),
    "no head": (without("cls."), "has no weights for its vocabulary head (cls.predictions.bias"),
    "one bias less": (without("layer.0.output.dense.bias"), "lacks bert.encoder.layer.0.output.dense.bias, which"),
}


@pytest.mark.parametrize("kind", ["safetensors", "pickle"])
@pytest.mark.parametrize("case", WRONG)
def test_encoder_that_lacks_tensors_is_refused_by_their_names(changed, case, kind):
    change, named = WRONG[case]
    assert named in refusal(load_encoder, changed("plain", change, kind=kind), allow_pickle=kind == "pickle")


@pytest.mark.parametrize("name", ["sparse", "router"])
@pytest.mark.parametrize("kind", ["safetensors", "shards"])
def test_every_folder_and_container_is_held_to_the_same(changed, name, kind):
    folder = changed(name, without(".layer.1."), kind=kind)
    assert "and 13 more, which its BertForMaskedLM reads" in refusal(load_encoder, folder)


def test_untied_decoder_that_is_missing_is_refused(changed):
    assert "lacks cls.predictions.decoder.weight" in refusal(load_encoder, changed("untied", without("decoder.weight")))


BRIDGES = {
    "no layers": (without(".layer."), "lacks encoder.layer.0.attention"),
    "one layer less": (without(".layer.1."), "lacks encoder.layer.1.attention"),
    "no positions": (without("position_embeddings"), "lacks embeddings.position_embeddings.weight, which its"),
    "saved inside a wrapper": (prefixed("module."), "It has module.embeddings"),
}


@pytest.mark.parametrize("case", BRIDGES)
def test_bridge_that_lacks_tensors_is_refused_by_their_names(changed, case):
    change, named = BRIDGES[case]
    assert named in refusal(load_bridge, changed("dense", change))


def test_projection_of_a_bridge_without_weights_is_refused(made, tmp_path):
    folder = shutil.copytree(made / "dense", tmp_path / "dense")
    (path,) = folder.glob("2_Dense/model.safetensors")
    save_file({"linear.weight": load_file(path)["linear.weight"]}, path, metadata={"format": "pt"})
    assert '"linear.bias"' in refusal(load_bridge, folder)
    path.unlink()
    assert "model.safetensors" in refusal(load_bridge, folder)


def test_other_sizes_are_refused_by_name(changed):
    folder = changed("plain", lambda w: w | {"bert.embeddings.position_embeddings.weight": torch.zeros(7, 32)})
    message = refusal(load_encoder, folder)
    assert "bert.embeddings.position_embeddings.weight is [7, 32], not [40, 32]; check" in message


def test_more_layers_than_the_config_says_are_refused(made, tmp_path, changed):
    folder = changed("plain", lambda weights: weights)
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(config))
    assert "has bert.encoder.layer.1.attention" in refusal(load_encoder, folder)


@pytest.mark.parametrize("extra", ["lora_A__weight", "weight_scale"])
def test_what_changes_a_layer_and_has_no_place_is_refused(changed, extra):
    name = f"bert__encoder__layer__0__output__dense__{extra}"
    folder = changed("plain", with_more(**{name: torch.ones(2)}))
    assert "merge adapters and undo a quantization" in refusal(load_encoder, folder)


HARMLESS = {
    "tied decoder absent": without("cls.predictions.decoder"),
    "tied decoder present": with_decoder,
    "saved position ids": with_more(bert__embeddings__position_ids=torch.arange(40)[None]),
    "a pooler": with_more(bert__pooler__dense__weight=torch.ones(32, 32)),
    "head of another task": with_more(cls__seq_relationship__weight=torch.ones(2, 32), classifier__bias=torch.ones(2)),
}  # fmt: skip


@pytest.mark.parametrize("case", HARMLESS)
def test_what_is_tied_computed_or_read_by_nothing_loads(made, changed, case):
    loaded = load_encoder(changed("plain", HARMLESS[case]))
    expected = load_encoder(made / "plain")
    assert torch.equal(loaded.encode(TEXTS).to_dense(), expected.encode(TEXTS).to_dense())


def test_bridge_without_a_pooler_loads_where_nothing_reads_it(made, changed):
    """A body from a masked language model has none, and Sentence Transformers pools by itself."""
    loaded = load_bridge(changed("dense", without("pooler")))
    assert (loaded.encode(TEXTS) == load_bridge(made / "dense").encode(TEXTS)).all()


def test_pooler_that_is_read_must_be_there(changed):
    folder = changed("dense", without("pooler"))
    path = folder / "sentence_bert_config.json"
    ways = {"text": {"method": "forward", "method_output_name": "pooler_output"}}
    content = json.loads(path.read_text()) | {"modality_config": ways, "module_output_name": "token_embeddings"}
    path.write_text(json.dumps(content))
    assert "lacks pooler.dense" in refusal(load_bridge, folder)


@pytest.mark.parametrize("architecture", tiny.HEADS)
@pytest.mark.parametrize("tied", [True, False])
def test_every_known_head_loads_after_saving(tmp_path, architecture, tied):
    family = "wordpiece" if "Bert" in architecture and "Roberta" not in architecture else "bpe"
    encoder = tiny.tiny_encoder(architecture, tiny.tiny_tokenizer(family), tied=tied)
    encoder.save_pretrained(str(tmp_path / "encoder"), create_model_card=False)
    expected = encoder.encode(TEXTS).to_dense()
    tiny.assert_same_vectors(load_encoder(tmp_path / "encoder").encode(TEXTS).to_dense(), expected)


def test_more_tokens_than_rows_are_refused(made, tmp_path):
    for name, load in (("plain", load_encoder), ("dense", load_bridge)):
        folder = shutil.copytree(made / name, tmp_path / name)
        path = next(iter(sorted(folder.rglob("tokenizer.json"))))
        content = json.loads(path.read_text())
        content["model"]["vocab"]["entirely-new"] = len(content["model"]["vocab"])
        path.write_text(json.dumps(content))
        assert "'entirely-new' the id" in refusal(load, folder)


def test_static_bridge_with_more_tokens_than_rows_is_refused(tmp_path):
    folder = save_tiny_bridge(tmp_path / "static")
    (path,) = folder.rglob("model.safetensors")
    save_file({"embedding.weight": load_file(path)["embedding.weight"][:5].clone()}, path)
    assert "but its matrix has 5 rows" in refusal(load_bridge, folder)


@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "RobertaForMaskedLM", "MPNetForMaskedLM"])
def test_texts_are_cut_where_the_positions_end(tmp_path, caplog, architecture):
    """A length that the settings state beyond them would end in an index error at the first long text."""
    encoder = tiny.tiny_encoder(architecture, tiny.tiny_tokenizer("bpe"))
    encoder[0].document_length, encoder.tokenizer.model_max_length = 4000, 4000
    encoder.save_pretrained(str(tmp_path / "long"), create_model_card=False)
    loaded = load_encoder(tmp_path / "long")
    n_positions = tiny.MAX_POSITIONS - (0 if architecture == "BertForMaskedLM" else 2)
    assert loaded.max_seq_length == loaded[0].document_length == n_positions
    assert "document_length 4,000" in caplog.text
    text = " ".join(["tree river"] * 100)
    assert loaded.encode_document([text]).to_dense().sum() > 0


def test_stock_loading_is_given_back(made, changed):
    stock = PreTrainedModel.__dict__["from_pretrained"]
    load_encoder(made / "plain")
    refusal(load_encoder, changed("plain", without(".layer.")))
    assert PreTrainedModel.__dict__["from_pretrained"] is stock


def test_other_threads_and_callers_load_as_ever(made):
    loaded: list[object] = []

    def load_elsewhere() -> None:
        loaded.append(AutoModel.from_pretrained(made / "plain"))

    with accounts_of_loading() as accounts:
        thread = threading.Thread(target=load_elsewhere)
        thread.start()
        thread.join()
        model, info = AutoModel.from_pretrained(made / "plain", output_loading_info=True)
    assert [account.model for account in accounts] == [model]
    assert accounts[0].missing == info["missing_keys"]
    assert isinstance(loaded[0], PreTrainedModel)
