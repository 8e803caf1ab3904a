"""Split revisions and their pins in Postgres."""

import asyncio
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.types.json import Jsonb
from splitrail_common import ids
from splitrail_common.access import Scope
from splitrail_common.database import Connection, Pool, Row, Tables
from splitrail_common.errors import not_found
from splitrail_common.repeats import RequestKey

from splitrail_split.datasets.store import DatasetStore
from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Version
from splitrail_split.projects.store import ProjectStore
from splitrail_split.splits import convert
from splitrail_split.splits.domain import MadeRevision, Revision, SplitParameters


class RequestKnownError(Exception):
    """Another call with the same request_id was faster."""


class SplitStore:
    """What is stored of split revisions."""

    def __init__(self, pool: Pool, projects: ProjectStore, datasets: DatasetStore, cache: arrays.ArrayCache) -> None:
        self._tables = Tables(pool, "splitrail_split.splits")
        self._projects = projects
        self._datasets = datasets
        self._cache = cache

    async def get(self, scope: Scope, split_id: str) -> Revision | None:
        """By id."""
        row = await self._tables.one("get_split", {"split_id": split_id, "scope": scope.sql()})
        return _revision(row) if row else None

    async def find_by_number(self, version_id: str, number: int) -> str | None:
        """The id of revision `number` of a version."""
        row = await self._tables.one("find_split_by_number", {"version_id": version_id, "number": number})
        return str(row["split_id"]) if row else None

    async def made_by(self, project_id: str, key: RequestKey) -> str | None:
        """The id of the revision that an earlier call with this key has made. Raises INVALID_ARGUMENT when that was
        another request.
        """
        if not key.request_id:
            return None
        row = await self._tables.one("find_split_by_request", {"project_id": project_id, "request_id": key.request_id})
        if row is None:
            return None
        key.require_same(row["request_digest"])
        return str(row["split_id"])

    async def of_version(self, version_id: str, *, before: int | None, limit: int) -> list[Revision]:
        """Newest first, those with a number below `before`."""
        parameters = {"version_id": version_id, "before": before, "limit": limit}
        return [_revision(row) for row in await self._tables.rows("list_splits", parameters)]

    async def vector(self, split_id: str) -> npt.NDArray[np.uint8]:
        """The split vector of a revision; read-only. Raises NOT_FOUND when it was deleted meanwhile."""

        async def load() -> arrays.Array:
            row = await self._tables.one("get_vector", {"split_id": split_id})
            if row is None:
                raise not_found("split", split_id)
            return arrays.decode_vector(row["vector"])

        return (await self._cache.get(split_id, "vector", load)).astype(np.uint8, copy=False)

    async def add(self, version: Version, made: MadeRevision, key: RequestKey, *, keep_current: bool) -> str:
        """Stores a revision under the next number and makes it the current one, unless there is one to keep; its id.

        Raises RequestKnownError, NOT_FOUND when the version was deleted meanwhile, FAILED_PRECONDITION
        (PROJECT_ARCHIVED).
        """
        try:
            async with self._projects.writing(version.project_id) as connection:
                return await self.add_in(connection, version.version_id, made, key, keep_current=keep_current)
        except psycopg.errors.UniqueViolation as error:
            if error.diag.constraint_name == "split_request_unique":
                raise RequestKnownError from error
            raise

    async def add_in(
        self,
        connection: Connection,
        version_id: str,
        made: MadeRevision,
        key: RequestKey | None = None,
        *,
        keep_current: bool,
    ) -> str:
        """As `add`, within a transaction that holds the project. key None: no request asked for it."""
        vector = await asyncio.to_thread(arrays.encode_vector, made.vector)
        numbered = await self._tables.one_in(connection, "next_split_number", {"version_id": version_id})
        if numbered is None:
            raise not_found("version", version_id)
        split_id = ids.new_id()
        values: dict[str, Any] = {
            "split_id": split_id,
            "version_id": version_id,
            "dataset_id": numbered["dataset_id"],
            "project_id": numbered["project_id"],
            "number": numbered["latest_split"],
            "request_id": key.request_id if key else "",
            "request_digest": key.digest if key else b"",
            "parameters": Jsonb(made.parameters.to_json()),
            "algorithm_version": made.algorithm_version,
            "vector": vector,
            "digest": made.digest,
            "part_digests": list(made.part_digests),
            "certificate": convert.pack_certificate(made.certificate),
        }
        await self._tables.run_in(connection, "insert_split", values)
        if not (keep_current and numbered["current_split_id"]):
            await self._tables.run_in(connection, "set_current_split", {"version_id": version_id, "split_id": split_id})
        return split_id

    async def pin(self, scope: Scope, revision: Revision, job_id: str) -> bool:
        """Marks a revision as used by a job; False when it was deleted. Raises FAILED_PRECONDITION (PROJECT_ARCHIVED)."""
        async with self._projects.writing(revision.project_id) as connection:
            if (
                await self._tables.one_in(
                    connection, "lock_split", {"split_id": revision.split_id, "scope": scope.sql()}
                )
                is None
            ):
                return False
            await self._tables.run_in(connection, "insert_pin", {"split_id": revision.split_id, "job_id": job_id})
            return True

    async def delete(self, scope: Scope, revision: Revision) -> str | None:
        """Deletes a revision that no job uses; returns a job that uses it instead. Raises NOT_FOUND,
        FAILED_PRECONDITION (PROJECT_ARCHIVED).
        """
        split_id = revision.split_id
        async with self._projects.writing(revision.project_id) as connection:
            named = {"split_id": split_id, "scope": scope.sql()}
            await self._tables.one_in(connection, "lock_version_of_split", named)
            locked = await self._tables.one_in(connection, "lock_split", named)
            if locked is None:
                raise not_found("split", split_id)
            pinned = await self._tables.one_in(connection, "pin_of_split", {"split_id": split_id})
            if pinned is not None:
                return str(pinned["job_id"])
            version_id = locked["version_id"]
            await self._tables.run_in(
                connection, "repoint_current_split", {"version_id": version_id, "split_id": split_id}
            )
            await self._tables.run_in(connection, "delete_split", {"split_id": split_id})
            await self._datasets.forget_requests(connection, [version_id])
            return None


def _revision(row: Row) -> Revision:
    parameters = SplitParameters.from_json(row["parameters"])
    return Revision(**{**row, "parameters": parameters, "certificate": convert.unpack_certificate(row["certificate"])})
