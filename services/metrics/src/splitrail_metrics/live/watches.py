"""Live watching: the feed replayed from Postgres, then followed, with one cursor for both.

Watchers pull. Those of one run share its tail, a bounded stretch of the latest events; watchers further back read
pages from Postgres. So a slow watcher costs one page of memory and delays no other. NATS only wakes watchers: what it
loses is found by the look at the database that goes with a heartbeat.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Generic

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from splitrail_common import log
from splitrail_common.concurrency import ended
from splitrail_common.errors import cursor_out_of_range
from splitrail_common.ids import new_id
from splitrail_common.messaging import progress_subject
from splitrail_common.server import Draining

from ..domain import BatchProgress, CommittedBatch
from ..history.store import Store
from .tail import M, Render, Tail

_log = log.get(__name__)
_WAKE_SUBJECT = "splitrail.committed"


class Ending(Enum):
    """Why a watch ends."""

    ENDED = "ended"
    """The job is in a terminal state."""
    DRAINING = "draining"
    """This process ends: watch again from the cursor."""


@dataclass(frozen=True)
class Heartbeat:
    """Nothing happened."""


@dataclass(frozen=True)
class Update(Generic[M]):
    """What a watcher is told."""

    cursor: int
    incarnation: str
    what: M | BatchProgress | Heartbeat | Ending
    """M: an event, as `render` made it."""


class Live(Generic[M]):
    """The tails of all runs that are being watched in this process."""

    def __init__(
        self, store: Store, connection: Client, draining: Draining, render: Render[M], *, heartbeat_seconds: float
    ) -> None:
        """`render` makes of an event and its incarnation what all watchers get."""
        self._store = store
        self._nats = connection
        self._draining = draining
        self._render = render
        self._heartbeat_seconds = heartbeat_seconds
        self._tails: dict[str, Tail[M]] = {}
        self._replica = new_id()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listens for commits of other replicas, and ends the watches when the process drains."""
        subscription = await self._nats.subscribe(_WAKE_SUBJECT, cb=self._on_wake)
        drain = asyncio.create_task(self._close_when_draining())
        try:
            yield
        finally:
            await ended(drain)
            await subscription.unsubscribe()

    async def committed(self, batch: CommittedBatch) -> None:
        """Passes on what this process has committed, and wakes the other replicas."""
        for run_id, feed in batch.feeds.items():
            if tail := self._tails.get(run_id):
                tail.offer(batch.incarnation, feed, [event for event in batch.events if event.run_id == run_id])
        try:
            await self._nats.publish(_WAKE_SUBJECT, "\n".join([self._replica, *batch.feeds]).encode())
        except (nats.errors.Error, OSError) as error:
            _log.warning(
                "other replicas not woken: their watchers look by themselves", error=str(error) or type(error).__name__
            )

    async def watch(self, run_id: str, after_seq: int, incarnation: str = "") -> AsyncGenerator[Update[M], None]:
        """Every event after `after_seq` in order, progress and heartbeats between them, at last an `Ending`. Something
        comes at once. The run need not have reported yet.

        Raises OUT_OF_RANGE when the feed has not come as far as `after_seq`, or is in another incarnation than the one
        given (empty: any), now or later; psycopg.OperationalError or psycopg_pool.PoolTimeout when the database does
        not answer.
        """
        async with self._tail(run_id) as tail:
            if not await tail.reach(after_seq) or incarnation not in ("", tail.incarnation):
                raise cursor_out_of_range(tail.incarnation or "", tail.end)
            async with aclosing(self._follow(tail, after_seq, tail.incarnation or "")) as updates:
                async for update in updates:
                    yield update

    async def _follow(self, tail: Tail[M], after_seq: int, incarnation: str) -> AsyncGenerator[Update[M], None]:
        cursor, progress_seen, silent = after_seq, 0, True
        while True:
            change = tail.change
            page = await tail.after(cursor)
            if tail.incarnation != incarnation:
                raise cursor_out_of_range(tail.incarnation or "", tail.end)
            for entry in page:
                cursor, silent = entry.seq, False
                yield Update(cursor, incarnation, entry.message)
            if not page and tail.closed and cursor >= tail.end:
                yield Update(cursor, incarnation, Ending.ENDED)
                return
            if self._draining.is_set:
                yield Update(cursor, incarnation, Ending.DRAINING)
                return
            if page:
                continue
            if tail.progress is not None and tail.progress_number > progress_seen:
                progress_seen, silent = tail.progress_number, False
                yield Update(cursor, incarnation, tail.progress)
                continue
            if not silent:
                try:
                    async with asyncio.timeout(self._heartbeat_seconds):
                        await change.wait()
                    continue
                except TimeoutError:
                    tail.look_again(self._heartbeat_seconds / 2)
            silent = False
            yield Update(cursor, incarnation, Heartbeat())

    @asynccontextmanager
    async def _tail(self, run_id: str) -> AsyncIterator[Tail[M]]:
        """The run's tail, kept while it has a watcher."""
        tail = self._tails.setdefault(run_id, Tail(run_id, self._store, self._render))
        if tail.subscribing is None:
            # A task of its own: it serves every watcher, so it must not end with the one that happened to come first.
            tail.subscribing = asyncio.create_task(
                self._nats.subscribe(progress_subject(run_id), cb=tail.on_progress, pending_msgs_limit=256)
            )
        tail.watchers += 1
        try:
            await asyncio.shield(tail.subscribing)
            yield tail
        finally:
            tail.watchers -= 1
            if tail.watchers == 0:
                del self._tails[run_id]
                await (await tail.subscribing).unsubscribe()

    async def _on_wake(self, message: Msg) -> None:
        replica, *run_ids = message.data.decode("ascii", "replace").split("\n")
        if replica == self._replica:
            return
        for run_id in run_ids:
            if tail := self._tails.get(run_id):
                tail.look_again(0)

    async def _close_when_draining(self) -> None:
        await self._draining.event.wait()
        for tail in self._tails.values():
            tail.wake()
