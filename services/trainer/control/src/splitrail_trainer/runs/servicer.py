"""RunService's RPCs about runs: unpack, check, call the use case, convert."""

from splitrail.trainer.v1 import run_service_pb2
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context

from splitrail_trainer import checks
from splitrail_trainer.checks import Checker, page_key
from splitrail_trainer.models.convert import artifact
from splitrail_trainer.runs import convert, validate
from splitrail_trainer.runs.service import Runs


class RunRpcs:
    """The part of RunService that is about runs."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def CreateRun(self, request: run_service_pb2.CreateRunRequest, context: Context) -> run_service_pb2.CreateRunResponse:
        wanted = convert.run_request(request)
        resolved = validate.run_request(wanted)
        run = await self._runs.create(current_call(), wanted, resolved.arguments)
        return run_service_pb2.CreateRunResponse(run=convert.run(run), warnings=resolved.warnings)

    async def GetRun(self, request: run_service_pb2.GetRunRequest, context: Context) -> run_service_pb2.GetRunResponse:
        run = await self._runs.get(current_call().scope, checks.identifier(request.run_id, "run_id"))
        return run_service_pb2.GetRunResponse(run=convert.run(run))

    async def ResolveRun(self, request: run_service_pb2.ResolveRunRequest, context: Context) -> run_service_pb2.ResolveRunResponse:
        project_id, reference = checks.project(request.project_id), validate.reference(request.reference)
        run = await self._runs.resolve(current_call().scope, project_id, reference)
        return run_service_pb2.ResolveRunResponse(run=convert.run(run))

    async def ListRuns(self, request: run_service_pb2.ListRunsRequest, context: Context) -> run_service_pb2.ListRunsResponse:
        size = paging.page_size(request.page_size)
        check = Checker()
        wanted = convert.run_filter(request, check)
        check.done()
        found = await self._runs.page(current_call().scope, wanted, page_key(request.page_token), size + 1)
        runs = [convert.run(run) for run in found[:size]]
        count = paging.fitting(runs)
        token = paging.encode([runs[count - 1].run_id]) if len(found) > count else ""
        return run_service_pb2.ListRunsResponse(runs=runs[:count], next_page_token=token)

    async def CancelRun(self, request: run_service_pb2.CancelRunRequest, context: Context) -> run_service_pb2.CancelRunResponse:
        run = await self._runs.cancel(current_call().scope, checks.identifier(request.run_id, "run_id"))
        return run_service_pb2.CancelRunResponse(run=convert.run(run))

    async def ListArtifacts(self, request: run_service_pb2.ListArtifactsRequest, context: Context) -> run_service_pb2.ListArtifactsResponse:
        run = await self._runs.get(current_call().scope, checks.identifier(request.run_id, "run_id"))
        files = [artifact(item, self._runs.sign) for item in run.artifacts]
        return run_service_pb2.ListArtifactsResponse(artifacts=sorted(files, key=lambda item: (item.kind, item.name)))
