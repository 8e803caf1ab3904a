"""Batch progress on its way from the training process to watchers: sent while there is a connection, dropped otherwise."""

import asyncio

import nats.errors
from nats.aio.client import Client
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail_common import log
from splitrail_common.messaging import TOKEN_HEADER, progress_subject

from splitrail_pod.exchange.messages import Progress
from splitrail_pod.supervisor.network.calls import AttemptCalls
from splitrail_pod.supervisor.results.events import progress_event

_log = log.get(__name__)


class ProgressRelay:
    """Sends the newest progress only."""

    def __init__(self, connection: Client, calls: AttemptCalls, job: job_service_pb2.ClaimedJob) -> None:
        self._nats = connection
        self._calls = calls
        self._job = job
        self._newest: asyncio.Queue[Progress] = asyncio.Queue(1)

    def offer(self, progress: Progress) -> None:
        """Keeps the newest batch. The validation inside a training has batches of its own, which would make the epoch's
        jump back.
        """
        if self._job.HasField("train") and progress.phase != "train":
            return
        if self._newest.full():
            self._newest.get_nowait()
        self._newest.put_nowait(progress)

    async def run(self) -> None:
        """Sends without end."""
        while True:
            progress = await self._newest.get()
            if not self._nats.is_connected:
                continue
            message = progress_event(self._job.attempt, progress)
            try:
                await self._nats.publish(
                    progress_subject(self._job.job_id),
                    message.SerializeToString(),
                    headers={TOKEN_HEADER: self._calls.token},
                )
            except (nats.errors.Error, OSError) as error:
                _log.debug("progress dropped", error=str(error))
