"""Fixtures for every test: the development data and tiny tokenizers of four families, built in memory."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

FAMILIES = ("wordpiece", "byte-level", "byte-fallback", "unigram")
ANGLE_ROLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
SQUARE_ROLES = {
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine-url", metavar="ENGINE=URL", help="a real search server for `pytest -m live`, e.g. qdrant=http://..."
    )


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # until the tests begin: what is imported stays
    keep_apart(config)
    config.addinivalue_line("markers", "live: needs a real search server, given by --engine-url; skipped without one")


def pytest_collection_finish() -> None:
    """Garbage is looked for among what tests make, not again and again among a million objects of the libraries.

    Of four files of tests on one core this saved a fifth of the processor's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()


def keep_apart(config: pytest.Config) -> None:
    """What is kept between runs lies in a folder of this test run: nothing comes from the user's cache or goes there.

    The variables are for the programs that tests start and for the processes of pytest-xdist, which share the folder.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = tempfile.mkdtemp(prefix="sembridge-tests-")
        config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))
        os.environ["SEMBRIDGE_TEST_RUN"] = os.environ["HF_ASSETS_CACHE"] = folder
    constants.HF_ASSETS_CACHE = os.environ["HF_ASSETS_CACHE"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data: the folder `shared` beside the repository root, or $SEMBRIDGE_SHARED."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("SEMBRIDGE_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder}; set SEMBRIDGE_SHARED")
    return folder


def write_piece(family: str, piece: str) -> str:
    """How a family spells a piece; a piece that begins with a space starts a word."""
    if family == "wordpiece":
        return piece[1:] if piece.startswith(" ") else f"##{piece}"
    if family == "byte-level":
        return byte_level_spelling(piece.encode())
    return piece.replace(" ", "▁")


def byte_level_spelling(raw: bytes) -> str:
    """Bytes in the 256 printable characters of byte-level BPE, checked against the tokenizers library."""
    readable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in readable]
    alphabet = {byte: chr(byte) for byte in readable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    assert set(alphabet.values()) == set(pre_tokenizers.ByteLevel.alphabet())
    return "".join(alphabet[byte] for byte in raw)


def spelled_tokenizer(family: str, tokens: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose ids are five special tokens, the 256 bytes of byte-fallback if it has them, then `tokens`."""
    roles = SQUARE_ROLES if family == "wordpiece" else ANGLE_ROLES
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)] if family == "byte-fallback" else []
    ids = {token: id_ for id_, token in enumerate([*roles.values(), *bytes_, *tokens])}
    backend = _BACKENDS[family](ids, roles["unk_token"])
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


def _wordpiece(ids: dict[str, int], unknown: str) -> Tokenizer:
    backend = Tokenizer(models.WordPiece(ids, unk_token=unknown))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend


def _byte_level(ids: dict[str, int], unknown: str) -> Tokenizer:
    backend = Tokenizer(models.BPE(ids, [], unk_token=unknown, ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    return backend


def _byte_fallback(ids: dict[str, int], unknown: str) -> Tokenizer:
    """As Llama and Gemma: the space is replaced by the normalizer, there is no Metaspace."""
    backend = Tokenizer(models.BPE(ids, [], unk_token=unknown, byte_fallback=True, ignore_merges=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return backend


def _unigram(ids: dict[str, int], unknown: str) -> Tokenizer:
    backend = Tokenizer(models.Unigram([(token, -float(id_)) for token, id_ in ids.items()], unk_id=ids[unknown]))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    backend.decoder = decoders.Metaspace()
    return backend


_BACKENDS = {
    "wordpiece": _wordpiece,
    "byte-level": _byte_level,
    "byte-fallback": _byte_fallback,
    "unigram": _unigram,
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Every tokenizer family in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """make_tokenizer(family, pieces): a tiny tokenizer; a piece that begins with a space starts a word."""

    def make(family: str, pieces: Iterable[str]) -> PreTrainedTokenizerFast:
        return spelled_tokenizer(family, [write_piece(family, piece) for piece in pieces])

    return make


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For what is compared bit for bit with another process: the number of threads decides over the order of sums."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for tests that `browsing.needs_chromium` marks."""
    from browsing import started_browser

    with started_browser() as found:
        yield found


@pytest.fixture(scope="session")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good specimen of everything a verb reads; not to be written to."""
    from specimens import write_specimens  # models are made, which a run of other tests need not wait for

    return write_specimens(tmp_path_factory.mktemp("specimens"))


@pytest.fixture(scope="module")
def small_bundle() -> Iterator[None]:
    """For modules of which every test follows whole verbs on the bundled models; to be used by all tests of one."""
    from bundle import small_bundle_installed

    with small_bundle_installed():
        yield
