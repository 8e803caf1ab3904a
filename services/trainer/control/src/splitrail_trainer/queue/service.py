"""What pods do with jobs: claim them, renew the lease, record files, end them. Each write locks the job's row and is
refused for any attempt but the latest.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from splitrail_common import log
from splitrail_common.access import Scope
from splitrail_common.errors import Reason, Violation, already_exists, fenced, invalid, not_found, precondition
from splitrail_common.objects import ObjectStore
from splitrail_common.tokens import Caller, CallerKind, Signer

from splitrail_trainer.data.domain import Part
from splitrail_trainer.evaluations.store import EvaluationStore
from splitrail_trainer.jobs.domain import (
    FailureCause,
    FencedError,
    Job,
    JobKind,
    JobState,
    claim,
    complete,
    fail,
    hold,
    lapse,
    progress,
    release,
)
from splitrail_trainer.jobs.store import JobStore
from splitrail_trainer.models.domain import Artifact, ArtifactKind, StoredFile
from splitrail_trainer.models.store import ArtifactStore, FileRecordedError
from splitrail_trainer.queue.domain import ClaimedJob, EvaluationReport, HeartbeatReply, UploadedFile
from splitrail_trainer.queue.lease import LapseGuard
from splitrail_trainer.queue.store import QueueStore
from splitrail_trainer.runs.domain import Run
from splitrail_trainer.runs.store import RunStore
from splitrail_trainer.transactions import Database, Transaction

_log = log.get(__name__)
_URL_LIFETIME = timedelta(hours=1)
_ANY = Scope(None)


@dataclass(frozen=True)
class Stores:
    """Where the queue finds and keeps what attempts work on."""

    queue: QueueStore
    jobs: JobStore
    artifacts: ArtifactStore
    runs: RunStore
    evaluations: EvaluationStore


class Attempts:
    """The queue as pods see it."""

    def __init__(
        self,
        database: Database,
        stores: Stores,
        objects: ObjectStore,
        signer: Signer,
        guard: LapseGuard,
        *,
        token_seconds: int,
    ) -> None:
        self._database = database
        self._stores = stores
        self._objects = objects
        self._signer = signer
        self._guard = guard
        self._token_seconds = token_seconds

    async def claim(self, worker: str, queue: str, kinds: Sequence[JobKind]) -> ClaimedJob | None:
        """A new attempt of the oldest job that can be claimed, or None. A job whose lease ran out once too often fails
        here.
        """
        async with self._database.transaction() as transaction:
            while (
                job := await self._stores.queue.claimable(transaction, queue, kinds, may_lapse=self._guard.may_lapse)
            ) is not None:
                if job.state is JobState.RUNNING:
                    after = lapse(job)
                    await self._stores.jobs.save(transaction, job, after)
                    if after.ended:
                        continue
                    job = after
                claimed = claim(job, worker)
                await self._stores.jobs.save(transaction, job, claimed)
                return await self._claimed(transaction, claimed)
        return None

    async def _claimed(self, transaction: Transaction, job: Job) -> ClaimedJob:
        of_kind = self._stores.runs if job.kind is JobKind.TRAIN else self._stores.evaluations
        work = await of_kind.get(transaction, job.job_id, _ANY)
        if work is None:
            raise RuntimeError(f"job {job.job_id} has no row of its kind")
        if isinstance(work, Run):
            split_id, parts = work.data.split_id, [Part.TRAIN.value, Part.VAL.value]
            start = work.checkpoint.file if work.checkpoint else None
        else:
            split_id, parts, start = work.split_id, [work.part.value], work.weights_file
        _log.info("claimed", job_id=job.job_id, attempt=job.attempt, worker=job.worker)
        token = self._token(job.job_id, job.project_id, job.attempt, split_id, parts)
        return ClaimedJob(job, token, work, self._objects.download_url(start.key, _URL_LIFETIME) if start else "")

    def _token(self, job_id: str, project_id: str, attempt: int, split_id: str, parts: Sequence[str]) -> str:
        return self._signer.sign(
            CallerKind.ATTEMPT,
            f"attempt:{job_id}/{attempt}",
            self._token_seconds,
            project_id=project_id,
            job_id=job_id,
            attempt=attempt,
            split_id=split_id,
            parts=list(parts),
        )

    @asynccontextmanager
    async def _held(self, caller: Caller, job_id: str) -> AsyncIterator[tuple[Transaction, Job]]:
        """The job, locked and running under the caller's attempt. Raises NOT_FOUND or ABORTED (ATTEMPT_FENCED)."""
        async with self._database.transaction() as transaction:
            job = await self._lock(transaction, caller, job_id)
            yield transaction, await self._take(transaction, job, caller)

    async def _lock(self, transaction: Transaction, caller: Caller, job_id: str) -> Job:
        job = await self._stores.jobs.lock(transaction, job_id) if job_id == caller.job_id else None
        if job is None:
            raise not_found("job", job_id)
        return job

    async def _take(self, transaction: Transaction, job: Job, caller: Caller) -> Job:
        try:
            held = hold(job, caller.attempt)
        except FencedError as error:
            raise fenced(error.attempt, error.current) from error
        if held is not job:
            await self._stores.jobs.save(transaction, job, held)
            _log.info("taken back after its lease ran out", job_id=job.job_id, attempt=job.attempt)
        return held

    async def heartbeat(self, caller: Caller, job_id: str) -> HeartbeatReply:
        """Renews the lease, also one that ran out as long as nobody else has claimed the job."""
        async with self._held(caller, job_id) as (transaction, job):
            await self._stores.jobs.save(transaction, job, job, renew=True)
        token = ""
        if caller.expires - time.time() < self._token_seconds / 2:
            token = self._token(job_id, caller.project_id, caller.attempt, caller.split_id, caller.parts)
        return HeartbeatReply(job.cancel_requested, token)

    async def create_uploads(self, caller: Caller, job_id: str, names: Sequence[str]) -> list[tuple[str, str, str]]:
        """(name, key, URL) of each file."""
        async with self._held(caller, job_id):
            keys = [(name, _key(caller, name)) for name in names]
        return [(name, key, self._objects.upload_url(key, _URL_LIFETIME)) for name, key in keys]

    async def commit_artifact(self, caller: Caller, job_id: str, file: UploadedFile) -> None:
        """Records a file that S3 holds; a checkpoint becomes the resume point. Raises FAILED_PRECONDITION
        (UPLOAD_MISSING), ALREADY_EXISTS.
        """
        key = _key(caller, file.name)
        stored = await asyncio.to_thread(self._objects.stat, key)
        artifact = Artifact(
            job_id, caller.attempt, file.name, file.kind, StoredFile(key, file.sha256, file.size_bytes), file.epoch
        )
        try:
            async with self._held(caller, job_id) as (transaction, job):
                if stored is None or stored.size_bytes != file.size_bytes:
                    found = "nothing" if stored is None else f"{stored.size_bytes} bytes"
                    raise precondition(
                        Reason.ERROR_REASON_UPLOAD_MISSING,
                        f"S3 holds {found} at {key}, not {file.size_bytes} bytes: upload it first",
                        metadata={"missing": "1"},
                        field="name",
                    )
                await self._record(transaction, job, artifact)
        except FileRecordedError as error:
            raise already_exists("file", file.name, "name") from error

    async def _record(self, transaction: Transaction, job: Job, artifact: Artifact) -> None:
        if artifact.kind is not ArtifactKind.CHECKPOINT:
            await self._stores.artifacts.add(transaction, artifact)
            return
        run = await self._stores.runs.get(transaction, job.job_id, _ANY)
        if run is None:
            raise invalid(Violation("kind", "only a training leaves checkpoints"))
        if artifact.epoch > run.epochs:
            raise invalid(Violation("epoch", f"at most {run.epochs}, the run's epochs, not {artifact.epoch}"))
        await self._stores.artifacts.add(transaction, artifact)
        if await self._stores.artifacts.set_resume_point(transaction, artifact):
            await self._stores.jobs.save(transaction, job, progress(job))

    async def complete(
        self, caller: Caller, job_id: str, versions: dict[str, str], report: EvaluationReport | None
    ) -> None:
        """The job has succeeded. A repetition by the same attempt changes nothing. Raises INVALID_ARGUMENT, ABORTED
        (ATTEMPT_FENCED).
        """
        async with self._database.transaction() as transaction:
            job = await self._lock(transaction, caller, job_id)
            if job.state is JobState.SUCCEEDED and job.attempt == caller.attempt:
                return
            held = await self._take(transaction, job, caller)
            if (report is not None) != (job.kind is JobKind.EVALUATE):
                raise invalid(Violation("evaluation", "must be set for an evaluation, and only then"))
            if report is None:
                await self._stores.runs.set_versions(transaction, job_id, versions)
            else:
                evaluation = await self._stores.evaluations.get(transaction, job_id, _ANY)
                if evaluation is None or report.part is not evaluation.part:
                    raise invalid(Violation("evaluation.part", "is not the part that was to be evaluated"))
                await self._stores.evaluations.set_result(transaction, job_id, versions, report.result)
            await self._stores.jobs.save(transaction, held, complete(held))

    async def fail(self, caller: Caller, job_id: str, cause: FailureCause, message: str) -> bool:
        """Reports a failed attempt; True when the job will be tried again."""
        async with self._held(caller, job_id) as (transaction, job):
            after = fail(job, cause, message)
            await self._stores.jobs.save(transaction, job, after)
        _log.warning(
            "attempt failed", job_id=job_id, attempt=caller.attempt, cause=cause.value, state=after.state.value
        )
        return after.state is JobState.QUEUED

    async def release(self, caller: Caller, job_id: str) -> None:
        """Gives the job back; one whose cancellation was requested ends as cancelled."""
        async with self._held(caller, job_id) as (transaction, job):
            await self._stores.jobs.save(transaction, job, release(job))


def _key(caller: Caller, name: str) -> str:
    """Where a file of an attempt lies. The parts are ours or checked: no name can leave the attempt's prefix."""
    return f"attempts/{caller.project_id}/{caller.job_id}/{caller.attempt}/{name}"
