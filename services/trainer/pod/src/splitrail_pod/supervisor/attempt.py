"""One attempt of one job, from the claim to its end. See ARCHITECTURE.md, "A pod's attempt"."""

import asyncio
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from splitrail.events.v1 import event_pb2
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail_common import log
from splitrail_common.concurrency import beside, ended

from splitrail_pod.supervisor import host
from splitrail_pod.supervisor.context import AttemptContext, Pod
from splitrail_pod.supervisor.failures import AttemptFailedError, FencedError
from splitrail_pod.supervisor.phases import end
from splitrail_pod.supervisor.phases.finish import finish
from splitrail_pod.supervisor.phases.resume import resume
from splitrail_pod.supervisor.phases.stage import stage
from splitrail_pod.supervisor.phases.train import train
from splitrail_pod.supervisor.results.events import RunEvent, Stage, stage_event
from splitrail_pod.supervisor.results.report import StoppedError

_log = log.get(__name__)
A = TypeVar("A")
B = TypeVar("B")


class Attempt:
    """Does one claimed job, or releases it."""

    def __init__(self, pod: Pod, job: job_service_pb2.ClaimedJob) -> None:
        self._context = AttemptContext.of(pod, job)
        self._defect: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        """The exception that ended a background task."""

    async def run(self) -> None:
        """Returns when the attempt is over, however it ended; nothing of it is left on the disk or running."""
        context = self._context
        context.directory.mkdir(parents=True)
        try:
            background = (context.feed.run(), context.lease.run(), context.checkpoints.run(), context.progress.run())
            await beside(self._main(), *(self._watched(one) for one in background))
        except FencedError as error:
            _log.warning("fenced: stopping at once", reason=str(error))
        finally:
            if context.process:
                context.process.kill()
                await context.process.wait()
            await asyncio.to_thread(_remove, context.directory)

    async def _watched(self, background: Coroutine[Any, Any, None]) -> None:
        """Leaves an exception of a background task to `_main`, which reports it while the other tasks still run. Raises
        FencedError.
        """
        try:
            await background
        except FencedError:
            raise
        except Exception as error:
            if not self._defect.done():
                self._defect.set_result(error)

    async def _main(self) -> None:
        """Works until the work is over, it has to stop, or a background task fails."""
        context = self._context
        work = asyncio.create_task(self._work())
        stop = [asyncio.create_task(context.lease.cancelled.wait()), asyncio.create_task(context.pod.draining.wait())]
        try:
            ends: list[asyncio.Future[Any]] = [work, *stop, self._defect]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await self._conclude(work)
            elif any(task.done() for task in stop):
                await self._stop(work)
            else:
                await ended(work)
                await end.fail_by_defect(context, self._defect.result())
        finally:
            await ended(work, *stop)

    async def _work(self) -> None:
        """The job, phase by phase. Raises AttemptFailedError, StoppedError, FencedError."""
        context = self._context
        context.feed.emit(_started(context))
        context.feed.emit(stage_event(Stage.STAGE_STAGING))
        staged, file = await _both(stage(context), resume(context))
        await train(context, staged, file)
        await finish(context)

    async def _conclude(self, work: asyncio.Task[None]) -> None:
        """Reports how the work ended, if it failed."""
        try:
            work.result()
        except FencedError:
            raise
        except AttemptFailedError as error:
            await end.fail(self._context, error.cause, str(error))
        except Exception as error:
            await end.fail_by_defect(self._context, error)

    async def _stop(self, work: asyncio.Task[None]) -> None:
        """Cancelled, or the pod is to end: stops the training, sends what can be sent, and releases the job."""
        context = self._context
        since = asyncio.get_running_loop().time()
        cancelled = context.lease.cancelled.is_set
        _log.info("stopping", cancel=cancelled(), draining=context.pod.draining.is_set())
        await end.stop_training(context, work)
        if work.done() and not isinstance(work.exception(), StoppedError) and not cancelled():
            await self._conclude(work)
            return
        await ended(work)
        await end.release(context, since)


async def _both(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """The results of both, run side by side; when one raises, the other is cancelled and its exception is raised."""
    one, other = asyncio.create_task(first), asyncio.create_task(second)
    try:
        done, _ = await asyncio.wait([one, other], return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        return one.result(), other.result()
    finally:
        await ended(one, other)


def _started(context: AttemptContext) -> RunEvent:
    """Event 1."""
    return RunEvent(
        attempt_started=event_pb2.AttemptStarted(
            worker=context.pod.settings.worker_name,
            resume_epoch=context.job.train.resume.epoch,
            versions=host.versions(),
            device=context.pod.device.name,
        )
    )


def _remove(directory: Path) -> None:
    """Removes an attempt's work directory, and the job's when that is empty then."""

    def report(function: Any, path: str, info: Any) -> None:
        _log.warning(
            "could not remove a file of a work directory; the next start of the pod will", path=path, error=str(info[1])
        )

    shutil.rmtree(directory, onerror=report)
    if directory.parent.exists() and not any(directory.parent.iterdir()):
        directory.parent.rmdir()
