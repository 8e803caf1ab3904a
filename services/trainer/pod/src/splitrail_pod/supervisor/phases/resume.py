"""Resuming: the checkpoint or the weights, and a feed that agrees with them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from splitrail_pod.exchange.checkpoint import CheckpointError, read_manifest
from splitrail_pod.exchange.messages import EpochRecord
from splitrail_pod.supervisor.context import AttemptContext
from splitrail_pod.supervisor.failures import AttemptFailedError, FailureCause
from splitrail_pod.supervisor.network.retry import BadResponseError, UnavailableError
from splitrail_pod.supervisor.network.transfer import CorruptError
from splitrail_pod.supervisor.results.events import reconcile


async def resume(context: AttemptContext) -> Path | None:
    """Fetches the checkpoint or weights, waits until the feed knows of this attempt, and makes the feed's epochs those
    of the checkpoint.

    All of it is committed when this returns: a checkpoint of the new timeline must not exist while the feed still shows
    the old one. Returns the file; None: a training from scratch. Raises AttemptFailedError.
    """
    if context.evaluates:
        work = context.job.evaluate
        weights = await _fetch(context, "weights.pt", work.weights_url, work.weights_sha256, work.weights_size_bytes)
        await context.feed.accepted()
        return weights
    file, history = await _checkpoint(context)
    watermark = await context.feed.accepted()
    for event in reconcile(watermark.last_epoch, context.job.train.resume.epoch, history):
        context.feed.emit(event)
    await context.feed.committed()
    return file


async def _checkpoint(context: AttemptContext) -> tuple[Path | None, Sequence[EpochRecord]]:
    """The checkpoint, if the job has one, and the epochs in it."""
    if not context.job.train.HasField("resume"):
        return None, ()
    point = context.job.train.resume
    file = await _fetch(context, "resume.ckpt", point.url, point.sha256, point.size_bytes)
    try:
        return file, (await asyncio.to_thread(read_manifest, file)).history
    except CheckpointError as error:
        raise AttemptFailedError(FailureCause.FAILURE_CAUSE_PROCESS, str(error)) from error


async def _fetch(context: AttemptContext, name: str, url: str, sha256: str, size_bytes: int) -> Path:
    target = context.directory / name
    try:
        await context.pod.transfer.download(url, target, sha256=sha256, size_bytes=size_bytes)
    except CorruptError as error:
        raise AttemptFailedError(
            FailureCause.FAILURE_CAUSE_PROCESS, f"{name} is damaged in the store: {error}"
        ) from error
    except (UnavailableError, BadResponseError) as error:
        raise AttemptFailedError(FailureCause.FAILURE_CAUSE_DEPENDENCY, f"{name} cannot be fetched: {error}") from error
    return target
