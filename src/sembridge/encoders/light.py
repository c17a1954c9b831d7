"""Queries without torch: importing it takes longer than all of a search, and a query is a few small matrix products.

A `LightPlan` was read off the loaded encoder where an index was made, and is kept only if its vectors were the stock
encoder's there (`light_plan`). It holds for the very files and library versions that it was made with; everything else
goes the full way. Computed are BERT and its kin, whose layers are one formula under several names: attention and two
linear layers, each added to what came in and normalised (Vaswani et al. 2017, normalisation last), and SPLADE's
maximum over tokens of log(1 + relu(logit)) as in `fast_head`. Static query weights are looked up.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from scipy.sparse import csr_array, vstack
from scipy.special import erf
from tokenizers import Tokenizer

from sembridge.encoders.vectors import check_finite, unit_rows
from sembridge.errors import SembridgeError
from sembridge.files.digests import folder_digest
from sembridge.files.records import read_record

Matrix = NDArray[np.float32]

PLAN_FILE, TOKENIZER_FILE = "plan.json", "tokenizer.json"
LIBRARIES = ("sentence-transformers", "transformers", "tokenizers")
MOST_QUERIES = 64  # of more, torch's import pays
_BLOCK = 8192  # dimensions whose logits are held at a time: 16 MB for a text of 512 tokens
_READ = {".json", ".safetensors", ".txt", ".model"}  # by the loaders of an encoder


@dataclass(frozen=True)
class LightPlan:
    """All that a query's vector depends on beside tokenizer and weights; a record.

    Attributes:
        digest: of the files of the encoder's folder.
        versions: of the libraries that read them.
        tokenizer: digest of its pipeline as JSON, in which a query's truncation is set.
        prompt: put before every query.
        weights: file of the tensors, relative to the folder.
        names: role -> module in the file, {} standing for the number of the layer; only `static`: looked-up weights.
        first_position: position of a text's first token.
        pad_id: tokens that have no position of their own; None: all have.
        n_logarithms: how often log1p is applied.
    """

    digest: str
    versions: dict[str, str]
    tokenizer: str
    n_dims: int
    prompt: str
    weights: str
    names: dict[str, str]
    max_active_dims: int | None = None
    unit_length: bool = False
    n_layers: int = 0
    n_heads: int = 1
    epsilon: float = 1e-12
    first_position: int = 0
    pad_id: int | None = None
    n_logarithms: int = 1


def library_versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def encoder_digest(folder: Path) -> str:
    """Of the files that make an encoder what it is."""
    return folder_digest(folder, counts=lambda path: path.suffix in _READ)


class LightQueries:
    """The query side of an encoder by its plan."""

    def __init__(self, plan: LightPlan, tokenizer: Tokenizer, tensors: Mapping[str, Matrix]) -> None:
        self.plan = plan
        self._tokenizer = tokenizer
        self._tensors = tensors

    @classmethod
    def open(cls, place: Path, encoder_folder: Path) -> "LightQueries | None":
        """By the plan in `place`; None where there is none, or it was made for other files or versions than these."""
        try:
            plan = read_record(LightPlan, place / PLAN_FILE, advice="")
            if plan.versions != library_versions() or plan.digest != encoder_digest(encoder_folder):
                return None
            queries = cls.read(plan, (place / TOKENIZER_FILE).read_text(encoding="utf-8"), encoder_folder)
            queries(["a"])  # a plan that was damaged by hand fails here, where the whole encoder can still be asked
            return queries
        except (SembridgeError, SafetensorError, OSError, ValueError, LookupError, TypeError):
            return None

    @classmethod
    def read(cls, plan: LightPlan, tokenizer: str, encoder_folder: Path) -> "LightQueries":
        """With the tensors of the encoder's folder.

        Raises:
            SembridgeError: a tensor of the plan is not in its file, or the tokenizer is another one.
        """
        if text_digest(tokenizer) != plan.tokenizer:
            raise SembridgeError("The tokenizer is not that of the plan.")
        with safe_open(encoder_folder / plan.weights, framework="np") as file:
            names, known = _tensor_names(plan), set(file.keys())
            if lacking := [name for name in names if name not in known]:
                raise SembridgeError(f"{plan.weights} has no {lacking[0]}.")
            tensors = {name: file.get_tensor(name).astype(np.float32, copy=False) for name in names}
        return cls(plan, Tokenizer.from_str(tokenizer), tensors)

    def __call__(self, texts: Sequence[str]) -> csr_array:
        """(n_texts, n_dims) float32 vectors, equal to the stock encoder's up to rounding.

        Raises:
            SembridgeError: weights that are not finite.
        """
        vectors = vstack([csr_array(self._vector(text)[None]) for text in texts], format="csr")
        check_finite(vectors, texts)
        return unit_rows(vectors) if self.plan.unit_length else vectors

    def _vector(self, text: str) -> Matrix:
        is_static = "static" in self.plan.names
        ids = np.array(self._tokenizer.encode(self.plan.prompt + text, add_special_tokens=not is_static).ids, np.int64)
        if is_static:
            vector = np.zeros(self.plan.n_dims, np.float32)
            vector[ids] = self._tensors[self.plan.names["static"]][ids]
        else:
            vector = self._splade(ids)
        most = self.plan.max_active_dims
        if most is not None and most < len(vector):
            vector[np.argpartition(-vector, most)[most:]] = 0
        return vector

    def _splade(self, ids: NDArray[np.int64]) -> Matrix:
        states = self._embedded(ids)
        for layer in range(self.plan.n_layers):
            states = self._norm("attended_norm", states + self._attention(states, layer), layer)
            inner = _gelu(self._linear("inner", states, layer))
            states = self._norm("norm", states + self._linear("outer", inner, layer), layer)
        read = self._norm("head_norm", _gelu(self._linear("head", states)))
        rows, bias = (
            self._tensors[f"{self.plan.names['decoder']}.weight"],
            self._tensors[self.plan.names["decoder_bias"]],
        )
        blocks = (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
        best = np.concatenate([(read @ block.T).max(axis=0) for block in blocks])
        weights: Matrix = np.maximum(best + bias, 0)
        for _ in range(self.plan.n_logarithms):
            weights = np.log1p(weights)
        return weights

    def _embedded(self, ids: NDArray[np.int64]) -> Matrix:
        counted = (
            np.ones(len(ids), np.int64) if self.plan.pad_id is None else (ids != self.plan.pad_id).astype(np.int64)
        )
        positions = (np.cumsum(counted) - 1 + self.plan.first_position) * counted
        if self.plan.pad_id is not None:
            positions[counted == 0] = self.plan.pad_id
        states = self._rows("tokens", ids) + self._rows("positions", positions)
        if "types" in self.plan.names:
            states = states + self._rows("types", np.zeros(len(ids), np.int64))
        return self._norm("embedding_norm", states)

    def _attention(self, states: Matrix, layer: int) -> Matrix:
        n_tokens, width = states.shape
        heads = (n_tokens, self.plan.n_heads, width // self.plan.n_heads)
        query, key, value = (
            self._linear(role, states, layer).reshape(heads).transpose(1, 0, 2) for role in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(heads[2]))
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        return self._linear("attended", (shares @ value).transpose(1, 0, 2).reshape(n_tokens, width), layer)

    def _rows(self, role: str, ids: NDArray[np.int64]) -> Matrix:
        return self._tensors[f"{self.plan.names[role]}.weight"][ids]

    def _linear(self, role: str, given: Matrix, layer: int = 0) -> Matrix:
        name = self.plan.names[role].format(layer)
        product: Matrix = given @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]
        return product

    def _norm(self, role: str, given: Matrix, layer: int = 0) -> Matrix:
        name = self.plan.names[role].format(layer)
        centred = given - given.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(self.plan.epsilon))
        normal: Matrix = centred / spread * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]
        return normal


def _gelu(given: Matrix) -> Matrix:
    active: Matrix = given * np.float32(0.5) * (1 + erf(given * np.float32(np.sqrt(0.5))))
    return active


def _tensor_names(plan: LightPlan) -> list[str]:
    """Every tensor of the plan, once."""
    modules = (
        (template.format(layer), _PARTS.get(role, (".weight", ".bias")))
        for role, template in plan.names.items()
        for layer in range(plan.n_layers if "{}" in template else 1)
    )
    return list(dict.fromkeys(module + part for module, parts in modules for part in parts))


_PARTS = {"static": ("",), "decoder_bias": ("",)} | dict.fromkeys(
    ("tokens", "positions", "types", "decoder"), (".weight",)
)
