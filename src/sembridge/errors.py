"""The errors a user meets. Each message is one line: what was given, what was expected, what to do."""


class SembridgeError(Exception):
    """A refusal; the command line prints its message and exits with 1."""


class MissingExtraError(SembridgeError):
    """An optional dependency is not installed; the message holds the install line."""
