"""The verbs, and the order in which `sembridge --help` lists them: that of the work."""

from sembridge.cli import (
    bridge_vectors,
    doctor,
    encode,
    evaluate,
    explain,
    export,
    index,
    report,
    reproduce,
    search,
    tokenizer,
    train,
    transfer,
)
from sembridge.cli.demo import verb as demo
from sembridge.cli.help import Verbs
from sembridge.cli.program import app, main

__all__ = [
    "app",
    "bridge_vectors",
    "demo",
    "doctor",
    "encode",
    "evaluate",
    "explain",
    "export",
    "index",
    "main",
    "report",
    "reproduce",
    "search",
    "tokenizer",
    "train",
    "transfer",
]

_VERBS = (
    "tokenizer",
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
    "bridge-vectors",
    "doctor",
)


Verbs.order = _VERBS
