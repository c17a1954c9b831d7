"""The command line: arguments, printing and exit codes; no decisions. One file a verb, which registers itself."""

from sembridge.cli.verbs import app, main

__all__ = ["app", "main"]
