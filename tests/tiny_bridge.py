"""A bridge of a few dozen words with known meanings, as an object with `encode` and as a SentenceTransformer folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

# fmt: off
MEANINGS: Mapping[str, Mapping[str, float]] = {
    "home": {"dwelling": 1.0}, "house": {"dwelling": 1.0, "building": 0.5}, "집": {"dwelling": 1.0, "building": 0.1},
    "дом": {"dwelling": 1.0, "building": 0.1}, "school": {"learning": 1.0}, "학교": {"learning": 1.0},
    "школа": {"learning": 1.0}, "teacher": {"learning": 0.6, "person": 1.0}, "선생님": {"learning": 0.5, "person": 1.0},
    "учитель": {"learning": 0.6, "person": 1.0}, "student": {"learning": 0.8, "person": 0.6}, "river": {"river": 1.0},
    "강": {"river": 1.0}, "река": {"river": 1.0}, "water": {"river": 0.4, "water": 1.0}, "tree": {"tree": 1.0},
    "나무": {"tree": 1.0}, "green": {"tree": 0.4, "green": 1.0}, "book": {"book": 1.0}, "책": {"book": 1.0},
    "книга": {"book": 1.0}, "read": {"book": 0.6, "read": 1.0}, "paper": {"book": 0.5, "paper": 1.0},
    "city": {"city": 1.0}, "도시": {"city": 1.0}, "город": {"city": 1.0}, "seoul": {"city": 0.6, "seoul": 1.0},
}
# fmt: on
_AXES = sorted({axis for meaning in MEANINGS.values() for axis in meaning})
_NOISE_DIMENSIONS = 32


class TinyBridge:
    """Translations lie at a cosine above .95; a text without a meaning gets a direction of its own.

    Texts in `silent` get the zero vector. Every text that was asked for is in `asked`, in order.
    """

    def __init__(self, *, silent: tuple[str, ...] = ()) -> None:
        self.silent = silent
        self.asked: list[str] = []

    def encode(self, sentences: list[str]) -> np.ndarray:
        self.asked += sentences
        return np.stack([np.zeros_like(text_vector(s)) if s in self.silent else text_vector(s) for s in sentences])


def text_vector(text: str, meanings: Mapping[str, Mapping[str, float]] = MEANINGS) -> np.ndarray:
    """(dim,) float32: the meaning, and a little of the text's own."""
    meaning = meanings.get(text.lower(), {})
    # blake2b, not hash(): the same in every process.
    digest = hashlib.blake2b(text.encode(), digest_size=_NOISE_DIMENSIONS).digest()
    own = np.frombuffer(digest, np.uint8).astype(np.float32) / 127.5 - 1
    own *= (0.15 if meaning else 1.0) / np.linalg.norm(own)
    return np.concatenate([[meaning.get(axis, 0.0) for axis in _AXES], own]).astype(np.float32)


def save_tiny_bridge(folder: Path, meanings: Mapping[str, Mapping[str, float]] = MEANINGS) -> Path:
    """`folder` as a static SentenceTransformer that knows the words with a meaning; other texts get the zero vector."""
    words = {"[UNK]": 0} | {word: row for row, word in enumerate(meanings, start=1)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = torch.from_numpy(np.stack([text_vector(word, meanings) for word in words]))
    weights[0] = 0
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder
