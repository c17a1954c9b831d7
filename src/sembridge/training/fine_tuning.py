"""Training: a sparse encoder fine-tuned on query-document pairs of its language.

Stands on Sentence Transformers' SparseEncoderTrainer and SpladeLoss; ours are the recipe, the batches without false
negatives, the bridge as a teacher, the guards, and a folder that continues after a kill as if nothing had happened.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sembridge.encoders.anatomy import check_source_encoder
from sembridge.encoders.fingerprint import weights_fingerprint
from sembridge.encoders.stated import LENGTHS, scores_by_cosine
from sembridge.errors import SembridgeError, require
from sembridge.files.atomic import check_output_folder, remove_folder, write_folder
from sembridge.files.digests import file_digest
from sembridge.language_transfer.bridge import Bridge
from sembridge.retrieval.data import RetrievalData
from sembridge.training.checkpoints import (
    RUN_FILE,
    checkpoint_folder,
    forget_finished,
    last_checkpoint,
    owned_checkpoints,
)
from sembridge.training.data import TrainingData
from sembridge.training.head import plain_attention, without_logits
from sembridge.training.negatives import mine_hard_negatives
from sembridge.training.outcome import Training, curve_of, warn_of_few_steps, warn_of_loss, write
from sembridge.training.recipe import TrainRecipe
from sembridge.training.resumption import TrainingRun, teacher_of
from sembridge.training.trainer import Lesson, RunOptions, Teacher, check_trackers, make_trainer

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

    from sembridge.training.aligning import Aim

logger = logging.getLogger(__name__)


def train(
    encoder: "SparseEncoder",
    data: TrainingData,
    out: str | Path,
    *,
    recipe: TrainRecipe | None = None,
    dev: RetrievalData | None = None,
    bridge: Bridge | None = None,
    start_folder: str | Path | None = None,
    run: RunOptions | None = None,
    aim: "Aim | None" = None,
) -> Training:
    """`encoder` trained on `data` and saved to `out`: a stock SparseEncoder folder with curve, recipe and card.

    Checkpoints are kept in the folder `OUT.checkpoints` while it runs; `RunOptions(resume=True)` continues from the
    last one, on a CPU with the same weights as a run that was never interrupted. `encoder` itself is changed. With
    `dev` the checkpoint with the best dev measure is the result, and the curve begins with the untrained encoder's.
    Weights in half precision become float32 first: a small step would vanish in them.

    Args:
        dev: measured while it trains.
        bridge: the teacher, for `recipe.distill`.
        start_folder: where `encoder` came from; its alignment and transfer report are carried over.
        run: how it runs; `RunOptions()` by default.
        aim: `encoder` is a pivot's, and learns to give texts the vectors that its source gives to their translations:
            every query of `data` is an English text, its document the same in the pivot's language. The documents of
            `dev` are then English.

    Raises:
        MissingExtraError: the extra `train` is not installed.
        SembridgeError: the encoder is none that can be trained, the data does not fit, or the checkpoints to go on from
            are those of other data, settings, encoder or teacher.
        TrainingCollapse: a guard stopped the training; the last good checkpoint is kept.
    """
    recipe, run, out = recipe or TrainRecipe(), run or RunOptions(), Path(out)
    forget_finished(out)
    check_output_folder(out, overwrite=run.overwrite)
    require("train", "accelerate", "datasets", what="Training")  # the trainer asks only after minutes of work
    anatomy = check_source_encoder(encoder)
    check_trackers(run.report_to)
    if scores_by_cosine(encoder):
        logger.warning("The encoder states the similarity cosine: it is trained by dot product and searched by cosine.")
    checkpoints = checkpoint_folder(out, resume=run.resume)
    if recipe.distill == "bridge" and bridge is None:
        raise SembridgeError(
            "Distillation needs the bridge as a teacher; give --bridge, e.g. intfloat/multilingual-e5-small."
        )
    if aim is not None:
        aim.check(recipe)
    elif recipe.freeze_body:
        raise SembridgeError("--freeze-body trains a pivot's head; give --align-to, or leave it away.")
    start = _start_name(encoder, start_folder)
    begun = {"start": start, "start_fingerprint": weights_fingerprint(encoder)}
    identity = TrainingRun.of(
        encoder, data, recipe, start=start, dev=dev,
        teacher=teacher_of(bridge if recipe.distill == "bridge" else None, aim),
    )  # fmt: skip
    if run.resume:
        identity.check_continues(checkpoints)
    if recipe.hard_negatives != "none":
        data = mine_hard_negatives(encoder, data, recipe, progress=run.progress)
    if len(data) < recipe.batch_size:
        raise SembridgeError(
            f"{data.name} has {len(data)} pairs and --batch-size is {recipe.batch_size}: lower the batch size."
        )
    encoder.float()
    lesson = Lesson(
        anatomy, data, recipe, run, checkpoints, dev=dev,
        teacher=Teacher(bridge, data, recipe, run.cache_folder) if recipe.distill == "bridge" and bridge else None,
        start_folder=None if start_folder is None else Path(start_folder), aim=aim,
    )  # fmt: skip
    with owned_checkpoints(out, resume=run.resume):
        check_output_folder(out, overwrite=run.overwrite)  # another training may have ended since
        training, is_first_process = _trained(lesson, identity)
        warn_of_few_steps(training)
        warn_of_loss(training)
        if is_first_process:
            begun["run"] = file_digest(checkpoints / RUN_FILE)
            fill = partial(
                write, training=training, data=data, dev=dev, start_folder=start_folder, begun=begun, aim=aim
            )
            write_folder(out, fill, overwrite=run.overwrite)
            remove_folder(checkpoints)
    return training


def _start_name(encoder: "SparseEncoder", folder: str | Path | None) -> str:
    known = getattr(encoder.config, "_name_or_path", None)
    return str(Path(folder).absolute()) if folder is not None else str(known or type(encoder).__name__)


def _trained(lesson: Lesson, identity: TrainingRun) -> tuple[Training, bool]:
    """The training, and whether this process is the one of several that writes it down."""
    trainer, encoder, recipe = make_trainer(lesson), lesson.encoder, lesson.recipe
    last = last_checkpoint(lesson.checkpoints) if lesson.run.resume else None
    if last is None and trainer.is_world_process_zero():
        identity.write(lesson.checkpoints)
    with (
        _memory_advice(recipe),
        _texts_cut(encoder, recipe.max_length),
        _head(lesson),
        plain_attention(lesson.anatomy, recipe.batch_size),
        nullcontext() if lesson.aim is None else lesson.aim.pupil(lesson.anatomy, freeze_body=recipe.freeze_body),
    ):
        trainer.train(resume_from_checkpoint=last)
    training = Training(encoder.eval(), curve_of(trainer), trainer.state.global_step, len(lesson.data), recipe)
    return training, trainer.is_world_process_zero()


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


def _head(lesson: Lesson) -> "AbstractContextManager[None]":
    if lesson.aim is None:
        return without_logits(lesson.anatomy)
    return without_logits(lesson.anatomy, below_zero=True, n_dims=lesson.aim.pivot.n_dims)


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
