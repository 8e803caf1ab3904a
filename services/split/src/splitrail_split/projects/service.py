"""Use cases of projects: make, find, list, archive; and the rule that an archived project can only be read."""

import grpc
from splitrail_common.access import Scope
from splitrail_common.errors import PlatformError, Reason, already_exists, not_found, project_archived
from splitrail_common.paging import Page

from splitrail_split.projects.domain import NewProject, Project
from splitrail_split.projects.store import ProjectStore, ProjectTakenError


class Projects:
    """What callers do with projects."""

    def __init__(self, store: ProjectStore) -> None:
        self._store = store

    async def create(self, scope: Scope, new: NewProject) -> Project:
        """A new project, or the one that the same request has made. Raises PERMISSION_DENIED outside of the scope,
        ALREADY_EXISTS, INVALID_ARGUMENT when the request_id belongs to another request.
        """
        if scope.projects is not None and new.project_id not in scope.projects:
            raise PlatformError(
                grpc.StatusCode.PERMISSION_DENIED,
                Reason.ERROR_REASON_ROLE_MISSING,
                f"this needs the role admin of {new.project_id!r}, or of all projects",
                metadata={"required": "admin"},
            )
        if project_id := await self._store.made_by(new.creator, new.key):
            return await self.get(scope, project_id)
        try:
            await self._store.create(new)
        except ProjectTakenError as taken:
            # Perhaps taken by the same request, sent twice at once.
            if project_id := await self._store.made_by(new.creator, new.key):
                return await self.get(scope, project_id)
            values = {"project_id": new.project_id, "external_id": new.external_id, "request_id": new.key.request_id}
            raise already_exists("project", values[taken.field], taken.field) from taken
        return await self.get(scope, new.project_id)

    async def get(self, scope: Scope, project_id: str) -> Project:
        """By id. Raises NOT_FOUND."""
        found = await self._store.get(scope, project_id)
        if found is None:
            raise not_found("project", project_id)
        return found

    async def projects(
        self, scope: Scope, *, external_id: str, include_archived: bool, after: str | None, limit: int
    ) -> Page[Project]:
        """By id; an empty external_id does not filter."""
        found = await self._store.list_projects(
            scope, external_id=external_id, include_archived=include_archived, after=after, limit=limit + 1
        )
        return Page.of(found, limit)

    async def archive(self, scope: Scope, project_id: str) -> Project:
        """From now on it can only be read: what is being written to it is waited for, and an import that is queued or
        running ends FAILED. Raises NOT_FOUND.
        """
        await self.get(scope, project_id)
        await self._store.archive(project_id)
        return await self.get(scope, project_id)

    async def unarchive(self, scope: Scope, project_id: str) -> Project:
        """It is active again. Raises NOT_FOUND."""
        await self.get(scope, project_id)
        await self._store.unarchive(project_id)
        return await self.get(scope, project_id)

    async def require_active(self, scope: Scope, project_id: str) -> None:
        """Raises NOT_FOUND, or FAILED_PRECONDITION (PROJECT_ARCHIVED): to be asked before work is done on a change of a
        project. The change itself is made in `ProjectStore.writing`.
        """
        if (await self.get(scope, project_id)).archive_time is not None:
            raise project_archived(project_id)
