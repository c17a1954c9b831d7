"""Checkpoints of a training: where they are kept, and which of them can be resumed from."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.errors import SembridgeError
from sembridge.files.atomic import acquired_lock, remove_abandoned, remove_folder
from sembridge.files.digests import file_digest

if TYPE_CHECKING:
    from filelock import FileLock

RUN_FILE, TRAINING_FILE = "training_run.json", "training.json"
LOCK_FILE = ".lock"


def forget_finished(out: Path) -> None:
    """Removes checkpoints of a training whose result is in `out`: a kill may have come after the one, before the other.

    The result names the run that it came from, so checkpoints of another training to the same place stay.
    """
    folder = _checkpoints(out)
    with contextlib.suppress(OSError, ValueError, AttributeError, SembridgeError):
        remove_abandoned(folder)
        made = json.loads((out / TRAINING_FILE).read_bytes()).get("run")
        if made == file_digest(folder / RUN_FILE):
            with _locked(folder, out):
                remove_folder(folder)


def checkpoint_folder(out: Path, *, resume: bool) -> Path:
    """Where the checkpoints of a training that is to write `out` are kept.

    Raises:
        SembridgeError: there is nothing to resume, or something that nobody asked to resume, or another training is at
            work there.
    """
    folder = _checkpoints(out)
    exists = has_checkpoint(out)
    if resume and not exists:
        raise SembridgeError(f"Nothing to resume: {folder} holds no checkpoint; start without --resume.")
    if folder.exists() and is_first_process():
        with _locked(folder, out):
            if exists and not resume:
                raise _interrupted(folder)
            if not exists:
                remove_folder(folder)  # of a training that was killed before its first checkpoint was complete
    return folder


@contextlib.contextmanager
def owned_checkpoints(out: Path, *, resume: bool) -> Iterator[None]:
    """The folder of `checkpoint_folder`, made, and for this training alone. Of several processes the first owns it.

    Raises:
        SembridgeError: another training writes the same, or has left checkpoints since the folder was looked at.
    """
    if not is_first_process():
        yield
        return
    folder = _checkpoints(out)
    with _locked(folder, out):
        if has_checkpoint(out) and not resume:
            raise _interrupted(folder)
        try:
            yield
        finally:
            if {path.name for path in folder.glob("*")} == {LOCK_FILE}:
                remove_folder(folder)


@contextlib.contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    lock = _made_and_locked(folder)
    if lock is None:
        raise SembridgeError(f"Another training writes {out}; wait until it ends, or give another folder.")
    try:
        yield
    finally:
        lock.release()


def _made_and_locked(folder: Path) -> "FileLock | None":
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # a training has just ended and taken the folder away
            return acquired_lock(folder / LOCK_FILE)


def is_first_process() -> bool:
    """Of the processes of one training, as torchrun and accelerate number them."""
    return os.environ.get("RANK", "0") == "0"


def _interrupted(folder: Path) -> SembridgeError:
    return SembridgeError(
        f"{folder} holds checkpoints of an interrupted training; continue with --resume, or delete the folder."
    )


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
