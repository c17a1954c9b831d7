"""What a batch is trained on: no false negatives in it, and losses that are the same over one process or several."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from sentence_transformers import SparseEncoderTrainer
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from sentence_transformers.sparse_encoder.losses import FlopsLoss, SparseMultipleNegativesRankingLoss
from sentence_transformers.util import all_gather_with_grad
from torch import Tensor

from sembridge.errors import SembridgeError
from sembridge.training.data import TrainingData

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder


class Teacher(Protocol):
    def scores(self, rows: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class _Row:
    """What a row brings into a batch; a batch is the set of what its rows bring.

    Attributes:
        answers: its query and every document that is relevant to it.
        negatives: two rows may share them: mined ones are often hubs, and a batch without any shared one may not exist.
    """

    source: int
    answers: frozenset[str]
    negatives: frozenset[str]

    def __iter__(self) -> Iterator[int | str | tuple[str]]:
        yield self.source
        yield from self.answers
        yield from ((text,) for text in self.negatives)

    def clashes_with(self, batch: set[int | str | tuple[str]]) -> bool:
        """Whether a text of one is relevant to a query of the other, or the sources, the only numbers, differ."""
        return bool(batch) and (
            self.source not in batch
            or not self.answers.isdisjoint(batch)
            or not self.negatives.isdisjoint(batch)
            or any((text,) in batch for text in self.answers)
        )


class RelevantAwareBatchSampler(NoDuplicatesBatchSampler):
    """Batches of one source in which no query occurs twice and no document is relevant to another row's query.

    Negatives of a query's own source are hard; of another they would often be trivial. Sources too small for a batch
    count as one.
    """

    def __init__(self, dataset: Any, data: TrainingData, **settings: Any) -> None:
        super().__init__(dataset, **settings)
        sizes = Counter(data.sources)
        sources = [source if sizes[source] >= self.batch_size else -1 for source in data.sources]
        self.rows = [
            _Row(source, frozenset({query, document, *data.relevant[query]}), frozenset(negatives))
            for source, query, document, negatives in zip(
                sources, data.queries, data.documents, data.negatives, strict=True
            )
        ]

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of an epoch.

        Raises:
            SembridgeError: there is none; the trainer would end its training without a word.
        """
        empty = True
        for batch in super().__iter__():
            yield batch
            empty = False
        if empty:
            raise SembridgeError(
                f"No {self.batch_size} of the {len(self.rows)} pairs may meet in a batch, since they share texts or "
                "relevant documents; lower --batch-size or give more data."
            )

    def _iter_one_pass(self, get_sample_values: object, has_overlap: object) -> Iterator[list[int]]:
        yield from super()._iter_one_pass(self.rows.__getitem__, _Row.clashes_with)


class PairTrainer(SparseEncoderTrainer):
    """The stock trainer with these batches; an argument of it cannot carry them, since arguments are pickled."""

    def __init__(self, data: TrainingData, **settings: Any) -> None:
        self.data = data
        super().__init__(**settings)

    def get_batch_sampler(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> RelevantAwareBatchSampler:
        return RelevantAwareBatchSampler(
            dataset, self.data, batch_size=batch_size, drop_last=drop_last, valid_label_columns=valid_label_columns,
            generator=generator, seed=seed,
        )  # fmt: skip


class GatheredFlops(FlopsLoss):
    """The FLOPS regulariser over the batch of all processes (Paria et al. 2020); alone it is the stock one."""

    def compute_loss_from_embeddings(self, embeddings: Tensor) -> Tensor:
        if torch.distributed.is_initialized():
            embeddings = all_gather_with_grad(embeddings)
        loss: Tensor = super().compute_loss_from_embeddings(embeddings)
        return loss


class RankingLoss(SparseMultipleNegativesRankingLoss):
    """In-batch contrastive loss, plus the divergence from a teacher's scores of the same documents where there is one.

    The second term is KL(softmax(teacher) || softmax(student)) over the documents of the batch.
    """

    def __init__(self, encoder: "SparseEncoder", teacher: Teacher | None, *, weight: float) -> None:
        super().__init__(encoder, gather_across_devices=int(os.environ.get("WORLD_SIZE", "1")) > 1)
        self.teacher, self.weight = teacher, weight

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None) -> Any:
        ranking = super().compute_loss_from_embeddings(embeddings, labels)
        if self.teacher is None or labels is None:
            return ranking
        student = (embeddings[0] @ torch.cat(embeddings[1:]).T).log_softmax(dim=1)
        teacher = self.teacher.scores(labels).to(student.device).log_softmax(dim=1)
        divergence = torch.nn.functional.kl_div(student, teacher, log_target=True, reduction="batchmean")
        return {"base_loss": ranking, "distillation_loss": self.weight * divergence}
