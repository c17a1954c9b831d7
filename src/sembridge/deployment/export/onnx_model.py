"""ONNX: the document side of an encoder as one graph, and the tokenizer that feeds it.

The graph goes from token ids and attention mask to (batch, vocabulary) weights, so that a program without torch gets
SPLADE vectors by one call; or to (batch, length, vocabulary) logits, for programs that pool themselves, as fastembed.
"""

import contextlib
import copy
import inspect
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from huggingface_hub import ModelCardData
from numpy.typing import NDArray

from sembridge.deployment.export.manifest import ExportManifest, write_export
from sembridge.encoders.anatomy import SpladeRoute, read_anatomy
from sembridge.encoders.fingerprint import sparse_encoder_fingerprint
from sembridge.encoders.loading import read_model_card
from sembridge.encoders.model_card import licence_line, with_front_matter
from sembridge.encoders.names import mini_folder, mini_names
from sembridge.encoders.stated import prompt_of, scores_by_cosine
from sembridge.errors import SembridgeError, require

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

Output = Literal["weights", "logits"]

TOLERANCE = 1e-4  # of a weight, against the encoder under torch
OPSET = 18


def export_onnx(
    encoder: "SparseEncoder", out: Path, *, name: str, output: Output = "weights", overwrite: bool = False
) -> ExportManifest:
    """The manifest of `model.onnx`, `tokenizer.json` and their settings in `out`.

    Batch and length are free. Before the folder appears, texts of six scripts and of all lengths go through its
    tokenizer and its graph under onnxruntime and are compared with `encode_document`; the largest difference is in the
    manifest. The tokenizer cuts and pads documents as the encoder does, at its `document_length` where it states one; a
    document prompt is in the manifest, for the program to put before the text. Settings of the encoder that come after
    the network, `max_active_dims` and the similarity cosine, are not in the graph but in the manifest.

    Args:
        name: of the encoder, for the manifest.
        output: "weights", (batch, vocabulary) after pooling; or "logits", (batch, length, vocabulary) before it.

    Raises:
        MissingExtraError: the packages of the extra onnx are not installed.
        SembridgeError: the encoder is no SPLADE of torch; a weight differs by more than 1e-4; or a place that cannot be
            written.
    """
    check_onnx()
    if encoder.backend != "torch":
        raise SembridgeError(f"{name} runs on {encoder.backend}; the ONNX export needs its torch weights.")
    card = read_model_card(encoder)
    encoder = copy.deepcopy(encoder).cpu().float().eval()
    route = read_anatomy(encoder).splade_route("document")
    n_tokens = _document_tokens(route, name)

    def fill(folder: Path) -> ExportManifest:
        inputs = _write_graph(encoder, route, folder / "model.onnx", output)
        _write_tokenizer(encoder.tokenizer, folder, n_tokens)
        route.transformer.model.config.to_json_file(folder / "config.json")
        difference = _largest_difference(encoder, route, folder, inputs, output)
        if not difference <= TOLERANCE:
            raise SembridgeError(
                f"{name} gives other weights under onnxruntime than under torch (by up to {difference:.1e}, allowed are"
                f" {TOLERANCE:g}), so nothing was written; please report it with the versions of torch and onnxruntime."
            )
        return {
            "format": "onnx",
            "encoder": name,
            "encoder_fingerprint": sparse_encoder_fingerprint(encoder),
            "license": card.license,
            "license_name": card.license_name,
            "license_link": card.license_link,
            "architecture": type(route.transformer.model).__name__,
            "n_dims": int(encoder.get_embedding_dimension() or 0),
            "inputs": inputs,
            "output": output,
            "pooling": route.pooling.pooling_strategy,
            "activation": route.pooling.activation_function,
            "max_seq_length": n_tokens,
            "similarity": "cosine" if scores_by_cosine(encoder) else "dot",
            "document_prompt": prompt_of(encoder, "document"),
            "max_active_dims_not_applied": encoder.max_active_dims,
            "opset": OPSET,
            "largest_difference_from_torch": difference,
        }

    return write_export(out, fill, _readme, overwrite=overwrite)


def check_onnx() -> None:
    """Refuses where the packages of the extra onnx are not installed, before any work is done."""
    require("onnx", "onnx", "onnxruntime", "onnxscript", what="The ONNX export")


class _DocumentSide(torch.nn.Module):
    """Token ids and masks -> weights or logits.

    Pooling is spelled out: the loop over chunks in SpladePooling fixes the length at that of the example.
    """

    def __init__(self, route: SpladeRoute, output: Output) -> None:
        super().__init__()
        self.model = route.transformer.model
        self.output = output
        self.sums = route.pooling.pooling_strategy == "sum"
        self.twice = route.pooling.activation_function == "log1p_relu"

    def forward(
        self, input_ids: "Tensor", attention_mask: "Tensor", token_type_ids: "Tensor | None" = None
    ) -> "Tensor":
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits
        if self.output == "logits":
            return logits
        weights = (logits * attention_mask.unsqueeze(-1)).relu().log1p()
        weights = weights.log1p() if self.twice else weights
        return weights.sum(dim=1) if self.sums else weights.amax(dim=1)


def _write_graph(encoder: "SparseEncoder", route: SpladeRoute, path: Path, output: Output) -> list[str]:
    """The names of the graph's inputs, in order."""
    example = encoder.preprocess(["a b c d e", "f g"], task="document")
    accepted = inspect.signature(route.transformer.model.forward).parameters
    names = [n for n in ("input_ids", "attention_mask", "token_type_ids") if n in example and n in accepted]
    with _quiet_exporter():
        program = torch.onnx.export(
            _DocumentSide(route, output).eval(),
            kwargs={name: example[name] for name in names},
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            output_names=[output],
            dynamic_shapes={name: {0: "batch", 1: "length"} for name in names},
            verbose=False,
        )
        if program is None:
            raise SembridgeError("torch.onnx.export gave no program; install the torch version of this package.")
        program.save(str(path))
    return names


def _document_tokens(route: SpladeRoute, name: str) -> int:
    """Tokens after which the encoder cuts a document: those of its settings for texts, for documents, or for all."""
    transformer = route.transformer
    stated = {**transformer.processing_kwargs.get("common", {}), **transformer.processing_kwargs.get("text", {})}
    n_tokens: int = stated.pop("max_length", None) or transformer.document_length or transformer.max_seq_length
    if stated:
        raise SembridgeError(
            f"{name} states processing_kwargs {', '.join(sorted(stated))}, which tokenizer.json cannot hold; only"
            " max_length is exported. Remove them from its sentence_bert_config.json, or encode with sembridge."
        )
    return n_tokens


def _write_tokenizer(tokenizer: "PreTrainedTokenizerFast", folder: Path, n_tokens: int) -> None:
    """The tokenizer's files, so that both transformers and the tokenizers library cut and pad as the encoder does."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = n_tokens
    tokenizer.save_pretrained(str(folder))
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(tokenizer.model_max_length, direction=tokenizer.truncation_side)
    backend.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=tokenizer.pad_token,
    )
    backend.save(str(folder / "tokenizer.json"))
    special = json.dumps(tokenizer.special_tokens_map, ensure_ascii=False, indent=1)
    (folder / "special_tokens_map.json").write_text(special + "\n", encoding="utf-8")


def _largest_difference(
    encoder: "SparseEncoder", route: SpladeRoute, folder: Path, inputs: Sequence[str], output: Output
) -> float:
    """Over all check texts and dimensions, between the folder's own way and `encode_document`."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    prompt = prompt_of(encoder, "document") or ""
    differences = []
    for texts in _check_texts():
        features = _features(tokenizer, [prompt + text for text in texts])
        (found,) = session.run(None, {name: features[name] for name in inputs})
        weights = found if output == "weights" else _pooled(found, features["attention_mask"], route)
        expected = encoder.encode_document(
            texts,
            batch_size=len(texts),
            max_active_dims=weights.shape[1],  # all of them, whatever the encoder's own setting
            convert_to_sparse_tensor=False,
            show_progress_bar=False,
        )
        differences.append(float(np.abs(weights - expected.float().numpy()).max()))
    return float(np.max(differences))  # NaN stays NaN


def _features(tokenizer: Any, texts: list[str]) -> dict[str, NDArray[np.int64]]:
    encodings = tokenizer.encode_batch(texts)
    return {
        "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
        "attention_mask": np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
        "token_type_ids": np.array([encoding.type_ids for encoding in encodings], dtype=np.int64),
    }


def _pooled(logits: NDArray[np.float32], mask: NDArray[np.int64], route: SpladeRoute) -> NDArray[np.float32]:
    """(batch, vocabulary) weights from logits, as a consumer of the logits computes them."""
    weights = np.log1p(np.maximum(logits * mask[:, :, None], 0))
    weights = np.log1p(weights) if route.pooling.activation_function == "log1p_relu" else weights
    pooled: NDArray[np.float32] = (
        weights.sum(axis=1) if route.pooling.pooling_strategy == "sum" else weights.max(axis=1)
    )
    return pooled


def _check_texts() -> Iterator[list[str]]:
    """Batches: six titles of different lengths; a title with a paragraph; a text longer than any encoder takes."""
    titles = []
    for name in (name for name in mini_names() if "/faq-" in name):
        lines = (mini_folder(name) / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines[:40]]
        titles.append(records[0]["title"])
        yield [records[1]["title"], f"{records[2]['title']} {records[2]['text']}"]
        yield [" ".join(record["text"] for record in records)]
    yield titles


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's remarks on packages that it would support too."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _after(manifest: ExportManifest) -> str:
    """What the encoder does to a vector after the network, in words."""
    kept = manifest["max_active_dims_not_applied"]
    steps = [f"keep the {kept} largest weights of a text"] if kept else []
    steps += (
        ["scale vectors to unit length (the encoder's score is the cosine)"]
        if manifest["similarity"] == "cosine"
        else []
    )
    return f" Then {', and '.join(steps)}." if steps else ""


def _readme(manifest: ExportManifest) -> str:
    if manifest["output"] == "weights":
        use = """(weights,) = session.run(None, inputs)  # (texts, vocabulary)"""
    else:
        logarithms = "np.log1p(np.log1p({}))" if manifest["activation"] == "log1p_relu" else "np.log1p({})"
        masked = "np.maximum(logits * inputs['attention_mask'][:, :, None], 0)"
        use = f"""(logits,) = session.run(None, inputs)  # (texts, tokens, vocabulary)
weights = {logarithms.format(masked)}.{manifest["pooling"]}(axis=1)"""
    prompt = f"Put {manifest['document_prompt']!r} before every text. " if manifest["document_prompt"] else ""
    licence: dict[str, Any] = {key: manifest[key] for key in ("license", "license_name", "license_link")}
    body = f"""# {manifest["encoder"]} as ONNX

{licence_line(licence["license_name"] or licence["license"], "encoder")}

The document side, {manifest["architecture"]} with {manifest["n_dims"]} dimensions; under onnxruntime a weight differs
from torch by at most {manifest["largest_difference_from_torch"]:.1e}. {prompt}Texts are cut after
{manifest["max_seq_length"]} tokens.{_after(manifest)}

With `pip install onnxruntime tokenizers`:

```python
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
session = onnxruntime.InferenceSession("model.onnx")
encodings = tokenizer.encode_batch(["A text.", "Another, longer text."])
fields = {{"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}}
inputs = {{
    name: np.array([getattr(encoding, fields[name]) for encoding in encodings], dtype=np.int64)
    for name in {manifest["inputs"]}
}}
{use}
for row in weights:
    strongest = row.argsort()[::-1][:5]
    print([(tokenizer.id_to_token(int(i)), round(float(row[i]), 2)) for i in strongest])
```
"""
    tags = ["sparse-encoder", "sparse", "splade", "sembridge", "onnx"]
    return with_front_matter(ModelCardData(**licence, library_name="onnx", tags=tags), body)
