"""The end of one run's feed, shared by its watchers in this process."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from ..domain import BatchProgress, CommittedEvent, Feed
from ..history.store import Head, Store
from .convert import progress

M = TypeVar("M")
"""What watchers get for an event: made once for all of them."""
_EVENTS = 256
_BYTES = 1024 * 1024
_PROGRESS_BYTES = 16 * 1024
_PROGRESS_LOSSES = 64
Render = Callable[[CommittedEvent, str], M]
"""An event and the incarnation that it is in."""


@dataclass(frozen=True)
class Entry(Generic[M]):
    """An event, ready to be sent."""

    seq: int
    size_bytes: int
    """Of its payload."""
    message: M


class Tail(Generic[M]):
    """Bounded: beyond 256 events or 1 MiB of payloads the oldest leave, and watchers further back read from Postgres."""

    def __init__(self, run_id: str, store: Store, render: Render[M]) -> None:
        self.run_id = run_id
        self.watchers = 0
        self.subscribing: asyncio.Task[Subscription] | None = None
        """To the run's progress; done once NATS was told."""
        self.incarnation: str | None = None
        """In which `end` counts; None before the first look."""
        self.end = 0
        """Last seq that is known here."""
        self.closed = False
        self.progress: BatchProgress | None = None
        """The latest; replaced, never queued."""
        self.progress_number = 0
        self._store = store
        self._render = render
        self._attempt = 0
        self._recent: deque[Entry[M]] = deque()
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

    def offer(self, incarnation: str, feed: Feed, committed: Sequence[CommittedEvent]) -> None:
        """Events that this process has just committed, and the feed after them. Events that do not follow the end are
        read from the database."""
        if incarnation == self.incarnation and committed and committed[0].seq <= self.end + 1:
            self._append(committed)
            self._adopt(feed)
        else:
            self._stale = True
        self.wake()

    async def reach(self, cursor: int) -> bool:
        """True when the feed has come as far as `cursor`, which is looked up where it is not known here."""
        if self._stale or self.incarnation is None:  # None: another watcher is looking for the first time
            await self._look()
        if cursor > self.end:
            self._stale = True
            await self._look()
        return cursor <= self.end

    async def after(self, cursor: int) -> Sequence[Entry[M]]:
        """The next events after `cursor`, at most a page; empty when there are none yet, and when the incarnation has
        changed."""
        if self._stale:
            await self._look()
        if cursor >= self.end:
            return ()
        first = self.end - len(self._recent) + 1
        if cursor + 1 >= first:
            return list(islice(self._recent, cursor + 1 - first, None))
        page = await self._store.events_after(self.run_id, cursor)
        if page.incarnation != self.incarnation:
            self._stale = True
            await self._look()
            return ()
        return [self._entry(event) for event in page.events]

    async def on_progress(self, message: Msg) -> None:
        """Progress is not signed, so it is checked for size and form, and that it comes from the running attempt; the
        latest wins."""
        if len(message.data) > _PROGRESS_BYTES:
            return
        found = progress(message.data)
        if found is None or found.attempt != self._attempt or self.closed or len(found.losses) > _PROGRESS_LOSSES:
            return
        self.progress, self.progress_number = found, self.progress_number + 1
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
        head = await self._store.head(self.run_id)
        self._looked = asyncio.get_running_loop().time()
        if head.incarnation != self.incarnation:
            self._begin(head)
        if head.feed is None:
            return
        while self.end < head.feed.last_seq:
            page = await self._store.events_after(self.run_id, self.end)
            if page.incarnation != head.incarnation:
                if page.incarnation is None:
                    raise RuntimeError(
                        f"the feed of run {self.run_id} has no event {self.end + 1}, though its last is {head.feed.last_seq}"
                    )
                self._stale = True
                return
            self._append(page.events)
        self._adopt(head.feed)
        self.wake()

    def _begin(self, head: Head) -> None:
        """Starts at the head, in its incarnation: what lies before is read by those who need it."""
        self.incarnation, self.end = head.incarnation, head.feed.last_seq if head.feed else 0
        self.closed, self._attempt, self.progress = False, 0, None
        self._recent.clear()
        self._bytes = 0

    def _entry(self, event: CommittedEvent) -> Entry[M]:
        return Entry(event.seq, len(event.payload), self._render(event, self.incarnation or ""))

    def _append(self, committed: Sequence[CommittedEvent]) -> None:
        """Adds those that follow the end."""
        for event in committed:
            if event.seq != self.end + 1:
                continue
            entry = self._entry(event)
            self._recent.append(entry)
            self._bytes += entry.size_bytes
            self.end = event.seq
        while len(self._recent) > _EVENTS or self._bytes > _BYTES:
            self._bytes -= self._recent.popleft().size_bytes

    def _adopt(self, feed: Feed) -> None:
        """Takes over what the feed's row says, unless something later is known."""
        if feed.last_seq >= self.end:
            self.closed, self._attempt = feed.closed, feed.current_attempt
            if self._attempt and self.progress is not None and self.progress.attempt != self._attempt:
                self.progress = None
