"""What runs and evaluations do with their jobs: queue one, find the one of a repeated request, cancel it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from splitrail_common.errors import Reason, not_found, precondition
from splitrail_common.ids import new_id

from splitrail_trainer.data.split_peer import SplitPeer
from splitrail_trainer.jobs.domain import Job, JobEndedError, JobKind, cancel
from splitrail_trainer.jobs.store import JobStore
from splitrail_trainer.transactions import Database, Transaction


class Jobs:
    """Jobs of every kind. Callers have checked that the job is in the scope of the call."""

    def __init__(self, database: Database, store: JobStore, splits: SplitPeer, *, max_attempts: int) -> None:
        self._database = database
        self._store = store
        self._splits = splits
        self._max_attempts = max_attempts

    def new(self, project_id: str, kind: JobKind, queue: str) -> Job:
        """A job that is not stored yet."""
        return Job(new_id(), project_id, kind, queue, max_attempts=self._max_attempts)

    @asynccontextmanager
    async def queueing(self, job: Job, request_id: str, split_id: str) -> AsyncIterator[Transaction]:
        """A transaction that adds the job, and pins its data before anybody can see it. Raises RequestKnownError.

        The pin comes last, so that a request that loses to another one with its id, or is refused, pins nothing. What
        fails between the pin and the commit leaves a pin of a job that never was: that revision cannot be deleted, and
        nothing else is wrong.
        """
        async with self._database.transaction() as transaction:
            await self._store.add(transaction, job, request_id)
            yield transaction
            await self._splits.pin(split_id, job.job_id)

    async def by_request(self, project_id: str, kind: JobKind, request_id: str) -> str | None:
        """The id of the job that an earlier call with this request_id made; None also for an empty request_id."""
        if not request_id:
            return None
        async with self._database.transaction() as transaction:
            return await self._store.by_request(transaction, project_id, kind, request_id)

    async def made_meanwhile(self, job: Job, request_id: str) -> str:
        """The id of the job that another call with the same request_id has just made instead of `job`."""
        known = await self.by_request(job.project_id, job.kind, request_id)
        if known is None:
            raise RuntimeError(f"request_id {request_id!r} is taken, but by no job")
        return known

    async def cancel(self, job_id: str) -> None:
        """Requests the job's cancellation. Raises FAILED_PRECONDITION (JOB_ENDED)."""
        async with self._database.transaction() as transaction:
            job = await self._store.lock(transaction, job_id)
            if job is None:
                raise not_found("job", job_id)
            try:
                after = cancel(job)
            except JobEndedError as error:
                raise precondition(
                    Reason.ERROR_REASON_JOB_ENDED, str(error), metadata={"state": error.state.value}
                ) from error
            if after is not job:
                await self._store.save(transaction, job, after)
