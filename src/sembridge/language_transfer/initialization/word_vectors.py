"""Static vectors of words and of subwords: word2vec files, means over words, and fastText (all files through gensim).

What FOCUS, OFA and WECHSEL share. gensim, for fastText and binary files, is the optional extra `baselines`.
"""

import codecs
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from sembridge.errors import SembridgeError, reason_of, require
from sembridge.files.lines import decoded_lines, open_file
from sembridge.files.progress import watched

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_WORDS_A_BATCH = 10_000
_COLUMNS_A_BLOCK = 32
_HEADER_BYTES = 64
_READ_ERRORS = (ValueError, EOFError, OSError, zlib.error, MemoryError)


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words, the most frequent first, and their vectors: (n_words, dim) float32."""

    words: Sequence[str]
    vectors: np.ndarray

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    @cached_property
    def row_of(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.words)}


def load_gensim() -> Any:
    """gensim's models.

    Raises:
        MissingExtraError: it is not installed.
    """
    require("baselines", "gensim.models", what="Method focus, as a binary file of word vectors,")
    return import_module("gensim.models")


def read_word_vectors(path: Path) -> WordVectors:
    """The word vectors of a file in word2vec's format: text, or binary when its name ends in .bin; .gz allowed.

    In text a word is all that stands before the first space of its line. Of a word that comes twice the first counts.

    Raises:
        SembridgeError: the file is missing, damaged, of another format, or holds numbers that are not finite; a binary
            file, and gensim is not installed.
    """
    n_words, dim = _header(path)
    is_binary = path.name.removesuffix(".gz").endswith(".bin")
    read = _read_binary(path) if is_binary else _read_text(path, n_words, dim)
    finite = np.isfinite(read.vectors).all(1)
    if not finite.all():
        word = read.words[int(np.flatnonzero(~finite)[0])]
        raise SembridgeError(f"Word vectors {path}: the vector of {word!r} is not finite; train them again.")
    return read


def _read_binary(path: Path) -> WordVectors:
    models = load_gensim()
    try:
        read = models.KeyedVectors.load_word2vec_format(str(path), binary=True, unicode_errors="replace")
    except _READ_ERRORS as error:
        raise SembridgeError(f"Word vectors {path} are no binary word2vec file: {reason_of(error)}.") from None
    return WordVectors(tuple(read.index_to_key), read.vectors)


def _read_text(path: Path, n_words: int, dim: int) -> WordVectors:
    try:
        vectors = np.empty((n_words, dim), np.float32)
    except (MemoryError, ValueError) as error:
        raise SembridgeError(f"Word vectors {path} are no text word2vec file: {reason_of(error)}.") from None
    rows: dict[str, int] = {}
    # Published files hold words that were cut within a character.
    number = 1
    for number, line in islice(decoded_lines(path, errors="replace"), 1, n_words + 1):
        word, *numbers = line.rstrip(" \r\n").split(" ")
        try:
            if len(numbers) != dim:
                raise ValueError(f"{len(numbers)} numbers instead of {dim}")
            vectors[len(rows)] = [float(figure) for figure in numbers]
        except ValueError as error:
            raise SembridgeError(
                f"Word vectors {path}, line {number}, are no text word2vec file: {reason_of(error)}."
            ) from None
        rows.setdefault(word, len(rows))
    if number_missing := n_words - number + 1:
        raise SembridgeError(
            f"Word vectors {path} are no text word2vec file: {number_missing:,} of the {n_words:,} words that its "
            "first line promises are not there; fetch it again."
        )
    if len(rows) < n_words:
        logger.warning("%s: %d words come twice; the first vector counts", path, n_words - len(rows))
    return WordVectors(tuple(rows), vectors[: len(rows)])


def _header(path: Path) -> tuple[int, int]:
    """The two numbers that word2vec files of both kinds begin with: words and width."""
    try:
        with open_file(path) as file:
            header = file.readline(_HEADER_BYTES).removeprefix(codecs.BOM_UTF8).split()
    except _READ_ERRORS as error:
        raise SembridgeError(f"Word vectors {path} cannot be read: {reason_of(error)}.") from None
    if len(header) != 2 or not all(number.isdigit() and int(number) for number in header):
        raise SembridgeError(
            f"Word vectors {path} are no word2vec file: expected a first line of two numbers (words and width), "
            "then a word and its numbers a line."
        )
    return int(header[0]), int(header[1])


def subword_vectors(
    tokenizer: "PreTrainedTokenizerBase",
    words: WordVectors,
    *,
    n_tokens: int,
    word_weights: np.ndarray | None = None,
    progress: bool = False,
) -> np.ndarray:
    """(n_tokens, dim) float32: the mean vector of the words whose tokenisation contains a token; zero without one.

    A word is cut twice, alone and after a space (a tokenizer may cut the start of a text differently), and counts once
    for each cut that contains the token, as in the code of WECHSEL. The mean is weighted by `word_weights`, (n_words,).
    """
    shares = word_membership(tokenizer, words.words, n_tokens, progress=progress)
    if word_weights is not None:
        shares = shares.multiply(word_weights[None, :]).tocsr()
    return mean_vectors(shares, words.vectors)


def mean_vectors(shares: csr_array, vectors: np.ndarray) -> np.ndarray:
    """(n_tokens, dim) float32 means of (n_words, dim) weighted by (n_tokens, n_words); zero without a word."""
    totals = np.asarray(shares.sum(1))
    dim = vectors.shape[1]
    means = np.zeros((shares.shape[0], dim), np.float32)
    for start in range(0, dim, _COLUMNS_A_BLOCK):  # float64 sums of two million words would take gigabytes
        columns = slice(start, start + _COLUMNS_A_BLOCK)
        sums = shares @ vectors[:, columns].astype(np.float64)
        means[:, columns] = sums / np.where(totals > 0, totals, 1)[:, None]
    return means


def unit(vectors: np.ndarray) -> np.ndarray:
    """(n, dim) float32: rows of length one; a zero row stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)


def word_membership(
    tokenizer: "PreTrainedTokenizerBase", words: Sequence[str], n_tokens: int, *, progress: bool
) -> csr_array:
    """(n_tokens, n_words): in how many of a word's two cuts a token occurs."""
    token_ids: list[int] = []
    word_ids: list[int] = []
    starts = range(0, len(words), _WORDS_A_BATCH)
    for start in watched(starts, "cutting words", total=len(starts), unit="batches", shown=progress):
        batch = list(words[start : start + _WORDS_A_BATCH])
        for cut in (batch, [f" {word}" for word in batch]):
            encoded = tokenizer(cut, add_special_tokens=False, verbose=False)["input_ids"]
            for word_id, ids in enumerate(encoded, start=start):
                distinct = set(ids)
                token_ids.extend(distinct)
                word_ids.extend([word_id] * len(distinct))
    matrix = csr_array((np.ones(len(token_ids)), (token_ids, word_ids)), shape=(n_tokens, len(words)))
    matrix.sum_duplicates()  # sorts the words of a row: sums run in the order of the file
    return matrix


@dataclass(frozen=True)
class FastTextSettings:
    """Of CBOW with subword n-grams, as in the code of FOCUS.

    Attributes:
        min_count: rarer tokens get no vector.
        buckets: of hashed n-grams. fastText has two million, 800 MB at this width, for vocabularies of a million words;
            the n-grams of a tokenizer's tokens fit into a tenth.
    """

    dim: int = 100
    epochs: int = 3
    min_count: int = 10
    negative: int = 10
    min_n: int = 3
    max_n: int = 6
    buckets: int = 200_000
    seed: int = 0


def train_fasttext(
    sentences: Callable[[], Iterable[Sequence[str]]], settings: FastTextSettings, *, progress: bool = False
) -> Any:
    """gensim's FastText over `sentences`, which are read once an epoch and once more; one worker, so that the same
    sentences give the same bytes on the same kind of machine.

    Raises:
        SembridgeError: gensim is not installed, or no word occurs `min_count` times.
    """
    models = load_gensim()
    model = models.FastText(
        vector_size=settings.dim,
        min_count=settings.min_count,
        negative=settings.negative,
        min_n=settings.min_n,
        max_n=settings.max_n,
        bucket=settings.buckets,
        sg=0,
        workers=1,
        seed=settings.seed,
        hashfxn=_stable_hash,
    )
    passes = _Passes(sentences, settings.epochs, shown=progress)
    model.build_vocab(corpus_iterable=passes)
    if not len(model.wv):
        raise SembridgeError(
            f"No token of the text occurs {settings.min_count} times, so fastText has nothing to train; give more text."
        )
    model.train(
        corpus_iterable=passes, total_examples=model.corpus_count, total_words=model.corpus_total_words,
        epochs=settings.epochs,
    )  # fmt: skip
    return model.wv


def _stable_hash(text: str) -> int:
    """In place of hash(), which differs from process to process."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


class _Passes:
    """`sentences`, read again for every pass, under one progress bar each."""

    def __init__(self, sentences: Callable[[], Iterable[Sequence[str]]], epochs: int, *, shown: bool) -> None:
        self._sentences, self._n_passes, self._shown = sentences, epochs + 1, shown
        self._done = 0

    def __iter__(self) -> Iterator[Sequence[str]]:
        self._done += 1
        name = f"fastText, pass {self._done} of {self._n_passes}"
        yield from watched(self._sentences(), name, unit="passages", shown=self._shown)
