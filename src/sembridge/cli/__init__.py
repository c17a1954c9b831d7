"""The command line: arguments, printing and exit codes; no decisions. One file a verb, which registers itself."""

from sembridge.cli import demo, explain, transfer
from sembridge.cli.program import app, main

__all__ = ["app", "demo", "explain", "main", "transfer"]

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
    "demo",
)
app.registered_commands.sort(key=lambda command: _VERBS.index(getattr(command.callback, "__name__", "")))
