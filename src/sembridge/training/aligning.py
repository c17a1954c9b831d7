"""A pivot taught by its source encoder: a sentence gets the vector that the source gives to its English translation.

The loss is taken over English dimensions. It has two terms: the distance between both vectors, and the divergence
between the orders in which both find the English sentences of the batch. That is distillation over a lexicon, the
first stage of MILCO (arXiv 2510.00671); here rows that a bridge placed are where it starts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from sentence_transformers.sparse_encoder.losses import SpladeLoss
from torch import Tensor, nn

from sembridge.encoders.anatomy import Anatomy, read_anatomy
from sembridge.encoders.vectors import TextEncoder
from sembridge.errors import SembridgeError
from sembridge.language_transfer.pivot import Pivot
from sembridge.training.batches import GatheredFlops
from sembridge.training.data import TrainingData
from sembridge.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

# Of the squared distance beside the divergence: chosen on dev questions, where a start is some 25 away.
DISTANCE_WEIGHT = 0.1
# Of the recipe's weight of the FLOPS regulariser: this distance is a sum over dimensions and large beside a contrastive
# loss. The default of .03 weighs one, which on dev questions holds a pivot near its source's dims.
REGULARIZER_SCALE = 100 / 3


@dataclass(frozen=True, eq=False)
class Aim:
    """What a pivot is aligned to.

    Attributes:
        source: the encoder over whose vocabulary the pivot writes.
        pivot: before it is trained.
    """

    source: "SparseEncoder"
    pivot: Pivot

    @cached_property
    def _encode(self) -> TextEncoder:
        return TextEncoder(self.source, "document", "fast", anatomy=read_anatomy(self.source))

    def vectors(self, texts: list[str]) -> Tensor:
        """(n_texts, n_dims) what the source gives to English texts."""
        return torch.from_numpy(self._encode(texts).toarray())

    @contextmanager
    def pupil(self, anatomy: Anatomy, *, freeze_body: bool = False) -> Iterator[None]:
        """Inside, the pivot's texts have the vectors that they have afterwards, without dropout, as those that it aims
        at; and its decoder stays the source's, which says what a dimension means."""
        dropouts = [(module, module.p) for module in anatomy.encoder.modules() if isinstance(module, nn.Dropout)]
        still: list[nn.Module] = [anatomy.model.get_submodule(anatomy.head.decoder)]
        if freeze_body:
            still.append(anatomy.model.base_model)
        try:
            for module, _ in dropouts:
                module.p = 0.0
            for part in still:
                part.requires_grad_(False)
            yield
        finally:
            for module, share in dropouts:
                module.p = share
            for part in still:
                part.requires_grad_(True)

    def check(self, recipe: TrainRecipe) -> None:
        """Refuses settings that belong to questions and their documents."""
        unfit = {
            "--hard-negatives": recipe.hard_negatives != "none",
            "--distill": recipe.distill != "none",
            "--gradient-cache": recipe.gradient_cache is not None,
        }
        if given := [name for name, is_given in unfit.items() if is_given]:
            raise SembridgeError(
                f"{', '.join(given)} and --align-to: a pivot learns from sentences and their translations alone; "
                "leave the first away."
            )


def alignment_loss(encoder: "SparseEncoder", aim: Aim, data: TrainingData, recipe: TrainRecipe) -> SpladeLoss:
    """The loss of pairs of an English query and its translation as the document, of which the translation is encoded.

    Labels are rows of `data`. The encoder's vectors may come with what is below zero (`head.without_logits`).
    """
    return SpladeLoss(
        encoder,
        _AlignmentLoss(aim, data.queries),
        document_regularizer_weight=REGULARIZER_SCALE * recipe.document_weight,
        document_regularizer=_FlopsAboveZero(encoder, threshold=recipe.document_threshold),
        use_document_regularizer_only=True,
    )


class _AlignmentLoss(nn.Module):
    def __init__(self, aim: Aim, english: list[str]) -> None:
        super().__init__()
        self.aim, self.english = aim, english

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Squared distance and divergence, a text's mean."""
        aimed = self.aim.vectors([self.english[row] for row in labels.tolist()]).to(embeddings[0].device)
        return alignment_losses(embeddings[0][:, : aimed.shape[1]], aimed)


def alignment_losses(given: Tensor, aimed: Tensor) -> dict[str, Tensor]:
    """`base_loss`, the squared distance, and `ranking_loss`, KL(softmax(aimed @ aimed.T) || softmax(given @ aimed.T)).

    A dimension that should be active and is not has no gradient behind a ReLU; what is below zero in `given` says how
    far it is away, and draws it up as hard as if it stood at zero: by the square of what is far below, a few terms
    would lift the whole vocabulary.

    Args:
        given: (n, n_dims); below zero it counts as zero but where `aimed` is active.
        aimed: (n, n_dims), zero or more.
    """
    active = given.relu()
    squares = (active - aimed) ** 2 - 2 * aimed * given.clamp(max=0)
    ours, theirs = ((vectors @ aimed.T).log_softmax(dim=1) for vectors in (active, aimed))
    divergence = nn.functional.kl_div(ours, theirs, log_target=True, reduction="batchmean")
    return {"base_loss": DISTANCE_WEIGHT * squares.sum(dim=1).mean(), "ranking_loss": divergence}


class _FlopsAboveZero(GatheredFlops):
    def compute_loss_from_embeddings(self, embeddings: Tensor) -> Tensor:
        return super().compute_loss_from_embeddings(embeddings.relu())
