"""Files that attempts left, and each run's resume point, in Postgres; their bytes are in S3."""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
from splitrail_common.database import Pool, Row, Tables

from splitrail_trainer.models.domain import Artifact, ArtifactKind, StoredFile
from splitrail_trainer.transactions import Transaction


class FileRecordedError(Exception):
    """The attempt has recorded another file under this name."""


class ArtifactStore:
    """Reads and writes rows of files."""

    def __init__(self, pool: Pool) -> None:
        self._tables = Tables(pool, __package__)
        self.bytes_superseded = asyncio.Event()
        """Set after a transaction that superseded checkpoints; the sweeper clears it."""

    async def add(self, transaction: Transaction, artifact: Artifact) -> None:
        """Records a file; nothing when this very file is recorded. Raises FileRecordedError when another one has its
        name.
        """
        try:
            await self._tables.rows_in(transaction.connection, "add_artifact", _parameters(artifact))
        except psycopg.errors.UniqueViolation as error:
            if error.diag.constraint_name != "artifact_name_unique":
                raise
            raise FileRecordedError(str(error)) from error

    async def set_resume_point(self, transaction: Transaction, artifact: Artifact) -> bool:
        """Makes a recorded checkpoint the resume point and all others superfluous. False when this attempt has stored a
        later one.
        """
        moved = await self._tables.rows_in(transaction.connection, "set_checkpoint", _parameters(artifact))
        await self._tables.rows_in(transaction.connection, "supersede_checkpoints", {"job_id": artifact.job_id})
        transaction.after_commit(self.bytes_superseded.set)
        return bool(moved)

    async def of_jobs(self, transaction: Transaction, job_ids: Sequence[str]) -> dict[str, list[Artifact]]:
        """Of each job's files the newest ones, by job."""
        found: dict[str, list[Artifact]] = {job_id: [] for job_id in job_ids}
        for row in await self._tables.rows_in(transaction.connection, "list_artifacts", {"job_ids": list(job_ids)}):
            found[row["job_id"]].append(_artifact(row))
        return found

    async def newest(self, transaction: Transaction, job_id: str, kind: ArtifactKind) -> Artifact | None:
        """The newest attempt's file of that kind."""
        found = await self._tables.rows_in(
            transaction.connection, "newest_artifact", {"job_id": job_id, "kind": kind.value}
        )
        return _artifact(found[0]) if found else None

    async def superseded_keys(self, transaction: Transaction) -> list[str]:
        """Keys of checkpoints that no resume needs, at most 100."""
        return [row["key"] for row in await self._tables.rows_in(transaction.connection, "superseded_artifacts", {})]

    async def forget_superseded(self, transaction: Transaction, keys: Sequence[str]) -> None:
        """Their bytes are gone."""
        await self._tables.rows_in(transaction.connection, "delete_superseded", {"keys": list(keys)})


def _artifact(row: Row) -> Artifact:
    file = StoredFile(row["key"], row["sha256"], row["size_bytes"])
    return Artifact(row["job_id"], row["attempt"], row["name"], ArtifactKind(row["kind"]), file, row["epoch"])


def _parameters(artifact: Artifact) -> dict[str, Any]:
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
