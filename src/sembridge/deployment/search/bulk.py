"""Calls to a server that may go away for a moment: tried again, waiting longer each time, then given up."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sembridge.deployment.search.protocol import EngineUnavailableError

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Patience:
    """How often a call is tried, and the seconds before the second try."""

    attempts: int
    first_wait: float

    def call(self, action: Callable[[], _Answer], *, place: str, transient: tuple[type[Exception], ...]) -> _Answer:
        """The answer of `action`, which must be safe to repeat.

        Args:
            place: the engine and its address, for the message.
            transient: errors after which the same call may succeed.

        Raises:
            EngineUnavailableError: every try ended in a transient error.
        """
        wait = self.first_wait
        for attempt in range(1, self.attempts + 1):
            try:
                return action()
            except transient as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                if attempt == self.attempts:
                    raise EngineUnavailableError(
                        f"{place} does not answer after {attempt} tries ({reason}); check that it runs and the address."
                    ) from error
                logger.info("%s: %s; trying again in %.1f s", place, reason, wait)
                time.sleep(wait)
                wait *= 2
        raise AssertionError("unreachable: attempts is at least 1")
