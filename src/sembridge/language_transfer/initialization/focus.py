"""FOCUS rows: weighted overlap tokens, near in a fastText space of the target tokenizer (Dobler and de Melo 2023).

fastText is trained on target text cut by the target tokenizer. w[t, :] = sparsemax(cos(f(t), f(overlap tokens))) for
every target token t outside the overlap (section 3 of "FOCUS: Effective Embedding Initialization for Monolingual
Specialization of Multilingual Models"). Settings are those of the authors' package deepfocus.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sembridge.encoders.fingerprint import text_fingerprint
from sembridge.encoders.vocabulary import Vocabulary
from sembridge.errors import SembridgeError
from sembridge.files.lines import read_lines
from sembridge.files.vector_cache import VectorCache, assets_folder
from sembridge.language_transfer.entmax import Entmax
from sembridge.language_transfer.initialization.inputs import Inputs
from sembridge.language_transfer.initialization.rows import CombinedRows, PlacedTokens, combine_nearest
from sembridge.language_transfer.initialization.word_vectors import (
    FastTextSettings,
    load_gensim,
    train_fasttext,
)
from sembridge.language_transfer.overlap import Vocabularies

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LINES_A_BATCH = 1000


def place(inputs: Inputs) -> CombinedRows:
    """The weights of the target tokens that have a vector.

    Raises:
        SembridgeError: as `place_tokens`; or none of the tokens that may lend rows has a vector.
    """
    with inputs.clock.stage("word vectors"):
        placed = place_tokens(inputs)
    return combine_nearest(placed, inputs)


def place_tokens(inputs: Inputs) -> PlacedTokens:
    """Target tokens by their fastText vectors; the candidates are the overlap's target tokens, by theirs.

    Raises:
        SembridgeError: the text is missing or empty, or gensim is not installed.
    """
    settings = FastTextSettings(seed=inputs.recipe.seed % 2**32)
    path = inputs.recipe.file("target_text")
    lines = list(read_lines(path))
    if not lines:
        raise SembridgeError(f"Target text {path} is empty; expected one passage a line.")
    vectors = token_vectors(
        lines, inputs.target_tokenizer, inputs.target, settings, cache_folder=inputs.cache_folder,
        progress=inputs.progress,
    )  # fmt: skip
    return placed_by(vectors, inputs.vocabularies)


def placed_by(vectors: np.ndarray, vocabularies: Vocabularies) -> PlacedTokens:
    """The same from (n_target, dim) vectors of the target tokens."""
    target, overlap, new_ids = vocabularies.target, vocabularies.overlap, vocabularies.new_ids
    with_text = np.isin(overlap.target_ids, target.text_ids)
    copied_ids = overlap.target_ids[with_text]
    return PlacedTokens(
        target_ids=new_ids,
        target_vectors=vectors[new_ids],
        source_ids=overlap.source_ids[with_text],
        source_vectors=vectors[copied_ids],
        source_names=[target.tokens[i] for i in copied_ids],
        rule=Entmax(2.0),  # sparsemax
    )


def token_vectors(
    lines: list[str],
    tokenizer: "PreTrainedTokenizerBase",
    target: Vocabulary,
    settings: FastTextSettings,
    *,
    cache_folder: Path | None = None,
    progress: bool = False,
) -> np.ndarray:
    """(n_target, dim) fastText vectors of the target tokens, zeros where too rare; kept on disk once trained.

    The same for every source encoder and method of a language, so a grid of experiments trains once.
    """
    load_gensim()
    key = text_fingerprint(lines, tokenizer, {**asdict(settings), "library": _library()})
    cache = VectorCache((cache_folder or default_cache_folder()) / key, "fastText")
    names = [target.tokens[i] for i in target.text_ids]
    for found, kept in cache.read(names):
        if len(found) == len(set(names)):
            return _by_id(target, dict(zip(found, kept, strict=True)), settings.dim)
    trained = _train(lines, tokenizer, target, settings, progress=progress)
    distinct = sorted(set(names))
    nothing = np.zeros(settings.dim, np.float32)
    cache.write(distinct, np.stack([trained.get(name, nothing) for name in distinct]))
    return _by_id(target, trained, settings.dim)


def default_cache_folder() -> Path:
    """The folder of trained token vectors in huggingface_hub's own cache."""
    return assets_folder("fasttext")


def _library() -> str:
    from importlib.metadata import version

    return f"gensim {version('gensim')}"


def _train(
    lines: list[str],
    tokenizer: "PreTrainedTokenizerBase",
    target: Vocabulary,
    settings: FastTextSettings,
    *,
    progress: bool,
) -> dict[str, np.ndarray]:
    cut = list(_cut(lines, tokenizer))

    def sentences() -> Iterator[list[str]]:
        return ([target.tokens[i] for i in ids] for ids in cut)

    wv = train_fasttext(sentences, settings, progress=progress)
    return dict(zip(wv.index_to_key, wv.vectors, strict=True))


def _cut(lines: list[str], tokenizer: "PreTrainedTokenizerBase") -> Iterator[np.ndarray]:
    """The token ids of every line, four bytes a token."""
    for start in range(0, len(lines), _LINES_A_BATCH):
        batch = lines[start : start + _LINES_A_BATCH]
        for ids in tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]:
            yield np.array(ids, dtype=np.int32)


def _by_id(target: Vocabulary, vector_of: dict[str, np.ndarray], dim: int) -> np.ndarray:
    vectors = np.zeros((len(target), dim), np.float32)
    for i in target.text_ids:
        if target.tokens[i] in vector_of:
            vectors[i] = vector_of[target.tokens[i]]
    return vectors
