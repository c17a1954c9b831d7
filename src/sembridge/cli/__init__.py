"""The command line: arguments, printing and exit codes; no decisions. One file a verb, which registers itself."""

import gc

_collecting = gc.isenabled()
gc.disable()  # what importing makes stays: looking through it for garbage is an eighth of the start
try:
    from sembridge.cli.verbs import app, main
finally:
    if _collecting:
        gc.enable()

__all__ = ["app", "main"]
