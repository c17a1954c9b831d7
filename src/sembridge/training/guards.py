"""What watches a training: guards that stop it before it ruins the encoder, and callbacks that steer it.

The collapses are those that users of naver/splade (#61: all vectors zero) and sentence-transformers (#3431: nearly
identical vectors) met without a tool that told them.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from scipy.sparse import csr_array
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sembridge.encoders.vectors import encode_corpus, encode_queries
from sembridge.errors import SembridgeError
from sembridge.files.progress import Progress
from sembridge.retrieval.health import mean_pairwise_cosine

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

logger = logging.getLogger(__name__)

MAX_ZERO_SHARE = 0.5
MAX_ACTIVE_DIMS = 2000  # of a document, in the second half; a usable encoder has one or two hundred
MAX_COSINE = 0.99  # mean over pairs of documents
OVERPOWERING = 5.0  # regulariser over contrastive loss
PATIENT_LOGS = 5  # consecutive logs before an overpowering regulariser stops the training


class TrainingCollapse(SembridgeError):
    """A training that would only ruin the encoder from here on; the message names the setting to turn."""


class Guards(TrainerCallback):
    """Stops a training whose probe texts collapse, whose loss is not finite, or whose regulariser drowns the loss.

    The probe runs before a step is saved, so that every checkpoint on the disk passed it.

    Args:
        only_warn: log what would stop the training, but for a loss that is not finite: nothing comes after that.
    """

    def __init__(
        self, encoder: "SparseEncoder", queries: Sequence[str], documents: Sequence[str], *, only_warn: bool = False
    ) -> None:
        self.encoder, self.queries, self.documents = encoder, queries, documents
        self.only_warn = only_warn
        self.n_overpowered = 0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if control.should_evaluate or control.should_save or state.global_step == state.max_steps:
            with self._warned():
                self.check_vectors(state.global_step, warming_up=state.global_step < 0.5 * state.max_steps)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        logs = kwargs.get("logs")
        if isinstance(logs, dict):
            self.check_finite(state.global_step, logs)
            with self._warned():
                self.check_losses(state.global_step, logs)

    @contextmanager
    def _warned(self) -> Iterator[None]:
        try:
            yield
        except TrainingCollapse as collapse:
            if not self.only_warn:
                raise
            logger.warning("%s", str(collapse).replace("Training stopped", "Training would stop", 1))

    def check_vectors(self, step: int, *, warming_up: bool) -> None:
        """Raises TrainingCollapse where the probe's vectors are zero, dense or alike; dense ones may pass at first."""
        training = self.encoder.training
        self.encoder.eval()
        try:
            vectors = {
                "queries": encode_queries(self.encoder, self.queries),
                "documents": encode_corpus(self.encoder, self.documents),
            }
        except SembridgeError as error:
            raise TrainingCollapse(f"Training stopped at step {step}: {error} Lower the learning rate.") from error
        finally:
            self.encoder.train(training)
        for what, found in vectors.items():
            self._check_zero(step, what, found)
        if not warming_up:
            self._check_dense(step, vectors["documents"])
        cosine = mean_pairwise_cosine(vectors["documents"])
        if cosine is not None and cosine > MAX_COSINE and len(self.documents) > 1 and not warming_up:
            raise TrainingCollapse(
                f"Training stopped at step {step}: documents are nearly one vector (mean cosine {cosine:.3f}); lower "
                "the learning rate, use larger batches, or start from a transfer instead of a dense model's head."
            )

    @staticmethod
    def _check_zero(step: int, what: str, vectors: csr_array) -> None:
        n_zero = int((vectors.indptr[1:] == vectors.indptr[:-1]).sum())
        if n_zero > MAX_ZERO_SHARE * vectors.shape[0]:
            flag = "--query-weight" if what == "queries" else "--document-weight"
            raise TrainingCollapse(
                f"Training stopped at step {step}: {n_zero} of {vectors.shape[0]} probe {what} became all-zero "
                f"vectors; lower {flag} or lengthen --regularizer-warmup."
            )

    @staticmethod
    def _check_dense(step: int, documents: csr_array) -> None:
        active = documents.nnz / documents.shape[0]
        if active > MAX_ACTIVE_DIMS:
            raise TrainingCollapse(
                f"Training stopped at step {step}: documents have {active:.0f} of {documents.shape[1]} dimensions "
                "active and no inverted index serves that; raise --document-weight or shorten --regularizer-warmup."
            )

    @staticmethod
    def check_finite(step: int, logs: dict[str, float]) -> None:
        """Raises TrainingCollapse for a loss or gradient that is not finite."""
        for name in ("loss", "grad_norm"):
            if name in logs and not math.isfinite(float(logs[name])):
                raise TrainingCollapse(
                    f"Training stopped at step {step}: {name} is {logs[name]}; lower the learning rate, or set "
                    "--bf16 no if half precision overflows."
                )

    def check_losses(self, step: int, logs: dict[str, float]) -> None:
        """Raises TrainingCollapse for a regulariser that drowns the loss."""
        if "base_loss" not in logs:
            return
        penalty = {name: logs.get(f"{name}_regularizer_loss", 0.0) for name in ("query", "document")}
        overpowered = sum(penalty.values()) > OVERPOWERING * max(logs["base_loss"], 0.05)
        self.n_overpowered = self.n_overpowered + 1 if overpowered else 0
        if self.n_overpowered >= PATIENT_LOGS:
            strongest = max(penalty, key=lambda name: penalty[name])
            raise TrainingCollapse(
                f"Training stopped at step {step}: the {strongest} regulariser ({penalty[strongest]:.2f}) drowns the "
                f"contrastive loss ({logs['base_loss']:.2f}); lower --{strongest}-weight or lengthen "
                "--regularizer-warmup."
            )


class RowsFirst(TrainerCallback):
    """Trains the tensors with a vocabulary axis alone for the first steps: the body's gradients are dropped."""

    def __init__(self, encoder: "SparseEncoder", n_rows: int, steps: int) -> None:
        self.steps = steps
        self.frozen = [parameter for parameter in encoder.parameters() if n_rows not in parameter.shape]

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if state.global_step < self.steps:
            for parameter in self.frozen:
                parameter.grad = None


class RowFactor(TrainerCallback):
    """Another learning rate for some rows of the vocabulary: their update is scaled after every optimizer step.

    Adam divides a gradient by its own size, so a scaled gradient would change nothing; the update itself is scaled.
    """

    def __init__(self, encoder: "SparseEncoder", rows: torch.Tensor, n_rows: int, factor: float) -> None:
        self.rows, self.factor = rows, factor
        self.parameters = [parameter for parameter in encoder.parameters() if parameter.shape[:1] == (n_rows,)]
        self.before: list[torch.Tensor] = []

    @torch.no_grad()
    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.before = [parameter[self.rows].clone() for parameter in self.parameters]

    @torch.no_grad()
    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        for parameter, before in zip(self.parameters, self.before, strict=True):
            parameter[self.rows] = before + self.factor * (parameter[self.rows] - before)


class ProgressBar(TrainerCallback):
    """One line on stderr: steps and time left, loss, FLOPS statistic, active dims and the dev measure."""

    SHOWN = ("loss", "dev", "flops", "query dims", "document dims")

    def __init__(self, dev_measure: str) -> None:
        self.dev_key = f"eval_{dev_measure}"
        self.bar: Progress | None = None
        self.figures: dict[str, float] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.bar = Progress("training", total=state.max_steps, done=state.global_step, unit="steps")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.bar is not None:
            self.bar.reach(state.global_step)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        logs = kwargs.get("logs")
        if self.bar is None or not isinstance(logs, dict):
            return
        names = {
            "loss": "loss",
            self.dev_key: "dev",
            "eval_flops": "flops",
            "eval_query_active_dims": "query dims",
            "eval_document_active_dims": "document dims",
        }
        self.figures |= {names[key]: float(value) for key, value in logs.items() if key in names}
        self.bar.note = ", ".join(f"{name} {self.figures[name]:.3g}" for name in self.SHOWN if name in self.figures)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.bar is not None:
            self.bar.close()
