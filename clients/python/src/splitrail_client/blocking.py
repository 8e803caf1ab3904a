"""What the synchronous client stands on: an event loop in a thread of its own, so that it works where another loop runs
already (notebooks).
"""

import asyncio
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import ExitStack
from typing import Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from .client import AsyncClient

T = TypeVar("T")


class BlockingClient:
    """An asynchronous client that is open for as long as this object is."""

    def __init__(self, client: AsyncClient) -> None:
        with ExitStack() as stack:
            self._portal: BlockingPortal = stack.enter_context(start_blocking_portal(name="splitrail-client"))
            self._client = stack.enter_context(self._portal.wrap_async_context_manager(client))
            self._close = weakref.finalize(self, stack.pop_all().close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and the thread."""
        self._close()

    def _wait(self, call: Callable[[], Awaitable[T]]) -> T:
        """What `call` gives in the loop. Ctrl-C while waiting cancels it there."""
        future = self._portal.start_task_soon(call)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _each(self, begin: Callable[[], AsyncGenerator[T, None]]) -> Generator[T, None, None]:
        """What an asynchronous generator yields. Giving up the iteration closes it; Ctrl-C while waiting cancels it."""
        items = begin()
        reading = asyncio.Lock()  # the loop's: a generator that runs, or unwinds from being cancelled, cannot be closed

        async def following() -> tuple[T] | None:
            async with reading:
                try:
                    return (await anext(items),)
                except StopAsyncIteration:
                    return None

        async def ending() -> None:
            async with reading:
                await items.aclose()

        try:
            while (found := self._wait(following)) is not None:
                yield found[0]
        finally:
            if self._close.alive:  # else the loop has ended, and the generator with it
                self._portal.call(ending)
