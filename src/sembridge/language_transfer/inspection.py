"""What a transfer would find, before it is made: overlap, how the tokenizer cuts a text, memory and time."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sembridge.encoders.scripts import token_script
from sembridge.encoders.text_statistics import TextStatistics, text_statistics
from sembridge.encoders.tokenizer_habits import Habit, tokenizer_habits
from sembridge.encoders.vocabulary import Vocabulary
from sembridge.errors import SembridgeError
from sembridge.files.lines import read_lines
from sembridge.language_transfer.initialization.sembridge import candidate_ids
from sembridge.language_transfer.overlap import Vocabularies
from sembridge.language_transfer.preparation import PreparedTransfer, prepare_transfer
from sembridge.language_transfer.recipe import TransferRecipe

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder
    from transformers import PreTrainedTokenizerBase

DEFAULT_BRIDGE_WIDTH = 384  # multilingual-e5-small's


@dataclass(frozen=True)
class Estimate:
    """What the initialisation will need; without the bridge's own encoding, which depends on the bridge.

    A method without a bridge encodes nothing and multiplies nothing.

    Attributes:
        texts_to_encode: distinct texts the bridge must encode.
        similarity_gflop: size of the matrix product of target and source vectors.
        seconds: of that product at the speed measured on this machine just now.
        memory_mb: vectors, one block of similarities and two copies of the vocabulary's rows.
    """

    texts_to_encode: int
    similarity_gflop: float
    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Inspection:
    """The whole of `sembridge inspect`."""

    n_source: int
    n_target: int
    overlap: dict[str, int]
    scripts: dict[str, int]
    text: TextStatistics | None
    estimate: Estimate
    habits: tuple[Habit, ...] = ()


def inspect(
    encoder: "SparseEncoder",
    target_tokenizer: "PreTrainedTokenizerBase",
    *,
    recipe: TransferRecipe | None = None,
    text: str | None = None,
) -> Inspection:
    """What a transfer of `encoder` would find; nothing is encoded and nothing written.

    Args:
        recipe: of the transfer; `TransferRecipe.build({})` by default.
        text: of the target language, to see how the tokenizer cuts it.

    Raises:
        SembridgeError: as `prepare_transfer`.
    """
    recipe = recipe or TransferRecipe.build({})
    return inspect_transfer(prepare_transfer(encoder, target_tokenizer, recipe), text=text)


def inspect_transfer(
    prepared: PreparedTransfer,
    *,
    text: str | None = None,
    bridge_width: int = DEFAULT_BRIDGE_WIDTH,
) -> Inspection:
    """What a transfer would find; nothing is encoded and nothing written."""
    vocabularies, hidden_size = prepared.vocabularies, prepared.encoder.hidden_size
    return Inspection(
        n_source=len(vocabularies.source),
        n_target=len(vocabularies.target),
        overlap=vocabularies.counts(),
        scripts=_token_scripts(vocabularies.target),
        text=None if text is None else text_statistics(prepared.tokenizer, vocabularies.target, text),
        estimate=estimate(vocabularies, prepared.recipe, hidden_size=hidden_size, bridge_width=bridge_width),
        habits=tokenizer_habits(prepared.tokenizer, prepared.source_tokenizer),
    )


def read_text(path: str | Path) -> str:
    """The lines of a UTF-8 file (.gz allowed) that are not blank, for `text_statistics`.

    Raises:
        SembridgeError: it cannot be read, is not UTF-8, or holds nothing but white space.
    """
    text = "\n".join(read_lines(Path(path)))
    if not text:
        raise SembridgeError(f"Text file {path} is empty; expected some text of the target language.")
    return text


def estimate(vocabularies: Vocabularies, recipe: TransferRecipe, *, hidden_size: int, bridge_width: int) -> Estimate:
    """Memory and time of the initialisation, from sizes and a short measurement of this machine."""
    source, target = vocabularies.source, vocabularies.target
    row_floats = 2 * (len(source) + len(target)) * hidden_size
    if not recipe.rule.needs_bridge:
        return Estimate(texts_to_encode=0, similarity_gflop=0.0, seconds=0.0, memory_mb=round(row_floats * 4 / 2**20))
    candidates = candidate_ids(source, recipe.candidates)
    combined = vocabularies.new_ids
    gflop = 2 * len(candidates) * len(combined) * bridge_width / 1e9
    passes = 2 if recipe.hub_neighbours else 1
    vector_floats = 2 * (len(candidates) + len(combined)) * bridge_width
    return Estimate(
        texts_to_encode=len({source.texts[i] for i in candidates} | {target.texts[i] for i in combined}),
        similarity_gflop=round(gflop, 1),
        seconds=round(passes * gflop / _gflop_per_second(), 1),
        memory_mb=round((vector_floats + row_floats) * 4 / 2**20 + recipe.memory_budget_mb),
    )


def _gflop_per_second(size: int = 1024) -> float:
    """Measured on one product, about 0.05 s: a first one warms the library up."""
    matrix = torch.ones(size, size)
    matrix @ matrix
    start = time.perf_counter()
    matrix @ matrix
    return 2 * size**3 / 1e9 / max(time.perf_counter() - start, 1e-9)


def _token_scripts(vocabulary: Vocabulary) -> dict[str, int]:
    """Target tokens by the script of their first letter; `other` holds digits, punctuation and bytes."""
    return dict(Counter(map(token_script, vocabulary.texts)).most_common())
