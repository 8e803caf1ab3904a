"""ExportService: check the request, call the use case, convert the answer."""

import asyncio
from collections.abc import AsyncIterator

from splitrail.split.v1 import export_service_pb2 as pb
from splitrail.split.v1 import export_service_pb2_grpc
from splitrail_common.access import current_call
from splitrail_common.boundary import Context

from splitrail_split.exports import validate
from splitrail_split.exports.convert import Messages
from splitrail_split.exports.service import Exports


class ExportServicer(export_service_pb2_grpc.ExportServiceServicer):
    """ExportService."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    async def ExportVersion(
        self, request: pb.ExportVersionRequest, context: Context
    ) -> AsyncIterator[pb.ExportVersionResponse]:
        messages = Messages()
        async for items in self._exports.stream(current_call().scope, validate.export_request(request)):
            for message in await asyncio.to_thread(messages.take, items):
                yield message
