"""What the trainer asks of the metrics service: to take a job's state events into its feed, and which ones it has
committed.
"""

from collections.abc import Awaitable, Callable, Sequence

import grpc
from nats.js import JetStreamContext
from splitrail.internal.events.v1 import run_event_pb2
from splitrail.internal.metrics.v1 import watermark_service_pb2, watermark_service_pb2_grpc
from splitrail_common.peers import bearer
from splitrail_common.publisher import FeedPublisher
from splitrail_common.tokens import Signer

ReadEvents = Callable[[int, int], Awaitable[Sequence[bytes]]]
"""Encoded events beyond a number, at most so many, in order."""
_ORIGIN = 0
"""The trainer service's own place among the origins of a job's events; pods' attempts are 1, 2, ..."""


class _Source:
    """Encoded events as the publisher reads them."""

    def __init__(self, read: ReadEvents) -> None:
        self._read = read

    async def read(self, after: int, limit: int) -> Sequence[run_event_pb2.RunEvent]:
        """Events beyond number `after`, as far as there are any."""
        return [run_event_pb2.RunEvent.FromString(event) for event in await self._read(after, limit)]


class FeedPeer:
    """Publishes over JetStream; the metrics service says what is committed."""

    def __init__(self, jetstream: JetStreamContext, metrics: grpc.aio.Channel, signer: Signer) -> None:
        self._jetstream = jetstream
        self._metrics = watermark_service_pb2_grpc.WatermarkServiceStub(metrics)
        self._signer = signer

    def publisher(self, job_id: str, read: ReadEvents) -> FeedPublisher:
        """Publishes a job's events until the metrics service has committed them."""

        async def watermark() -> watermark_service_pb2.GetWatermarkResponse:
            request = watermark_service_pb2.GetWatermarkRequest(job_id=job_id, attempt=_ORIGIN)
            return await self._metrics.GetWatermark(request, metadata=bearer(self._signer.service_token()), timeout=5)

        return FeedPublisher(
            self._jetstream, watermark, _Source(read), self._signer.service_token, job_id=job_id, attempt=_ORIGIN
        )
