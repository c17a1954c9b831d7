"""Folders that appear whole or not at all: written beside their place, then renamed."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from sembridge.errors import SembridgeError


def check_output_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuses a place that cannot be written, before any work is done.

    Raises:
        SembridgeError: a file stands there, the folder is not empty (and `overwrite` is not set), or its parent cannot
            be written.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise SembridgeError(f"Output {folder} exists and is not a folder; give the name of a new folder.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise SembridgeError(f"Output folder {folder} is not empty; give a new name, or --overwrite to replace it.")
    parent = _nearest_parent(folder)
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise SembridgeError(f"Output folder {folder} cannot be made: {parent} is not a folder you can write to.")


def write_folder(folder: Path, write: Callable[[Path], None], *, overwrite: bool = False) -> Path:
    """`folder`, filled by `write`; on any failure, Ctrl-C included, nothing is left behind and an old folder stays.

    Raises:
        SembridgeError: as `check_output_folder`, or the disk is full.
    """
    check_output_folder(folder, overwrite=overwrite)
    made = _make_parents(folder)
    partial = None
    try:
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        partial.chmod(0o755)  # mkdtemp's 0o700 would stay on the result
        write(partial)
        _replace(partial, folder)
    except BaseException as error:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            parent.rmdir()
        reason = _write_failure(error)
        if reason is None:
            raise
        raise SembridgeError(f"{folder} could not be written: {reason}. Nothing was left behind.") from error
    return folder


def _replace(partial: Path, folder: Path) -> None:
    """Moves `partial` to `folder`; an older folder is moved aside first and removed last."""
    old = None
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old-", dir=folder.parent)) / folder.name
        folder.rename(old)
    try:
        partial.rename(folder)
    except BaseException:
        if old is not None:
            old.rename(folder)
            old.parent.rmdir()
        raise
    if old is not None:
        shutil.rmtree(old.parent, ignore_errors=True)


def _write_failure(error: BaseException) -> str | None:
    """Why a write failed, when the machine and not the program is the reason."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{os.strerror(error.errno)}; free some space or give another place".lower()
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return os.strerror(error.errno).lower()
    # safetensors reports the operating system's error inside its own text.
    if isinstance(error, SafetensorError) and any(hint in str(error) for hint in ("os error", "IoError", "I/O error")):
        return f"{error}; free some space or give another place"
    return None


def _make_parents(folder: Path) -> list[Path]:
    """Makes the missing parents of `folder`; those made, innermost first."""
    missing = [parent for parent in folder.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir()
    return missing


def _nearest_parent(folder: Path) -> Path:
    return next(parent for parent in folder.absolute().parents if parent.exists())
