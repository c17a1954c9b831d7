"""The program around the verbs: exit codes, signals, one voice on stderr.

0 done, 1 refused with one clear line, 2 wrong usage, 130 interrupted. Results go to stdout, progress to stderr.
Heavy packages are imported inside the verbs: `sembridge --help` must not wait for them.
"""

import codecs
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from sembridge.cli.help import Verbs
from sembridge.cli.version import print_version
from sembridge.errors import SembridgeError
from sembridge.files.atomic import machine_failure
from sembridge.files.threads import set_threads

app = typer.Typer(
    name="sembridge",
    help="Moves an English learned sparse retrieval encoder (SPLADE) to another language.",
    cls=Verbs,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # help is written by cli.help
    pretty_exceptions_enable=False,
)
INTERRUPTED = 130
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]  # click's own, or that of the copy of click inside newer typer


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The `sembridge` program."""
    _set_up()
    try:
        code = app(
            _as_utf8(sys.argv[1:]) if arguments is None else arguments, standalone_mode=False
        )  # None, or the code of an early exit as after --help
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit would complain again
        code = 1
    except Exception as error:
        code = _report(error)
    if code == INTERRUPTED:
        print("sembridge: interrupted; nothing half-written was left behind.", file=sys.stderr)
    sys.exit(code or 0)


def _report(error: Exception) -> int:
    """The exit code of a refusal, wrong usage or a full disk, after printing it; any other error is raised again."""
    if isinstance(error, USAGE_ERROR):
        if type(error).__name__ == "NoArgsIsHelpError":  # nothing was asked: an answer, not a complaint
            typer.echo(error.ctx.get_help())
        else:
            error.show()
        return 2
    message = str(error) if isinstance(error, SembridgeError) else machine_failure(error)
    if message is None:
        raise error
    print(f"sembridge: {message}", file=sys.stderr)
    return 1


def _as_utf8(arguments: Sequence[str]) -> list[str]:
    """The arguments, read as UTF-8 where a locale without letters kept their bytes apart (surrogateescape)."""
    return [os.fsencode(text).decode("utf-8", "replace") for text in arguments]


def _print_any_text() -> None:
    """Texts of every language can be printed, whatever the terminal: decided before the work, not at its end.

    ASCII that nobody asked for becomes UTF-8, as in Python's own C.UTF-8 coercion (PEP 538); of an encoding that was
    asked for, and of half surrogate pairs, what cannot be printed becomes a question mark.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            given = "PYTHONIOENCODING" in os.environ
            stream.reconfigure(encoding="utf-8" if is_ascii and not given else None, errors="replace")


def _set_up() -> None:
    """One voice on stderr, any text on stdout, and a terminated run cleans up like an interrupted one."""
    _print_any_text()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    def interrupt(signal_number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def quiet_loading() -> None:
    """Without transformers' own progress bars of reading a file from the disk; downloads keep theirs."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


def _print_version(asked: bool) -> None:
    if asked:
        print_version()
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="NUMBER",
            help="Threads of a verb's computations; default: OMP_NUM_THREADS, or as many as a CPU quota, an affinity "
            "or SLURM leaves to this process.",
        ),
    ] = None,
) -> None:
    set_threads(threads)  # before a verb imports torch
