"""The trainer of Sentence Transformers, with our batches, loss, dev measures and guards."""

import copy
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from sembridge.encoders.anatomy import Anatomy
from sembridge.encoders.stated import Task, prompt_of, treats_sides_apart
from sembridge.encoders.vectors import EncodeWith, encode_corpus, encode_queries
from sembridge.errors import SembridgeError
from sembridge.language_transfer.alignment import ALIGNMENT_FILE, Alignment
from sembridge.language_transfer.bridge import Bridge, CachedBridge
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import Evaluation, evaluate, evaluate_vectors
from sembridge.training.data import TrainingData
from sembridge.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder, SparseEncoderTrainer
    from transformers import TrainerCallback

    from sembridge.training.aligning import Aim

N_PROBE = 32  # texts the guards encode
N_EVALUATIONS = 10
STATIC_LEARNING_RATE = 1e-3  # weights of several units, which a body's rate would not move
TRACKER_PACKAGES = {"azure_ml": "azureml-mlflow", "flyte": "flytekit"}  # the others are named as their package


@dataclass(frozen=True)
class RunOptions:
    """How a training runs, and what it does with what it finds; none of this changes the encoder that comes out.

    Attributes:
        resume: go on from the last checkpoint.
        overwrite: replace a folder that is not empty.
        report_to: trackers that are installed, by their names in transformers; TensorBoard's files are in `OUT.runs`.
        progress: show a bar on stderr.
        cache_folder: of the teacher's vectors, by default below the Hugging Face cache.
        dev_encode_with: how the dev data is encoded, as in `evaluate`.
    """

    resume: bool = False
    overwrite: bool = False
    report_to: Sequence[str] = ()
    progress: bool = False
    cache_folder: Path | None = None
    dev_encode_with: EncodeWith = "stock"


class Teacher:
    """The bridge's cosines of a batch's queries and documents, looked up by row."""

    def __init__(self, bridge: Bridge, data: TrainingData, recipe: TrainRecipe, cache_folder: Path | None) -> None:
        ask, answer = (CachedBridge(_side(bridge, t), cache_folder) for t in get_args(Task))
        self.temperature = recipe.distill_temperature
        self.queries = torch.from_numpy(ask(data.queries))  # (n, dim)
        columns = [data.documents, *(list(column) for column in zip(*data.negatives, strict=True))]
        self.documents = [torch.from_numpy(answer(column)) for column in columns]

    def scores(self, rows: Tensor) -> Tensor:
        """(batch, batch * columns) cosines over the temperature, in the order of the loss's documents."""
        rows = rows.cpu()
        documents = torch.cat([vectors[rows] for vectors in self.documents])
        return self.queries[rows] @ documents.T / self.temperature


def _side(bridge: Bridge, task: Task) -> Bridge:
    """The bridge with the prompt that it has for queries or for documents in place of its default one."""
    from sentence_transformers import SentenceTransformer

    if not isinstance(bridge, SentenceTransformer):
        return bridge
    prompt = prompt_of(bridge, task)
    side = copy.copy(bridge)
    side.prompts, side.default_prompt_name = ({task: prompt}, task) if prompt else ({}, None)
    return cast("Bridge", side)


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is trained, on what, and how: all that a trainer is made from.

    Attributes:
        anatomy: the encoder, read.
        checkpoints: the folder that holds them while it runs.
        start_folder: where the encoder came from.
        aim: of a pivot, which learns translations in place of ranking documents.
    """

    anatomy: Anatomy
    data: TrainingData
    recipe: TrainRecipe
    run: RunOptions
    checkpoints: Path
    dev: RetrievalData | None = None
    teacher: Teacher | None = None
    start_folder: Path | None = None
    aim: "Aim | None" = None

    @property
    def encoder(self) -> "SparseEncoder":
        return self.anatomy.encoder

    @property
    def columns(self) -> dict[str, list[str]]:
        """Column name -> texts that are encoded: of pairs of translations those in the pivot's language."""
        return self.data.columns if self.aim is None else {"document": self.data.documents}

    @property
    def n_steps(self) -> int:
        return self.recipe.steps or max(1, round(self.recipe.epochs * (len(self.data) // self.recipe.batch_size)))


def make_trainer(lesson: Lesson) -> "SparseEncoderTrainer":
    """A trainer that is ready to train the lesson's encoder; its static query weights become frozen or not.

    Raises:
        SembridgeError: a setting needs what the lesson does not have.
    """
    from datasets import Dataset
    from sentence_transformers.sparse_encoder.callbacks import SpladeRegularizerWeightSchedulerCallback
    from transformers import PrinterCallback
    from transformers.integrations import TensorBoardCallback

    from sembridge.training.batches import PairTrainer

    encoder, data, recipe = lesson.encoder, lesson.data, lesson.recipe
    torch.manual_seed(recipe.seed)
    columns: dict[str, list[Any]] = dict(lesson.columns)
    if lesson.teacher is not None or lesson.aim is not None:
        columns["label"] = list(range(len(data)))  # tells the loss which rows of the teacher's vectors a batch holds
    loss = _loss(lesson)
    trainer = PairTrainer(
        data,
        model=encoder,
        args=_arguments(lesson, _rates(lesson.anatomy, recipe)),
        train_dataset=Dataset.from_dict(columns),
        loss=loss,
        evaluator=None if lesson.dev is None else _dev_evaluator(lesson, lesson.dev),
        callbacks=[SpladeRegularizerWeightSchedulerCallback(loss, warmup_ratio=recipe.regularizer_warmup)],
    )
    trainer.remove_callback(PrinterCallback)  # it prints every log to stdout, which is the results' alone
    for callback in _callbacks(lesson):
        trainer.add_callback(callback)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):  # whose own place is deleted with the checkpoints
            callback.logging_dir = callback.logging_dir or str(lesson.checkpoints.with_suffix(".runs"))
    return trainer


def _callbacks(lesson: Lesson) -> "Iterator[TrainerCallback]":
    from transformers import EarlyStoppingCallback

    from sembridge.training.guards import Guards, ProgressBar, RowFactor, RowsFirst

    encoder, data, recipe, n_rows = lesson.encoder, lesson.data, lesson.recipe, lesson.anatomy.n_rows
    stride = max(1, len(data) // N_PROBE)
    first, last = (data.documents if lesson.aim else data.queries), data.documents
    probe = first[::stride][:N_PROBE], last[::stride][:N_PROBE]
    yield Guards(encoder, *probe, only_warn=recipe.collapse == "warn")
    if recipe.freeze_body_steps:
        yield RowsFirst(encoder, n_rows, recipe.freeze_body_steps)
    if recipe.combined_rows_factor != 1.0:
        rows = _new_rows(lesson.start_folder)
        yield RowFactor(encoder, rows, n_rows, recipe.combined_rows_factor)
    if recipe.patience is not None:
        if lesson.dev is None:
            raise SembridgeError("--patience stops by the dev measure; give --dev DATA too.")
        yield EarlyStoppingCallback(recipe.patience)
    if lesson.run.progress:
        yield ProgressBar(recipe.dev_measure)


def _new_rows(folder: Path | None) -> Tensor:
    if folder is None or not (folder / ALIGNMENT_FILE).is_file():
        raise SembridgeError(
            f"--combined-rows-factor needs {ALIGNMENT_FILE} beside the encoder, which tells copied rows from new ones; "
            "give a folder written by `sembridge transfer`."
        )
    kinds = Alignment.load(folder).kinds
    return torch.from_numpy(np.flatnonzero(np.isin(kinds, (RowKind.COMBINED, RowKind.FALLBACK))))


def _loss(lesson: Lesson) -> torch.nn.Module:
    from sentence_transformers.sparse_encoder.losses import CachedSpladeLoss, SpladeLoss

    from sembridge.training.batches import GatheredFlops, RankingLoss

    encoder, recipe = lesson.encoder, lesson.recipe
    loss: torch.nn.Module
    if lesson.aim is not None:
        from sembridge.training.aligning import alignment_loss

        loss = alignment_loss(encoder, lesson.aim, lesson.data, recipe)
        return loss
    settings = {
        "document_regularizer_weight": recipe.document_weight,
        "query_regularizer_weight": None if "query" in lesson.anatomy.route_names else recipe.query_weight,
        "document_regularizer": GatheredFlops(encoder, threshold=recipe.document_threshold),
        "query_regularizer": GatheredFlops(encoder, threshold=recipe.query_threshold),
    }
    ranking = RankingLoss(encoder, lesson.teacher, weight=recipe.distill_weight)
    if recipe.gradient_cache:
        loss = CachedSpladeLoss(encoder, ranking, **settings, mini_batch_size=recipe.gradient_cache)
    else:
        loss = SpladeLoss(encoder, ranking, **settings)
    return loss


def _arguments(lesson: Lesson, rates: dict[str, float]) -> Any:
    from sentence_transformers import SparseEncoderTrainingArguments

    encoder, recipe, run, dev = lesson.encoder, lesson.recipe, lesson.run, lesson.dev
    interval = recipe.eval_steps or max(1, math.ceil(lesson.n_steps / N_EVALUATIONS))
    on_cpu, several = encoder.device.type == "cpu", int(os.environ.get("WORLD_SIZE", "1")) > 1
    tasks: dict[str, Task] = {column: "query" if column == "query" else "document" for column in lesson.columns}
    prompts = {column: prompt for column, task in tasks.items() if (prompt := prompt_of(encoder, task))}
    by_task = lesson.anatomy.route_names or treats_sides_apart(encoder)
    return SparseEncoderTrainingArguments(
        output_dir=str(lesson.checkpoints), max_steps=lesson.n_steps, per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate, warmup_steps=recipe.warmup, seed=recipe.seed, data_seed=recipe.seed,
        bf16=_bf16(recipe, on_cpu=on_cpu), use_cpu=on_cpu, dataloader_drop_last=True, dataloader_pin_memory=not on_cpu,
        save_strategy="steps", save_steps=interval, save_total_limit=2,
        eval_strategy="no" if dev is None else "steps", eval_steps=interval,
        eval_on_start=dev is not None and not run.resume,  # a second look would cost --patience one of its evaluations
        load_best_model_at_end=dev is not None, metric_for_best_model=f"eval_{recipe.dev_measure}",
        greater_is_better=True, logging_steps=max(1, interval // 5), logging_nan_inf_filter=False,
        report_to=list(run.report_to) or "none", disable_tqdm=True,
        # One sampler for all processes, its batches split among them: no false negative across processes either.
        accelerator_config={"split_batches": True}, ddp_backend="gloo" if on_cpu and several else None,
        router_mapping=dict(tasks) if by_task else {}, prompts=prompts or None, learning_rate_mapping=rates,
    )  # fmt: skip


def _rates(anatomy: Anatomy, recipe: TrainRecipe) -> dict[str, float]:
    """The learning rates other than that of most, each by a pattern of names; static query weights become frozen or
    not."""
    rates = _set_static_weights(anatomy, recipe)
    if recipe.rows_learning_rate is not None:
        name = next(n for n in anatomy.vocabulary_parameters() if n.endswith(anatomy.head.token_weight))
        rates[rf"{re.escape(name)}$"] = recipe.rows_learning_rate
    return rates


def _set_static_weights(anatomy: Anatomy, recipe: TrainRecipe) -> dict[str, float]:
    """Static query weights become frozen or not; the learning rate of each that is not, by a pattern of its name."""
    rates, given = {}, recipe.static_learning_rate
    for name, module in anatomy.static_query_names().items():
        rate = (0.0 if module.frozen else STATIC_LEARNING_RATE) if given is None else given
        module.frozen = rate == 0
        module.weight.requires_grad_(rate > 0)
        if rate > 0:
            rates[rf"{re.escape(name)}\.weight$"] = rate
    return rates


def _bf16(recipe: TrainRecipe, *, on_cpu: bool) -> bool:
    if recipe.bf16 != "auto":
        return recipe.bf16 == "yes"
    if on_cpu:
        return bool(torch.cpu._is_amx_tile_supported())
    return bool(torch.cuda.is_bf16_supported())


def _dev_evaluator(lesson: Lesson, dev: RetrievalData) -> Any:
    recipe = lesson.recipe
    measured = _measure_of(lesson, dev)

    from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator

    class DevEvaluator(SentenceEvaluator):
        """Our own measures on the dev data, so that curves and tables agree."""

        def __init__(self) -> None:
            super().__init__()
            self.primary_metric = recipe.dev_measure

        def __call__(
            self, model: "SparseEncoder", output_path: str | None = None, epoch: int = -1, steps: int = -1
        ) -> dict[str, float]:
            training = model.training
            model.eval()
            found = measured(model)
            model.train(training)
            figures = {
                name: float(getattr(found, name) or 0.0)
                for name in ("flops", "query_active_dims", "document_active_dims")
            }
            return {recipe.dev_measure: found.measures[recipe.dev_measure], **figures}

    return DevEvaluator()


def _measure_of(lesson: Lesson, dev: RetrievalData) -> "Callable[[SparseEncoder], Evaluation]":
    """How the encoder is measured while it trains: a pivot asks documents that its source encoded once."""
    measures, encode_with = [lesson.recipe.dev_measure], lesson.run.dev_encode_with
    if lesson.aim is None:
        return lambda model: evaluate(model, dev, measures=measures, encode_with=encode_with)
    documents = encode_corpus(lesson.aim.source, list(dev.corpus.values()), encode_with="fast")

    def measured(pivot: "SparseEncoder") -> Evaluation:
        queries = encode_queries(pivot, list(dev.queries.values()), encode_with=encode_with)
        return evaluate_vectors(queries[:, : documents.shape[1]], documents, dev, measures=measures)

    return measured


def check_trackers(names: Sequence[str]) -> None:
    """Refuses a tracker that transformers does not know, or whose package is not installed."""
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise SembridgeError(
                f"--report-to {name}: no tracker of this name; expected one of {', '.join(INTEGRATION_TO_CALLBACK)}."
            )
        if name not in get_available_reporting_integrations():
            package = TRACKER_PACKAGES.get(name, name.replace("_", "-"))
            raise SembridgeError(f"--report-to {name} needs a package that is not installed: pip install {package}")
