"""Processes of a test's own, to be killed for example: forks of one process that has the heavy packages imported.

A new interpreter would spend seconds of computing on imports. What matters in a program's start (its environment, its
hash seed, its import of nothing heavy) is tested with `subprocess`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["sentence_transformers", "datasets", "accelerate"])  # what is missing is left out


def start(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """A process in which `function`, of a module of the tests, runs on one thread; it does not outlive this one."""
    process = CONTEXT.Process(target=_run, args=(function, arguments), daemon=True)
    process.start()
    return process


def start_talking(function: Callable[..., Any], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """As `start`, with the far end of a pipe before the arguments; a process that ends is the end of the pipe."""
    pipe, far_end = CONTEXT.Pipe()
    process = start(function, far_end, *arguments)
    far_end.close()
    return process, pipe


def exit_code(function: Callable[..., Any], *arguments: Any) -> int:
    """How `function` in a process of its own ended: 0, or minus the signal that killed it."""
    process = start(function, *arguments)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def kill_this_process() -> None:
    """What `kill -9` does: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after_checkpoint(step: int) -> None:
    """From now on, a training is killed when its trainer has written the checkpoint of `step`."""
    from transformers import Trainer

    save = Trainer._save_checkpoint

    def save_and_die(self: Any, *arguments: Any, **options: Any) -> None:
        save(self, *arguments, **options)
        if self.state.global_step >= step:
            kill_this_process()

    Trainer._save_checkpoint = save_and_die


def _run(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    function(*arguments)
