"""Jobs and their outbox in Postgres. Changes lock the job first."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import psycopg
from splitrail_common.database import Pool, Row, Tables

from splitrail_trainer.jobs.domain import FailureCause, Job, JobInfo, JobKind, JobState
from splitrail_trainer.transactions import Transaction

EncodeState = Callable[[Job, int, datetime], bytes]
"""Makes the event that tells of a job's new state, from the job, the event's number and its time."""


class RequestKnownError(Exception):
    """The project has a job of this kind with this request_id."""


class JobStore:
    """Reads and writes jobs; each new state is told in the outbox, in the transaction of the change."""

    def __init__(self, pool: Pool, encode_state: EncodeState, *, lease_seconds: float) -> None:
        self._tables = Tables(pool, __package__)
        self._encode_state = encode_state
        self.lease_seconds = lease_seconds
        self.events_written = asyncio.Event()
        """Set after a transaction that wrote to the outbox; the relay clears it."""

    async def add(self, transaction: Transaction, job: Job, request_id: str) -> None:
        """Queues a job. Raises RequestKnownError."""
        try:
            await self._tables.rows_in(
                transaction.connection, "add_job", {"request_id": request_id or None, **_parameters(job)}
            )
        except psycopg.errors.UniqueViolation as error:
            if error.diag.constraint_name != "job_request_unique":
                raise
            raise RequestKnownError(str(error)) from error
        await self._announce(transaction, job)

    async def by_request(self, transaction: Transaction, project_id: str, kind: JobKind, request_id: str) -> str | None:
        """The id of the job that an earlier request made."""
        found = await self._tables.rows_in(
            transaction.connection,
            "job_by_request",
            {"project_id": project_id, "kind": kind.value, "request_id": request_id},
        )
        return str(found[0]["job_id"]) if found else None

    async def lock(self, transaction: Transaction, job_id: str) -> Job | None:
        """The job, locked, or None."""
        found = await self._tables.rows_in(transaction.connection, "lock_job", {"job_id": job_id})
        return job_from(found[0]) if found else None

    async def save(self, transaction: Transaction, before: Job, after: Job, *, renew: bool = False) -> None:
        """Stores a successor. A job that begins to run, and `renew`, start the lease anew."""
        await self._tables.rows_in(
            transaction.connection,
            "update_job",
            {"renew": renew, "lease_seconds": self.lease_seconds, **_parameters(after)},
        )
        if after.state is not before.state:
            await self._announce(transaction, after)

    async def _announce(self, transaction: Transaction, job: Job) -> None:
        (row,) = await self._tables.rows_in(transaction.connection, "next_event_number", {"job_id": job.job_id})
        number = row["event_count"]
        event = self._encode_state(job, number, row["at"])
        await self._tables.rows_in(
            transaction.connection, "add_event", {"job_id": job.job_id, "number": number, "event": event}
        )
        transaction.after_commit(self.events_written.set)

    async def waiting(self, transaction: Transaction, busy: Sequence[str], limit: int) -> list[str]:
        """Jobs, other than `busy`, with events in the outbox."""
        return [
            row["job_id"]
            for row in await self._tables.rows_in(
                transaction.connection, "outbox_jobs", {"busy": list(busy), "limit": limit}
            )
        ]

    async def events(self, transaction: Transaction, job_id: str, after: int, limit: int) -> list[bytes]:
        """Events of a job beyond number `after`, in order, as they were encoded."""
        return [
            row["event"]
            for row in await self._tables.rows_in(
                transaction.connection, "read_outbox", {"job_id": job_id, "after": after, "limit": limit}
            )
        ]

    async def last_event(self, transaction: Transaction, job_id: str) -> int | None:
        """Number of the last event in the outbox."""
        (row,) = await self._tables.rows_in(transaction.connection, "last_in_outbox", {"job_id": job_id})
        number: int | None = row["number"]
        return number

    async def delete_events(self, transaction: Transaction, job_id: str, committed: int) -> None:
        """The feed has committed everything up to this number."""
        await self._tables.rows_in(transaction.connection, "delete_outbox", {"job_id": job_id, "committed": committed})


def job_from(row: Row) -> Job:
    """A job from the columns of `job`."""
    return Job(
        job_id=row["job_id"],
        project_id=row["project_id"],
        kind=JobKind(row["kind"]),
        queue=row["queue"],
        state=JobState(row["state"]),
        attempt=row["attempt"],
        worker=row["worker"],
        lapsed=row["lapsed"],
        cancel_requested=row["cancel_requested"],
        failures=row["failures"],
        max_attempts=row["max_attempts"],
        cause=FailureCause(row["cause"]),
        message=row["message"],
    )


def info_from(row: Row) -> JobInfo:
    """What is shown of a job, from the columns of `job_view`."""
    return JobInfo(job_from(row), row["queue_position"], row["create_time"], row["start_time"], row["end_time"])


def _parameters(job: Job) -> dict[str, Any]:
    return asdict(job) | {"ended": job.ended}
