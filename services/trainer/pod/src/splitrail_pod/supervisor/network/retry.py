"""Retries: for as long as asked while a store or service is unavailable, a few times when its response is wrong."""

from collections.abc import AsyncIterable

import stamina
from stamina import Attempt

_FEW = 5


class UnavailableError(Exception):
    """A store or service does not respond, or says that it cannot at the moment. Worth retrying for as long as it
    takes.
    """


class BadResponseError(Exception):
    """A store or service responds, but wrongly: worth a few retries only."""


class _Decision:
    """Whether to retry; counts the wrong responses to one operation."""

    def __init__(self) -> None:
        self._bad = 0

    def __call__(self, error: Exception) -> bool:
        if isinstance(error, BadResponseError):
            self._bad += 1
            return self._bad < _FEW
        return isinstance(error, UnavailableError)


def retrying(patience_seconds: float | None) -> AsyncIterable[Attempt]:
    """`async for attempt in retrying(...): with attempt: ...` for an operation that may be repeated.

    UnavailableError: retried until `patience_seconds` have passed (None: without end), with pauses that grow to 5 s,
    jittered. BadResponseError: five times in all.
    """
    return stamina.retry_context(
        on=_Decision(), attempts=None, timeout=patience_seconds, wait_initial=0.1, wait_max=5.0, wait_jitter=0.5
    )
