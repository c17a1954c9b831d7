"""How good a bridge is at what a transfer asks of it, told before the transfer: with a dictionary, and without one.

With a dictionary, the share of target tokens whose nearest source token is a translation. Without one, two figures that
no labels are needed for. *Above chance* asks whether target tokens lie nearer to a source token than vectors that mean
nothing (`initialization.evidence`). *Round trip* goes from a source token to its nearest target token and back to the
nearest other source token, which should be a neighbour of the first. Not back to the token itself: of two sets of n and
m random vectors about m / (n + m) return home, and a bridge that knows nothing would look better than a good one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from sembridge.encoders.static_rules import unknown_texts
from sembridge.errors import SembridgeError
from sembridge.files.word_pairs import read_dictionary
from sembridge.language_transfer.bridge import Bridge, CachedBridge, Embed
from sembridge.language_transfer.bridge_pool import combine, nearest_above_chance
from sembridge.language_transfer.entmax import TopKSoftmax
from sembridge.language_transfer.even_batches import in_dtype
from sembridge.language_transfer.initialization.evidence import FEWEST_TOKENS
from sembridge.language_transfer.initialization.hub_correction import HubCorrected, hub_corrected
from sembridge.language_transfer.initialization.sembridge import bridged_texts
from sembridge.language_transfer.overlap import Vocabularies
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.language_transfer.similarity import sparse_weights

N_ROUND_TRIPS = 2000
NEIGHBOURS = 10


@dataclass(frozen=True)
class BridgeScore:
    """What a bridge, or several together, know of the tokens that a transfer would combine.

    Attributes:
        bridge: its name; `A + B` for several together.
        n_pairs: target tokens that the dictionary translates to source tokens; None without a dictionary.
        accuracy: share of these whose nearest source token is a translation.
        accuracy_at_10: share of these with a translation among the ten nearest.
        n_round_trips: source tokens that were sent to their nearest target token and back.
        round_trip: share of these that came back to one of their ten nearest source tokens, themselves excluded.
        above_chance: mean over the target tokens of how probably the best similarity is above chance; None where there
            are too few to tell. A token without a vector counts 0.
        unknown: share of the target texts of which the bridge's tokenizer knows no piece; None where that cannot be
            told, as of several together.
    """

    bridge: str
    n_pairs: int | None
    accuracy: float | None
    accuracy_at_10: float | None
    n_round_trips: int
    round_trip: float
    above_chance: float | None
    unknown: float | None = None


def score_bridges(
    bridges: Mapping[str, Bridge],
    vocabularies: Vocabularies,
    recipe: TransferRecipe,
    *,
    dictionary: Path | None = None,
    device: str = "cpu",
    cache_folder: Path | None = None,
    progress: bool = False,
) -> list[BridgeScore]:
    """The score of every bridge by its name, and of all together where there are several.

    Args:
        dictionary: lines of an English word, a tab and a target word (.gz too).

    Raises:
        SembridgeError: the dictionary cannot be read or translates no target token to a source token, there is no
            token to combine or none that may lend its row, or as `embed_texts`.
    """
    source_texts, target_texts = bridged_texts(vocabularies, recipe)
    if not source_texts or not target_texts:
        raise SembridgeError(
            f"A transfer would ask a bridge nothing: {len(target_texts)} target tokens to combine, {len(source_texts)} "
            "source tokens that may lend their rows; leave --bridge out."
        )
    words = _distinct_words(source_texts)
    right = None if dictionary is None else _translations(dictionary, words, target_texts)
    computed = dict(zip(bridges, in_dtype([*bridges.values()], recipe.bridge_dtype), strict=True))
    embeds: dict[str, Embed] = {name: CachedBridge(bridge, cache_folder, progress) for name, bridge in computed.items()}
    if len(embeds) > 1:
        together = combine(list(embeds.values()), source_texts, target_texts, recipe, device=device)
        embeds[" + ".join(embeds)] = together.embed
    return [
        replace(
            _score(name, embed(words), embed(target_texts), right, recipe, device),
            unknown=_unknown_share(bridges.get(name), target_texts),
        )
        for name, embed in embeds.items()
    ]


def _unknown_share(bridge: Bridge | None, texts: Sequence[str]) -> float | None:
    unknown = unknown_texts(getattr(bridge, "tokenizer", None), texts)
    return None if unknown is None else round(len(unknown) / len(texts), 4)


def _distinct_words(texts: Sequence[str]) -> list[str]:
    """One of the texts that differ by case alone, in lower case where there is one: such tokens are twins."""
    chosen: dict[str, str] = {}
    for text in sorted(texts, key=lambda text: (not text.islower(), text)):
        chosen.setdefault(text.casefold(), text)
    return sorted(chosen.values())


def _translations(dictionary: Path, words: Sequence[str], target_texts: Sequence[str]) -> dict[int, set[int]]:
    """Position of a target text -> positions of the words that translate it."""
    position = {word.casefold(): i for i, word in enumerate(words)}
    by_target: dict[str, set[int]] = {}
    pairs = read_dictionary(dictionary)
    for english, other in pairs:
        if english.casefold() in position:
            by_target.setdefault(other.casefold(), set()).add(position[english.casefold()])
    found = {i: by_target[text.casefold()] for i, text in enumerate(target_texts) if text.casefold() in by_target}
    if not found:
        raise SembridgeError(
            f"Dictionary {dictionary}: none of its {len(pairs):,} pairs leads from a source token to a target token "
            "that is to be combined; expected lines of an English word, a tab, and a word of the target language."
        )
    return found


def _score(
    name: str,
    source: np.ndarray,
    target: np.ndarray,
    right: Mapping[int, set[int]] | None,
    recipe: TransferRecipe,
    device: str,
) -> BridgeScore:
    source_ids, target_ids = (np.flatnonzero(vectors.any(1)) for vectors in (source, target))
    n_pairs, n_trips = None if right is None else len(right), min(len(source_ids), N_ROUND_TRIPS)
    if not len(source_ids) or not len(target_ids):
        nothing = None if right is None else 0.0
        return BridgeScore(name, n_pairs, nothing, nothing, n_trips, 0.0, 0.0)
    search = _Search(source[source_ids], target[target_ids], recipe, device)
    accuracy = accuracy_at_10 = None
    if right is not None:
        asked = {i: row for row, i in enumerate(target_ids.tolist()) if i in right}
        nearest = source_ids[search.sources_of(search.target[list(asked.values())], NEIGHBOURS)]
        hits = [[i in right[token] for i in row] for token, row in zip(asked, nearest.tolist(), strict=True)]
        accuracy, accuracy_at_10 = (round(sum(any(hit[:k]) for hit in hits) / len(right), 4) for k in (1, NEIGHBOURS))
    above = None
    if len(target_ids) >= FEWEST_TOKENS:
        trust = nearest_above_chance(search.to_source, torch.from_numpy(search.target), recipe, device=device)[1]
        above = round(float(trust.sum(dtype=np.float64)) / len(target), 4)
    return BridgeScore(name, n_pairs, accuracy, accuracy_at_10, n_trips, round(search.round_trip(n_trips), 4), above)


@dataclass(frozen=True, eq=False)
class _Search:
    """Nearest tokens among (n_source, dim) and (n_target, dim) unit vectors; between the vocabularies less hubs."""

    source: np.ndarray
    target: np.ndarray
    recipe: TransferRecipe
    device: str

    @cached_property
    def to_source(self) -> HubCorrected:
        return self._corrected(self.target, self.source, self.recipe.hub_neighbours)

    def sources_of(self, vectors: np.ndarray, k: int) -> np.ndarray:
        """(n, k) positions of the source tokens nearest to target vectors, best first; fewer where there are fewer."""
        return self._nearest(vectors, self.to_source, k)

    def round_trip(self, n: int) -> float:
        """Share of `n` source tokens that come back to one of their nearest."""
        chosen = np.sort(np.random.default_rng(0).choice(len(self.source), n, replace=False))
        start = self.source[chosen]
        to_target = self._corrected(self.source, self.target, self.recipe.hub_neighbours)
        back = self.sources_of(self.target[self._nearest(start, to_target, 1)[:, 0]], 2)
        neighbours = self._nearest(start, self._corrected(start, self.source, 0), NEIGHBOURS + 1)
        came_back = 0
        for token, ends, near in zip(chosen.tolist(), back.tolist(), neighbours.tolist(), strict=True):
            others = [i for i in near if i != token][:NEIGHBOURS]
            came_back += next((end for end in ends if end != token), None) in others
        return came_back / n

    def _corrected(self, crowd: np.ndarray, among: np.ndarray, hub_neighbours: int) -> HubCorrected:
        budget = self.recipe.memory_budget_mb << 20
        vectors = torch.from_numpy(crowd), torch.from_numpy(among)
        return hub_corrected(*vectors, hub_neighbours, memory_budget=budget, device=self.device)

    def _nearest(self, vectors: np.ndarray, among: HubCorrected, k: int) -> np.ndarray:
        """(n, k) positions in `among.source`, best first."""
        placed, budget = among.placed(torch.from_numpy(vectors)), self.recipe.memory_budget_mb << 20
        found = sparse_weights(placed, among.source, rule=TopKSoftmax(k=k), memory_budget=budget, device=self.device)
        shape = (len(vectors), min(k, len(among.source)))
        ids, similarities = (part.numpy().reshape(shape) for part in (found.col_indices, found.similarities))
        best_first = np.argsort(-similarities, 1, kind="stable")
        return np.take_along_axis(ids, best_first, 1)
