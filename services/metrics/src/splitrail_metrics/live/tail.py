"""The end of one run's feed, shared by its watchers in this process."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from splitrail.events.v1 import run_event_pb2 as events
from splitrail.metrics.v1 import metrics_service_pb2

from .. import convert
from ..history.store import Store
from ..ingest.feed import CommittedEvent, Feed

_EVENTS = 256
_BYTES = 1024 * 1024
_PROGRESS_BYTES = 16 * 1024
_PROGRESS_LOSSES = 64
Response = metrics_service_pb2.WatchRunResponse


class Tail:
    """Bounded: beyond 256 events or 1 MiB the oldest leave, and watchers further back read from Postgres."""

    def __init__(self, run_id: str, store: Store) -> None:
        self.run_id = run_id
        self.watchers = 0
        self.subscribing: asyncio.Task[Subscription] | None = None
        """To the run's progress; done once NATS was told."""
        self.end = 0
        """Last seq that is known here."""
        self.closed = False
        self.progress: events.BatchProgress | None = None
        """The latest; replaced, never queued."""
        self.progress_number = 0
        self._store = store
        self._opened = False
        self._attempt = 0
        self._recent: deque[Response] = deque()
        self._bytes = 0
        self._stale = True
        self._looked = 0.0
        self._looking = asyncio.Lock()
        self._change = asyncio.Event()

    @property
    def change(self) -> asyncio.Event:
        """Set at the next change. Take it before looking, so that none is missed."""
        return self._change

    def wake(self) -> None:
        """Lets every watcher look again."""
        self._change.set()
        self._change = asyncio.Event()

    def look_again(self, seconds: float) -> None:
        """There may be more in the database than is known here; ignored when the last look was less than `seconds` ago."""
        if asyncio.get_running_loop().time() - self._looked >= seconds:
            self._stale = True
            self.wake()

    def offer(self, feed: Feed, committed: Sequence[CommittedEvent]) -> None:
        """Events that this process has just committed, and the feed after them."""
        if self._opened and committed and committed[0].seq <= self.end + 1:
            self._append(committed)
            self._adopt(feed)
        else:
            self._stale = True
        self.wake()

    async def after(self, cursor: int) -> Sequence[Response]:
        """The next events after `cursor`, at most a page; empty when there are none yet."""
        if self._stale:
            await self._look()
        if cursor >= self.end:
            return ()
        first = self.end - len(self._recent) + 1
        if cursor + 1 >= first:
            return list(islice(self._recent, cursor + 1 - first, None))
        return [convert.watch_event(event) for event in await self._store.events_after(self.run_id, cursor)]

    async def on_progress(self, message: Msg) -> None:
        """Progress is not signed, so it is checked for size and form, and that it comes from the running attempt; the latest wins."""
        if len(message.data) > _PROGRESS_BYTES:
            return
        try:
            progress = events.BatchProgress.FromString(message.data)
        except DecodeError:
            return
        if progress.job_id != self.run_id or progress.attempt != self._attempt or self.closed or len(progress.losses) > _PROGRESS_LOSSES:
            return
        self.progress, self.progress_number = progress, self.progress_number + 1
        self.wake()

    async def _look(self) -> None:
        """Brings the tail up to the database's state; one watcher looks for all."""
        async with self._looking:
            while self._stale:
                self._stale = False
                try:
                    await self._read()
                except BaseException:
                    self._stale = True
                    raise

    async def _read(self) -> None:
        feed = await self._store.head(self.run_id)
        self._looked = asyncio.get_running_loop().time()
        if feed is None:
            return
        if not self._opened:
            # Nothing is kept yet: what lies before the head is read by those who need it.
            self._opened, self.end = True, max(self.end, feed.last_seq)
        while self.end < feed.last_seq:
            page = await self._store.events_after(self.run_id, self.end)
            if not page:
                raise RuntimeError(f"the feed of run {self.run_id} has no event {self.end + 1}, though its last is {feed.last_seq}")
            self._append(page)
        self._adopt(feed)
        self.wake()

    def _append(self, committed: Sequence[CommittedEvent]) -> None:
        """Adds those that follow the end."""
        for event in committed:
            if event.seq != self.end + 1:
                continue
            response = convert.watch_event(event)
            self._recent.append(response)
            self._bytes += response.ByteSize()
            self.end = event.seq
        while len(self._recent) > _EVENTS or self._bytes > _BYTES:
            self._bytes -= self._recent.popleft().ByteSize()

    def _adopt(self, feed: Feed) -> None:
        """Takes over what the feed's row says, unless something later is known."""
        if feed.last_seq >= self.end:
            self.closed, self._attempt = feed.closed, feed.current_attempt
            if self._attempt and self.progress is not None and self.progress.attempt != self._attempt:
                self.progress = None
