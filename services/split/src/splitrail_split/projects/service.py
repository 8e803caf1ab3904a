"""Use cases of projects: make, find, list, archive; and the rule that an archived project can only be read."""

import grpc
from splitrail_common.access import Scope
from splitrail_common.errors import PlatformError, Reason, Violation, already_exists, invalid, not_found, project_archived
from splitrail_common.paging import Page

from splitrail_split.projects.domain import NewProject, Project
from splitrail_split.projects.store import ProjectStore, ProjectTakenError


class Projects:
    """What callers do with projects."""

    def __init__(self, store: ProjectStore) -> None:
        self._store = store

    async def create(self, scope: Scope, new: NewProject) -> Project:
        """A new project, or the one of the same request_id. Raises PERMISSION_DENIED outside of the scope,
        ALREADY_EXISTS, INVALID_ARGUMENT.
        """
        if scope.projects is not None and new.project_id not in scope.projects:
            raise PlatformError(
                grpc.StatusCode.PERMISSION_DENIED,
                Reason.ERROR_REASON_ROLE_MISSING,
                f"this needs the role admin of {new.project_id!r}, or of all projects",
                metadata={"required": "admin"},
            )
        if earlier := await self._made_by(scope, new):
            return earlier
        try:
            await self._store.create(new)
        except ProjectTakenError as taken:
            # Perhaps taken by the same request, sent twice at once.
            if earlier := await self._made_by(scope, new):
                return earlier
            raise already_exists("project", str(getattr(new, taken.field)), taken.field) from taken
        return await self.get(scope, new.project_id)

    async def _made_by(self, scope: Scope, new: NewProject) -> Project | None:
        """The project that an earlier call with the same request_id has made."""
        project_id = await self._store.find_by_request(scope, new.request_id) if new.request_id else None
        if project_id is None:
            return None
        found = await self.get(scope, project_id)
        if any(getattr(found, name) != getattr(new, name) for name in ("project_id", "external_id", "labels")):
            raise invalid(Violation("request_id", f"was used for the project {found.project_id!r}: use a new one"))
        return found

    async def get(self, scope: Scope, project_id: str) -> Project:
        """By id. Raises NOT_FOUND."""
        found = await self._store.get(scope, project_id)
        if found is None:
            raise not_found("project", project_id)
        return found

    async def projects(self, scope: Scope, *, external_id: str, include_archived: bool, after: str | None, limit: int) -> Page[Project]:
        """By id; an empty external_id does not filter."""
        found = await self._store.list_projects(scope, external_id=external_id, include_archived=include_archived, after=after, limit=limit + 1)
        return Page.of(found, limit)

    async def archive(self, scope: Scope, project_id: str) -> Project:
        """From now on it can only be read. Raises NOT_FOUND."""
        await self.get(scope, project_id)
        await self._store.archive(project_id)
        return await self.get(scope, project_id)

    async def unarchive(self, scope: Scope, project_id: str) -> Project:
        """It is active again. Raises NOT_FOUND."""
        await self.get(scope, project_id)
        await self._store.unarchive(project_id)
        return await self.get(scope, project_id)

    async def require_active(self, scope: Scope, project_id: str) -> None:
        """Raises NOT_FOUND, or FAILED_PRECONDITION (PROJECT_ARCHIVED): to be asked before anything of a project is
        changed.
        """
        if (await self.get(scope, project_id)).archive_time is not None:
            raise project_archived(project_id)
