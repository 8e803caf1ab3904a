"""SplitService: judge the request, call the use case, convert the answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from splitrail.split.v1 import split_service_pb2 as pb
from splitrail.split.v1 import split_service_pb2_grpc
from splitrail_common.access import current_call
from splitrail_common.errors import Violation, invalid

from splitrail_split.requests import fields, pages
from splitrail_split.splits import convert, validate
from splitrail_split.splits.domain import ManifestEnd
from splitrail_split.splits.manifest import Manifests
from splitrail_split.splits.service import Splits

Context = grpc.aio.ServicerContext[Any, Any]


class SplitServicer(split_service_pb2_grpc.SplitServiceServicer):
    """SplitService."""

    def __init__(self, splits: Splits, manifests: Manifests) -> None:
        self._splits = splits
        self._manifests = manifests

    async def CreateSplit(self, request: pb.CreateSplitRequest, context: Context) -> pb.CreateSplitResponse:
        revision = await self._splits.create(
            current_call().scope,
            fields.optional_uuid("dataset_id", request.dataset_id),
            fields.uuid("version_id", request.version_id),
            validate.split_parameters(request.parameters),
            fields.request_id(request.request_id),
            keep_current=request.keep_current,
        )
        return pb.CreateSplitResponse(split=convert.revision(revision))

    async def PreviewSplit(self, request: pb.PreviewSplitRequest, context: Context) -> pb.PreviewSplitResponse:
        version, made = await self._splits.preview(
            current_call().scope,
            fields.optional_uuid("dataset_id", request.dataset_id),
            fields.uuid("version_id", request.version_id),
            validate.split_parameters(request.parameters),
        )
        return pb.PreviewSplitResponse(split=convert.preview(version, made))

    async def CompareSplits(self, request: pb.CompareSplitsRequest, context: Context) -> pb.CompareSplitsResponse:
        size, after = pages.page_after(request, first=-1)
        split_id, before = fields.uuid("split_id", request.split_id), fields.uuid("before_split_id", request.before_split_id)
        found = await self._splits.compare(current_call().scope, split_id, before, after, size)
        keys: list[pages.Key] = [[one.asset.ordinal] for one in found.assets]
        assets, token = pages.fit([convert.moved_asset(one) for one in found.assets], keys, more=found.more)
        return pb.CompareSplitsResponse(moves=convert.moves(found), assets=assets, next_page_token=token)

    async def FindLeaks(self, request: pb.FindLeaksRequest, context: Context) -> pb.FindLeaksResponse:
        size, after = pages.page_after(request, first=0)
        split_id, distance = fields.uuid("split_id", request.split_id), validate.max_distance(request)
        found = await self._splits.leaks(current_call().scope, split_id, distance, after, size)
        keys: list[pages.Key] = [[after + count] for count in range(1, len(found.items) + 1)]
        leaks, token = pages.fit([convert.leak(one) for one in found.items], keys, more=found.more)
        return pb.FindLeaksResponse(leaks=leaks, next_page_token=token)

    async def GetSplit(self, request: pb.GetSplitRequest, context: Context) -> pb.GetSplitResponse:
        dataset_id = fields.optional_uuid("dataset_id", request.dataset_id)
        if request.split_id:
            revision = await self._splits.get(current_call().scope, fields.uuid("split_id", request.split_id))
        else:
            revision = await self._splits.current(current_call().scope, dataset_id, fields.uuid("version_id", request.version_id))
        return pb.GetSplitResponse(split=convert.revision(revision))

    async def ListSplits(self, request: pb.ListSplitsRequest, context: Context) -> pb.ListSplitsResponse:
        size, before = pages.page_before(request)
        dataset_id = fields.optional_uuid("dataset_id", request.dataset_id)
        version_id = fields.uuid("version_id", request.version_id)
        found = await self._splits.of_version(current_call().scope, dataset_id, version_id, before, size)
        splits, token = pages.fit([convert.revision(one) for one in found.items], [[one.number] for one in found.items], more=found.more)
        return pb.ListSplitsResponse(splits=splits, next_page_token=token)

    async def DeleteSplit(self, request: pb.DeleteSplitRequest, context: Context) -> pb.DeleteSplitResponse:
        await self._splits.delete(current_call().scope, fields.uuid("split_id", request.split_id))
        return pb.DeleteSplitResponse()

    async def PinSplit(self, request: pb.PinSplitRequest, context: Context) -> pb.PinSplitResponse:
        await self._splits.pin(current_call().scope, fields.uuid("split_id", request.split_id), fields.uuid("job_id", request.job_id))
        return pb.PinSplitResponse()

    async def CheckContamination(self, request: pb.CheckContaminationRequest, context: Context) -> pb.CheckContaminationResponse:
        found = await self._splits.contamination(
            current_call().scope,
            fields.uuid("split_id", request.split_id),
            fields.required_part("split", request.split),
            fields.uuid("trained_split_id", request.trained_split_id),
        )
        return pb.CheckContaminationResponse(images=found.images, overlap=found.overlap)

    async def StreamManifest(self, request: pb.StreamManifestRequest, context: Context) -> AsyncIterator[pb.StreamManifestResponse]:
        split_id = fields.uuid("split_id", request.split_id)
        parts = sorted({fields.required_part("splits", part) for part in request.splits})
        if not parts:
            raise invalid(Violation("splits", "is empty: name the parts to stage"))
        after = request.after_ordinal if request.HasField("after_ordinal") else -1
        async for found in self._manifests.stream(current_call().caller, current_call().scope, split_id, parts, after):
            if isinstance(found, ManifestEnd):
                yield pb.StreamManifestResponse(end=convert.manifest_end(found))
            else:
                for message in await asyncio.to_thread(convert.manifest_messages, found):
                    yield message
