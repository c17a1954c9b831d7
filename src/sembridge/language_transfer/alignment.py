"""The alignment of a transfer: W with the names of its rows and columns, kept beside the model.

It is the explanation ("which English tokens is this Korean token made of?"), the report, and the way back: its
transpose maps a target-language vector into the English vocabulary.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from sembridge.language_transfer.origins import ALIGNMENT_FILE as ALIGNMENT_FILE
from sembridge.language_transfer.origins import Origins, RowNames
from sembridge.language_transfer.origins import SourcePart as SourcePart
from sembridge.language_transfer.row_kinds import RowKind
from sembridge.language_transfer.sparse_matrix import SparseWeights


@dataclass(frozen=True, eq=False)
class Alignment:
    """W with its names.

    Attributes:
        weights: (n_target, n_source).
        kinds: (n_target,) uint8 of RowKind.
        source_tokens: raw spelling of every column.
        confidence: (n_target,) float32 within [0, 1], how probably a combined row's heaviest source token is the right
            one, nan on other rows; None where no evidence was asked for.
        names: of the rows; None where they are not known.
    """

    weights: SparseWeights
    kinds: np.ndarray
    source_tokens: tuple[str, ...]
    confidence: np.ndarray | None = None
    names: RowNames | None = None

    def parts(self, target_id: int) -> list[SourcePart]:
        """The source tokens of a target token, heaviest first; none for a row that fell back."""
        return self.origins.parts(target_id)

    @cached_property
    def origins(self) -> Origins:
        """The same without torch."""
        w = self.weights
        return Origins(
            w.crow_indices.numpy(), w.col_indices.numpy(), w.values.numpy(), w.similarities.numpy(),
            self.kinds, self.source_tokens, self.confidence, self.names,
        )  # fmt: skip

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
        if self.names is not None:
            metadata["target_tokens"] = json.dumps(self.names.tokens, ensure_ascii=False)
            metadata["target_texts"] = json.dumps(self.names.texts, ensure_ascii=False)
        (folder / ALIGNMENT_FILE).write_bytes(_with_sorted_header(save(tensors, metadata)))

    @classmethod
    def load(cls, folder: Path) -> "Alignment":
        """The alignment saved in `folder`.

        Raises:
            SembridgeError: there is none, or it cannot be read.
        """
        found = Origins.load(folder)
        weights = SparseWeights(
            crow_indices=torch.from_numpy(found.starts),
            col_indices=torch.from_numpy(found.columns),
            values=torch.from_numpy(found.values),
            n_columns=len(found.source_tokens),
            similarities=torch.from_numpy(found.similarities),
        )
        return cls(weights, found.kinds, found.source_tokens, found.confidence, found.names)


def _with_sorted_header(content: bytes) -> bytes:
    """The same safetensors file; the library writes several entries of metadata in random order."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of eight
    return len(text).to_bytes(8, "little") + text + content[8 + size :]
