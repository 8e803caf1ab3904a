"""Running coroutines side by side, with the first exception raised as it is (a TaskGroup would wrap it)."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


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
        await cancelled(*tasks)


async def beside(main: Coroutine[Any, Any, T], *background: Coroutine[Any, Any, None]) -> T:
    """The result of `main`, with the others running as long as it does. A background coroutine that raises ends `main`; one that returns does not."""
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
        await cancelled(first, *others)


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancels the tasks and waits until they have ended; their results and exceptions no longer matter."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
