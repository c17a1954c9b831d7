"""The alignment of a transfer: W with the names of its rows and columns, kept beside the model.

It is the explanation ("which English tokens is this Korean token made of?"), the report, and the way back: its
transpose maps a target-language vector into the English vocabulary.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sembridge.errors import SembridgeError
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.language_transfer.sparse_matrix import SparseWeights

ALIGNMENT_FILE = "alignment.safetensors"


@dataclass(frozen=True)
class SourcePart:
    """One source token of a target token: its raw spelling, weight, and cosine (None on copied rows)."""

    token: str
    weight: float
    similarity: float | None


@dataclass(frozen=True, eq=False)
class Alignment:
    """W with its names.

    Attributes:
        weights: (n_target, n_source).
        kinds: (n_target,) uint8 of RowKind.
        source_tokens: raw spelling of every column.
        confidence: (n_target,) float32 within [0, 1], how far a combined row's weights were trusted, nan on other rows;
            None where no evidence was asked for.
    """

    weights: SparseWeights
    kinds: np.ndarray
    source_tokens: tuple[str, ...]
    confidence: np.ndarray | None = None

    def parts(self, target_id: int) -> list[SourcePart]:
        """The source tokens of a target token, heaviest first; none for a row that fell back."""
        start, end = self.weights.crow_indices[target_id : target_id + 2].tolist()
        columns = self.weights.col_indices[start:end].tolist()
        values = self.weights.values[start:end].tolist()
        cosines = self.weights.similarities[start:end].tolist()
        parts = [
            SourcePart(self.source_tokens[column], value, None if math.isnan(cosine) else cosine)
            for column, value, cosine in zip(columns, values, cosines, strict=True)
        ]
        return sorted(parts, key=lambda part: (-part.weight, part.token))

    def save(self, folder: Path) -> None:
        """Writes `alignment.safetensors`: W as CSR under torch's names, `kind` with its legend in the metadata.

        The same alignment gives the same bytes.
        """
        tensors = {
            "crow_indices": self.weights.crow_indices,
            "col_indices": self.weights.col_indices.to(torch.int32),
            "values": self.weights.values,
            "similarities": self.weights.similarities,
            "kind": torch.from_numpy(self.kinds),
        }
        if self.confidence is not None:
            tensors["confidence"] = torch.from_numpy(self.confidence)
        metadata = {
            "format": "pt",
            "shape": json.dumps([self.weights.n_rows, self.weights.n_columns]),
            "kind": json.dumps({str(int(kind)): kind.name.lower() for kind in RowKind}),
            "source_tokens": json.dumps(self.source_tokens, ensure_ascii=False),
        }
        (folder / ALIGNMENT_FILE).write_bytes(_with_sorted_header(save(tensors, metadata)))

    @classmethod
    def load(cls, folder: Path) -> "Alignment":
        """The alignment saved in `folder`.

        Raises:
            SembridgeError: there is none, or it cannot be read.
        """
        path = folder / ALIGNMENT_FILE
        if not path.is_file():
            raise SembridgeError(
                f"{folder} holds no {ALIGNMENT_FILE}; expected a folder written by `sembridge transfer`."
            )
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            weights = SparseWeights(
                crow_indices=tensors["crow_indices"],
                col_indices=tensors["col_indices"].long(),
                values=tensors["values"],
                n_columns=json.loads(metadata["shape"])[1],
                similarities=tensors["similarities"],
            )
            weights.validate(allow_empty_rows=True)
            kinds, source_tokens = tensors["kind"].numpy(), tuple(json.loads(metadata["source_tokens"]))
            confidence = tensors["confidence"].numpy() if "confidence" in tensors else None
            if (len(kinds), len(source_tokens)) != (weights.n_rows, weights.n_columns):
                raise ValueError("names and kinds do not fit the weights")
            if confidence is not None and confidence.shape != kinds.shape:
                raise ValueError("confidence does not fit the weights")
            return cls(weights, kinds, source_tokens, confidence)
        except (SafetensorError, SembridgeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise SembridgeError(f"{path} is damaged ({error}); run the transfer again.") from None


def _with_sorted_header(content: bytes) -> bytes:
    """The same safetensors file; the library writes several entries of metadata in random order."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of eight
    return len(text).to_bytes(8, "little") + text + content[8 + size :]
