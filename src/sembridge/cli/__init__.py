"""The command line: arguments, printing and exit codes; no decisions. One file a verb, which registers itself."""

from typing import Any

from typer.core import TyperGroup

from sembridge.cli import demo, encode, evaluate, explain, export, index, report, reproduce, search, train, transfer
from sembridge.cli.program import app, main

__all__ = [
    "app",
    "demo",
    "encode",
    "evaluate",
    "explain",
    "export",
    "index",
    "main",
    "report",
    "reproduce",
    "search",
    "train",
    "transfer",
]

# The order of `sembridge --help`: that of the work.
_VERBS = (
    "inspect",
    "transfer",
    "explain",
    "train",
    "evaluate",
    "reproduce",
    "encode",
    "index",
    "search",
    "export",
    "report",
    "demo",
)


class _InOrder(TyperGroup):
    """typer by itself lists a verb with formats of its own, such as export, after all others."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_VERBS.index)


app.info.cls = _InOrder
