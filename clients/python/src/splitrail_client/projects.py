"""Projects."""

from collections.abc import Mapping

from splitrail.split.v1 import project_pb2, project_service_pb2

from .base import BaseClient


class ProjectClient(BaseClient):
    """The part of AsyncClient that creates, lists and archives projects."""

    async def create_project(
        self, project_id: str, *, external_id: str = "", labels: Mapping[str, str] | None = None
    ) -> project_pb2.Project:
        """Creates a project. `project_id`: lower-case letters, digits and inner hyphens, at most 40; it is never
        reused.

        Raises RefusedError (ALREADY_EXISTS) when the project_id or the external_id is taken, ROLE_MISSING without the
        role admin.
        """
        request = project_service_pb2.CreateProjectRequest(
            project_id=project_id, external_id=external_id, labels=labels
        )
        return (await self.channel.call(self.channel.projects.CreateProject, request)).project

    async def get_project(self, project_id: str) -> project_pb2.Project:
        """A project by its id."""
        request = project_service_pb2.GetProjectRequest(project_id=project_id)
        return (await self.channel.call(self.channel.projects.GetProject, request)).project

    async def projects(self, *, include_archived: bool = False) -> list[project_pb2.Project]:
        """Projects that the caller can see, by id."""
        request = project_service_pb2.ListProjectsRequest(include_archived=include_archived)
        return [
            item async for page in self._pages(self.channel.projects.ListProjects, request) for item in page.projects
        ]

    async def archive_project(self, project_id: str) -> project_pb2.Project:
        """Archives a project: it can be read, but no longer changed; its queued and running jobs continue. Safe to
        repeat.
        """
        request = project_service_pb2.ArchiveProjectRequest(project_id=project_id)
        return (await self.channel.call(self.channel.projects.ArchiveProject, request)).project

    async def unarchive_project(self, project_id: str) -> project_pb2.Project:
        """Makes an archived project active again. Safe to repeat."""
        request = project_service_pb2.UnarchiveProjectRequest(project_id=project_id)
        return (await self.channel.call(self.channel.projects.UnarchiveProject, request)).project
