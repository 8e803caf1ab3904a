"""Finishing: what the training left goes to the store, and the job is completed."""

import asyncio

from splitrail_common import log

from splitrail_pod.supervisor import host
from splitrail_pod.supervisor.context import AttemptContext
from splitrail_pod.supervisor.failures import AttemptFailedError, FailureCause
from splitrail_pod.supervisor.network.calls import RefusedError
from splitrail_pod.supervisor.network.retry import BadResponseError, UnavailableError
from splitrail_pod.supervisor.results.evaluation import result_of
from splitrail_pod.supervisor.results.events import Stage, stage_event

_log = log.get(__name__)


async def finish(context: AttemptContext) -> None:
    """Stores the results, and completes the job once the feed holds every event. Raises AttemptFailedError,
    FencedError.
    """
    context.finishing = True
    context.feed.emit(stage_event(Stage.STAGE_UPLOADING))
    try:
        # The checkpoint first: from it another pod can produce the rest again.
        await asyncio.wait_for(context.checkpoints.idle(), context.pod.settings.patience_seconds)
        await context.uploads.artifacts(context.report.artifacts)
        for event in await context.uploads.plots(context.report.plots):
            context.feed.emit(event)
    except (UnavailableError, BadResponseError, RefusedError, TimeoutError) as error:
        raise AttemptFailedError(
            FailureCause.FAILURE_CAUSE_DEPENDENCY, f"the results cannot be stored: {error}"
        ) from error
    await context.feed.committed()
    evaluation = result_of(context.report.evaluation) if context.report.evaluation else None
    context.lease.completing = True
    try:
        await context.calls.complete(context.report.versions or host.versions(), evaluation)
    except (BadResponseError, RefusedError) as error:
        context.lease.completing = False
        raise AttemptFailedError(
            FailureCause.FAILURE_CAUSE_DEPENDENCY, f"the job cannot be completed: {error}"
        ) from error
    _log.info("job completed")
