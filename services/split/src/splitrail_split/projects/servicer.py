"""ProjectService: call the use case, convert the answer."""

from splitrail.split.v1 import project_service_pb2 as pb
from splitrail.split.v1 import project_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context

from splitrail_split.projects import convert
from splitrail_split.projects.service import Projects


class ProjectServicer(project_service_pb2_grpc.ProjectServiceServicer):
    """ProjectService."""

    def __init__(self, projects: Projects) -> None:
        self._projects = projects

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Context) -> pb.CreateProjectResponse:
        call = current_call()
        made = await self._projects.create(call.scope, convert.new_project(request, call.caller.subject))
        return pb.CreateProjectResponse(project=convert.project(made))

    async def GetProject(self, request: pb.GetProjectRequest, context: Context) -> pb.GetProjectResponse:
        found = await self._projects.get(current_call().scope, request.project_id)
        return pb.GetProjectResponse(project=convert.project(found))

    async def ListProjects(self, request: pb.ListProjectsRequest, context: Context) -> pb.ListProjectsResponse:
        asked = paging.page(request, str)
        found = await self._projects.projects(
            current_call().scope,
            external_id=request.external_id,
            include_archived=request.include_archived,
            after=asked.after[0] if asked.after else None,
            limit=asked.size,
        )
        projects, token = paging.fit(asked, found, convert.project, lambda one: [one.project_id])
        return pb.ListProjectsResponse(projects=projects, next_page_token=token)

    async def ArchiveProject(self, request: pb.ArchiveProjectRequest, context: Context) -> pb.ArchiveProjectResponse:
        found = await self._projects.archive(current_call().scope, request.project_id)
        return pb.ArchiveProjectResponse(project=convert.project(found))

    async def UnarchiveProject(
        self, request: pb.UnarchiveProjectRequest, context: Context
    ) -> pb.UnarchiveProjectResponse:
        found = await self._projects.unarchive(current_call().scope, request.project_id)
        return pb.UnarchiveProjectResponse(project=convert.project(found))
