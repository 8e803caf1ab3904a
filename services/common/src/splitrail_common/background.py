"""Loops beside the server that outlive an outage of what they need, and work that holds a lease."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import grpc

from . import log
from .boundary import to_platform_error
from .concurrency import beside, ended
from .server import Draining

_log = log.get(__name__)
T = TypeVar("T")


def is_outage(error: Exception) -> bool:
    """True when something that we need does not answer at the moment: trying again makes sense."""
    return to_platform_error(error).code is grpc.StatusCode.UNAVAILABLE


async def keep_going(
    step: Callable[[], Awaitable[bool | None]],
    *,
    name: str,
    seconds: float,
    wake: asyncio.Event | None = None,
    draining: Draining | None = None,
    retried: tuple[type[Exception], ...] = (),
) -> None:
    """Runs `step` every `seconds` and whenever `wake` is set: for ever, or until `draining`. A step that returns True
    is run again at once.

    After an outage, or one of the exceptions `retried`, it goes on `seconds` later; any other exception is a defect and
    ends the loop.
    """
    end = None if draining is None else draining.event
    while end is None or not end.is_set():
        if wake is not None:
            wake.clear()
        try:
            if await step():
                continue
        except Exception as error:
            if not is_outage(error) and not isinstance(error, retried):
                raise
            _log.warning("unavailable, will retry", task=name, error=str(error) or type(error).__name__)
            await _pause(seconds, end)  # also when woken: no busy loop during an outage
            continue
        await _pause(seconds, wake, end)


async def _pause(seconds: float, *events: asyncio.Event | None) -> None:
    """Until one of the events is set, at most `seconds`."""
    waits = [asyncio.create_task(event.wait()) for event in events if event is not None]
    if not waits:
        await asyncio.sleep(seconds)
        return
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(*waits)


class LeaseLostError(Exception):
    """Somebody else has taken over, or may have."""


async def hold_lease(work: Coroutine[Any, Any, T], renew: Callable[[], Awaitable[bool]], *, lease_seconds: float) -> T:
    """The result of `work`, with its lease renewed thrice in its length. `renew` says whether the lease is still ours.

    Raises LeaseLostError, with the work cancelled, when it is not. While the store of leases does not answer the work
    goes on: what it commits must be fenced anyway.
    """

    async def renewing() -> None:
        while True:
            await asyncio.sleep(lease_seconds / 3)
            try:
                if not await renew():
                    raise LeaseLostError
            except Exception as error:
                if not is_outage(error):
                    raise
                _log.warning("lease not renewed, will retry", error=str(error) or type(error).__name__)

    return await beside(work, renewing())
