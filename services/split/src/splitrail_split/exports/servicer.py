"""ExportService: judge the request, call the use case."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from splitrail.split.v1 import export_service_pb2, export_service_pb2_grpc
from splitrail_common.access import current_call

from splitrail_split.exports import validate
from splitrail_split.exports.service import Exports

Context = grpc.aio.ServicerContext[Any, Any]


class ExportServicer(export_service_pb2_grpc.ExportServiceServicer):
    """ExportService."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    async def ExportVersion(
        self, request: export_service_pb2.ExportVersionRequest, context: Context
    ) -> AsyncIterator[export_service_pb2.ExportVersionResponse]:
        async for message in self._exports.stream(current_call().scope, validate.order(request)):
            yield message
