"""The attempt's part of its run's feed: events numbered without gaps, published until they are committed.

The events live in memory. They need not survive the supervisor: a new attempt numbers anew, and the checkpoint carries
the history of epochs (see ARCHITECTURE.md).
"""

import time
from collections.abc import Sequence

from nats.js import JetStreamContext
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail_common.errors import PlatformError
from splitrail_common.publisher import FeedPublisher, Watermark

from splitrail_pod.exchange.messages import Record
from splitrail_pod.supervisor.failures import FencedError
from splitrail_pod.supervisor.network.calls import AttemptCalls
from splitrail_pod.supervisor.results.events import RunEvent, translate


class EventLog:
    """Events 1, 2, 3, ... of one attempt, in order; the source of its publisher."""

    def __init__(self, job: job_service_pb2.ClaimedJob) -> None:
        self._job = job
        self._events: list[RunEvent] = []

    @property
    def last(self) -> int:
        """Number of the last event; 0: none."""
        return len(self._events)

    def append(self, event: RunEvent, at: float | None = None) -> int:
        """Numbers `event`, which holds a payload only, stamps it with `at` (Unix seconds, default now), and returns its
        number.
        """
        event.job_id, event.attempt, event.project_id = self._job.job_id, self._job.attempt, self._job.project_id
        event.number = self.last + 1
        event.event_time.FromNanoseconds(int((time.time() if at is None else at) * 1e9))
        self._events.append(event)
        return event.number

    async def read(self, after: int, limit: int) -> Sequence[RunEvent]:
        """See splitrail_common.publisher.EventSource."""
        return self._events[after : after + limit]


class Feed:
    """Takes the attempt's events and brings them to the metrics service. `run` must be running."""

    def __init__(self, jetstream: JetStreamContext, calls: AttemptCalls, job: job_service_pb2.ClaimedJob) -> None:
        self._events = EventLog(job)
        self._publisher = FeedPublisher(
            jetstream, calls.watermark, self._events, lambda: calls.token, job_id=job.job_id, attempt=job.attempt
        )

    @property
    def last(self) -> int:
        """Number of the last event; 0: none."""
        return self._events.last

    def emit(self, event: RunEvent, at: float | None = None) -> None:
        """Numbers an event, and has it published. `at`: Unix seconds, default now."""
        self._events.append(event, at)
        self._publisher.wake()

    def take(self, record: Record) -> None:
        """Emits the event that a spool record gives rise to, if any."""
        event = translate(record)
        if event is not None:
            self.emit(event, record.time)

    async def accepted(self) -> Watermark:
        """Waits until event 1, `attempt_started`, is committed, which shuts out lower attempts; returns how far the
        feed was then.
        """
        return await self._publisher.wait_committed(1)

    async def committed(self) -> None:
        """Waits until all events so far are committed."""
        await self._publisher.wait_committed(self._events.last)

    async def run(self) -> None:
        """Publishes without end. Raises FencedError."""
        try:
            await self._publisher.run()
        except PlatformError as error:
            raise FencedError(error.message) from error
