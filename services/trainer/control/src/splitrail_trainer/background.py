"""Loops beside the server that outlive an outage of what they need."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
from splitrail_common import log
from splitrail_common.boundary import to_platform_error

_log = log.get(__name__)


async def keep_going(step: Callable[[], Awaitable[None]], *, name: str, seconds: float, wake: asyncio.Event | None = None) -> None:
    """Runs `step` for ever, every `seconds` and whenever `wake` is set. What is unavailable is tried again; a defect ends the loop."""
    while True:
        if wake is not None:
            wake.clear()
        try:
            await step()
        except Exception as error:
            if to_platform_error(error).code is not grpc.StatusCode.UNAVAILABLE:
                raise
            _log.warning("unavailable, will retry", task=name, error=str(error) or type(error).__name__)
            await asyncio.sleep(seconds)  # also when woken: no busy loop during an outage
        if wake is None:
            await asyncio.sleep(seconds)
            continue
        try:
            async with asyncio.timeout(seconds):
                await wake.wait()
        except TimeoutError:
            continue
