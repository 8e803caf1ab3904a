"""Runs in Postgres."""

from collections.abc import Sequence

import psycopg
from psycopg.types.json import Jsonb
from splitrail_common.access import Scope
from splitrail_common.database import Pool, Row, Tables

from splitrail_trainer.data.domain import PinnedData
from splitrail_trainer.jobs.store import info_from
from splitrail_trainer.models.domain import Artifact, Checkpoint, StoredFile
from splitrail_trainer.models.store import ArtifactStore
from splitrail_trainer.runs.domain import NewRun, Run, RunFilter
from splitrail_trainer.transactions import Transaction


class ExternalIdTakenError(Exception):
    """Another run of the project has this external_id."""


class RunStore:
    """Reads and writes runs, each with the files that its attempts left."""

    def __init__(self, pool: Pool, artifacts: ArtifactStore) -> None:
        self._tables = Tables(pool, __package__)
        self._artifacts = artifacts

    async def add(self, transaction: Transaction, new: NewRun) -> None:
        """Adds a run, whose job is there, and gives it the next number of its dataset. Raises ExternalIdTakenError."""
        data = new.data
        (row,) = await self._tables.rows_in(
            transaction.connection,
            "next_run_number",
            {"project_id": data.project_id, "dataset_name": data.dataset_name},
        )
        parameters = {
            "job_id": new.job.job_id,
            "number": row["last"],
            **{name: getattr(data, name) for name in data.__dataclass_fields__ if name != "class_names"},
            "class_names": list(data.class_names),
            "model": new.model,
            "arguments": Jsonb(dict(new.arguments)),
            "resolved_arguments": Jsonb(dict(new.resolved)),
            "epochs": new.resolved["epochs"],
            "external_id": new.external_id,
            "labels": Jsonb(dict(new.labels)),
        }
        try:
            await self._tables.rows_in(transaction.connection, "add_run", parameters)
        except psycopg.errors.UniqueViolation as error:
            if error.diag.constraint_name != "run_external_id_unique":
                raise
            raise ExternalIdTakenError(str(error)) from error

    async def get(self, transaction: Transaction, run_id: str, scope: Scope) -> Run | None:
        """A run of the scope."""
        found = await self._tables.rows_in(transaction.connection, "get_run", {"run_id": run_id, "scope": scope.sql()})
        if not found:
            return None
        files = await self._artifacts.of_jobs(transaction, [run_id])
        return _run(found[0], files[run_id])

    async def id_of(self, transaction: Transaction, project_id: str, dataset_name: str, number: int) -> str | None:
        """The id of `dataset_name/number`."""
        found = await self._tables.rows_in(
            transaction.connection,
            "run_by_number",
            {"project_id": project_id, "dataset_name": dataset_name, "number": number},
        )
        return str(found[0]["job_id"]) if found else None

    async def page(
        self, transaction: Transaction, scope: Scope, wanted: RunFilter, before: str | None, limit: int
    ) -> list[Run]:
        """Runs older than `before`, newest first."""
        found = await self._tables.rows_in(
            transaction.connection,
            "list_runs",
            {"scope": scope.sql(), "before": before, "limit": limit, **vars(wanted)},
        )
        files = await self._artifacts.of_jobs(transaction, [row["job_id"] for row in found])
        return [_run(row, files[row["job_id"]]) for row in found]

    async def set_versions(self, transaction: Transaction, run_id: str, versions: dict[str, str]) -> None:
        """Stores what programs the last attempt ran with."""
        await self._tables.rows_in(
            transaction.connection, "set_run_versions", {"job_id": run_id, "versions": Jsonb(versions)}
        )


def _run(row: Row, artifacts: Sequence[Artifact]) -> Run:
    """From the columns of `run` and `job_view`."""
    checkpoint = None
    if row["checkpoint_epoch"]:
        file = StoredFile(row["checkpoint_key"], row["checkpoint_sha256"], row["checkpoint_size_bytes"])
        checkpoint = Checkpoint(row["checkpoint_epoch"], row["checkpoint_attempt"], file)
    data = PinnedData(
        project_id=row["project_id"],
        dataset_id=row["dataset_id"],
        dataset_name=row["dataset_name"],
        version_id=row["version_id"],
        version_number=row["version_number"],
        split_id=row["split_id"],
        split_reference=row["split_reference"],
        split_digest=row["split_digest"],
        class_names=tuple(row["class_names"]),
    )
    return Run(
        info=info_from(row),
        number=row["number"],
        data=data,
        model=row["model"],
        arguments=row["arguments"],
        resolved=row["resolved_arguments"],
        epochs=row["epochs"],
        checkpoint=checkpoint,
        external_id=row["external_id"],
        labels=row["labels"],
        versions=row["versions"],
        artifacts=tuple(artifacts),
    )
