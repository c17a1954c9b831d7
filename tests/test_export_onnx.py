"""The ONNX export: the same weights as the encoder, by the graph and the tokenizer in the folder alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from numpy.typing import NDArray
from sentence_transformers import SparseEncoder
from tiny import ENGLISH_TEXTS, HEADS, tiny_encoder, tiny_inference_free, tiny_tokenizer

from sembridge.deployment.export.onnx_model import TOLERANCE, export_onnx
from sembridge.encoders.loading import load_encoder
from sembridge.errors import MissingExtraError, SembridgeError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

# One word, one of average length, and one that every tiny encoder cuts.
TEXTS = [*ENGLISH_TEXTS, " ".join(ENGLISH_TEXTS * 5)]


def tiny(head: str, **pooling: Any) -> SparseEncoder:
    family = "wordpiece" if head.startswith(("Bert", "Distil")) else "bpe"
    # Tracing takes its time by layer; ModernBERT has two kinds.
    return tiny_encoder(head, tiny_tokenizer(family), n_layers=2 if head.startswith("Modern") else 1, **pooling)


def run_graph(folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """The graph's output, by packages that know nothing of torch."""
    from tokenizers import Tokenizer

    encodings = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(texts)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    fields = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    names = [node.name for node in session.get_inputs()]
    found: NDArray[np.float32] = session.run(
        None, {name: np.array([getattr(e, fields[name]) for e in encodings], dtype=np.int64) for name in names}
    )[0]
    return found


def run_readme(folder: Path) -> NDArray[np.float32]:
    """The weights that the code in the folder's README computes."""
    code = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(code, names)
    weights: NDArray[np.float32] = names["weights"]
    return weights


def document_weights(encoder: SparseEncoder, texts: list[str]) -> NDArray[np.float32]:
    weights: NDArray[np.float32] = encoder.encode_document(texts, convert_to_sparse_tensor=False).numpy()
    return weights


@pytest.mark.parametrize("head", HEADS)
def test_the_graph_gives_the_weights_of_the_encoder(head: str, tmp_path: Path) -> None:
    encoder = tiny(head)
    manifest = export_onnx(encoder, tmp_path / "out", name=head)
    assert 0 < manifest["largest_difference_from_torch"] < 1e-5  # type: ignore[operator]
    assert manifest["n_dims"] == len(encoder.tokenizer.get_vocab())
    assert json.loads((tmp_path / "out/manifest.json").read_text(encoding="utf-8")) == manifest
    for texts in ([TEXTS[0]], TEXTS):
        np.testing.assert_allclose(run_graph(tmp_path / "out", texts), document_weights(encoder, texts), atol=1e-5)
    assert run_readme(tmp_path / "out").shape == (2, len(encoder.tokenizer.get_vocab()))
    for node in onnx.load(tmp_path / "out/model.onnx").graph.input:
        assert [axis.dim_param for axis in node.type.tensor_type.shape.dim] == ["batch", "length"]


def test_the_other_pooling_is_in_the_graph_too(tmp_path: Path) -> None:
    encoder = tiny("BertForMaskedLM", pooling_strategy="sum", activation_function="log1p_relu")
    export_onnx(encoder, tmp_path / "out", name="tiny")
    np.testing.assert_allclose(run_graph(tmp_path / "out", TEXTS), document_weights(encoder, TEXTS), atol=TOLERANCE)


def test_the_graph_of_logits_pools_to_the_same_weights(tmp_path: Path) -> None:
    encoder = tiny("BertForMaskedLM")
    manifest = export_onnx(encoder, tmp_path / "out", name="tiny", output="logits")
    assert manifest["output"] == "logits"
    logits = run_graph(tmp_path / "out", [TEXTS[1]])
    assert logits.ndim == 3
    weights = np.log1p(np.maximum(logits, 0)).max(axis=1)
    np.testing.assert_allclose(weights, document_weights(encoder, [TEXTS[1]]), atol=1e-5)
    assert run_readme(tmp_path / "out").shape == (2, weights.shape[1])


def test_the_document_side_of_an_inference_free_encoder_is_exported(tmp_path: Path) -> None:
    encoder = tiny_inference_free("DistilBertForMaskedLM", tiny_tokenizer("wordpiece"))
    export_onnx(encoder, tmp_path / "out", name="tiny")
    np.testing.assert_allclose(run_graph(tmp_path / "out", TEXTS), document_weights(encoder, TEXTS), atol=1e-5)


def test_settings_of_the_encoder_do_not_reach_the_graph(tmp_path: Path) -> None:
    """Neither does the export reach the encoder."""
    encoder = tiny("BertForMaskedLM")
    plain = document_weights(encoder, TEXTS)
    encoder.max_active_dims = 3
    encoder.prompts = {"document": "home tree "}
    manifest = export_onnx(encoder, tmp_path / "out", name="tiny")
    assert (manifest["max_active_dims_not_applied"], manifest["document_prompt"]) == (3, "home tree ")
    np.testing.assert_allclose(run_graph(tmp_path / "out", TEXTS), plain, atol=1e-5)
    readme = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "Put 'home tree ' before every text" in readme
    assert "Then keep the 3 largest weights of a text." in readme
    assert (document_weights(encoder, TEXTS) > 0).sum(axis=1).max() == 3


def test_documents_are_cut_at_the_length_that_is_stated_for_them(tmp_path: Path) -> None:
    encoder = tiny("BertForMaskedLM")
    encoder[0].query_length, encoder[0].document_length = 6, 12
    manifest = export_onnx(encoder, tmp_path / "out", name="tiny")
    assert manifest["max_seq_length"] == 12
    np.testing.assert_allclose(run_graph(tmp_path / "out", TEXTS), document_weights(encoder, TEXTS), atol=1e-5)
    encoder[0].processing_kwargs = {"text": {"max_length": 7}}
    assert export_onnx(encoder, tmp_path / "shorter", name="tiny")["max_seq_length"] == 7
    np.testing.assert_allclose(run_graph(tmp_path / "shorter", TEXTS), document_weights(encoder, TEXTS), atol=1e-5)


def test_settings_that_the_tokenizer_file_cannot_hold_are_refused_by_name(tmp_path: Path) -> None:
    encoder = tiny("BertForMaskedLM")
    encoder[0].processing_kwargs = {"text": {"add_special_tokens": False}}
    with pytest.raises(SembridgeError, match="processing_kwargs add_special_tokens"):
        export_onnx(encoder, tmp_path / "out", name="tiny")
    assert not (tmp_path / "out").exists()


def test_a_cosine_is_in_the_manifest_and_in_the_words_of_the_folder(tmp_path: Path) -> None:
    encoder = tiny("BertForMaskedLM")
    encoder.similarity_fn_name = "cosine"
    assert export_onnx(encoder, tmp_path / "out", name="tiny")["similarity"] == "cosine"
    readme = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "Then scale vectors to unit length (the encoder's score is the cosine)." in readme


def test_a_graph_that_differs_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard really fails: a graph whose weights are a little too large."""
    from sembridge.deployment.export import onnx_model

    forward = onnx_model._DocumentSide.forward

    def wrong(self: Any, *inputs: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
        return forward(self, *inputs, **named) * (1 + 2 * TOLERANCE)

    wrong.__signature__ = __import__("inspect").signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(onnx_model._DocumentSide, "forward", wrong)
    with pytest.raises(SembridgeError, match=r"by up to .*nothing was written"):
        export_onnx(tiny("BertForMaskedLM"), tmp_path / "out", name="tiny")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_refused_with_the_install_line(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'needs the package {package}, .*pip install "sembridge\[onnx\]"'):
        export_onnx(tiny("BertForMaskedLM"), tmp_path / "out", name="tiny")


def test_the_licence_of_the_encoder_carries_over_and_is_loud(tmp_path: Path) -> None:
    tiny("BertForMaskedLM").save_pretrained(str(tmp_path / "encoder"), create_model_card=False)
    (tmp_path / "encoder" / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n", encoding="utf-8")
    manifest = export_onnx(load_encoder(tmp_path / "encoder"), tmp_path / "out", name="encoder")
    assert manifest["license"] == "cc-by-nc-sa-4.0"
    card = ModelCard((tmp_path / "out" / "README.md").read_text(encoding="utf-8"))
    assert card.data.license == "cc-by-nc-sa-4.0"
    assert card.text.strip().splitlines()[2].startswith("> **Not for commercial use.**")
