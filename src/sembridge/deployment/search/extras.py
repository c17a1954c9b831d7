"""Clients of servers, which are extras: imported when an engine is opened, refused with the line that installs them."""

from importlib import import_module

from sembridge.errors import MissingExtraError


def require(extra: str, *modules: str) -> None:
    """Refuses an engine whose client is not installed.

    Raises:
        MissingExtraError: one of the modules cannot be imported.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise MissingExtraError(
                f"Engine {extra} needs the package of its client ({module}), which is not installed: "
                f'pip install "sembridge[{extra}]".'
            ) from error
