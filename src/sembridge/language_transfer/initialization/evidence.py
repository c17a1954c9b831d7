"""How far a bridge's answer for a token can be trusted, told from the similarities alone, without labels.

Trust, the share of a row that its weights may have, is a product of two questions.

*Is it above chance?* The best of thirty thousand similarities is high even when it means nothing. So the same search is
made for vectors that mean nothing: drawn from a Gaussian with the mean and covariance of the target tokens' vectors,
against the same source tokens under the same hub correction. Where a share x of the tokens with a score like this one's
is to be expected by chance, the answer is 1 - x: one minus the local false discovery rate of Efron (2004, "Large-scale
simultaneous hypothesis testing"), under the cautious assumption that every token may have its score by chance.

*Does it stand out?* A score above chance may still be shared by several source tokens, of which one is meant. The
answer is the probability of the best one against the runner-up, on the scale on which scores by chance fall off.

That says how much of a row is to be drawn, and not whether a dictionary would agree: the runner-up is often the same
word once more (`cars` beside `car`), and a sound-alike may have none. Confidence, which is told and steers nothing,
asks a third question in place of the second.

*Does it stand out from all around it?* The prominence of the best score over the mean of the next ten, on the same
scale. How often so prominent an answer is right was read from dictionaries once (`benchmarks/confidence.py`).
"""

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from scipy.stats import ks_2samp
from torch import Tensor
from torch.nn import functional

from sembridge.language_transfer.entmax import TopKSoftmax
from sembridge.language_transfer.initialization import multivariate
from sembridge.language_transfer.initialization.hub_correction import HubCorrected
from sembridge.language_transfer.similarity import sparse_weights
from sembridge.language_transfer.sparse_matrix import SparseWeights

N_CHANCE = 2048
N_AROUND = 10  # source tokens next to the best one
RIGHT_INTERCEPT, RIGHT_SLOPE = -4.2, 2.2  # log odds; fitted on what benchmarks/confidence.py counts
FEWEST_TOKENS = 100  # a distribution of fewer scores cannot be told from another
SIGNIFICANCE = 1e-3


def chance_vectors(target_vectors: Tensor) -> Tensor:
    """(N_CHANCE, dim) unit vectors that mean nothing: a Gaussian of the mean and covariance of (n_target, dim).

    Always the same ones: a recipe's seed decides over drawn rows, not over what a bridge is worth.
    """
    drawn = multivariate.draw(target_vectors, N_CHANCE, torch.Generator().manual_seed(0))
    return functional.normalize(drawn, dim=1)


def scores_by_chance(vectors: HubCorrected, target_vectors: Tensor, *, memory_budget: int, device: str) -> np.ndarray:
    """(N_CHANCE,) best similarities, corrected as in `vectors`, of vectors that mean nothing.

    Args:
        target_vectors: (n_target, dim) in an order that does not depend on ids.
    """
    drawn = vectors.placed(chance_vectors(target_vectors))
    best = sparse_weights(drawn, vectors.source, rule=TopKSoftmax(k=1), memory_budget=memory_budget, device=device)
    found: np.ndarray = best.similarities.numpy()
    return found


def above_chance(scores: np.ndarray, by_chance: np.ndarray) -> np.ndarray:
    """(n,) float32 within [0, 1], never falling as the score rises: one minus the local false discovery rate.

    All zero where the scores as a whole are not above those by chance (one-sided Smirnov test at 0.1 %): a bridge that
    knows nothing still has a few tokens on top, and they deserve no trust either.

    Example:
        >>> chance = np.linspace(0.0, 0.2, 1000)
        >>> found = above_chance(np.concatenate([chance[::2], np.linspace(0.5, 0.6, 500)]), chance)
        >>> found[0], found[-1]
        (np.float32(0.0), np.float32(1.0))
    """
    if ks_2samp(scores, by_chance, alternative="less", method="asymp").pvalue > SIGNIFICANCE:
        return np.zeros(len(scores), np.float32)
    merged = np.concatenate([scores, by_chance]).astype(np.float64)
    is_chance = np.arange(len(merged)) >= len(scores)
    # Both groups weigh the same, so the regression is f0 / (f0 + f) of their densities f0 (by chance) and f.
    weights = np.where(is_chance, 1 / len(by_chance), 1 / len(scores))
    order = np.argsort(merged, kind="stable")
    share = np.empty(len(merged))
    share[order] = isotonic_regression(is_chance[order].astype(np.float64), weights=weights[order], increasing=False).x
    share = share[: len(scores)]
    return (1 - np.minimum(1, share / np.maximum(1 - share, 1e-12))).astype(np.float32)


def distinctness(margins: np.ndarray, by_chance: np.ndarray) -> np.ndarray:
    """(n,) float32 within [1/2, 1]: how clearly the best source token stands out from the runner-up.

    Scores by chance fall off about exponentially on top; a margin of one mean excess makes the best e times as likely
    as the runner-up. The figure is its probability if one of the two is right.

    Args:
        margins: (n,) best similarity less the second; infinite where there is no second.
        by_chance: (n_chance,) of which the tenth on top tells the mean excess.
    """
    return (1 / (1 + np.exp(-margins / _mean_excess(by_chance)))).astype(np.float32)


def _mean_excess(by_chance: np.ndarray) -> float:
    """The scale on which scores by chance fall off: the mean of the tenth on top over its threshold."""
    threshold = np.quantile(by_chance, 0.9)
    return max(float((by_chance[by_chance >= threshold] - threshold).mean()), 1e-6)


def prominence(nearest: np.ndarray, by_chance: np.ndarray) -> np.ndarray:
    """(n,) float32, zero or more: the best score less the mean of those next to it, in mean excesses of `by_chance`.

    Args:
        nearest: (n, 1 + N_AROUND) or fewer columns, the best scores of a row, descending; infinite for a single one.
        by_chance: (n_chance,) scores of vectors that mean nothing.
    """
    if nearest.shape[1] == 1:
        return np.full(len(nearest), np.inf, np.float32)
    above = nearest[:, 0].astype(np.float64) - nearest[:, 1:].mean(1, dtype=np.float64)
    found: np.ndarray = (above / _mean_excess(by_chance)).astype(np.float32)
    return found


def probably_right(prominences: np.ndarray) -> np.ndarray:
    """(n,) float32 within [0, 1], rising with prominence: the share of such answers that dictionaries call right.

    A logistic curve in log(1 + prominence), fitted on the words of Arabic, Hindi and Korean dictionaries under a static
    bridge and a transformer, and checked on Russian and Chinese; right is a headword, or another form of its stem.
    """
    log_odds = RIGHT_INTERCEPT + RIGHT_SLOPE * np.log1p(prominences.astype(np.float64))
    found: np.ndarray = (1 / (1 + np.exp(-log_odds))).astype(np.float32)
    return found


def row_margins(weights: SparseWeights) -> np.ndarray:
    """(n_rows,) best similarity in a row's support less the second; infinite in a support of one."""
    rows, similarities = weights.row_ids().numpy(), weights.similarities.numpy()
    order = np.lexsort((-similarities, rows))
    first, sizes = weights.crow_indices[:-1].numpy(), weights.support_sizes().numpy()
    margins = np.full(len(sizes), np.inf, np.float32)
    several = sizes > 1
    best = first[several]
    margins[several] = similarities[order[best]] - similarities[order[best + 1]]
    return margins
