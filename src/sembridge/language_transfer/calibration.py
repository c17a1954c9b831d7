"""A moved encoder set to fire as often as trained ones: the bias of rows that always fire, and the spread of new rows.

*Biases.* A row may happen to lie along what all hidden states have in common. It then fires in text after text, says
nothing about any of them, and every query reads its postings. Trained rows do not, in the texts that they were trained
on: the regulariser saw to that. But a text of new tokens gives other hidden states, under which copied rows fire as
often as drawn or combined ones. A bias of its own takes such a row back without touching what it means.

*Spread.* Sums and Gaussian draws of trained rows have other tails than trained rows, so a text has other active dims. A
gain on their deviation from the mean row gives it about as many as a text has in the source encoder.

*In this order.* What fires in every text counts as active dims, too, and the few rows that do would have all others
spread less; so biases come first, then the spread, then the biases of rows that the spread has brought there. And no
gain is below one: rows that are spread less than the copied ones beside them lose against digits and names.

Without any text of the target language, texts are made of tokens in random order: what fires in most of them fires
whatever the text says.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sembridge.encoders.anatomy import Anatomy
from sembridge.encoders.vectors import TextEncoder
from sembridge.encoders.vocabulary import TokenKind, Vocabulary
from sembridge.files.lines import spread_lines
from sembridge.language_transfer.initialization.rows import Initialization
from sembridge.language_transfer.recipe import TransferRecipe

logger = logging.getLogger(__name__)

N_TEXTS = 64
TOKENS_A_TEXT = 32
N_TEXTS_FOR_GAIN = 16
LEAST_GAIN, MOST_GAIN = 1.0, 1.25
_USUAL_SLOPE = 4.0  # of the logarithm of active dims by gain, where the search begins
_CHARACTERS_A_TEXT = 1000


@dataclass(frozen=True)
class Calibration:
    """What was changed after the rows were built.

    Attributes:
        gain: factor on the deviation of the new rows from the mean row.
        n_lowered: dimensions whose decoder bias was lowered, new and copied.
    """

    gain: float = 1.0
    n_lowered: int = 0


def calibrate(
    transferred: Anatomy,
    encoder: Anatomy,
    source: Vocabulary,
    target: Vocabulary,
    rows: Initialization,
    recipe: TransferRecipe,
) -> Calibration:
    """Changes the rows of `transferred`, which `rows` built from those of `encoder`, as the recipe asks.

    The spread of new ones alone, the biases of all.

    Raises:
        SembridgeError: the recipe's target text is missing, damaged, or not UTF-8.
    """
    before = [bias.detach().clone() for bias in transferred.decoder_biases()]
    is_capped, ids = recipe.firing_cap < 1, np.flatnonzero(target.kinds != TokenKind.SPECIAL)
    texts, most = _texts_and_cap(target, recipe) if is_capped else ([], 1.0)
    if is_capped:
        lower_biases(transferred, ids, texts, most=most)
    gain = _match_source(transferred, encoder, source, target, rows) if recipe.match_activity else 1.0
    if is_capped and gain != 1:
        lower_biases(transferred, ids, texts, most=most)
    lowered = [int((bias < old).sum()) for bias, old in zip(transferred.decoder_biases(), before, strict=True)]
    return Calibration(gain, max(lowered, default=0))


def _match_source(
    transferred: Anatomy,
    encoder: Anatomy,
    source: Vocabulary,
    target: Vocabulary,
    rows: Initialization,
) -> float:
    """Random target tokens get as many active dims as random source tokens have in the source encoder."""
    source_texts, target_texts = (random_texts(vocabulary)[:N_TEXTS_FOR_GAIN] for vocabulary in (source, target))
    if not source_texts or not target_texts:
        return 1.0
    ids = torch.from_numpy(rows.statistics_ids)
    centres = [matrix.detach()[ids].float().mean(0).cpu() for matrix in encoder.vocabulary_matrices()]
    wanted = active_dims(encoder, source_texts)
    return match_activity(transferred, rows.new_ids(), centres, target_texts, wanted=wanted)


def _texts_and_cap(target: Vocabulary, recipe: TransferRecipe) -> tuple[list[str], float]:
    """Passages spread over the target text, where the recipe names one, else random tokens; the most to fire in.

    In the share of random texts that a token stands in by chance it should fire, too; one of thousands in next to none.
    """
    if recipe.target_text is None:
        return random_texts(target), recipe.firing_cap + TOKENS_A_TEXT / max(len(target.text_ids), 1)
    return spread_lines(recipe.file("target_text"), N_TEXTS), recipe.firing_cap


def random_texts(vocabulary: Vocabulary) -> list[str]:
    """Texts of tokens drawn alike from the whole vocabulary; the same for any order of it, none for an empty one."""
    words = sorted(vocabulary.texts[i] for i in vocabulary.text_ids)
    if not words:
        return []
    drawn = np.random.default_rng(0).integers(0, len(words), (N_TEXTS, TOKENS_A_TEXT))
    return [" ".join(words[i] for i in row) for row in drawn.tolist()]


def active_dims(encoder: Anatomy, texts: Sequence[str]) -> float:
    """Active dims of a document, the mean over `texts`."""
    return float(_documents(encoder)(texts).nnz / len(texts))


def _documents(encoder: Anatomy) -> TextEncoder:
    return TextEncoder(encoder.encoder, "document", "fast", anatomy=encoder)


@torch.no_grad()
def spread_rows(encoder: Anatomy, token_ids: np.ndarray, centres: Sequence[Tensor], factor: float) -> None:
    """Multiplies the deviation of the rows `token_ids` from `centres` by `factor`, in place, in every matrix.

    Args:
        centres: (d,) float32, one for each of `encoder.vocabulary_matrices()`.
    """
    places = torch.from_numpy(token_ids)
    for matrix, centre in zip(encoder.vocabulary_matrices(), centres, strict=True):
        around = centre.to(matrix.device)
        matrix[places] = (around + factor * (matrix[places].float() - around)).to(matrix.dtype)


def match_activity(
    encoder: Anatomy,
    token_ids: np.ndarray,
    centres: Sequence[Tensor],
    texts: Sequence[str],
    *,
    wanted: float,
) -> float:
    """The factor by which the rows `token_ids` were spread so that `texts` have about `wanted` active dims.

    Changes `encoder` in place, as `spread_rows`.
    """
    current = 1.0

    def dims_of(gain: float) -> float:
        nonlocal current
        if gain != current:
            spread_rows(encoder, token_ids, centres, gain / current)
        current = gain
        return active_dims(encoder, texts)

    gain = matching_gain(dims_of, wanted)
    spread_rows(encoder, token_ids, centres, gain / current)
    return gain


def matching_gain(dims_of: Callable[[float], float], wanted: float) -> float:
    """The gain, within 1 and 1.25, for which `dims_of(gain)` active dims are about `wanted`, after two looks.

    The logarithm of the active dims rises about evenly with the gain.
    """
    at_one, goal = np.log(max(dims_of(1.0), 1.0)), np.log(max(wanted, 1.0))
    first = float(np.clip(1 + (goal - at_one) / _USUAL_SLOPE, LEAST_GAIN, MOST_GAIN))
    if abs(first - 1) < 0.01:
        return first
    slope = (np.log(max(dims_of(first), 1.0)) - at_one) / (first - 1)
    return float(np.clip(1 + (goal - at_one) / slope, LEAST_GAIN, MOST_GAIN)) if slope > 1 else first


@torch.no_grad()
def lower_biases(encoder: Anatomy, token_ids: np.ndarray, texts: Sequence[str], *, most: float) -> int:
    """How many of the dimensions `token_ids` fired in more than the share `most` of the texts.

    Changes `encoder` in place: the decoder bias of each of them falls by its logit in the first text that is one too
    many, so that it fires in the share `most` of these texts. Nothing happens to an encoder without decoder bias, or
    whose pooling is not the maximum over a text's tokens.
    """
    pooling = encoder.splade_route("document").pooling
    biases = encoder.decoder_biases()
    if not biases or pooling.pooling_strategy != "max" or not len(texts) or not len(token_ids):
        logger.info("Biases are left as they are: no decoder bias, no maximum pooling, or no texts or new tokens")
        return 0
    vectors = _documents(encoder)([text[:_CHARACTERS_A_TEXT] for text in texts]).tocsc()
    falls = np.zeros(vectors.shape[1], np.float32)
    n_kept = int(most * len(texts))
    for token_id in token_ids[np.diff(vectors.indptr)[token_ids] > n_kept].tolist():
        fired = vectors.data[vectors.indptr[token_id] : vectors.indptr[token_id + 1]]
        falls[token_id] = np.partition(fired, -n_kept - 1)[-n_kept - 1]
    for _ in range(2 if pooling.activation_function == "log1p_relu" else 1):
        falls = np.expm1(falls)
    for bias in biases:
        bias.sub_(torch.from_numpy(falls).to(bias))
    return int((falls > 0).sum())
