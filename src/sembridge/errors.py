"""The errors a user meets. Each message is one line: what was given, what was expected, what to do."""

from importlib import import_module


class SembridgeError(Exception):
    """A refusal; the command line prints its message and exits with 1."""


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
