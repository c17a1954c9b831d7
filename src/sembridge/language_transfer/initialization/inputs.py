"""What a method may look at: one object, the same for all of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sembridge.encoders.vocabulary import Vocabulary
from sembridge.language_transfer.bridge import Embed
from sembridge.language_transfer.clock import Clock
from sembridge.language_transfer.overlap import Overlap, Vocabularies
from sembridge.language_transfer.recipe import TransferRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a method may look at.

    Attributes:
        vocabularies: of the source encoder and of the encoder to be made, and their overlap.
        source_tokenizer: of the source encoder.
        target_tokenizer: of the encoder to be made.
        recipe: its settings, those of the method among them.
        bridge: texts -> vectors; only a method that says it needs a bridge may ask it.
        device: where similarities are computed.
        cache_folder: of trained vectors, by default below the Hugging Face cache.
        progress: show progress bars on stderr.
        clock: seconds by stage.
    """

    vocabularies: Vocabularies
    source_tokenizer: "PreTrainedTokenizerBase"
    target_tokenizer: "PreTrainedTokenizerBase"
    recipe: TransferRecipe
    bridge: Embed
    device: str = "cpu"
    cache_folder: Path | None = None
    progress: bool = False
    clock: Clock = field(default_factory=Clock)

    @property
    def source(self) -> Vocabulary:
        return self.vocabularies.source

    @property
    def target(self) -> Vocabulary:
        return self.vocabularies.target

    @property
    def overlap(self) -> Overlap:
        return self.vocabularies.overlap

    @property
    def new_ids(self) -> np.ndarray:
        """(n_new,) ascending ids of the target tokens that have text and are not in the overlap."""
        return self.vocabularies.new_ids

    @property
    def memory_budget(self) -> int:
        """Bytes that a block of similarities may take."""
        return self.recipe.memory_budget_mb << 20
