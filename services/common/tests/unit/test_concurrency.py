"""Tasks side by side, and their ends."""

import asyncio

import pytest
from splitrail_common.concurrency import beside, ended, together


async def test_together_raises_the_first_exception_bare_and_ends_the_others() -> None:
    over = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            over.set()

    async def fails() -> None:
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        await together(forever(), fails())
    assert over.is_set()


async def test_together_of_nothing() -> None:
    assert await together() == []


async def test_a_background_task_that_returns_does_not_end_the_main_one_but_one_that_raises_does() -> None:
    async def returns() -> None:
        return

    async def fails(after: asyncio.Event) -> None:
        await after.wait()
        raise ValueError("background")

    never = asyncio.Event()

    async def main() -> str:
        for _ in range(5):
            await asyncio.sleep(0)
        return "done"

    assert await beside(main(), returns(), fails(never)) == "done"
    now = asyncio.Event()
    now.set()
    with pytest.raises(ValueError, match="background"):
        await beside(never.wait(), fails(now))


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    """As `asyncio.wait_for` loses it when its result comes in the same moment (gh-86296)."""
    lost = 0

    async def loses_two() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost == 2:
                    raise
                lost += 1

    async def fails() -> None:
        raise ValueError("does not matter any more")

    stubborn, failed = asyncio.create_task(loses_two()), asyncio.create_task(fails())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await ended(stubborn, failed, again_seconds=0.01)
    assert lost == 2
    assert stubborn.cancelled()
