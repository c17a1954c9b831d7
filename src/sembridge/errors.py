"""The errors a user meets. Each message is one line: what was given, what was expected, what to do."""


class SembridgeError(Exception):
    """A refusal; the command line prints its message and exits with 1."""


class MissingExtraError(SembridgeError):
    """An optional dependency is not installed; the message holds the install line."""


def reason_of(error: BaseException) -> str:
    """What the system or another library said, without line breaks or a full stop, for the end of a message."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(str(reason).split()).rstrip(".")
