"""One attempt of one job, from the claim to its end. See ARCHITECTURE.md, "A pod's attempt"."""

import asyncio
import random
import shutil
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client
from splitrail.events.v1 import run_event_pb2
from splitrail.split.v1 import dataset_pb2
from splitrail.trainer.v1 import job_service_pb2
from splitrail_common import log
from splitrail_common.concurrency import beside, ended, together
from splitrail_common.errors import PlatformError
from splitrail_common.messaging import TOKEN_HEADER, progress_subject
from splitrail_common.publisher import FeedPublisher

from splitrail_pod.exchange.checkpoint import CheckpointError, read_manifest
from splitrail_pod.exchange.messages import CancelOrder, CheckpointRecord, EpochRecord, Progress, Record
from splitrail_pod.exchange.spool import SpoolError, SpoolReader
from splitrail_pod.settings import PodSettings
from splitrail_pod.supervisor import host
from splitrail_pod.supervisor.failures import AttemptFailedError, FailureCause, FencedError, describe
from splitrail_pod.supervisor.network.calls import AttemptCalls, Channels, RefusedError
from splitrail_pod.supervisor.network.retry import AwayError, BadAnswerError
from splitrail_pod.supervisor.network.transfer import CorruptError, Transfer
from splitrail_pod.supervisor.process import TrainingProcess
from splitrail_pod.supervisor.results import events
from splitrail_pod.supervisor.results.evaluation import result_of
from splitrail_pod.supervisor.results.events import EventLog, RunEvent, Stage
from splitrail_pod.supervisor.results.report import ProcessReport, StoppedError
from splitrail_pod.supervisor.results.uploads import CheckpointUploader, Uploads
from splitrail_pod.supervisor.specification import specification
from splitrail_pod.supervisor.staging.cache import ContentCache
from splitrail_pod.supervisor.staging.stager import Staged, Stager

_log = log.get(__name__)
_SPOOL_SECONDS = 0.1
_FLUSH_SECONDS = 30.0
_SMALLEST_FLUSH_SECONDS = 3.0


@dataclass(frozen=True)
class Pod:
    """What the attempts of a pod share."""

    settings: PodSettings
    channels: Channels
    nats: Client
    transfer: Transfer
    training_cache: ContentCache
    evaluation_cache: ContentCache
    device: host.Device
    draining: asyncio.Event
    """Set once the pod is to end."""


class Attempt:
    """Does one claimed job, or gives it back."""

    def __init__(self, pod: Pod, job: job_service_pb2.ClaimedJob) -> None:
        self._pod = pod
        self._settings = pod.settings
        self._job = job
        self._kind = job.WhichOneof("work")
        self._directory = pod.settings.pod_dir / "jobs" / job.job_id / str(job.attempt)
        self._calls = AttemptCalls(pod.channels, job)
        self._events = EventLog(job)
        self._publisher = FeedPublisher(
            pod.nats.jetstream(), self._calls.watermark, self._events, lambda: self._calls.token, job_id=job.job_id, attempt=job.attempt
        )
        self._uploads = Uploads(self._calls, pod.transfer, pod.settings.patience_seconds)
        self._checkpoints = CheckpointUploader(self._uploads)
        self._report = ProcessReport()
        self._process: TrainingProcess | None = None
        self._cancel = asyncio.Event()
        self._defect: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        """What a background task has ended with."""
        self._uploading = False
        self._completing = False
        self._progress: asyncio.Queue[Progress] = asyncio.Queue(1)

    async def run(self) -> None:
        """Returns when the attempt is over, however it ended; nothing of it is left on the disk or running."""
        self._directory.mkdir(parents=True)
        try:
            background = (self._publish(), self._heartbeat(), self._checkpoints.run(), self._report_progress())
            await beside(self._main(), *(self._watched(one) for one in background))
        except FencedError as error:
            _log.warning("fenced: stopping at once", reason=str(error))
        finally:
            if self._process:
                self._process.kill()
                await self._process.wait()
            await asyncio.to_thread(_remove, self._directory)

    def _emit(self, event: RunEvent, at: float | None = None) -> int:
        """Numbers an event, has it published, and returns its number."""
        number = self._events.append(event, at)
        self._publisher.wake()
        return number

    # In the background

    async def _watched(self, background: Coroutine[Any, Any, None]) -> None:
        """Leaves a defect of a background task to `_main`, which reports it while the other tasks still run. Raises FencedError."""
        try:
            await background
        except FencedError:
            raise
        except Exception as error:
            if not self._defect.done():
                self._defect.set_result(error)

    async def _publish(self) -> None:
        try:
            await self._publisher.run()
        except PlatformError as error:
            raise FencedError(error.message) from error

    async def _heartbeat(self) -> None:
        """Renews the lease three times in its length. Services that are away are no reason to stop: only being told that we are fenced is."""
        interval = self._job.lease_duration.ToNanoseconds() / 3e9
        pause = interval
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1))  # noqa: S311 - jitter
            try:
                if await self._calls.heartbeat(min(interval, 10.0)):
                    self._cancel.set()
                pause = interval
            except (AwayError, BadAnswerError) as error:
                _log.warning("heartbeat failed, going on", error=str(error))
                pause = min(interval, 2.0)
            except RefusedError as error:
                raise FencedError(f"the lease cannot be renewed: {error}") from error
            except FencedError:
                if self._completing:
                    return  # the job has ended because we have just ended it
                raise

    async def _report_progress(self) -> None:
        """Sends batch progress as far as there is a connection: it is worth nothing later."""
        while True:
            progress = await self._progress.get()
            if not self._pod.nats.is_connected:
                continue
            message = events.progress_event(self._job, progress)
            try:
                await self._pod.nats.publish(
                    progress_subject(self._job.job_id), message.SerializeToString(), headers={TOKEN_HEADER: self._calls.token}
                )
            except (nats.errors.Error, OSError) as error:
                _log.debug("progress dropped", error=str(error))

    def _take_progress(self, progress: Progress) -> None:
        """Keeps the newest batch. The validation inside a training has batches of its own, which would make the epoch's jump back."""
        if self._kind == "train" and progress.phase != "train":
            return
        if self._progress.full():
            self._progress.get_nowait()
        self._progress.put_nowait(progress)

    # The job itself

    async def _main(self) -> None:
        work = asyncio.create_task(self._work())
        stop = [asyncio.create_task(self._cancel.wait()), asyncio.create_task(self._pod.draining.wait())]
        try:
            ends: list[asyncio.Future[Any]] = [work, *stop, self._defect]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await self._conclude(work)
            elif any(task.done() for task in stop):
                await self._stop(work)
            else:
                await ended(work)
                await self._fail_by_defect(self._defect.result())
        finally:
            await ended(work, *stop)

    async def _work(self) -> None:
        """The job from staging to CompleteJob. Raises AttemptFailedError, StoppedError, FencedError."""
        self._emit(self._started())
        self._emit(events.stage(Stage.STAGE_STAGING))
        staged: list[Staged] = []
        files: list[Path | None] = []

        async def stage() -> None:
            staged.append(await self._stage())

        async def settle() -> None:
            files.append(await self._settle())

        await together(stage(), settle())
        await self._train_or_evaluate(staged[0], files[0])
        await self._finish()

    def _started(self) -> RunEvent:
        return RunEvent(
            attempt_started=run_event_pb2.AttemptStarted(
                worker=self._settings.worker_name,
                resume_epoch=self._job.train.resume.epoch,
                versions=host.versions(),
                device=self._pod.device.name,
            )
        )

    async def _stage(self) -> Staged:
        cache = self._pod.evaluation_cache if self._kind == "evaluate" else self._pod.training_cache
        stager = Stager(
            self._calls,
            self._pod.transfer,
            cache,
            self._directory,
            concurrency=self._settings.download_concurrency,
            patience_seconds=self._settings.patience_seconds,
        )
        if self._kind == "evaluate":
            return await stager.stage(self._job.evaluate.split_id, [self._job.evaluate.split])
        return await stager.stage(self._job.train.split_id, [dataset_pb2.SPLIT_TRAIN, dataset_pb2.SPLIT_VAL])

    async def _settle(self) -> Path | None:
        """Fetches the checkpoint or weights, waits until the feed knows of this attempt, and brings its epochs and the checkpoint's together.

        All of it is committed before training goes on: a checkpoint of the new timeline must not exist while the feed still shows the old one.
        """
        if self._kind == "evaluate":
            work = self._job.evaluate
            weights = await self._fetch("weights.pt", work.weights_url, work.weights_sha256, work.weights_size_bytes)
            await self._publisher.wait_committed(1)
            return weights
        file: Path | None = None
        history: Sequence[EpochRecord] = ()
        if self._job.train.HasField("resume"):
            resume = self._job.train.resume
            file = await self._fetch("resume.ckpt", resume.url, resume.sha256, resume.size_bytes)
            try:
                history = (await asyncio.to_thread(read_manifest, file)).history
            except CheckpointError as error:
                raise AttemptFailedError(FailureCause.FAILURE_CAUSE_PROCESS, str(error)) from error
        watermark = await self._publisher.wait_committed(1)
        for event in events.reconcile(watermark.last_epoch, self._job.train.resume.epoch, history):
            self._emit(event)
        await self._all_committed()
        return file

    async def _fetch(self, name: str, url: str, sha256: str, size_bytes: int) -> Path:
        target = self._directory / name
        try:
            await self._pod.transfer.download(url, target, sha256=sha256, size_bytes=size_bytes)
        except CorruptError as error:
            raise AttemptFailedError(FailureCause.FAILURE_CAUSE_PROCESS, f"{name} is damaged in the store: {error}") from error
        except (AwayError, BadAnswerError) as error:
            raise AttemptFailedError(FailureCause.FAILURE_CAUSE_DEPENDENCY, f"{name} cannot be fetched: {error}") from error
        return target

    async def _train_or_evaluate(self, staged: Staged, file: Path | None) -> None:
        cache = self._settings.pod_dir / "ultralytics"
        spec = specification(self._job, staged, directory=self._directory, cache_directory=cache, device=self._pod.device, file=file)
        path = self._directory / "SPEC.json"
        path.write_bytes(spec.encode())
        process = self._process = await TrainingProcess.start(path, cache, self._take_progress)
        spool = SpoolReader(spec.spool)
        while True:
            ended = process.ended  # looked at before reading, so that the last reading is complete
            try:
                records = await asyncio.to_thread(spool.read_new)
            except SpoolError as error:
                raise AttemptFailedError(FailureCause.FAILURE_CAUSE_PROCESS, str(error)) from error
            for record in records:
                self._take(record)
            if ended:
                break
            await asyncio.sleep(_SPOOL_SECONDS)
        self._report.judge(process, await process.wait())

    def _take(self, record: Record) -> None:
        self._report.take(record)
        if isinstance(record, CheckpointRecord):
            self._checkpoints.offer(record)
        event = events.translate(record)
        if event is not None:
            self._emit(event, record.time)

    async def _finish(self) -> None:
        """Sends what the training left, and ends the job once the feed holds all of it."""
        self._uploading = True
        self._emit(events.stage(Stage.STAGE_UPLOADING))
        try:
            # The checkpoint first: from it another pod can do all of this again.
            await asyncio.wait_for(self._checkpoints.idle(), self._settings.patience_seconds)
            await self._uploads.artifacts(self._report.artifacts)
            for event in await self._uploads.plots(self._report.plots):
                self._emit(event)
        except (AwayError, BadAnswerError, RefusedError, TimeoutError) as error:
            raise AttemptFailedError(FailureCause.FAILURE_CAUSE_DEPENDENCY, f"the results cannot be stored: {error}") from error
        await self._all_committed()
        evaluation = result_of(self._report.evaluation) if self._report.evaluation else None
        self._completing = True
        try:
            await self._calls.complete(self._report.versions or host.versions(), evaluation)
        except (BadAnswerError, RefusedError) as error:
            self._completing = False
            raise AttemptFailedError(FailureCause.FAILURE_CAUSE_DEPENDENCY, f"the job cannot be completed: {error}") from error
        _log.info("job completed")

    # Ends

    async def _conclude(self, work: asyncio.Task[None]) -> None:
        """Reports how the work ended, if it failed."""
        try:
            work.result()
        except FencedError:
            raise
        except AttemptFailedError as error:
            await self._fail(error.cause, str(error))
        except Exception as error:
            await self._fail_by_defect(error)

    async def _fail_by_defect(self, error: Exception) -> None:
        """A defect of ours: the job must not wait for its lease to run out."""
        _log.error("defect", exc_info=error)
        await self._fail(FailureCause.FAILURE_CAUSE_PROCESS, f"a defect of the pod: {type(error).__name__}: {error}")

    async def _stop(self, work: asyncio.Task[None]) -> None:
        """Cancelled, or the pod is to end: stops the training between two batches, flushes what can be flushed, and gives the job back."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        _log.info("stopping", cancel=self._cancel.is_set(), draining=self._pod.draining.is_set())
        training = self._process is not None and not self._process.ended
        if training and self._process:
            self._process.order(CancelOrder())
        if training or (self._uploading and not self._cancel.is_set()):
            patience = asyncio.create_task(self._stop_patience())
            await asyncio.wait([work, patience], return_when=asyncio.FIRST_COMPLETED)
            await ended(patience)
        if work.done() and not isinstance(work.exception(), StoppedError) and not self._cancel.is_set():
            await self._conclude(work)
            return
        await ended(work)
        if self._process:
            self._process.kill()

        def left() -> float:
            """Seconds for what comes next: the rest of the grace when the pod is to end."""
            if not self._pod.draining.is_set():
                return _FLUSH_SECONDS
            return max(self._settings.stop_grace_seconds - (loop.time() - started), _SMALLEST_FLUSH_SECONDS)

        await self._flush(left() - _SMALLEST_FLUSH_SECONDS)
        try:
            await self._calls.release(left())
            _log.info("job given back")
        except (AwayError, BadAnswerError, RefusedError) as error:
            _log.error("the job could not be given back; its lease will run out", error=str(error))

    async def _stop_patience(self) -> None:
        """How long the batch in progress may take: long after a cancel, a part of the grace when the pod is to end."""
        try:
            await asyncio.wait_for(self._pod.draining.wait(), self._settings.cancel_grace_seconds)
        except TimeoutError:
            return
        await asyncio.sleep(self._settings.stop_grace_seconds / 2)

    async def _fail(self, cause: run_event_pb2.FailureCause.ValueType, message: str) -> None:
        if self._process:
            self._process.kill()
            await self._process.wait()
        text = describe(message, self._report.last_lines(self._process))
        _log.error("attempt failed", cause=run_event_pb2.FailureCause.Name(cause), message=message)
        await self._flush(_FLUSH_SECONDS)
        try:
            retried = await self._calls.fail(cause, text, self._settings.patience_seconds)
            _log.info("failure reported", retried=retried)
        except (AwayError, BadAnswerError, RefusedError) as error:
            _log.error("the failure could not be reported; the lease will run out", error=str(error))

    async def _flush(self, seconds: float) -> None:
        """Lets the newest checkpoint and the events so far get through, within bounds: what is lost here is made again from the checkpoint."""
        sending = [asyncio.create_task(self._checkpoints.idle()), asyncio.create_task(self._all_committed())]
        await asyncio.wait(sending, timeout=seconds)
        if not all(task.done() and task.exception() is None for task in sending):
            _log.warning("not everything could be sent", seconds=round(seconds, 1), events=self._events.last)
        await ended(*sending)

    async def _all_committed(self) -> None:
        await self._publisher.wait_committed(self._events.last)


def _remove(directory: Path) -> None:
    """Removes a work directory and the job's own when it was the last in it."""

    def report(function: Any, path: str, info: Any) -> None:
        _log.warning("could not remove a file of a work directory; the next start of the pod will", path=path, error=str(info[1]))

    shutil.rmtree(directory, onerror=report)
    if directory.parent.exists() and not any(directory.parent.iterdir()):
        directory.parent.rmdir()
