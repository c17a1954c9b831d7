"""Folders and files that appear whole or not at all: written beside their place, then renamed."""

import contextlib
import errno
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from sembridge.errors import SembridgeError

if TYPE_CHECKING:
    from filelock import FileLock

PARTIAL = ".sembridge.partial-"  # begins the name of what is not complete yet
OLD = ".sembridge.old-"  # begins the name of what is being replaced
STALE_SECONDS = 24 * 3600


def check_output_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuses a place that cannot be written, before any work is done.

    Raises:
        SembridgeError: a file stands there, the folder is not empty (and `overwrite` is not set), or its parent cannot
            be written.
    """
    try:
        folder.exists()
    except OSError as error:  # a name too long; errors that say "not there" are answers, not raised
        raise SembridgeError(
            f"Output folder {folder} cannot be made: {os.strerror(error.errno or 0).lower()}."
        ) from None
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise SembridgeError(f"Output {folder} exists and is not a folder; give the name of a new folder.")
    if folder.absolute() == Path(folder.anchor):
        raise SembridgeError(f"Output {folder} is the root of the file system; give the name of a new folder.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise SembridgeError(f"Output folder {folder} is not empty; give a new name, or --overwrite to replace it.")
    parent = _nearest_parent(folder)
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise SembridgeError(f"Output folder {folder} cannot be made: {parent} is not a folder you can write to.")


def write_folder(folder: Path, write: Callable[[Path], None], *, overwrite: bool = False) -> Path:
    """`folder`, filled by `write`; on any failure, Ctrl-C included, nothing is left behind and an old folder stays.

    Raises:
        SembridgeError: as `check_output_folder`, the disk is full, or another process has filled the folder meanwhile.
    """
    check_output_folder(folder, overwrite=overwrite)
    place = folder.absolute()  # "." has a name and a parent then
    missing = [parent for parent in place.parents if not parent.exists()]
    partial = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(place)
        partial = _beside(place, PARTIAL)
        partial.mkdir()
        write(partial)
        _replace(partial, place, overwrite=overwrite)
    except BaseException as error:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        for parent in missing:
            with contextlib.suppress(OSError):  # not made yet, or in use by another process by now
                parent.rmdir()
        reason = write_failure(error)
        if reason is None:
            raise
        raise SembridgeError(f"{folder} could not be written: {reason}. Nothing was left behind.") from error
    return folder


def check_output_file(path: Path) -> None:
    """Refuses a place where no file can be written, before any work is done.

    Raises:
        SembridgeError: its folder does not exist or cannot be written, or a folder stands there.
    """
    try:
        taken = path.is_dir()
    except OSError as error:  # a name too long
        raise SembridgeError(f"Output file {path} cannot be made: {os.strerror(error.errno or 0).lower()}.") from None
    if taken:
        raise SembridgeError(f"Output file {path} is a folder; give the name of a file.")
    if not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise SembridgeError(
            f"Output file {path} cannot be written: {path.parent} is not a folder you can write to; make it first."
        )


def write_file(path: Path, parts: Iterable[str]) -> Path:
    """`path`, a UTF-8 file of all parts; on any failure, Ctrl-C included, an old file stays and nothing else is left.

    Raises:
        SembridgeError: as `check_output_file`, or the disk is full.
    """
    check_output_file(path)
    try:
        with replacing(path) as partial, partial.open("x", encoding="utf-8", newline="\n") as file:
            file.writelines(parts)
    except Exception as error:
        reason = write_failure(error)
        if reason is None:
            raise
        raise SembridgeError(f"{path} could not be written: {reason}. Nothing was left behind.") from error
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The name of a file to fill beside `path`, which takes its place at the end, complete and on the disk.

    On any failure, Ctrl-C included, it is removed and an old file stays. What a run that was killed leaves behind is
    taken away by the next one that writes the same, or by `remove_stale`.
    """
    remove_abandoned(path)
    partial = _beside(path, PARTIAL)
    try:
        yield partial
        with partial.open("rb+") as written:  # a name that stands for half a file after a power cut would be worse
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Takes a folder away in one step: a kill leaves no part of it that somebody would go on with."""
    if folder.is_dir():
        aside = _beside(folder, OLD)
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def remove_stale(folder: Path) -> None:
    """Deletes what runs that were killed while writing left behind a day ago or earlier."""
    for partial in folder.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > STALE_SECONDS:
                partial.unlink()


def _beside(path: Path, kind: str) -> Path:
    """A name beside `path` that tells what it becomes and who writes it."""
    return path.with_name(f"{kind}{path.name[:100]}-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}")


def remove_abandoned(path: Path) -> None:
    """Deletes what processes of this machine that are no more have left half-written, or half-deleted, of `path`."""
    starts = tuple(f"{kind}{path.name[:100]}-{_machine()}-" for kind in (PARTIAL, OLD))
    for left in path.parent.iterdir() if path.parent.is_dir() else ():
        if left.name.startswith(starts) and not _is_alive(int(left.name.split("-")[-2])):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _machine() -> str:
    """Tells this machine from others that write into the same network folder: their processes are not known here."""
    return blake2b(platform.node().encode(), digest_size=3).hexdigest()


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _replace(partial: Path, folder: Path, *, overwrite: bool) -> None:
    """Moves `partial` to `folder`; an older folder is moved aside first and removed last.

    Raises:
        SembridgeError: another process has filled the folder since it was looked at; what that wrote stays.
    """
    try:
        if folder.exists() and (overwrite or not any(folder.iterdir())):
            _exchange(partial, folder)
        else:
            partial.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise SembridgeError(
            f"Output folder {folder} was filled by another process meanwhile, which stays; give another name."
        ) from error


def _exchange(partial: Path, folder: Path) -> None:
    aside = _beside(folder, OLD)
    try:
        folder.rename(aside)
        partial.rename(folder)
    except BaseException:
        if not folder.exists():
            aside.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def acquired_lock(path: Path) -> "FileLock | None":
    """The lock file `path`, held by this process until `release()`; None while another process holds it.

    The system lifts the lock of a process that ends in whatever way, so there is none to be found stale.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def machine_failure(error: BaseException) -> str | None:
    """One line with the path of what the machine refused to read or write; None where the program is the reason."""
    reason = write_failure(error)
    if reason is None or not isinstance(error, OSError) or error.filename is None:
        return reason
    advice = "" if ";" in reason else "; check who may write there, or give another place"
    return f"{str(error.filename)[:200]}: {reason}{advice}."


def write_failure(error: BaseException) -> str | None:
    """Why a write failed, when the machine and not the program is the reason."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{os.strerror(error.errno)}; free some space or give another place".lower()
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return os.strerror(error.errno).lower()
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "file name too long; give a shorter one"
    if getattr(error, "sqlite_errorname", None) == "SQLITE_FULL":
        return f"{os.strerror(errno.ENOSPC)}; free some space or give another place".lower()
    # Rust code below safetensors and tokenizers puts the system's error into the text of its own.
    if isinstance(error, Exception) and "os error" in str(error):
        return f"{' '.join(str(error).split())}; free some space or give another place"
    return None


def _nearest_parent(folder: Path) -> Path:
    place = folder.absolute()
    return next((parent for parent in place.parents if parent.exists()), place)
