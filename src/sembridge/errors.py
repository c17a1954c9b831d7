"""The errors a user meets. Each message is one line: what was given, what was expected, what to do."""

import re
from importlib import import_module

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class SembridgeError(Exception):
    """A refusal; the command line prints its message and exits with 1.

    Control characters and line separators, which come from files and names, are written as in a Python string: the
    message is one line, and no file sends a terminal commands.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_CONTROL.sub(lambda found: ascii(found[0])[1:-1], message))


class MissingExtraError(SembridgeError):
    """An optional dependency is not installed; the message holds the install line."""


def require(extra: str, *modules: str, what: str) -> None:
    """Nothing, where the packages of an extra can be imported.

    Args:
        extra: of the package sembridge, as in `pip install "sembridge[EXTRA]"`.
        modules: what is imported of its packages.
        what: the thing that needs them, for the message.

    Raises:
        MissingExtraError: one of them is not installed, or does not work.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            package = (error.name or module).partition(".")[0]
            message = f'{what} needs the package {package}, which is not installed: pip install "sembridge[{extra}]"'
            if not isinstance(error, ModuleNotFoundError):
                message = (
                    f"{what} needs the package {package}, which cannot be imported ({reason_of(error)}): "
                    f'pip install "sembridge[{extra}]"'
                )
            raise MissingExtraError(message) from error


def reason_of(error: BaseException) -> str:
    """What the system or another library said, without line breaks or a full stop, for the end of a message."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(str(reason).split()).rstrip(".")
