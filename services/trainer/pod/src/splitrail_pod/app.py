"""The pod's process: connections, the claim loop, and a graceful end on SIGTERM."""

import asyncio
import fcntl
import logging
import os
import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from splitrail.trainer.v1 import job_service_pb2
from splitrail_common import log, messaging, peers

from splitrail_pod.settings import PodSettings
from splitrail_pod.supervisor import host
from splitrail_pod.supervisor.attempt import Attempt, Pod
from splitrail_pod.supervisor.network.calls import Channels, Queue, RefusedError
from splitrail_pod.supervisor.network.retry import AwayError, BadAnswerError
from splitrail_pod.supervisor.network.transfer import Transfer, open_client
from splitrail_pod.supervisor.staging.cache import ContentCache

_log = log.get(__name__)
_INBOX = "_INBOX_pod"
_AFTER_ERROR = 3.0  # pauses between claims grow by this factor while they fail


class PodDirectoryBusyError(Exception):
    """Another pod works in the same directory."""


@contextmanager
def own(directory: Path) -> Iterator[None]:
    """Makes `directory` this process's own, and removes what a pod that was killed left of its jobs. Raises PodDirectoryBusyError, OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PodDirectoryBusyError(f"{directory} belongs to another running pod: give each its own SPLITRAIL_POD_DIR") from error
        if (directory / "jobs").exists():
            shutil.rmtree(directory / "jobs")
        yield
    finally:
        os.close(descriptor)


async def run(settings: PodSettings) -> None:
    """Claims and does jobs until SIGTERM or SIGINT. Raises PodDirectoryBusyError; what NATS last said when it does not answer at the start."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs URLs, and ours carry signatures
    draining = asyncio.Event()
    with own(settings.pod_dir):
        nats = await messaging.connect(
            settings.nats_url.get_secret_value(),
            name=settings.worker_name,
            deadline_seconds=settings.start_deadline_seconds,
            inbox_prefix=_INBOX,
        )
        channels = Channels(peers.channel(settings.split_address), peers.channel(settings.trainer_address), peers.channel(settings.metrics_address))
        try:
            async with open_client(settings.download_concurrency) as client:
                pod = Pod(
                    settings=settings,
                    channels=channels,
                    nats=nats,
                    transfer=Transfer(client, settings.patience_seconds),
                    training_cache=ContentCache(settings.pod_dir / "cache" / "train", settings.cache_bytes),
                    evaluation_cache=ContentCache(settings.pod_dir / "cache" / "evaluate", settings.cache_bytes),
                    device=await host.find_device(settings.device, settings.pod_dir / "ultralytics"),
                    draining=draining,
                )
                for number in (signal.SIGTERM, signal.SIGINT):  # until here there is nothing to give back, and a signal simply ends the process
                    asyncio.get_running_loop().add_signal_handler(number, draining.set)
                await _claim(pod)
        finally:
            await nats.close()
            for channel in (channels.split, channels.trainer, channels.metrics):
                await channel.close()
    _log.info("stopped")


async def _claim(pod: Pod) -> None:
    """Asks for jobs and does them, one at a time."""
    settings = pod.settings
    queue = Queue(pod.channels.trainer, settings.worker_token_file, worker=settings.worker_name, queue=settings.queue)
    _log.info("waiting for jobs", worker=settings.worker_name, queue=settings.queue, device=pod.device.name)
    pause = settings.poll_seconds
    while not pod.draining.is_set():
        job: job_service_pb2.ClaimedJob | None = None
        try:
            job = await queue.claim()
            pause = settings.poll_seconds
        except (AwayError, BadAnswerError) as error:
            _log.warning("no answer to ClaimJob", error=str(error))
        except (RefusedError, OSError) as error:
            _log.error("ClaimJob is refused; look at SPLITRAIL_WORKER_TOKEN_FILE", error=str(error))
            pause = min(pause * _AFTER_ERROR, 30 * settings.poll_seconds)
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
