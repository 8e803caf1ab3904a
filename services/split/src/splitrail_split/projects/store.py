"""Projects in Postgres."""

import psycopg
from psycopg.types.json import Jsonb
from splitrail_common.access import Scope
from splitrail_common.database import Pool, Tables

from splitrail_split.projects.domain import NewProject, Project

_TAKEN = {"project_pkey": "project_id", "project_external_unique": "external_id"}


class ProjectTakenError(Exception):
    """A project's id or external_id is another one's. `field` says which."""

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

    async def find_by_request(self, scope: Scope, request_id: str) -> str | None:
        """The id of the project that this request_id has made, among those of the scope."""
        row = await self._tables.one("find_project_by_request", {"request_id": request_id, "scope": scope.sql()})
        return str(row["project_id"]) if row else None

    async def list_projects(self, scope: Scope, *, external_id: str, include_archived: bool, after: str | None, limit: int) -> list[Project]:
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
            "request_id": new.request_id,
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
