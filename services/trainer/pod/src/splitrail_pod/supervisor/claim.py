"""The claim loop: asks for jobs and does them, one at a time, until the pod is to end."""

import asyncio
import random

import structlog
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail_common import log

from splitrail_pod.supervisor.attempt import Attempt
from splitrail_pod.supervisor.context import Pod
from splitrail_pod.supervisor.network.calls import JobQueue, RefusedError
from splitrail_pod.supervisor.network.retry import BadResponseError, UnavailableError

_log = log.get(__name__)
_AFTER_ERROR = 3.0  # pauses between claims grow by this factor while they are refused
_LONGEST_PAUSES = 30  # to at most this many times the usual one


async def claim_jobs(pod: Pod) -> None:
    """Returns once the pod is draining and its last job is over."""
    settings = pod.settings
    queue = JobQueue(
        pod.channels.trainer, settings.worker_token_file, worker=settings.worker_name, queue=settings.queue
    )
    _log.info("waiting for jobs", worker=settings.worker_name, queue=settings.queue, device=pod.device.name)
    pause = settings.poll_seconds
    while not pod.draining.is_set():
        job: job_service_pb2.ClaimedJob | None = None
        try:
            job = await queue.claim()
            pause = settings.poll_seconds
        except (UnavailableError, BadResponseError) as error:
            _log.warning("no answer to ClaimJob", error=str(error))
        except (RefusedError, OSError) as error:
            _log.error("ClaimJob is refused; look at SPLITRAIL_WORKER_TOKEN_FILE", error=str(error))
            pause = min(pause * _AFTER_ERROR, _LONGEST_PAUSES * settings.poll_seconds)
        if job is not None:
            with structlog.contextvars.bound_contextvars(job_id=job.job_id, attempt=job.attempt):
                _log.info("job claimed", kind=job.WhichOneof("work"))
                await Attempt(pod, job).run()
            continue
        try:
            async with asyncio.timeout(pause * random.uniform(0.5, 1)):  # noqa: S311 - jitter
                await pod.draining.wait()
        except TimeoutError:
            continue
