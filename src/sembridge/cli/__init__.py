"""The command line: arguments, printing and exit codes; no decisions. One file a verb, which registers itself."""

import gc
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sembridge.cli.verbs import app as app

__all__ = ["app", "main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The `sembridge` program; `--version` alone imports no verb."""
    if (sys.argv[1:] if arguments is None else [*arguments]) == ["--version"]:
        from sembridge.cli.version import print_version

        print_version()
        sys.exit(0)
    collecting = gc.isenabled()
    gc.disable()  # what importing makes stays: looking through it for garbage is an eighth of the start
    try:
        from sembridge.cli import verbs
    finally:
        if collecting:
            gc.enable()
    verbs.main(arguments)


def __getattr__(name: str) -> object:
    if name != "app":
        raise AttributeError(f"module 'sembridge.cli' has no attribute {name!r}")
    from sembridge.cli.verbs import app

    return app
