"""What lies in the folders that a report is made of: transfers, trainings and grids."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sembridge.errors import SembridgeError
from sembridge.experiments.results import CurvePoint, Results, read_results
from sembridge.files.records import parse_record, read_record, read_text
from sembridge.language_transfer.folder import TransferReport, read_report
from sembridge.language_transfer.methods import METHODS

ALIGNMENT_FILE = "alignment.safetensors"  # named here: a page about a grid loads no torch
TRAINING_FILE, CURVE_FILE, RESULTS_FILE = "training.json", "curve.jsonl", "results.jsonl"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class TrainingFacts(_File):
    """`training.json` of a training."""

    data: str
    pairs: int
    steps: int
    dev: str | None = None
    versions: dict[str, str] = {}


@dataclass(frozen=True)
class TransferFolder:
    """A transferred encoder, fine-tuned afterwards or not.

    Attributes:
        name: of the folder, made distinct where several are called the same.
    """

    name: str
    path: Path
    report: TransferReport
    is_trained: bool = False

    @property
    def method(self) -> str:
        """The initialization as a grid calls it: sembridge-default, sembridge-paper, multivariate."""
        method, preset = self.report.recipe.get("method", "sembridge"), self.report.recipe.get("preset")
        rule = METHODS.get(str(method))
        return f"{method}-{preset}" if preset and rule and "preset" in rule.settings else str(method)

    @property
    def language(self) -> str:
        """The code of its language, or its name where it has none."""
        return self.report.language or self.name

    @property
    def stage(self) -> str:
        return "fine-tuned" if self.is_trained else "zero-shot"


@dataclass(frozen=True)
class TrainingFolder:
    """A trained encoder's curve; `transfer` is the transfer it started from, where the folder carries one."""

    name: str
    path: Path
    facts: TrainingFacts
    curve: tuple[CurvePoint, ...]
    transfer: TransferFolder | None


@dataclass(frozen=True)
class GridFolder:
    """A grid's results."""

    name: str
    path: Path
    results: Results


@dataclass(frozen=True)
class Folders:
    """Everything that was given, in the order in which it was given."""

    transfers: tuple[TransferFolder, ...] = ()
    trainings: tuple[TrainingFolder, ...] = ()
    grids: tuple[GridFolder, ...] = field(default=())


def read_folders(paths: Sequence[Path]) -> Folders:
    """The folders by what they are; a trained encoder that carries its transfer's files counts as both.

    Raises:
        SembridgeError: none given, one that is none of the three or was given twice, a file that cannot be read.
    """
    if not paths:
        raise SembridgeError("No folder given; expected one of a transfer, a training or a grid, or several.")
    _refuse_repetition(paths)
    transfers, trainings, grids = [], [], []
    for path, name in zip(paths, _names(paths), strict=True):
        kinds = _kinds(path)
        transfer = None
        if "transfer" in kinds:
            transfer = TransferFolder(name, path, read_report(path), is_trained="training" in kinds)
            transfers.append(transfer)
        if "training" in kinds:
            trainings.append(_training(path, name, transfer))
        if "grid" in kinds:
            grids.append(GridFolder(name, path, read_results(path)))
    return Folders(tuple(transfers), tuple(trainings), tuple(grids))


def _kinds(path: Path) -> set[str]:
    if not path.is_dir():
        raise SembridgeError(f"{path} {'is a file' if path.exists() else 'does not exist'}; expected a folder.")
    found = {kind for kind, files in _SIGNS.items() if any((path / file).is_file() for file in files)}
    if not found:
        raise SembridgeError(
            f"{path} is none of a transfer ({ALIGNMENT_FILE}), a training ({TRAINING_FILE}) and a grid "
            f"({RESULTS_FILE}); give a folder written by `sembridge transfer`, `train` or `reproduce`."
        )
    return found


_SIGNS = {"transfer": (ALIGNMENT_FILE,), "training": (TRAINING_FILE, CURVE_FILE), "grid": (RESULTS_FILE,)}


def _training(path: Path, name: str, transfer: TransferFolder | None) -> TrainingFolder:
    again = "run the training again"
    facts = read_record(TrainingFacts, path / TRAINING_FILE, advice=again)
    lines = read_text(path / CURVE_FILE, advice=again).splitlines()
    curve = tuple(
        parse_record(CurvePoint, line, place=f"{path / CURVE_FILE}, line {number}", advice=again)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )
    return TrainingFolder(name, path, facts, curve, transfer)


def _refuse_repetition(paths: Sequence[Path]) -> None:
    resolved = [path.resolve() for path in paths]
    for path, place in zip(paths, resolved, strict=True):
        if resolved.count(place) > 1:
            raise SembridgeError(f"{path} was given twice; give every folder once.")


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of every path, or the whole of it where two end alike."""
    short = [path.resolve().name for path in paths]
    return [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]
