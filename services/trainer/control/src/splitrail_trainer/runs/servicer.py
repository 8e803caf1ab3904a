"""RunService: unpack, check, call the use case, convert."""

from splitrail.trainer.v1 import run_service_pb2 as api
from splitrail.trainer.v1 import run_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context
from splitrail_common.ids import DEFAULT_PROJECT

from splitrail_trainer.arguments.servicer import ArgumentRpcs
from splitrail_trainer.models.convert import signed_artifact
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
        asked = paging.page(request, str)
        before = asked.after[0] if asked.after else None
        found = await self._runs.page(current_call().scope, convert.run_filter(request), before, asked.size)
        runs, token = paging.fit(asked, found, convert.run, lambda run: [run.run_id])
        return api.ListRunsResponse(runs=runs, next_page_token=token)

    async def CancelRun(self, request: api.CancelRunRequest, context: Context) -> api.CancelRunResponse:
        run = await self._runs.cancel(current_call().scope, request.run_id)
        return api.CancelRunResponse(run=convert.run(run))

    async def ListArtifacts(self, request: api.ListArtifactsRequest, context: Context) -> api.ListArtifactsResponse:
        asked = paging.page(request, int, str)
        found = await self._runs.artifacts(current_call().scope, request.run_id, asked.after, asked.size)
        artifacts, token = paging.fit(asked, found, signed_artifact, lambda item: item.artifact.place)
        return api.ListArtifactsResponse(artifacts=artifacts, next_page_token=token)
