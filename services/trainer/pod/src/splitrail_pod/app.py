"""The pod's process: connections, the claim loop, and a graceful end on SIGTERM."""

import asyncio
import fcntl
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitrail_common import log, messaging, peers

from splitrail_pod.settings import PodSettings
from splitrail_pod.supervisor import host
from splitrail_pod.supervisor.claim import claim_jobs
from splitrail_pod.supervisor.context import Pod
from splitrail_pod.supervisor.network.calls import Channels
from splitrail_pod.supervisor.network.transfer import Transfer, open_client
from splitrail_pod.supervisor.staging.cache import ContentCache

_log = log.get(__name__)
_INBOX = "_INBOX_pod"


class PodDirectoryBusyError(Exception):
    """Another pod works in the same directory."""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Locks `directory` for this process, and removes the job directories that a killed pod has left. Raises
    PodDirectoryBusyError, OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PodDirectoryBusyError(
                f"{directory} belongs to another running pod: give each its own SPLITRAIL_POD_DIR"
            ) from error
        if (directory / "jobs").exists():
            shutil.rmtree(directory / "jobs")
        yield
    finally:
        os.close(descriptor)


async def run(settings: PodSettings) -> None:
    """Claims and does jobs until SIGTERM or SIGINT. Raises PodDirectoryBusyError, and NATS' last error when it cannot
    be reached at the start.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs URLs, and ours carry signatures
    draining = asyncio.Event()
    with locked(settings.pod_dir):
        nats = await messaging.connect(
            settings.nats_url.get_secret_value(),
            name=settings.worker_name,
            deadline_seconds=settings.start_deadline_seconds,
            inbox_prefix=_INBOX,
        )
        channels = Channels(
            peers.channel(settings.split_address),
            peers.channel(settings.trainer_address),
            peers.channel(settings.metrics_address),
        )
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
                for number in (
                    signal.SIGTERM,
                    signal.SIGINT,
                ):  # until here there is nothing to release, and a signal simply ends the process
                    asyncio.get_running_loop().add_signal_handler(number, draining.set)
                await claim_jobs(pod)
        finally:
            await nats.close()
            for channel in (channels.split, channels.trainer, channels.metrics):
                await channel.close()
    _log.info("stopped")
