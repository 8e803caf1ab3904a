"""The sender's half of the numbered-event protocol (see ARCHITECTURE.md): publish in order, ask what is committed, send
the rest again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import grpc
import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from . import log
from .errors import fenced
from .messaging import TOKEN_HEADER, event_subject

_log = log.get(__name__)
_BATCH = 256
_POLL_SECONDS = 0.25
_RESEND_SECONDS = 2.0
_RESEND_LIMIT_SECONDS = 15.0


class NumberedEvent(Protocol):
    """An event of an origin, as its protocol message has it."""

    @property
    def number(self) -> int:
        """Its place among the events of its origin, from 1."""

    def WhichOneof(self, oneof_group: Literal["payload"]) -> str | None:  # noqa: N802 - protobuf's name
        """Its kind: the name of the payload's field."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """As it travels."""


class Watermark(Protocol):
    """How far the events of an origin are committed, as the metrics service answers."""

    @property
    def number(self) -> int:
        """Of the last event that is committed or quarantined; 0: none."""

    @property
    def current_attempt(self) -> int:
        """The latest attempt that has started."""

    @property
    def last_epoch(self) -> int:
        """Of the effective timeline; 0: none."""

    @property
    def closed(self) -> bool:
        """The feed has ended."""


@dataclass(frozen=True)
class _Nothing:
    """The watermark before the first answer."""

    number: int = 0
    current_attempt: int = 0
    last_epoch: int = 0
    closed: bool = False


class EventSource(Protocol):
    """Where events wait until they are committed."""

    async def read(self, after: int, limit: int) -> Sequence[NumberedEvent]:
        """At most `limit` events with numbers after + 1, after + 2, ... as far as there are any."""


class FeedPublisher:
    """Publishes the events of one origin (job, attempt) until each is committed by the metrics service.

    NATS may lose, repeat or delay anything: only the committed watermark counts. An outage of NATS or of the metrics
    service only delays.
    """

    def __init__(
        self,
        jetstream: JetStreamContext,
        watermark: Callable[[], Awaitable[Watermark]],
        source: EventSource,
        token: Callable[[], str],
        *,
        job_id: str,
        attempt: int,
    ) -> None:
        self._jetstream = jetstream
        self._watermark = watermark
        self._source = source
        self._token = token
        self._job_id = job_id
        self._attempt = attempt
        self._sent = 0
        self._more = asyncio.Event()
        self._advanced = asyncio.Condition()
        self.committed: Watermark = _Nothing()
        """The last watermark that was read."""

    def wake(self) -> None:
        """Says that the source holds more."""
        self._more.set()

    async def run(self) -> None:
        """Publishes for ever. Raises ABORTED (ATTEMPT_FENCED) when a later attempt has started, or the feed has ended
        without us."""
        clock = asyncio.get_running_loop().time
        quiet, resend_after = clock(), _RESEND_SECONDS
        while True:
            self._more.clear()
            waiting = self._sent > self.committed.number
            if await self._publish_new() and not waiting:
                quiet = clock()
            if self._sent > self.committed.number:
                before = self.committed.number
                known = await self._refresh()
                if self.committed.number > before:
                    quiet, resend_after = clock(), _RESEND_SECONDS
                elif not known:
                    quiet = clock()
                elif clock() - quiet > resend_after:
                    _log.info(
                        "sending again", job_id=self._job_id, attempt=self._attempt, after=before, sent=self._sent
                    )
                    self._sent, quiet = before, clock()
                    resend_after = min(2 * resend_after, _RESEND_LIMIT_SECONDS)
                    continue
            pending = self._sent > self.committed.number
            try:
                async with asyncio.timeout(_POLL_SECONDS if pending else None):
                    await self._more.wait()
            except TimeoutError:
                continue

    async def wait_committed(self, number: int) -> Watermark:
        """Waits until event `number` is committed; returns the watermark. `run` must be running."""
        async with self._advanced:
            await self._advanced.wait_for(lambda: self.committed.number >= number)
        return self.committed

    async def _publish_new(self) -> bool:
        """Sends what the source holds beyond what was sent; stops quietly at the first failure. True when something was
        sent."""
        any_sent = False
        while events := await self._source.read(self._sent, _BATCH):
            for event in events:
                kind = event.WhichOneof("payload") or "unknown"
                try:
                    await self._jetstream.publish(
                        event_subject(self._job_id, kind),
                        event.SerializeToString(),
                        timeout=5,
                        headers={TOKEN_HEADER: self._token()},
                    )
                except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
                    _log.warning(
                        "publish failed, will retry", job_id=self._job_id, error=str(error) or type(error).__name__
                    )
                    await asyncio.sleep(_POLL_SECONDS)
                    self._more.set()
                    return any_sent
                self._sent = event.number
                any_sent = True
        return any_sent

    async def _refresh(self) -> bool:
        """Reads the watermark; an unreachable metrics service leaves it as it was, and the answer is False."""
        try:
            watermark = await self._watermark()
        except grpc.aio.AioRpcError as error:
            _log.warning("watermark unknown, will retry", job_id=self._job_id, code=error.code().name)
            return False
        if self._attempt and (
            watermark.current_attempt > self._attempt or (watermark.closed and watermark.number < self._sent)
        ):
            raise fenced(self._attempt, watermark.current_attempt)
        async with self._advanced:
            self.committed = watermark
            self._sent = max(self._sent, watermark.number)
            self._advanced.notify_all()
        return True
