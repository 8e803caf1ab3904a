"""RunService: unpack, check, call the use case, convert."""

from splitrail.trainer.v1 import run_service_pb2 as api
from splitrail.trainer.v1 import run_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context
from splitrail_common.ids import DEFAULT_PROJECT

from splitrail_trainer.arguments.servicer import ArgumentRpcs
from splitrail_trainer.models.convert import artifact
from splitrail_trainer.runs import convert, validate
from splitrail_trainer.runs.service import Runs


class RunServicer(ArgumentRpcs, run_service_pb2_grpc.RunServiceServicer):
    """RunService; the RPC about arguments is in their wing."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def CreateRun(self, request: api.CreateRunRequest, context: Context) -> api.CreateRunResponse:
        wanted = convert.run_request(request)
        resolved = validate.run_request(wanted)
        run = await self._runs.create(current_call(), wanted, resolved.arguments)
        return api.CreateRunResponse(run=convert.run(run), warnings=resolved.warnings)

    async def GetRun(self, request: api.GetRunRequest, context: Context) -> api.GetRunResponse:
        run = await self._runs.get(current_call().scope, request.run_id)
        return api.GetRunResponse(run=convert.run(run))

    async def ResolveRun(self, request: api.ResolveRunRequest, context: Context) -> api.ResolveRunResponse:
        project_id, reference = request.project_id or DEFAULT_PROJECT, validate.reference(request.reference)
        run = await self._runs.resolve(current_call().scope, project_id, reference)
        return api.ResolveRunResponse(run=convert.run(run))

    async def ListRuns(self, request: api.ListRunsRequest, context: Context) -> api.ListRunsResponse:
        page = paging.page(request, str)
        before = page.after[0] if page.after else None
        found = await self._runs.page(current_call().scope, convert.run_filter(request), before, page.size + 1)
        made = [convert.run(run) for run in found[: page.size]]
        count, token = page.cut(found, made, lambda run: [run.run_id])
        return api.ListRunsResponse(runs=made[:count], next_page_token=token)

    async def CancelRun(self, request: api.CancelRunRequest, context: Context) -> api.CancelRunResponse:
        run = await self._runs.cancel(current_call().scope, request.run_id)
        return api.CancelRunResponse(run=convert.run(run))

    async def ListArtifacts(self, request: api.ListArtifactsRequest, context: Context) -> api.ListArtifactsResponse:
        page = paging.page(request, int, str)
        found = await self._runs.artifacts(current_call().scope, request.run_id, page.after, page.size + 1)
        made = [artifact(item, self._runs.sign) for item in found[: page.size]]
        count, token = page.cut(found, made, lambda item: item.place)
        return api.ListArtifactsResponse(artifacts=made[:count], next_page_token=token)
