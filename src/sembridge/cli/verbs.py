"""The verbs, and the order in which `sembridge --help` lists them: that of the work."""

from typing import Any

from typer.core import TyperGroup

from sembridge.cli import encode, evaluate, explain, export, index, report, reproduce, search, train, transfer
from sembridge.cli.demo import verb as demo
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
