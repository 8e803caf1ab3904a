"""Postgres: jobs with what belongs to them. Changes lock the job first; violations of known constraints become our own errors."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from splitrail_common.access import Scope
from splitrail_common.database import Connection, Pool, Queries
from splitrail_common.paging import PAGE_BYTES

from splitrail_trainer.jobs.domain import Job, Kind
from splitrail_trainer.runs import convert, rows
from splitrail_trainer.runs.domain import Artifact, ArtifactKind, Evaluation, NewEvaluation, NewRun, Run, RunFilter

QUERIES = Queries("splitrail_trainer.runs")


class RequestKnownError(Exception):
    """The project has a job of this kind with this request_id."""


class FileRecordedError(Exception):
    """The attempt has recorded another file under this name."""


_BY_CONSTRAINT: dict[str, type[Exception]] = {"job_request_unique": RequestKnownError, "artifact_name_unique": FileRecordedError}


class Transaction:
    """One transaction. Jobs that it returns are locked until it ends."""

    def __init__(self, connection: Connection, lease_seconds: float) -> None:
        self._connection = connection
        self._lease_seconds = lease_seconds
        self.wrote_events = False
        self.superseded = False

    async def _rows(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        cursor = await self._connection.execute(QUERIES[name], parameters)
        return await cursor.fetchall() if cursor.description else []

    async def lock(self, job_id: str) -> Job | None:
        """The job, or None."""
        found = await self._rows("lock_job", job_id=job_id)
        return rows.job(found[0]) if found else None

    async def claimable(self, queue: str, kinds: Sequence[Kind], *, may_lapse: bool) -> Job | None:
        """The first job that can be claimed and that nobody else is claiming; a running one whose lease ran out only with `may_lapse`."""
        found = await self._rows("claim_candidate", queue=queue, kinds=[kind.value for kind in kinds], may_lapse=may_lapse)
        return rows.job(found[0]) if found else None

    async def lapsed(self) -> list[Job]:
        """Running jobs whose lease ran out, at most 50."""
        return [rows.job(row) for row in await self._rows("lapsed_jobs")]

    async def save(self, before: Job, after: Job, *, renew: bool = False) -> None:
        """Stores a successor; a new state is announced in the outbox. A job that begins to run, and `renew`, start the lease anew."""
        await self._rows("update_job", renew=renew, lease_seconds=self._lease_seconds, **rows.job_parameters(after))
        if after.state is not before.state:
            await self._announce(after)

    async def _announce(self, job: Job) -> None:
        (row,) = await self._rows("next_event_number", job_id=job.job_id)
        number = row["event_count"]
        await self._rows("add_event", job_id=job.job_id, number=number, event=convert.state_event(job, number, row["at"]))
        self.wrote_events = True

    async def _add_job(self, job: Job, request_id: str) -> None:
        await self._rows("add_job", request_id=request_id or None, **rows.job_parameters(job))
        await self._announce(job)

    async def add_run(self, new: NewRun) -> None:
        """Queues a run and gives it the next number of its dataset. Raises RequestKnownError."""
        await self._add_job(new.job, new.request_id)
        data = new.data
        (row,) = await self._rows("next_run_number", project_id=data.project_id, dataset_name=data.dataset_name)
        await self._rows(
            "add_run",
            job_id=new.job.job_id,
            number=row["last"],
            **{name: getattr(data, name) for name in data.__dataclass_fields__ if name != "class_names"},
            class_names=list(data.class_names),
            model=new.model,
            arguments=Jsonb(dict(new.arguments)),
            resolved_arguments=Jsonb(dict(new.resolved)),
            epochs=new.resolved["epochs"],
            external_id=new.external_id,
            labels=Jsonb(dict(new.labels)),
        )

    async def add_evaluation(self, new: NewEvaluation) -> None:
        """Queues an evaluation and gives it the next number of its run. Raises RequestKnownError."""
        await self._add_job(new.job, new.request_id)
        (row,) = await self._rows("next_evaluation_number", run_id=new.run_id)
        await self._rows(
            "add_evaluation",
            job_id=new.job.job_id,
            project_id=new.job.project_id,
            run_id=new.run_id,
            number=row["evaluation_count"],
            weights=new.weights.value,
            weights_key=new.weights_file.key,
            weights_sha256=new.weights_file.sha256,
            weights_size_bytes=new.weights_file.size_bytes,
            split_id=new.split_id,
            split_reference=new.split_reference,
            part=new.part.value,
            contaminated_images=new.contaminated_images,
            arguments=Jsonb(dict(new.arguments)),
        )

    async def add_artifact(self, artifact: Artifact) -> None:
        """Records a file; nothing when this very file is recorded. Raises FileRecordedError when another one has its name."""
        await self._rows("add_artifact", **_artifact_parameters(artifact))

    async def set_resume_point(self, artifact: Artifact) -> bool:
        """Makes a recorded checkpoint the resume point and all others superfluous. False when this attempt has stored a later one."""
        moved = await self._rows("set_checkpoint", **_artifact_parameters(artifact))
        await self._rows("supersede_checkpoints", job_id=artifact.job_id)
        self.superseded = True
        return bool(moved)

    async def finish_run(self, job_id: str, versions: dict[str, str]) -> None:
        """Stores what the last attempt ran with."""
        await self._rows("set_run_versions", job_id=job_id, versions=Jsonb(versions))

    async def finish_evaluation(self, job_id: str, versions: dict[str, str], result: bytes) -> None:
        """Stores what was found."""
        await self._rows("set_evaluation_result", job_id=job_id, versions=Jsonb(versions), result=result)

    async def run(self, run_id: str, scope: Scope) -> Run | None:
        """A run of the scope."""
        found = await self._rows("get_run", run_id=run_id, scope=scope.sql())
        if not found:
            return None
        files = await self._rows("list_artifacts", job_ids=[run_id])
        return rows.run(found[0], [rows.artifact(row) for row in files])

    async def evaluation(self, evaluation_id: str, scope: Scope) -> Evaluation | None:
        """An evaluation of the scope."""
        found = await self._rows("get_evaluation", evaluation_id=evaluation_id, scope=scope.sql())
        return rows.evaluation(found[0]) if found else None

    async def runs(self, scope: Scope, wanted: RunFilter, before: str | None, limit: int) -> list[Run]:
        """Runs older than `before`, newest first."""
        found = await self._rows("list_runs", scope=scope.sql(), before=before, limit=limit, **vars(wanted))
        files: dict[str, list[Artifact]] = {row["job_id"]: [] for row in found}
        for row in await self._rows("list_artifacts", job_ids=list(files)):
            files[row["job_id"]].append(rows.artifact(row))
        return [rows.run(row, files[row["job_id"]]) for row in found]

    async def evaluations(self, scope: Scope, project_id: str | None, run_id: str | None, before: str | None, limit: int) -> list[Evaluation]:
        """Evaluations older than `before`, newest first; fewer than `limit` also when they are more than a page can hold."""
        found = await self._rows(
            "list_evaluations", scope=scope.sql(), project_id=project_id, run_id=run_id, before=before, limit=limit, page_bytes=PAGE_BYTES
        )
        return [rows.evaluation(row) for row in found]

    async def run_by_number(self, project_id: str, dataset_name: str, number: int) -> str | None:
        """The id of `dataset_name/number`."""
        found = await self._rows("run_by_number", project_id=project_id, dataset_name=dataset_name, number=number)
        return str(found[0]["job_id"]) if found else None

    async def job_by_request(self, project_id: str, kind: Kind, request_id: str) -> str | None:
        """The id of the job that an earlier request made."""
        found = await self._rows("job_by_request", project_id=project_id, kind=kind.value, request_id=request_id)
        return str(found[0]["job_id"]) if found else None

    async def newest_artifact(self, job_id: str, kind: ArtifactKind) -> Artifact | None:
        """The newest attempt's file of that kind."""
        found = await self._rows("newest_artifact", job_id=job_id, kind=kind.value)
        return rows.artifact(found[0]) if found else None

    async def superseded_keys(self) -> list[str]:
        """Keys of checkpoints that no resume needs, at most 100."""
        return [row["key"] for row in await self._rows("superseded_artifacts")]

    async def forget_superseded(self, keys: Sequence[str]) -> None:
        """Their bytes are gone."""
        await self._rows("delete_superseded", keys=list(keys))

    async def outbox_jobs(self, busy: Sequence[str], limit: int) -> list[str]:
        """Jobs, other than `busy`, with events that wait."""
        return [row["job_id"] for row in await self._rows("outbox_jobs", busy=list(busy), limit=limit)]

    async def outbox_events(self, job_id: str, after: int, limit: int) -> list[bytes]:
        """Serialized events of a job beyond number `after`, in order."""
        return [row["event"] for row in await self._rows("read_outbox", job_id=job_id, after=after, limit=limit)]

    async def outbox_last(self, job_id: str) -> int | None:
        """Number of the last event that waits."""
        (row,) = await self._rows("last_in_outbox", job_id=job_id)
        number: int | None = row["number"]
        return number

    async def outbox_delete(self, job_id: str, committed: int) -> None:
        """The feed has committed everything up to this number."""
        await self._rows("delete_outbox", job_id=job_id, committed=committed)


class Store:
    """Opens transactions, and says when one of them has left work for a background task."""

    def __init__(self, pool: Pool, *, lease_seconds: float) -> None:
        self._pool = pool
        self.lease_seconds = lease_seconds
        self.events_written = asyncio.Event()
        """Set after a transaction that wrote to the outbox; the relay clears it."""
        self.bytes_superseded = asyncio.Event()
        """Set after a transaction that superseded checkpoints; the sweeper clears it."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Commits at the end, rolls back on an exception. Raises RequestKnownError or FileRecordedError for those constraints."""
        try:
            async with self._pool.connection() as connection:
                transaction = Transaction(connection, self.lease_seconds)
                yield transaction
        except psycopg.IntegrityError as error:
            known = _BY_CONSTRAINT.get(error.diag.constraint_name or "")
            if known is None:
                raise
            raise known(str(error)) from error
        if transaction.wrote_events:
            self.events_written.set()
        if transaction.superseded:
            self.bytes_superseded.set()


def _artifact_parameters(artifact: Artifact) -> dict[str, Any]:
    return {
        "job_id": artifact.job_id,
        "attempt": artifact.attempt,
        "name": artifact.name,
        "kind": artifact.kind.value,
        "key": artifact.file.key,
        "size_bytes": artifact.file.size_bytes,
        "sha256": artifact.file.sha256,
        "epoch": artifact.epoch,
    }
