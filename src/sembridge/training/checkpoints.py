"""Checkpoints of a training: where they are kept, and which of them can be resumed from."""

import json
from pathlib import Path

from sembridge.errors import SembridgeError


def checkpoint_folder(out: Path, *, resume: bool) -> Path:
    """Where the checkpoints of a training that is to write `out` are kept.

    Raises:
        SembridgeError: there is nothing to resume, or something that nobody asked to resume.
    """
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


def last_checkpoint(folder: Path) -> str:
    """The newest complete checkpoint.

    Raises:
        SembridgeError: none is complete.
    """
    complete = _complete(folder)
    if not complete:
        raise SembridgeError(f"Nothing to resume: no checkpoint in {folder} is complete; delete it and start again.")
    return str(max(complete, key=lambda path: int(path.name.rpartition("-")[2])))


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
