"""ImportService: judge the request, call the use case, convert the answer."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from splitrail.split.v1 import import_service_pb2 as pb
from splitrail.split.v1 import import_service_pb2_grpc
from splitrail_common.access import current_call

from splitrail_split.contents.convert import upload
from splitrail_split.datasets.validate import task
from splitrail_split.imports import convert, validate
from splitrail_split.imports.service import Imports
from splitrail_split.requests import fields, pages

Context = grpc.aio.ServicerContext[Any, Any]


class ImportServicer(import_service_pb2_grpc.ImportServiceServicer):
    """ImportService."""

    def __init__(self, imports: Imports) -> None:
        self._imports = imports

    async def CreateImport(self, request: pb.CreateImportRequest, context: Context) -> pb.CreateImportResponse:
        view = await self._imports.create(
            current_call().scope,
            fields.project(request.project_id),
            fields.dataset_name(request.dataset_name),
            fields.request_id(request.request_id),
            task(request.task),
        )
        return pb.CreateImportResponse(**{"import": convert.import_(view)})

    async def AddFiles(self, request: pb.AddFilesRequest, context: Context) -> pb.AddFilesResponse:
        import_id, files = fields.uuid("import_id", request.import_id), validate.source_files(request.files)
        uploads = await self._imports.add_files(current_call().scope, import_id, files, validate.contents(request.files))
        return pb.AddFilesResponse(uploads=[upload(one) for one in uploads])

    async def StartImport(self, request: pb.StartImportRequest, context: Context) -> pb.StartImportResponse:
        import_id, format_ = fields.uuid("import_id", request.import_id), validate.source_format(request.format)
        view = await self._imports.start(current_call().scope, import_id, format_, strict=request.strict, dry_run=request.dry_run)
        return pb.StartImportResponse(**{"import": convert.import_(view)})

    async def GetImport(self, request: pb.GetImportRequest, context: Context) -> pb.GetImportResponse:
        view = await self._imports.get(current_call().scope, fields.uuid("import_id", request.import_id))
        return pb.GetImportResponse(**{"import": convert.import_(view)})

    async def WatchImport(self, request: pb.WatchImportRequest, context: Context) -> AsyncIterator[pb.WatchImportResponse]:
        async for view in self._imports.watch(current_call().scope, fields.uuid("import_id", request.import_id)):
            yield pb.WatchImportResponse(**{"import": convert.import_(view)})

    async def ListProblems(self, request: pb.ListProblemsRequest, context: Context) -> pb.ListProblemsResponse:
        size, after = pages.page_after(request, first=0)
        found = await self._imports.problems(current_call().scope, fields.uuid("import_id", request.import_id), after, size)
        keys: list[pages.Key] = [[number] for number, _ in found.items]
        problems, token = pages.fit([convert.problem(one) for _, one in found.items], keys, more=found.more)
        return pb.ListProblemsResponse(problems=problems, next_page_token=token)
