"""What a training leaves: the encoder, its curve, and the folder that holds both with recipe, figures and card."""

import json
import logging
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.encoders.model_card import Score, read_card, with_training
from sembridge.encoders.names import readme_path
from sembridge.errors import SembridgeError
from sembridge.language_transfer.alignment import ALIGNMENT_FILE
from sembridge.retrieval.data import RetrievalData
from sembridge.training.checkpoints import TRAINING_FILE
from sembridge.training.data import TrainingData
from sembridge.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder, SparseEncoderTrainer

    from sembridge.training.aligning import Aim

logger = logging.getLogger(__name__)

CURVE_FILE, RECIPE_FILE, REPORT_FILE = "curve.jsonl", "train_recipe.yaml", "report.json"


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


def curve_of(trainer: "SparseEncoderTrainer") -> list[dict[str, float]]:
    """The trainer's log, by step and under our names; in one order, as its checkpoints carry it in another."""
    rows: dict[int, dict[str, float]] = {}
    for entry in trainer.state.log_history:
        row = rows.setdefault(int(entry["step"]), {"step": int(entry["step"])})
        row |= {
            key.removeprefix("eval_"): float(value)
            for key, value in entry.items()
            if key not in ("step", "epoch")
            and not key.endswith(("_runtime", "_per_second", "total_flos", "train_loss"))
        }
    return [{"step": step, **dict(sorted(rows[step].items()))} for step in sorted(rows)]


def warn_of_loss(training: Training) -> None:
    """Says so where the dev measure was highest before the first step."""
    dev = [point[training.recipe.dev_measure] for point in training.curve if training.recipe.dev_measure in point]
    if len(dev) > 1 and max(dev[1:]) < dev[0]:
        logger.warning(
            "The dev %s was %.3f before training and %.3f at best afterwards: keep the encoder you started from, or "
            "train with a lower learning rate or for longer.",
            training.recipe.dev_measure, dev[0], max(dev[1:]),
        )  # fmt: skip


def warn_of_few_steps(training: Training) -> None:
    """Says so where the data ended before the steps that were asked for."""
    recipe = training.recipe
    if recipe.steps is not None and recipe.patience is None and training.steps < recipe.steps:
        logger.warning(
            "%d of %d steps were taken: a batch holds a document once, and too few are distinct for batches of %d. "
            "Give other pairs, or lower --batch-size.",
            training.steps, recipe.steps, recipe.batch_size,
        )  # fmt: skip


def write(
    folder: Path,
    *,
    training: Training,
    data: TrainingData,
    dev: RetrievalData | None,
    start_folder: str | Path | None,
    begun: Mapping[str, object],
    aim: "Aim | None" = None,
) -> None:
    """Fills `folder`; `begun` is what `training.json` says of the encoder before the first step, and of the run."""
    training.encoder.save_pretrained(str(folder), create_model_card=False)
    if start_folder is not None:
        for name in (ALIGNMENT_FILE, REPORT_FILE, "recipe.yaml"):
            if (Path(start_folder) / name).is_file():
                shutil.copyfile(Path(start_folder) / name, folder / name)
    if aim is not None:
        replace(aim.pivot, facts=replace(aim.pivot.facts, trained_on=data.name)).write_facts(folder)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in training.curve)
    (folder / CURVE_FILE).write_text("".join(lines), encoding="utf-8")
    training.recipe.write(folder / RECIPE_FILE)
    packages = ("sembridge", "sentence-transformers", "transformers", "torch")
    facts = {
        **begun,
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
    return with_training(_start_card(path), told, kept, scores)


def _start_card(path: Path | None) -> str | None:
    """The start's card, or None where there is none that can be read: a training is not lost for it."""
    try:
        return None if path is None else read_card(path)
    except SembridgeError as error:
        logger.warning("%s The card of the result begins anew.", error)
        return None


def _kept_row(training: Training, dev: RetrievalData | None) -> Mapping[str, float]:
    """The row of the curve that the saved weights belong to: with dev data the best checkpoint's, else the last.

    The row of step 0 is the start's, and no checkpoint: it is not what was saved, even where it is the best.
    """
    measure = training.recipe.dev_measure
    measured = [row for row in training.curve if measure in row and row["step"] > 0] if dev is not None else []
    if measured:
        return max(measured, key=lambda row: row[measure])
    return training.curve[-1] if training.curve else {}
