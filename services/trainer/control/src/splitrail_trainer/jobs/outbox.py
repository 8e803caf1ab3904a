"""The relay publishes the state events of the outbox. Several replicas may do it at once: an event's number makes
repetitions harmless.
"""

import asyncio
from collections.abc import Sequence

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from splitrail_common import log
from splitrail_common.background import keep_going
from splitrail_common.concurrency import beside, ended
from splitrail_common.messaging import ensure_stream
from splitrail_common.publisher import FeedPublisher

from splitrail_trainer.jobs.feed_peer import FeedPeer
from splitrail_trainer.jobs.store import JobStore
from splitrail_trainer.transactions import Database

_log = log.get(__name__)
_AT_ONCE = 64
_TURN_SECONDS = 30.0
_LOOK_SECONDS = 1.0


class Relay:
    """Publishes each job's events until the metrics service has committed them, then deletes them."""

    def __init__(self, database: Database, store: JobStore, feed: FeedPeer, jetstream: JetStreamContext) -> None:
        self._database = database
        self._store = store
        self._feed = feed
        self._jetstream = jetstream
        self._turns: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            await keep_going(self.step, name="relay", seconds=_LOOK_SECONDS, wake=self._store.events_written)
        finally:
            await ended(*self._turns.values())

    async def step(self) -> None:
        """Starts a task for each job with events in the outbox that has none. Raises what such a task has failed with."""
        for job_id, turn in list(self._turns.items()):
            if turn.done():
                del self._turns[job_id]
                turn.result()
        room = _AT_ONCE - len(self._turns)
        if room:
            async with self._database.transaction() as transaction:
                waiting = await self._store.waiting(transaction, list(self._turns), room)
            for job_id in waiting:
                turn = asyncio.create_task(self._turn(job_id))
                turn.add_done_callback(lambda _: self._store.events_written.set())
                self._turns[job_id] = turn

    async def _turn(self, job_id: str) -> None:
        """Relays one job's events; gives up after a while, so that other jobs get their turn."""
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._relay(job_id)
        except TimeoutError:
            _log.warning("events not committed yet, will retry", job_id=job_id)
            try:
                await ensure_stream(self._jetstream)
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
                _log.warning("no stream", error=str(error) or type(error).__name__)

    async def _relay(self, job_id: str) -> None:
        async def read(after: int, limit: int) -> Sequence[bytes]:
            async with self._database.transaction() as transaction:
                return await self._store.events(transaction, job_id, after, limit)

        publisher = self._feed.publisher(job_id, read)
        await beside(self._commit(job_id, publisher), publisher.run())

    async def _commit(self, job_id: str, publisher: FeedPublisher) -> None:
        """Deletes what the metrics service has committed until the job's outbox is empty."""
        while True:
            async with self._database.transaction() as transaction:
                last = await self._store.last_event(transaction, job_id)
            if last is None:
                return
            publisher.wake()
            committed = await publisher.wait_committed(last)
            async with self._database.transaction() as transaction:
                await self._store.delete_events(transaction, job_id, committed.number)
