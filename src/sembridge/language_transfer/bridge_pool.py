"""Several bridges as one: their cosines, put on a common scale, are averaged.

One bridge has cosines from .4 to .8, another from -.1 to .3, so the widest would decide over a plain mean. A cosine is
therefore divided by its spread by chance, `t`. Nor do all bridges know the same: `s`, the mean of cosine / t over pairs
of tokens that belong together, tells how far their cosines stand out. The weights `w = s / t`, summing to one, are
those of Fisher's linear discriminant between such pairs and others where the bridges err independently. Which pairs
belong together nobody says: they are what the other bridges find above chance (`initialization.evidence`), so that no
bridge is its own judge. One that knows nothing has no weight.

A weighted mean of cosines is the product of the concatenated vectors `sqrt(w) * v`, so what comes after, hub
correction, entmax and evidence, is the same as for a single bridge.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sembridge.errors import SembridgeError
from sembridge.language_transfer.bridge import Bridge, CachedBridge, Embed, bridge_settings
from sembridge.language_transfer.clock import Clock
from sembridge.language_transfer.entmax import TopKSoftmax
from sembridge.language_transfer.even_batches import in_dtype
from sembridge.language_transfer.initialization.evidence import FEWEST_TOKENS, above_chance, scores_by_chance
from sembridge.language_transfer.initialization.hub_correction import HubCorrected, hub_corrected
from sembridge.language_transfer.initialization.sembridge import bridged_texts
from sembridge.language_transfer.overlap import Vocabularies
from sembridge.language_transfer.recipe import TransferRecipe
from sembridge.language_transfer.similarity import sparse_weights

DECIMALS = 4  # of weights: beyond them they depend on the number of threads
STANDARD_ERRORS = 3  # below them a bridge's signal is none


@dataclass(frozen=True, eq=False)
class JoinedBridge:
    """All bridges of a transfer as one, asked in one call: texts -> unit vectors.

    Attributes:
        embed: what is asked.
        settings: what a report says of it: those of the bridge, or `name` and, by name, the `bridges` with their
            weights; None where there is none.
        clock: of the transfer.
    """

    embed: Embed
    settings: dict[str, object] | None
    clock: Clock

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        with self.clock.stage("bridge"):
            return self.embed(texts)


def join_bridges(
    bridges: Sequence[Bridge],
    vocabularies: Vocabularies,
    recipe: TransferRecipe,
    *,
    device: str = "cpu",
    cache_folder: Path | None = None,
    progress: bool = False,
    clock: Clock,
) -> JoinedBridge:
    """`bridges` as one, weighed by what they do with the texts of a transfer; without any, one that refuses to answer.

    Args:
        clock: the time that this and every later question takes is its stage "bridge".

    Raises:
        SembridgeError: as `embed_texts`, or no bridge computes in the recipe's dtype.
    """
    if not bridges:
        return JoinedBridge(_refuse, None, clock)
    with clock.stage("bridge"):
        bridges = in_dtype(bridges, recipe.bridge_dtype)
        embeds = [CachedBridge(bridge, cache_folder, progress) for bridge in bridges]
        settings = [dict[str, object](bridge_settings(bridge)) for bridge in bridges]
        if len(bridges) == 1:
            return JoinedBridge(embeds[0], settings[0], clock)
        found = combine(embeds, *bridged_texts(vocabularies, recipe), recipe, device=device)
    each = [{**of_bridge, "weight": weight} for of_bridge, weight in zip(settings, found.weights, strict=True)]
    each.sort(key=lambda of_bridge: (str(of_bridge["name"]), str(of_bridge["fingerprint"])))
    name = " + ".join(dict.fromkeys(str(of_bridge["name"]) for of_bridge in each))
    return JoinedBridge(found.embed, {"name": name, "bridges": each}, clock)


def _refuse(texts: Sequence[str]) -> np.ndarray:
    raise SembridgeError(
        f"A bridge is asked for {len(texts):,} texts and none was given; give a multilingual dense encoder, e.g. "
        "BAAI/bge-m3."
    )


@dataclass(frozen=True, eq=False)
class Combination:
    """Several bridges as one.

    Attributes:
        weights: of the bridges in the order in which they were given; they sum to one.
        embed: unit vectors whose products are the weighted means of the bridges' cosines. A text that some bridges do
            not know is placed by the others alone.
    """

    weights: tuple[float, ...]
    embed: Embed


def combine(
    embeds: Sequence[Embed],
    source_texts: Sequence[str],
    target_texts: Sequence[str],
    recipe: TransferRecipe,
    *,
    device: str = "cpu",
) -> Combination:
    """The bridges behind `embeds`, weighed by what they do with the texts of a transfer.

    The result depends neither on the order of the bridges nor on that of the texts. A bridge that is given twice counts
    once; one that knows nothing counts nothing, unless all do.

    Args:
        source_texts: of the tokens that may lend their rows.
        target_texts: of the tokens that are to be combined.
    """
    texts = sorted({*source_texts, *target_texts})
    places = {text: row for row, text in enumerate(texts)}
    source, target = ([places[t] for t in sorted({*some})] for some in (source_texts, target_texts))
    found = [embed(texts) for embed in embeds]
    names = [hashlib.blake2b(vectors.tobytes()).digest() for vectors in found]  # tell bridges apart, and sort them
    distinct = [names.index(name) for name in sorted({*names})]
    spaces = [_read_space(found[i][source], found[i][target], recipe, device) for i in distinct]
    weights = dict(zip(distinct, _weights(spaces), strict=True))
    kept = [i for i in distinct if weights[i] > 0]
    joined = _join([found[i] for i in kept], [weights[i] for i in kept])

    def embed_all(asked: Sequence[str]) -> np.ndarray:
        if all(text in places for text in asked):
            return joined[[places[text] for text in asked]]
        return _join([embeds[i](asked) for i in kept], [weights[i] for i in kept])

    shares = (weights[names.index(name)] / names.count(name) for name in names)
    return Combination(tuple(round(share, DECIMALS) for share in shares), embed_all)


def nearest_above_chance(
    vectors: HubCorrected, target_vectors: torch.Tensor, recipe: TransferRecipe, *, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest source token of every target token, (n_target,), and how probably it is above chance, (n_target,).

    All probabilities are 1 where there are too few target tokens to tell.

    Args:
        vectors: of both vocabularies, corrected for hubs.
        target_vectors: (n_target, dim) those of `vectors` without the hub term, in an order that no id decides.
    """
    budget = recipe.memory_budget_mb << 20
    best = sparse_weights(vectors.target, vectors.source, rule=TopKSoftmax(k=1), memory_budget=budget, device=device)
    nearest: np.ndarray = best.col_indices.numpy()
    if len(target_vectors) < FEWEST_TOKENS:
        return nearest, np.ones(len(target_vectors), np.float32)
    by_chance = scores_by_chance(vectors, target_vectors, memory_budget=budget, device=device)
    return nearest, above_chance(best.similarities.numpy(), by_chance)


@dataclass(frozen=True, eq=False)
class _Space:
    """A bridge's vectors of the tokens of both vocabularies, without what all tokens of a vocabulary have in common.

    Attributes:
        source: (n_source, dim) float32; zeros where the bridge has none.
        target: (n_target, dim) float32, likewise.
        spread: standard deviation of the product of a random source token and a random target token.
        nearest: (n_target,) position of the nearest source token.
        trust: (n_target,) how probably that one is above chance; 0 where there is none.
    """

    source: np.ndarray
    target: np.ndarray
    spread: float
    nearest: np.ndarray
    trust: np.ndarray

    def standard_scores(self, pairs: np.ndarray) -> np.ndarray:
        """(n_target,) products of every target token with its source token in `pairs`, in spreads; nan if unknown."""
        products = np.einsum("nd,nd->n", self.source[pairs], self.target)
        known = self.source[pairs].any(1) & self.target.any(1)
        scores: np.ndarray = np.where(known, products / max(self.spread, 1e-9), np.nan)
        return scores


def _read_space(source: np.ndarray, target: np.ndarray, recipe: TransferRecipe, device: str) -> _Space:
    source_ids, target_ids = (np.flatnonzero(vectors.any(1)) for vectors in (source, target))
    nearest, trust = np.zeros(len(target), np.int64), np.zeros(len(target))
    if len(source_ids) and len(target_ids):
        known = torch.from_numpy(target[target_ids])
        vectors = hub_corrected(
            known,
            torch.from_numpy(source[source_ids]),
            recipe.hub_neighbours,
            memory_budget=recipe.memory_budget_mb << 20,
            device=device,
        )
        best, trust[target_ids] = nearest_above_chance(vectors, known, recipe, device=device)
        nearest[target_ids] = source_ids[best]
    source, target = _centred(source, source_ids), _centred(target, target_ids)
    # The mean square of all products is that of the two covariances, so no product is made.
    square = ((source.T @ source) * (target.T @ target)).sum() / max(len(source_ids) * len(target_ids), 1)
    return _Space(source, target, float(np.sqrt(max(square, 0.0))), nearest, trust)


def _centred(vectors: np.ndarray, known: np.ndarray) -> np.ndarray:
    centred = np.zeros_like(vectors)
    if len(known):
        centred[known] = vectors[known] - vectors[known].mean(0, dtype=np.float64).astype(np.float32)
    return centred


def _weights(spaces: Sequence[_Space]) -> list[float]:
    """Of the bridges, summing to one; by their spreads alone where no bridge is above chance."""
    scales = [1 / space.spread if space.spread > 0 else 0.0 for space in spaces]
    signals = [_signal(space, spaces) for space in spaces]
    found = [signal * scale for signal, scale in zip(signals, scales, strict=True)]
    chosen = next((some for some in (found, scales) if any(some)), [1.0] * len(spaces))
    return [round(weight / sum(chosen), DECIMALS) for weight in chosen]


def _signal(space: _Space, spaces: Sequence[_Space]) -> float:
    """Mean standard score of the pairs that the other bridges trust, its own where no other has any; 0 if by chance."""
    judges = [other for other in spaces if other is not space and other.trust.any()] or [space]
    scores = np.concatenate([space.standard_scores(judge.nearest) for judge in judges])
    trust = np.where(np.isnan(scores), 0, np.concatenate([judge.trust for judge in judges]))
    if not trust.any():
        return 0.0
    mean = float(np.average(np.nan_to_num(scores), weights=trust))
    error = float(np.sqrt((trust**2).sum()) / trust.sum())
    return mean if mean > STANDARD_ERRORS * error else 0.0


def _join(parts: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """(n, sum of dims) unit vectors of (n, dim) each; zero rows stay zero where no part knows the text."""
    if len(parts) == 1:
        return parts[0]
    known = np.stack([part.any(1) for part in parts], 1) @ np.asarray(weights)
    scale = 1 / np.sqrt(np.where(known > 0, known, 1))
    scaled = [
        part * (scale * weight**0.5)[:, None].astype(np.float32) for part, weight in zip(parts, weights, strict=True)
    ]
    joined: np.ndarray = np.concatenate(scaled, 1)
    return joined
