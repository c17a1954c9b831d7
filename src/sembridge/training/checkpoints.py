"""Checkpoints of a training: where they are kept, and which of them can be resumed from."""

import contextlib
import json
import os
from pathlib import Path

from sembridge.errors import SembridgeError
from sembridge.files.atomic import remove_abandoned, remove_folder
from sembridge.files.digests import file_digest

RUN_FILE, TRAINING_FILE = "training_run.json", "training.json"


def forget_finished(out: Path) -> None:
    """Removes checkpoints of a training whose result is in `out`: a kill may have come after the one, before the other.

    The result names the run that it came from, so checkpoints of another training to the same place stay.
    """
    folder = _checkpoints(out)
    with contextlib.suppress(OSError, ValueError, AttributeError, SembridgeError):
        remove_abandoned(folder)
        made = json.loads((out / TRAINING_FILE).read_bytes()).get("run")
        if made == file_digest(folder / RUN_FILE):
            remove_folder(folder)


def checkpoint_folder(out: Path, *, resume: bool) -> Path:
    """Where the checkpoints of a training that is to write `out` are kept.

    Raises:
        SembridgeError: there is nothing to resume, or something that nobody asked to resume.
    """
    folder = _checkpoints(out)
    exists = has_checkpoint(out)
    if resume and not exists:
        raise SembridgeError(f"Nothing to resume: {folder} holds no checkpoint; start without --resume.")
    if exists and not resume:
        raise SembridgeError(
            f"{folder} holds checkpoints of an interrupted training; continue with --resume, or delete the folder."
        )
    if not exists and os.environ.get("RANK", "0") == "0":  # of several processes one tidies up
        remove_folder(folder)  # of a training that was killed before its first checkpoint was complete
    return folder


def has_checkpoint(out: str | Path) -> bool:
    """Whether an interrupted training that was to write `out` can be resumed."""
    return bool(_complete(_checkpoints(Path(out))))


def last_checkpoint(folder: Path) -> str:
    """The newest complete checkpoint of a folder that has one."""
    return str(max(_complete(folder), key=lambda path: int(path.name.rpartition("-")[2])))


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
