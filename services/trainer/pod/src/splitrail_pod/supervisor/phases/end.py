"""The ends of an attempt that does not finish: it fails, or releases its job. What can still be sent is sent first,
within a time limit.
"""

import asyncio

from splitrail.events.v1 import event_pb2
from splitrail_common import log
from splitrail_common.concurrency import ended

from splitrail_pod.exchange.messages import CancelOrder
from splitrail_pod.supervisor.context import AttemptContext
from splitrail_pod.supervisor.failures import FailureCause, describe
from splitrail_pod.supervisor.network.calls import RefusedError
from splitrail_pod.supervisor.network.retry import BadResponseError, UnavailableError

_log = log.get(__name__)
FLUSH_SECONDS = 30.0
_SMALLEST_FLUSH_SECONDS = 3.0


async def fail(context: AttemptContext, cause: event_pb2.FailureCause.ValueType, message: str) -> None:
    """Reports that the attempt has failed."""
    if context.process:
        context.process.kill()
        await context.process.wait()
    text = describe(message, context.report.last_lines(context.process))
    _log.error("attempt failed", cause=FailureCause.Name(cause), message=message)
    await _flush(context, FLUSH_SECONDS)
    try:
        retried = await context.calls.fail(cause, text, context.pod.settings.patience_seconds)
        _log.info("failure reported", retried=retried)
    except (UnavailableError, BadResponseError, RefusedError) as error:
        _log.error("the failure could not be reported; the lease will run out", error=str(error))


async def fail_by_defect(context: AttemptContext, error: Exception) -> None:
    """Reports a defect of the pod itself, so that the job need not wait for its lease to run out."""
    _log.error("defect", exc_info=error)
    await fail(context, FailureCause.FAILURE_CAUSE_PROCESS, f"a defect of the pod: {type(error).__name__}: {error}")


async def stop_training(context: AttemptContext, work: asyncio.Task[None]) -> None:
    """Orders the training process to stop between two batches, and waits for it; waits for results that are being
    stored, too. Both within a time limit.
    """
    process = context.process
    training = process is not None and not process.ended
    if process is not None and training:
        process.order(CancelOrder())
    if training or (context.finishing and not context.lease.cancelled.is_set()):
        patience = asyncio.create_task(_patience(context))
        await asyncio.wait([work, patience], return_when=asyncio.FIRST_COMPLETED)
        await ended(patience)


async def release(context: AttemptContext, since: float) -> None:
    """Returns the job to the queue. `since`: when the stop began, by the event loop's clock; the grace of a pod that is
    to end counts from there.
    """
    if context.process:
        context.process.kill()

    def left() -> float:
        if not context.pod.draining.is_set():
            return FLUSH_SECONDS
        passed = asyncio.get_running_loop().time() - since
        return max(context.pod.settings.stop_grace_seconds - passed, _SMALLEST_FLUSH_SECONDS)

    await _flush(context, left() - _SMALLEST_FLUSH_SECONDS)
    try:
        await context.calls.release(left())
        _log.info("job released")
    except (UnavailableError, BadResponseError, RefusedError) as error:
        _log.error("the job could not be released; its lease will run out", error=str(error))


async def _patience(context: AttemptContext) -> None:
    """Waits as long as the batch in progress may take: `cancel_grace_seconds` after a cancel, half of
    `stop_grace_seconds` when the pod is to end.
    """
    settings = context.pod.settings
    try:
        await asyncio.wait_for(context.pod.draining.wait(), settings.cancel_grace_seconds)
    except TimeoutError:
        return
    await asyncio.sleep(settings.stop_grace_seconds / 2)


async def _flush(context: AttemptContext, seconds: float) -> None:
    """Sends the newest checkpoint and the events so far, within `seconds`. What is not sent is computed again from the
    checkpoint.
    """
    sending = [asyncio.create_task(context.checkpoints.idle()), asyncio.create_task(context.feed.committed())]
    await asyncio.wait(sending, timeout=seconds)
    if not all(task.done() and task.exception() is None for task in sending):
        _log.warning("not everything could be sent", seconds=round(seconds, 1), events=context.feed.last)
    await ended(*sending)
