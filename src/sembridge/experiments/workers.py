"""Cells computed one after the other, or by several processes that each keep their models loaded."""

import contextlib
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from sembridge.errors import SembridgeError
from sembridge.experiments.cells import Cell
from sembridge.experiments.places import Places
from sembridge.experiments.recipe import GridRecipe
from sembridge.experiments.store import Store
from sembridge.files.threads import threads

_OWN_ERROR = re.compile(r"^sembridge\.[\w.]+: ")


@dataclass(frozen=True)
class Outcome:
    """A cell that is finished, or the traceback of why it is not."""

    cell: Cell
    failure: str | None = None

    @property
    def reason(self) -> str:
        """The last line of the traceback, without the class of the package's own errors."""
        last = (self.failure or "").strip().rpartition("\n")[2]
        return _OWN_ERROR.sub("", last)


@dataclass(frozen=True)
class Job:
    """What a process needs to compute cells and to keep their results."""

    recipe: GridRecipe
    places: Places
    store: Store


def compute(job: Job, cells: Sequence[Cell], *, n_jobs: int = 1) -> Generator[Outcome, None, None]:
    """The outcome of every cell, as they finish; the result of each is on the disk by then."""
    if n_jobs == 1 or len(cells) <= 1:
        yield from _one_by_one(job, cells)
    else:
        yield from _in_processes(job, cells, min(n_jobs, len(cells)))


def _one_by_one(job: Job, cells: Iterable[Cell]) -> Generator[Outcome, None, None]:
    from sembridge.experiments.computing import compute_cell
    from sembridge.experiments.workbench import Workbench

    bench = Workbench(job.recipe, job.places)
    for cell in cells:
        failure = None
        try:
            for finished, result in compute_cell(cell, bench, job.store.cell_folder(cell)).items():
                job.store.write_result(finished, result)
        except Exception:  # whatever goes wrong in one cell must not stop the others
            failure = traceback.format_exc()
            with contextlib.suppress(SembridgeError):  # on a full disk the outcome is all that can be said
                job.store.write_error(cell, failure)
        yield Outcome(cell, failure)


def _in_processes(job: Job, cells: Iterable[Cell], n_jobs: int) -> Generator[Outcome, None, None]:
    waiting = list(cells)
    n_threads = max(1, threads() // n_jobs)
    workers: list[Worker] = []
    try:
        for _ in range(n_jobs):
            workers.append(Worker(job, n_threads))
            workers[-1].give(_take_next(waiting, workers[-1], workers))
        while busy := [worker for worker in workers if worker.cell]:
            ready = wait([worker.pipe for worker in busy])
            for worker in (worker for worker in busy if worker.pipe in ready):
                yield worker.outcome()
                heir = Worker(job, n_threads) if worker.died or not worker.process.is_alive() else worker
                workers[workers.index(worker)] = heir
                heir.give(_take_next(waiting, heir, workers))
    finally:
        for worker in workers:
            worker.stop()


def _take_next(waiting: list[Cell], worker: "Worker", workers: "Sequence[Worker]") -> Cell | None:
    """Of the group that the worker has loaded, else of a group that nobody has loaded, else of the largest group."""
    sizes = Counter(cell.group for cell in waiting)
    if not sizes:
        return None
    loaded = {other.group for other in workers if other is not worker}
    group = worker.group if worker.group in sizes else max(sizes, key=lambda g: (g not in loaded, sizes[g]))
    return waiting.pop(next(position for position, cell in enumerate(waiting) if cell.group == group))


class Worker:
    """A process of its own with the cell it has in hand."""

    def __init__(self, job: Job, n_threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # fork would copy torch's thread pools in whatever state
        self.pipe, far_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(job, far_end, n_threads), daemon=True)
        self.process.start()
        far_end.close()  # so that a dead process is the end of the pipe
        self.cell: Cell | None = None
        self.group: tuple[str, str] | None = None
        self.died = False

    def give(self, cell: Cell | None) -> None:
        self.cell = cell
        if cell is not None:
            self.group = cell.group
            with contextlib.suppress(OSError):  # it died with nothing in hand; `outcome` finds that out
                self.pipe.send(cell)

    def outcome(self) -> Outcome:
        """That of the cell in hand, once `pipe` is ready."""
        cell = self.cell
        if cell is None:
            raise RuntimeError("this worker has no cell")
        try:
            outcome: Outcome = self.pipe.recv()
            return outcome
        except (EOFError, OSError):
            self.process.join()
            self.died = True
            code = self.process.exitcode
            return Outcome(cell, f"Its process ended with code {code}; -9 is often a lack of memory: fewer --jobs.")

    def stop(self) -> None:
        self.process.terminate()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()  # deep in a long computation, where no signal is answered
            self.process.join()


def _serve(job: Job, pipe: Connection, n_threads: int) -> None:
    """The life of a worker: cells in, outcomes out, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent ends us
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # and then we clean up
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    torch.set_num_threads(n_threads)
    cells = iter(pipe.recv, None)
    for outcome in _one_by_one(job, cells):
        pipe.send(outcome)


def _end_with_parent() -> None:
    """A parent that was killed cannot end its workers; they must not go on beside the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
