"""ImportService: check the request, call the use case, convert the answer."""

from collections.abc import AsyncIterator

from splitrail.split.v1 import import_service_pb2 as pb
from splitrail.split.v1 import import_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context
from splitrail_common.repeats import RequestKey

from splitrail_split.contents.convert import upload
from splitrail_split.domain.datasets import Task
from splitrail_split.imports import convert, validate
from splitrail_split.imports.domain import NewImport, StartOptions
from splitrail_split.imports.service import Imports
from splitrail_split.requests import fields, pages


class ImportServicer(import_service_pb2_grpc.ImportServiceServicer):
    """ImportService."""

    def __init__(self, imports: Imports) -> None:
        self._imports = imports

    async def CreateImport(self, request: pb.CreateImportRequest, context: Context) -> pb.CreateImportResponse:
        new = NewImport(
            fields.project(request.project_id),
            request.dataset_name,
            request.task or Task.DETECT,
            RequestKey.of(request),
        )
        view = await self._imports.create(current_call().scope, new)
        return pb.CreateImportResponse(dataset_import=convert.dataset_import(view))

    async def AddFiles(self, request: pb.AddFilesRequest, context: Context) -> pb.AddFilesResponse:
        import_id, files = request.import_id, validate.source_files(request.files)
        uploads = await self._imports.add_files(
            current_call().scope, import_id, files, validate.contents(request.files)
        )
        return pb.AddFilesResponse(uploads=[upload(one) for one in uploads])

    async def StartImport(self, request: pb.StartImportRequest, context: Context) -> pb.StartImportResponse:
        options = StartOptions(convert.source_format(request.format), strict=request.strict, dry_run=request.dry_run)
        view = await self._imports.start(current_call().scope, request.import_id, options)
        return pb.StartImportResponse(dataset_import=convert.dataset_import(view))

    async def GetImport(self, request: pb.GetImportRequest, context: Context) -> pb.GetImportResponse:
        view = await self._imports.get(current_call().scope, request.import_id)
        return pb.GetImportResponse(dataset_import=convert.dataset_import(view))

    async def ListImports(self, request: pb.ListImportsRequest, context: Context) -> pb.ListImportsResponse:
        asked = paging.page(request, str)
        found = await self._imports.imports(
            current_call().scope,
            project_id=request.project_id,
            dataset_name=request.dataset_name,
            state=convert.import_state(request.state),
            before=pages.id_before(asked),
            limit=asked.size,
        )
        imports, token = paging.fit(asked, found, convert.dataset_import, lambda one: [one.found.import_id])
        return pb.ListImportsResponse(dataset_imports=imports, next_page_token=token)

    async def CancelImport(self, request: pb.CancelImportRequest, context: Context) -> pb.CancelImportResponse:
        view = await self._imports.cancel(current_call().scope, request.import_id)
        return pb.CancelImportResponse(dataset_import=convert.dataset_import(view))

    async def WatchImport(
        self, request: pb.WatchImportRequest, context: Context
    ) -> AsyncIterator[pb.WatchImportResponse]:
        async for view in self._imports.watch(current_call().scope, request.import_id):
            yield pb.WatchImportResponse(dataset_import=convert.dataset_import(view))

    async def ListProblems(self, request: pb.ListProblemsRequest, context: Context) -> pb.ListProblemsResponse:
        asked = paging.page(request, int)
        found = await self._imports.problems(
            current_call().scope, request.import_id, pages.number_after(asked, first=0), asked.size
        )
        problems, token = paging.fit(asked, found, lambda one: convert.problem(one[1]), lambda one: [one[0]])
        return pb.ListProblemsResponse(problems=problems, next_page_token=token)
