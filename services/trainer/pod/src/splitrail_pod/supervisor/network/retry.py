"""Trying again: for as long as something is away, a few times when it answers badly."""

from collections.abc import AsyncIterable

import stamina
from stamina import Attempt

_FEW = 5


class AwayError(Exception):
    """A store or service does not answer, or says that it cannot at the moment. Worth trying again for as long as it takes."""


class BadAnswerError(Exception):
    """A store or service answers, but wrongly: worth trying a few times only."""


class _Decision:
    """Whether to try again; counts the bad answers of one operation."""

    def __init__(self) -> None:
        self._bad = 0

    def __call__(self, error: Exception) -> bool:
        if isinstance(error, BadAnswerError):
            self._bad += 1
            return self._bad < _FEW
        return isinstance(error, AwayError)


def retrying(patience_seconds: float | None) -> AsyncIterable[Attempt]:
    """`async for attempt in retrying(...): with attempt: ...` for an operation that may be repeated.

    AwayError: again until `patience_seconds` have passed (None: for ever), with pauses that grow to 5 s, jittered. BadAnswerError: five times in all.
    """
    return stamina.retry_context(on=_Decision(), attempts=None, timeout=patience_seconds, wait_initial=0.1, wait_max=5.0, wait_jitter=0.5)
