"""Live watching: the feed replayed from Postgres, then followed, with one cursor for both.

Watchers pull. Those of one run share its tail, a bounded stretch of the latest events; who lies further back reads pages from Postgres. So a slow
watcher costs one page of memory and slows nobody. NATS only wakes: what it loses is found by the look at the database that goes with a heartbeat.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from splitrail.metrics.v1 import metrics_service_pb2
from splitrail_common import log
from splitrail_common.concurrency import ended
from splitrail_common.ids import new_id
from splitrail_common.messaging import progress_subject
from splitrail_common.server import Draining

from ..history.store import Store
from ..ingest.journal import Outcome
from .tail import Response, Tail

_log = log.get(__name__)
_WAKE_SUBJECT = "splitrail.committed"


class Live:
    """The tails of all runs that are being watched in this process."""

    def __init__(self, store: Store, connection: Client, draining: Draining, *, heartbeat_seconds: float) -> None:
        self._store = store
        self._nats = connection
        self._draining = draining
        self._heartbeat_seconds = heartbeat_seconds
        self._tails: dict[str, Tail] = {}
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

    async def committed(self, outcome: Outcome) -> None:
        """Passes on what this process has committed, and wakes the other replicas."""
        for run_id, feed in outcome.heads.items():
            if tail := self._tails.get(run_id):
                tail.offer(feed, [event for event in outcome.events if event.run_id == run_id])
        try:
            await self._nats.publish(_WAKE_SUBJECT, "\n".join([self._replica, *outcome.heads]).encode())
        except (nats.errors.Error, OSError) as error:
            _log.warning("other replicas not woken: their watchers look by themselves", error=str(error) or type(error).__name__)

    async def watch(self, run_id: str, after_seq: int) -> AsyncGenerator[Response, None]:
        """Every event after `after_seq` in order, progress and heartbeats between them, at last `closed`. The run need not have reported yet.

        Raises psycopg.OperationalError or psycopg_pool.PoolTimeout when the database does not answer.
        """
        cursor, progress_seen = after_seq, 0
        async with self._tail(run_id) as tail:
            while True:
                change = tail.change
                page = await tail.after(cursor)
                for response in page:
                    yield response
                    cursor = response.cursor
                if not page and tail.closed and cursor >= tail.end:
                    yield Response(cursor=cursor, closed=metrics_service_pb2.Closed(reason="ended"))
                    return
                if self._draining.is_set:
                    yield Response(cursor=cursor, closed=metrics_service_pb2.Closed(reason="draining"))
                    return
                if page:
                    continue
                if tail.progress is not None and tail.progress_number > progress_seen:
                    progress_seen = tail.progress_number
                    yield Response(cursor=cursor, progress=tail.progress)
                    continue
                try:
                    async with asyncio.timeout(self._heartbeat_seconds):
                        await change.wait()
                except TimeoutError:
                    tail.look_again(self._heartbeat_seconds / 2)
                    yield Response(cursor=cursor, heartbeat=metrics_service_pb2.Heartbeat())

    @asynccontextmanager
    async def _tail(self, run_id: str) -> AsyncIterator[Tail]:
        """The run's tail, kept while it has a watcher."""
        tail = self._tails.setdefault(run_id, Tail(run_id, self._store))
        if tail.subscribing is None:
            # A task of its own: it serves every watcher, so it must not end with the one that happened to come first.
            tail.subscribing = asyncio.create_task(self._nats.subscribe(progress_subject(run_id), cb=tail.on_progress, pending_msgs_limit=256))
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
