"""The training of a cell: what stage fine-tuned does between the transfer and the evaluation."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.encoders.fingerprint import sparse_encoder_fingerprint
from sembridge.experiments.cells import Cell, fingerprint
from sembridge.language_transfer.folder import LanguageTransfer
from sembridge.training.checkpoints import has_checkpoint
from sembridge.training.fine_tuning import train
from sembridge.training.outcome import Training
from sembridge.training.trainer import RunOptions

if TYPE_CHECKING:
    from sembridge.experiments.workbench import Workbench


def fine_tune(cell: Cell, transferred: LanguageTransfer, bench: "Workbench", cell_folder: Path) -> Training:
    """The transferred encoder trained as the recipe says; a killed run goes on from its last checkpoint.

    Checkpoints are in the cell's folder while it trains, under a name that other settings do not share. The trained
    encoder is not kept: a grid has hundreds of them.

    Raises:
        SembridgeError: as `train`.
    """
    settings = cell.train_recipe(bench.recipe)
    if settings is None:
        raise ValueError(f"{cell.name} is not trained")
    teacher = cell.teacher(bench.recipe, bench.places.roots())
    out = cell_folder / f"training-{_identity(cell, transferred, bench)[:8]}"
    _remove_others(cell_folder, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as start:
            transferred.alignment.save(Path(start))
            return train(
                transferred.encoder,
                bench.training_data(cell.language),
                out,
                recipe=settings,
                dev=bench.dev_data(cell.language),
                bridge=bench.bridges([teacher])[0] if teacher else None,
                start_folder=start,
                run=RunOptions(resume=has_checkpoint(out), overwrite=True, dev_encode_with=bench.recipe.encode_with),
            )
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _identity(cell: Cell, transferred: LanguageTransfer, bench: "Workbench") -> str:
    """Hex digits that change with the cell's settings, its data and models, and the encoder that is trained."""
    decides = [
        fingerprint(cell, bench.recipe), bench.contents.of(cell), sparse_encoder_fingerprint(transferred.encoder)
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def _remove_others(cell_folder: Path, out: Path) -> None:
    """What trainings under other settings, or one without a complete checkpoint, left in the cell's folder."""
    for folder in cell_folder.glob("training-*"):
        if not folder.name.startswith(out.name) or not has_checkpoint(out):
            shutil.rmtree(folder, ignore_errors=True)
