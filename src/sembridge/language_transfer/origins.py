"""What every row of a transferred encoder was made of, read from its folder without torch.

Importing torch takes longer than reading the answer, so `sembridge explain` and `search --explain` come here;
`Alignment` is the same for who computes with it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from sembridge.errors import SembridgeError
from sembridge.language_transfer.row_kinds import RowKind
from sembridge.language_transfer.sparse_rows import check_rows

ALIGNMENT_FILE = "alignment.safetensors"


@dataclass(frozen=True)
class SourcePart:
    """One source token of a target token: its raw spelling, weight, and cosine (None on copied rows)."""

    token: str
    weight: float
    similarity: float | None


@dataclass(frozen=True)
class RowNames:
    """Of every row its token: raw spelling and readable text, as `Vocabulary` has them."""

    tokens: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Origins:
    """W and its names; `Alignment` explains them.

    Attributes:
        starts: (n_target + 1,) int64, where each row begins.
        columns: (nnz,) int64.
        values: (nnz,) float32.
        similarities: (nnz,) float32.
        kinds: (n_target,) uint8 of RowKind.
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float32]
    similarities: NDArray[np.float32]
    kinds: NDArray[np.uint8]
    source_tokens: tuple[str, ...]
    confidence: NDArray[np.float32] | None
    names: RowNames | None

    @property
    def n_rows(self) -> int:
        return len(self.starts) - 1

    def parts(self, target_id: int) -> list[SourcePart]:
        """The source tokens of a target token, heaviest first; none for a row that fell back."""
        part = slice(self.starts[target_id], self.starts[target_id + 1])
        columns, values, cosines = (a[part].tolist() for a in (self.columns, self.values, self.similarities))
        parts = [
            SourcePart(self.source_tokens[column], value, None if math.isnan(cosine) else cosine)
            for column, value, cosine in zip(columns, values, cosines, strict=True)
        ]
        return sorted(parts, key=lambda part: (-part.weight, part.token))

    def kind(self, target_id: int) -> str:
        """The name of its kind, in lower case."""
        return RowKind(int(self.kinds[target_id])).name.lower()

    def trust(self, target_id: int) -> float | None:
        """How far its weights were trusted; None where there was nothing to trust."""
        confidence = math.nan if self.confidence is None else float(self.confidence[target_id])
        return None if math.isnan(confidence) else round(confidence, 4)

    @classmethod
    def load(cls, folder: Path) -> "Origins":
        """Those of the transfer that wrote `folder`.

        Raises:
            SembridgeError: there are none, or they cannot be read.
        """
        path = folder / ALIGNMENT_FILE
        if not path.is_file():
            raise SembridgeError(
                f"{folder} holds no {ALIGNMENT_FILE}; expected a folder written by `sembridge transfer`."
            )
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata()
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return cls._read(arrays, metadata)
        except (SafetensorError, SembridgeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise SembridgeError(f"{path} is damaged ({error}); run the transfer again.") from None

    @classmethod
    def _read(cls, arrays: dict[str, np.ndarray], metadata: Mapping[str, str]) -> "Origins":
        starts, columns = arrays["crow_indices"], arrays["col_indices"].astype(np.int64)
        values, similarities, kinds = arrays["values"], arrays["similarities"], arrays["kind"]
        n_columns = json.loads(metadata["shape"])[1]
        check_rows(starts, columns, values, similarities, n_columns, allow_empty_rows=True)
        source_tokens, n_rows = tuple(json.loads(metadata["source_tokens"])), len(starts) - 1
        if (len(kinds), len(source_tokens)) != (n_rows, n_columns):
            raise ValueError("names and kinds do not fit the weights")
        confidence = arrays.get("confidence")
        if confidence is not None and confidence.shape != kinds.shape:
            raise ValueError("confidence does not fit the weights")
        names = None
        if "target_tokens" in metadata:
            names = RowNames(*(tuple(json.loads(metadata[f"target_{part}"])) for part in ("tokens", "texts")))
            if not len(names.tokens) == len(names.texts) == n_rows:
                raise ValueError("the names of the rows do not fit the weights")
        return cls(starts, columns, values, similarities, kinds, source_tokens, confidence, names)
