"""Projects in Postgres."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.types.json import Jsonb
from splitrail_common.access import Scope
from splitrail_common.database import Connection, Pool, Tables
from splitrail_common.errors import not_found, project_archived
from splitrail_common.repeats import RequestKey

from splitrail_split.projects.domain import NewProject, Project

_TAKEN = {
    "project_pkey": "project_id",
    "project_external_unique": "external_id",
    "project_request_unique": "request_id",
}


class ProjectTakenError(Exception):
    """A project's id, external_id or request_id is another one's. `field` says which."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class ProjectStore:
    """What is stored of projects."""

    def __init__(self, pool: Pool) -> None:
        self._tables = Tables(pool, "splitrail_split.projects")

    async def get(self, scope: Scope, project_id: str) -> Project | None:
        """By id."""
        row = await self._tables.one("get_project", {"project_id": project_id, "scope": scope.sql()})
        return Project(**row) if row else None

    @asynccontextmanager
    async def writing(self, project_id: str) -> AsyncIterator[Connection]:
        """A transaction in which something of a project is written: the project is not archived before it ends.

        Raises NOT_FOUND, FAILED_PRECONDITION (PROJECT_ARCHIVED).
        """
        async with self._tables.pool.connection() as connection, connection.transaction():
            row = await self._tables.one_in(connection, "hold_project", {"project_id": project_id})
            if row is None:
                raise not_found("project", project_id)
            if row["archive_time"] is not None:
                raise project_archived(project_id)
            yield connection

    async def made_by(self, creator: str, key: RequestKey) -> str | None:
        """The id of the project that an earlier call with this key has made. Raises INVALID_ARGUMENT when that was
        another request.
        """
        if not key.request_id:
            return None
        row = await self._tables.one("find_project_by_request", {"creator": creator, "request_id": key.request_id})
        if row is None:
            return None
        key.require_same(row["request_digest"])
        return str(row["project_id"])

    async def list_projects(
        self, scope: Scope, *, external_id: str, include_archived: bool, after: str | None, limit: int
    ) -> list[Project]:
        """By id, those behind `after`; an empty external_id does not filter."""
        values = {
            "scope": scope.sql(),
            "external_id": external_id,
            "include_archived": include_archived,
            "after": after,
            "limit": limit,
        }
        return [Project(**row) for row in await self._tables.rows("list_projects", values)]

    async def create(self, new: NewProject) -> None:
        """Stores a project. Raises ProjectTakenError."""
        values = {
            "project_id": new.project_id,
            "external_id": new.external_id,
            "labels": Jsonb(dict(new.labels)),
            "creator": new.creator,
            "request_id": new.key.request_id,
            "request_digest": new.key.digest,
        }
        try:
            await self._tables.run("create_project", values)
        except psycopg.errors.UniqueViolation as error:
            raise ProjectTakenError(_TAKEN[error.diag.constraint_name or ""]) from error

    async def archive(self, project_id: str) -> None:
        """From now on it can only be read."""
        await self._tables.run("archive_project", {"project_id": project_id})

    async def unarchive(self, project_id: str) -> None:
        """It is active again."""
        await self._tables.run("unarchive_project", {"project_id": project_id})
