"""Training: a sparse encoder fine-tuned on query-document pairs of its language.

Stands on Sentence Transformers' SparseEncoderTrainer and SpladeLoss; ours are the recipe, the batches without false
negatives, the bridge as a teacher, the guards, and a folder that continues after a kill as if nothing had happened.
"""

import copy
import json
import logging
import math
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from sembridge.encoders.anatomy import Anatomy, check_source_encoder
from sembridge.encoders.model_card import Score, with_training
from sembridge.encoders.names import readme_path
from sembridge.encoders.stated import LENGTHS, Task, prompt_of, stated_settings
from sembridge.encoders.vectors import EncodeWith, encode_corpus, encode_queries
from sembridge.errors import SembridgeError, require
from sembridge.files.atomic import check_output_folder, write_folder
from sembridge.language_transfer.alignment import ALIGNMENT_FILE, Alignment
from sembridge.language_transfer.bridge import Bridge, embed_texts
from sembridge.language_transfer.initialization.rows import RowKind
from sembridge.retrieval.bm25 import bm25_run
from sembridge.retrieval.data import RetrievalData
from sembridge.retrieval.evaluation import evaluate
from sembridge.retrieval.runs import exact_search
from sembridge.training.data import TrainingData
from sembridge.training.head import plain_attention, without_logits
from sembridge.training.recipe import TrainRecipe
from sembridge.training.resumption import TrainingRun

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder, SparseEncoderTrainer
    from transformers import TrainerCallback

logger = logging.getLogger(__name__)

CURVE_FILE, TRAINING_FILE, RECIPE_FILE, REPORT_FILE = (
    "curve.jsonl", "training.json", "train_recipe.yaml", "report.json",
)  # fmt: skip
N_PROBE = 32  # texts the guards encode
N_EVALUATIONS = 10
N_CANDIDATES = 50  # documents a query that hard negatives are chosen from
STATIC_LEARNING_RATE = 1e-3  # weights of several units, which a body's rate would not move
TRACKER_PACKAGES = {"azure_ml": "azureml-mlflow", "flyte": "flytekit"}  # the others are named as their package


@dataclass(frozen=True, eq=False)
class Training:
    """A trained encoder with how it got there.

    Attributes:
        curve: one dict a logged step: step, loss, base_loss, the regularisers' losses; and, at evaluations, the dev
            measure, flops, query_active_dims, document_active_dims.
        steps: optimizer steps taken, those before a resumption included.
        n_pairs: rows trained on.
    """

    encoder: "SparseEncoder"
    curve: list[dict[str, float]]
    steps: int
    n_pairs: int
    recipe: TrainRecipe


def train(
    encoder: "SparseEncoder",
    data: TrainingData,
    out: str | Path,
    *,
    recipe: TrainRecipe | None = None,
    dev: RetrievalData | None = None,
    bridge: Bridge | None = None,
    start_folder: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report_to: Sequence[str] = (),
    progress: bool = False,
    cache_folder: Path | None = None,
    dev_encode_with: EncodeWith = "stock",
) -> Training:
    """`encoder` trained on `data` and saved to `out`: a stock SparseEncoder folder with curve, recipe and card.

    Checkpoints are kept in the folder `OUT.checkpoints` while it runs; `resume` continues from the last one, on a CPU
    with the same weights as a run that was never interrupted. `encoder` itself is changed. With `dev` the checkpoint
    with the best dev measure is the result, and the curve begins with the untrained encoder's. Weights in half
    precision become float32 first: a small step would vanish in them.

    Args:
        start_folder: where `encoder` came from; its alignment and transfer report are carried over.
        bridge: the teacher, for `recipe.distill`.
        dev_encode_with: how the dev data is encoded, as in `evaluate`.
        report_to: trackers that are installed, by their names in transformers; TensorBoard's files are in `OUT.runs`.

    Raises:
        MissingExtraError: the extra `train` is not installed.
        SembridgeError: the encoder is none that can be trained, the data does not fit, or the checkpoints to go on from
            are those of other data, settings, encoder or teacher.
        TrainingCollapse: a guard stopped the training; the last good checkpoint is kept.
    """
    recipe, out = recipe or TrainRecipe(), Path(out)
    check_output_folder(out, overwrite=overwrite)
    require("train", "accelerate", "datasets", what="Training")  # the trainer asks only after minutes of work
    anatomy = check_source_encoder(encoder)
    _check_trackers(report_to)
    checkpoints = _checkpoint_folder(out, resume=resume)
    if recipe.distill == "bridge" and bridge is None:
        raise SembridgeError(
            "Distillation needs the bridge as a teacher; give --bridge, e.g. intfloat/multilingual-e5-small."
        )
    run = TrainingRun.of(
        encoder, data, recipe, start=_start_name(encoder, start_folder), dev=dev,
        teacher=bridge if recipe.distill == "bridge" else None,
    )  # fmt: skip
    if resume:
        run.check_continues(checkpoints)
    if recipe.hard_negatives != "none":
        data = mine_hard_negatives(encoder, data, recipe, progress=progress)
    if len(data) < recipe.batch_size:
        raise SembridgeError(
            f"{data.name} has {len(data)} pairs and --batch-size is {recipe.batch_size}: lower the batch size."
        )
    teacher = _Teacher(bridge, data, recipe, cache_folder) if recipe.distill == "bridge" and bridge else None
    encoder.float()
    trainer = _trainer(
        anatomy, data, recipe, checkpoints, dev=dev, teacher=teacher, report_to=report_to, progress=progress,
        alignment_folder=None if start_folder is None else Path(start_folder), dev_encode_with=dev_encode_with,
        resume=resume,
    )  # fmt: skip
    last = _last_checkpoint(checkpoints) if resume else None
    if last is None and trainer.is_world_process_zero():
        run.write(checkpoints)
    with (
        _memory_advice(recipe),
        _texts_cut(encoder, recipe.max_length),
        without_logits(anatomy),
        plain_attention(anatomy, recipe.batch_size),
    ):
        trainer.train(resume_from_checkpoint=last)
    training = Training(encoder.eval(), _curve(trainer), trainer.state.global_step, len(data), recipe)
    _warn_of_loss(training)
    if trainer.is_world_process_zero():
        write = partial(_write, training=training, data=data, dev=dev, start_folder=start_folder)
        write_folder(out, write, overwrite=overwrite)
        shutil.rmtree(checkpoints, ignore_errors=True)
    return training


def _start_name(encoder: "SparseEncoder", folder: str | Path | None) -> str:
    known = getattr(encoder.config, "_name_or_path", None)
    return str(Path(folder).absolute()) if folder is not None else str(known or type(encoder).__name__)


def _warn_of_loss(training: Training) -> None:
    """Says so where the dev measure was highest before the first step."""
    dev = [point[training.recipe.dev_measure] for point in training.curve if training.recipe.dev_measure in point]
    if len(dev) > 1 and max(dev[1:]) < dev[0]:
        logger.warning(
            "The dev %s was %.3f before training and %.3f at best afterwards: keep the encoder you started from, or "
            "train with a lower learning rate or for longer.",
            training.recipe.dev_measure, dev[0], max(dev[1:]),
        )  # fmt: skip


def mine_hard_negatives(
    encoder: "SparseEncoder", data: TrainingData, recipe: TrainRecipe, *, progress: bool = False
) -> TrainingData:
    """`data` with the best documents of BM25 or of the encoder itself that are not relevant to a row's query."""
    document_ids = {str(number): text for number, text in enumerate(sorted(set(data.documents)))}
    rows = [str(row) for row in range(len(data))]
    if recipe.hard_negatives == "bm25":
        id_of = {text: document for document, text in document_ids.items()}
        collection = RetrievalData(
            name=data.name,
            language=None,
            corpus=document_ids,
            queries=dict(zip(rows, data.queries, strict=True)),
            qrels={row: {id_of[document]: 1} for row, document in zip(rows, data.documents, strict=True)},
        )
        run = bm25_run(collection, encoder.tokenizer, top_k=N_CANDIDATES)
    else:
        documents = encode_corpus(encoder, list(document_ids.values()), progress=progress)
        queries = encode_queries(encoder, data.queries, progress=progress)
        run = exact_search(queries, documents, rows, list(document_ids), top_k=N_CANDIDATES)
    return data.with_negatives(run, document_ids, recipe.n_negatives)


def _trainer(
    anatomy: Anatomy,
    data: TrainingData,
    recipe: TrainRecipe,
    checkpoints: Path,
    *,
    dev: RetrievalData | None,
    teacher: "_Teacher | None",
    report_to: Sequence[str],
    progress: bool,
    alignment_folder: Path | None,
    dev_encode_with: EncodeWith,
    resume: bool,
) -> "SparseEncoderTrainer":
    from datasets import Dataset
    from sentence_transformers.sparse_encoder.callbacks import SpladeRegularizerWeightSchedulerCallback
    from transformers import PrinterCallback
    from transformers.integrations import TensorBoardCallback

    from sembridge.training.batches import PairTrainer

    torch.manual_seed(recipe.seed)
    columns: dict[str, list[Any]] = dict(data.columns)
    if teacher is not None:
        columns["label"] = list(range(len(data)))  # tells the loss which rows of the teacher's vectors a batch holds
    n_steps = recipe.steps or max(1, round(recipe.epochs * (len(data) // recipe.batch_size)))
    loss = _loss(anatomy.encoder, recipe, teacher, inference_free="query" in anatomy.route_names)
    arguments = _arguments(
        anatomy, recipe, checkpoints, n_steps, dev=dev, report_to=report_to, resume=resume,
        static_rates=_set_static_weights(anatomy, recipe),
        columns=[*data.columns],
    )  # fmt: skip
    trainer = PairTrainer(
        data,
        model=anatomy.encoder,
        args=arguments,
        train_dataset=Dataset.from_dict(columns),
        loss=loss,
        evaluator=_dev_evaluator(dev, recipe, dev_encode_with) if dev is not None else None,
        callbacks=[SpladeRegularizerWeightSchedulerCallback(loss, warmup_ratio=recipe.regularizer_warmup)],
    )
    trainer.remove_callback(PrinterCallback)  # it prints every log to stdout, which is the results' alone
    for callback in _callbacks(anatomy, data, recipe, dev, alignment_folder, progress=progress):
        trainer.add_callback(callback)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):  # whose own place is deleted with the checkpoints
            callback.logging_dir = callback.logging_dir or str(checkpoints.with_suffix(".runs"))
    return trainer


def _callbacks(
    anatomy: Anatomy,
    data: TrainingData,
    recipe: TrainRecipe,
    dev: RetrievalData | None,
    alignment_folder: Path | None,
    *,
    progress: bool,
) -> "Iterator[TrainerCallback]":
    from transformers import EarlyStoppingCallback

    from sembridge.training.guards import Guards, ProgressBar, RowFactor, RowsFirst

    encoder, n_rows = anatomy.encoder, anatomy.n_rows
    stride = max(1, len(data) // N_PROBE)
    probe = data.queries[::stride][:N_PROBE], data.documents[::stride][:N_PROBE]
    yield Guards(encoder, *probe, only_warn=recipe.collapse == "warn")
    if recipe.freeze_body_steps:
        yield RowsFirst(encoder, n_rows, recipe.freeze_body_steps)
    if recipe.combined_rows_factor != 1.0:
        rows = _new_rows(alignment_folder)
        yield RowFactor(encoder, rows, n_rows, recipe.combined_rows_factor)
    if recipe.patience is not None:
        if dev is None:
            raise SembridgeError("--patience stops by the dev measure; give --dev DATA too.")
        yield EarlyStoppingCallback(recipe.patience)
    if progress:
        yield ProgressBar(recipe.dev_measure)


def _new_rows(folder: Path | None) -> Tensor:
    if folder is None or not (folder / ALIGNMENT_FILE).is_file():
        raise SembridgeError(
            f"--combined-rows-factor needs {ALIGNMENT_FILE} beside the encoder, which tells copied rows from new ones; "
            "give a folder written by `sembridge transfer`."
        )
    kinds = Alignment.load(folder).kinds
    return torch.from_numpy(np.flatnonzero(np.isin(kinds, (RowKind.COMBINED, RowKind.FALLBACK))))


def _loss(
    encoder: "SparseEncoder", recipe: TrainRecipe, teacher: "_Teacher | None", *, inference_free: bool
) -> torch.nn.Module:
    from sentence_transformers.sparse_encoder.losses import CachedSpladeLoss, SpladeLoss

    from sembridge.training.batches import GatheredFlops, RankingLoss

    settings = {
        "document_regularizer_weight": recipe.document_weight,
        "query_regularizer_weight": None if inference_free else recipe.query_weight,
        "document_regularizer": GatheredFlops(encoder, threshold=recipe.document_threshold),
        "query_regularizer": GatheredFlops(encoder, threshold=recipe.query_threshold),
    }
    ranking = RankingLoss(encoder, teacher, weight=recipe.distill_weight)
    loss: torch.nn.Module
    if recipe.gradient_cache:
        loss = CachedSpladeLoss(encoder, ranking, **settings, mini_batch_size=recipe.gradient_cache)
    else:
        loss = SpladeLoss(encoder, ranking, **settings)
    return loss


def _arguments(
    anatomy: Anatomy,
    recipe: TrainRecipe,
    checkpoints: Path,
    n_steps: int,
    *,
    dev: RetrievalData | None,
    report_to: Sequence[str],
    resume: bool,
    static_rates: dict[str, float],
    columns: Sequence[str],
) -> Any:
    from sentence_transformers import SparseEncoderTrainingArguments

    interval = recipe.eval_steps or max(1, math.ceil(n_steps / N_EVALUATIONS))
    on_cpu, several = anatomy.encoder.device.type == "cpu", int(os.environ.get("WORLD_SIZE", "1")) > 1
    tasks: dict[str, Task] = {column: "query" if column == "query" else "document" for column in columns}
    prompts = {column: prompt for column, task in tasks.items() if (prompt := prompt_of(anatomy.encoder, task))}
    by_task = anatomy.route_names or set(LENGTHS) & set(stated_settings(anatomy.encoder))
    return SparseEncoderTrainingArguments(
        output_dir=str(checkpoints), max_steps=n_steps, per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate, warmup_steps=recipe.warmup, seed=recipe.seed, data_seed=recipe.seed,
        bf16=_bf16(recipe, on_cpu=on_cpu), use_cpu=on_cpu, dataloader_drop_last=True, dataloader_pin_memory=not on_cpu,
        save_strategy="steps", save_steps=interval, save_total_limit=2,
        eval_strategy="no" if dev is None else "steps", eval_steps=interval,
        eval_on_start=dev is not None and not resume,  # a second look would cost --patience one of its evaluations
        load_best_model_at_end=dev is not None, metric_for_best_model=f"eval_{recipe.dev_measure}",
        greater_is_better=True, logging_steps=max(1, interval // 5), logging_nan_inf_filter=False,
        report_to=list(report_to) or "none", disable_tqdm=True,
        # One sampler for all processes, its batches split among them: no false negative across processes either.
        accelerator_config={"split_batches": True}, ddp_backend="gloo" if on_cpu and several else None,
        router_mapping=dict(tasks) if by_task else {}, prompts=prompts or None, learning_rate_mapping=static_rates,
    )  # fmt: skip


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


def _dev_evaluator(dev: RetrievalData, recipe: TrainRecipe, encode_with: EncodeWith) -> Any:
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
            found = evaluate(model, dev, measures=[recipe.dev_measure], encode_with=encode_with)
            model.train(training)
            figures = {
                name: float(getattr(found, name) or 0.0)
                for name in ("flops", "query_active_dims", "document_active_dims")
            }
            return {recipe.dev_measure: found.measures[recipe.dev_measure], **figures}

    return DevEvaluator()


class _Teacher:
    """The bridge's cosines of a batch's queries and documents, looked up by row."""

    def __init__(self, bridge: Bridge, data: TrainingData, recipe: TrainRecipe, cache_folder: Path | None) -> None:
        ask, answer = (partial(embed_texts, _side(bridge, t), cache_folder=cache_folder) for t in get_args(Task))
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


@contextmanager
def _texts_cut(encoder: "SparseEncoder", max_length: int | None) -> Iterator[None]:
    """Inside, texts are cut at `max_length` tokens; the encoder that is saved afterwards reads as far as before."""
    stated = [
        (owner, name, getattr(owner, name))
        for owner, names in _owners_of_lengths(encoder)
        for name in names
        if getattr(owner, name, None) is not None
    ]
    for owner, name, length in stated:
        setattr(owner, name, min(length, max_length or length))
    try:
        yield
    finally:
        for owner, name, length in stated:
            setattr(owner, name, length)


def _owners_of_lengths(encoder: "SparseEncoder") -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Tokenizers and modules, each once, with the names of the lengths that they hold."""
    modules = [module for module in encoder.modules() if hasattr(module, "tokenizer") and module is not encoder]
    yield from ((module, LENGTHS) for module in modules)
    yield from (
        (tokenizer, ("model_max_length",)) for tokenizer in {id(m.tokenizer): m.tokenizer for m in modules}.values()
    )


@contextmanager
def _memory_advice(recipe: TrainRecipe) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise SembridgeError(
                f"Out of memory with --batch-size {recipe.batch_size}: lower it or --max-length, or set "
                f"--gradient-cache {max(1, recipe.batch_size // 4)}, which keeps the large batch."
            ) from error
        raise


def _check_trackers(names: Sequence[str]) -> None:
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


def _checkpoint_folder(out: Path, *, resume: bool) -> Path:
    folder = _checkpoints(out)
    exists = folder.exists() and any(folder.glob("checkpoint-*"))
    if resume and not exists:
        raise SembridgeError(f"Nothing to resume: {folder} holds no checkpoint; start without --resume.")
    if exists and not resume:
        raise SembridgeError(
            f"{folder} holds checkpoints of an interrupted training; continue with --resume, or delete the folder."
        )
    return folder


def has_checkpoint(out: str | Path) -> bool:
    """Whether an interrupted training that was to write `out` can be resumed."""
    return bool(_complete(_checkpoints(Path(out))))


def _checkpoints(out: Path) -> Path:
    return out.absolute().with_name(f"{out.absolute().name}.checkpoints")


def _complete(folder: Path) -> list[Path]:
    """The complete checkpoints; the trainer writes its state file last, and not at once: a kill can cut it short."""
    return [path for path in folder.glob("checkpoint-*") if _is_json(path / "trainer_state.json")]


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def _last_checkpoint(folder: Path) -> str:
    complete = _complete(folder)
    if not complete:
        raise SembridgeError(f"Nothing to resume: no checkpoint in {folder} is complete; delete it and start again.")
    return str(max(complete, key=lambda path: int(path.name.rpartition("-")[2])))


def _curve(trainer: "SparseEncoderTrainer") -> list[dict[str, float]]:
    """The trainer's log, which its checkpoints carry, by step and under our names."""
    rows: dict[int, dict[str, float]] = {}
    for entry in trainer.state.log_history:
        row = rows.setdefault(int(entry["step"]), {"step": int(entry["step"])})
        row |= {
            key.removeprefix("eval_"): float(value)
            for key, value in entry.items()
            if key not in ("step", "epoch")
            and not key.endswith(("_runtime", "_per_second", "total_flos", "train_loss"))
        }
    return [rows[step] for step in sorted(rows)]


def _write(
    folder: Path, *, training: Training, data: TrainingData, dev: RetrievalData | None, start_folder: str | Path | None
) -> None:
    training.encoder.save_pretrained(str(folder), create_model_card=False)
    if start_folder is not None:
        for name in (ALIGNMENT_FILE, REPORT_FILE, "recipe.yaml"):
            if (Path(start_folder) / name).is_file():
                shutil.copyfile(Path(start_folder) / name, folder / name)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in training.curve)
    (folder / CURVE_FILE).write_text("".join(lines), encoding="utf-8")
    training.recipe.write(folder / RECIPE_FILE)
    packages = ("sembridge", "sentence-transformers", "transformers", "torch")
    facts = {
        "data": data.name,
        "pairs": training.n_pairs,
        "negatives": len(data.negatives[0]),
        "left_out": dict(data.left_out),
        "unused_columns": list(data.unused_columns),
        "steps": training.steps,
        "dev": None if dev is None else dev.name,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }
    (folder / TRAINING_FILE).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(training, facts, dev, start_folder), encoding="utf-8")


def _card(
    training: Training, facts: Mapping[str, object], dev: RetrievalData | None, start_folder: str | Path | None
) -> str:
    """The start's card, whose licence carries over, with the training and the dev measure of the step that was kept."""
    start = start_folder or getattr(training.encoder.config, "_name_or_path", None)
    path = readme_path(start) if start else None
    kept, scores = _kept_row(training, dev), []
    if dev is not None and training.recipe.dev_measure in kept:
        measure = training.recipe.dev_measure
        scores = [Score(dev.name, dev.split, measure, kept[measure])]
    told = {key: value for key, value in facts.items() if key in ("data", "pairs", "steps", "dev")}
    card = path.read_text(encoding="utf-8") if path is not None else None
    return with_training(card, told, kept, scores)


def _kept_row(training: Training, dev: RetrievalData | None) -> Mapping[str, float]:
    """The row of the curve that the saved weights belong to: with dev data the best checkpoint's, else the last.

    The row of step 0 is the start's, and no checkpoint: it is not what was saved, even where it is the best.
    """
    measure = training.recipe.dev_measure
    measured = [row for row in training.curve if measure in row and row["step"] > 0] if dev is not None else []
    if measured:
        return max(measured, key=lambda row: row[measure])
    return training.curve[-1] if training.curve else {}
