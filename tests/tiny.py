"""Tiny tokenizers of three families and tiny random-weight encoders, built in memory: no network, no downloads.

`tiny_tokenizer("wordpiece")`, `tiny_encoder("BertForMaskedLM", tokenizer)`; everything is a function of its arguments.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from processes import exit_code
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
from tokenizers.pre_tokenizers import ByteLevel
from transformers import BertTokenizer, PreTrainedTokenizerBase, RobertaTokenizer, XLMRobertaTokenizer

FAMILIES = ("wordpiece", "bpe", "unigram")
HEADS = (
    "BertForMaskedLM",
    "DistilBertForMaskedLM",
    "RobertaForMaskedLM",
    "XLMRobertaForMaskedLM",
    "MPNetForMaskedLM",
    "ModernBertForMaskedLM",
)

# fmt: off
ENGLISH_WORDS = (
    "home", "house", "school", "river", "small", "green", "tree", "water", "find", "read", "book", "night", "city",
    "light", "train", "teacher", "student", "morning", "paper", "window", "garden", "bridge", "mountain", "winter",
    "summer", "2024", "seoul",
)
# Korean and Russian words, and four that English has too: the overlap.
TARGET_WORDS = (
    "학교", "집", "강", "나무", "책", "도시", "선생님", "школа", "дом", "река", "книга", "город", "учитель",
    "2024", "seoul", "home", "tree",
)
# fmt: on
WORDS = {"en": ENGLISH_WORDS, "target": TARGET_WORDS}

ENGLISH_TEXTS = (
    "home",
    "find small green house",
    "school teacher read book morning",
    "night train city light",
    "unseen words tea garden homes rivers water bridge mountain winter summer",
)
TARGET_TEXTS = ("학교 선생님 책", "дом река школа", "seoul 도시 2024", "home 나무 книга учитель")
OVERLAP_TEXTS = ("seoul 2024", "home tree", "tree seoul home 2024 tree")

MAX_POSITIONS = 40
HIDDEN_SIZE = 32


def tiny_tokenizer(
    family: str, *, language: str = "en", pad_id: int | None = None, shuffle_seed: int | None = None
) -> PreTrainedTokenizerBase:
    """A tokenizer of `family` over the words of `language` ("en" or "target").

    Special tokens come first; the pad token has `pad_id` (None: the family's habit, 0 for WordPiece, 1 for the others;
    any id but 3 for Unigram). `shuffle_seed` permutes the ids of all other tokens: the same texts give the same tokens
    under other ids.
    """
    if pad_id is None:
        pad_id = 0 if family == "wordpiece" else 1
    build = {"wordpiece": _wordpiece, "bpe": _byte_level_bpe, "unigram": _unigram}[family]
    return build(WORDS[language], pad_id, shuffle_seed)


def tiny_encoder(
    architecture: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    tied: bool = True,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    n_rows: int | None = None,
    n_layers: int = 2,
    **pooling: Any,
) -> SparseEncoder:
    """A `SparseEncoder` of a few layers, 32 wide, with random weights and biases drawn from `seed`, on the CPU.

    `n_rows` above the tokenizer's size gives a padded vocabulary. `pooling` goes to `SpladePooling`.
    """
    transformer = _tiny_transformer(architecture, tokenizer, tied, dtype, seed, n_rows, n_layers)
    encoder = SparseEncoder(modules=[transformer, SpladePooling(**pooling)], device="cpu", similarity_fn_name="dot")
    return encoder.eval()


def tiny_inference_free(
    architecture: str, tokenizer: PreTrainedTokenizerBase, *, tied: bool = True, seed: int = 0
) -> SparseEncoder:
    """A `Router` encoder: queries through static weights, documents through a Transformer and SpladePooling."""
    transformer = _tiny_transformer(architecture, tokenizer, tied, torch.float32, seed, None)
    generator = torch.Generator().manual_seed(seed + 1)
    weight = torch.rand(len(tokenizer.get_vocab()), generator=generator) * 5 + 0.1
    router = Router.for_query_document(
        query_modules=[SparseStaticEmbedding(tokenizer=transformer.tokenizer, weight=weight, frozen=True)],
        document_modules=[transformer, SpladePooling(activation_function="log1p_relu")],
    )
    return SparseEncoder(modules=[router], device="cpu", similarity_fn_name="dot").eval()


def rounding(values: torch.Tensor, *, n_terms: int = HIDDEN_SIZE) -> float:
    """How far two sums of the same `n_terms` products may lie apart when a kernel adds them in another order.

    Each is within n·u of the exact one, relative to the sum of the products' sizes (Higham, Accuracy and Stability of
    Numerical Algorithms, eq. 3.5; u is half of eps); the largest of `values` stands for that sum.
    """
    return n_terms * torch.finfo(values.dtype).eps * float(values.abs().max())


def assert_same_vectors(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Up to rounding: vectors of the same weights through other shapes, batches, threads, processes or libraries.

    Only one computation repeated is equal bit for bit, and what is copied; compare tensors for those.
    """
    torch.testing.assert_close(found, expected, rtol=0, atol=rounding(expected))


def permutation(source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> torch.Tensor:
    """The source id of every target id, for two tokenizers with the same tokens: (n,) int64."""
    source_ids, target_ids = source.get_vocab(), target.get_vocab()
    return torch.tensor([source_ids[token] for token in sorted(target_ids, key=target_ids.__getitem__)])


def _wordpiece(words: Sequence[str], pad_id: int, shuffle_seed: int | None) -> PreTrainedTokenizerBase:
    letters = _letters(words)
    pieces = [*words, *letters, *("##" + letter for letter in [*letters, "ing", "s"])]
    tokens = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", *_ordered(pieces, shuffle_seed)]
    tokens.insert(pad_id, "[PAD]")
    # strip_accents would take Hangul apart. The small model_max_length shows that lengths come from the source encoder.
    return BertTokenizer(vocab=_ids(tokens), strip_accents=False, model_max_length=12)


def _byte_level_bpe(words: Sequence[str], pad_id: int, shuffle_seed: int | None) -> PreTrainedTokenizerBase:
    pieces = sorted(ByteLevel.alphabet())
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        symbols = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(" " + word)[0][0]
        prefix = symbols[0]
        for symbol in symbols[1:]:
            merges[prefix, symbol] = None
            prefix += symbol
            pieces.append(prefix)
    tokens = ["<s>", "</s>", "<unk>", "<mask>", *_ordered(pieces, shuffle_seed)]
    tokens.insert(pad_id, "<pad>")
    return RobertaTokenizer(vocab=_ids(tokens), merges=list(merges), add_prefix_space=True)


def _unigram(words: Sequence[str], pad_id: int, shuffle_seed: int | None) -> PreTrainedTokenizerBase:
    letters = _letters(words)
    pieces = ["▁", *("▁" + word for word in words), *letters]
    # Distinct scores, so that no segmentation is a tie.
    scores = {piece: -1.0 - index / 1000 for index, piece in enumerate(pieces)}
    scores |= {letter: -8.0 - index / 100 for index, letter in enumerate(letters)}
    # XLMRobertaTokenizer holds the unknown token's id, 3, in its code.
    specials = ["<s>", "</s>", "<unk>", "<mask>"] if pad_id < 3 else ["<s>", "</s>", "<mask>", "<unk>"]
    tokens = [*specials, *_ordered(pieces, shuffle_seed)]
    tokens.insert(pad_id, "<pad>")
    if tokens[3] != "<unk>":
        raise ValueError(f"pad_id {pad_id} was given for Unigram; any other id works, 3 is the unknown token's.")
    return XLMRobertaTokenizer(vocab=[(token, scores.get(token, 0.0)) for token in tokens])


def _letters(words: Sequence[str]) -> list[str]:
    return sorted({letter for word in words for letter in word} | set("abcdefghijklmnopqrstuvwxyz"))


def _ordered(pieces: Sequence[str], shuffle_seed: int | None) -> list[str]:
    distinct = list(dict.fromkeys(pieces))
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(distinct)
    return distinct


def _ids(tokens: Sequence[str]) -> dict[str, int]:
    return {token: token_id for token_id, token in enumerate(tokens)}


def _tiny_transformer(
    architecture: str,
    tokenizer: PreTrainedTokenizerBase,
    tied: bool,
    dtype: torch.dtype,
    seed: int,
    n_rows: int | None,
    n_layers: int = 2,
) -> Transformer:
    n_rows = len(tokenizer) if n_rows is None else n_rows
    model_class = getattr(transformers, architecture)
    values = _config_values(model_class, tokenizer, n_layers)
    config = model_class.config_class(vocab_size=n_rows, tie_word_embeddings=tied, **values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        _randomize(model)
    with tempfile.TemporaryDirectory() as folder:
        model.to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return Transformer(
            folder,
            transformer_task="fill-mask",
            model_kwargs={"dtype": dtype},
            processor_kwargs={"model_max_length": 30},
        )


def _config_values(model_class: Any, tokenizer: PreTrainedTokenizerBase, n_layers: int) -> dict[str, Any]:
    values: dict[str, Any] = {
        "max_position_embeddings": MAX_POSITIONS,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    if model_class.__name__ == "DistilBertForMaskedLM":
        return values | {"dim": HIDDEN_SIZE, "n_layers": n_layers, "n_heads": 2, "hidden_dim": 48}
    values |= {"hidden_size": HIDDEN_SIZE, "num_hidden_layers": n_layers}
    values |= {"num_attention_heads": 2, "intermediate_size": 48}
    if model_class.__name__ == "ModernBertForMaskedLM":
        values |= {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
        values |= {"global_attn_every_n_layers": 2, "local_attention": 8}
    if model_class.__name__ in ("RobertaForMaskedLM", "XLMRobertaForMaskedLM"):
        values |= {"type_vocab_size": 1}
    return values


@torch.no_grad()
def _randomize(model: torch.nn.Module) -> None:
    """Draws every parameter wide enough that logits differ from token to token; norms stay near one."""
    for name, parameter in model.named_parameters():
        if "norm" in name.lower() and name.endswith("weight"):
            parameter.copy_(1 + 0.1 * torch.randn_like(parameter))
        else:
            parameter.copy_(0.3 * torch.randn_like(parameter))


def encode_without_sembridge(folders: Iterable[Path], texts: Sequence[str]) -> None:
    """Writes FOLDER.pt beside every folder: query and document vectors from a process that cannot import sembridge."""
    assert exit_code(_encode_without_sembridge, [str(folder) for folder in folders], list(texts)) == 0


def _encode_without_sembridge(folders: list[str], texts: list[str]) -> None:
    assert not [name for name in sys.modules if name.split(".")[0] == "sembridge"]
    sys.modules["sembridge"] = None  # type: ignore[assignment]  # an import of it fails from here on
    with contextlib.suppress(ImportError):
        importlib.import_module("sembridge")
        raise AssertionError("sembridge can be imported")
    for folder in folders:
        encoder = SparseEncoder(folder, device="cpu", local_files_only=True)
        vectors = [encoder.encode_query(texts), encoder.encode_document(texts)]
        torch.save(torch.stack([vector.to_dense() for vector in vectors]), folder + ".pt")
