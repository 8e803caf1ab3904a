"""Running coroutines side by side, with the first exception raised as it is (a TaskGroup would wrap it), and ending
them for certain."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_AGAIN_SECONDS = 5.0


async def together(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """The results of all, in order; when one raises, the others are cancelled and its exception is raised."""
    tasks = [asyncio.create_task(item) for item in coroutines]
    if not tasks:
        return []
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        return [task.result() for task in tasks]
    finally:
        await ended(*tasks)


async def beside(main: Coroutine[Any, Any, T], *background: Coroutine[Any, Any, None]) -> T:
    """The result of `main`, with the others running as long as it does. A background coroutine that raises ends `main`;
    one that returns does not."""
    first = asyncio.create_task(main)
    others = [asyncio.create_task(item) for item in background]
    try:
        waiting: set[asyncio.Task[Any]] = {first, *others}
        while not first.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {first}:
                task.result()
        return first.result()
    finally:
        await ended(first, *others)


async def ended(*tasks: asyncio.Task[Any], again_seconds: float = _AGAIN_SECONDS) -> None:
    """Cancels the tasks and waits until they have ended; their results and exceptions no longer matter.

    One that still runs after `again_seconds` is cancelled again: up to Python 3.11, `asyncio.wait_for`, which nats-py
    uses for each request, loses a cancellation that comes together with its result (gh-86296), and a loop around it
    would go on for ever.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=again_seconds)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # taken notice of, so that asyncio does not log it as lost
