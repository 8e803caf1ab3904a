"""SplitService, and StagingService for the trainer service and its pods: check the request, call the use case, convert
the answer.
"""

import asyncio
from collections.abc import AsyncIterator

from splitrail.internal.split.v1 import staging_service_pb2 as staging_pb
from splitrail.internal.split.v1 import staging_service_pb2_grpc
from splitrail.split.v1 import split_service_pb2 as pb
from splitrail.split.v1 import split_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context
from splitrail_common.repeats import RequestKey

from splitrail_split.requests import fields, pages
from splitrail_split.requests.missing import missing
from splitrail_split.splits import convert, validate
from splitrail_split.splits.domain import ManifestEnd
from splitrail_split.splits.manifest import Manifests
from splitrail_split.splits.service import Splits
from splitrail_split.versions.near import MAX_DISTANCE


class SplitServicer(split_service_pb2_grpc.SplitServiceServicer):
    """SplitService."""

    def __init__(self, splits: Splits) -> None:
        self._splits = splits

    async def CreateSplit(self, request: pb.CreateSplitRequest, context: Context) -> pb.CreateSplitResponse:
        revision = await self._splits.create(
            current_call().scope,
            request.dataset_id,
            request.version_id,
            validate.split_parameters(request.parameters),
            RequestKey.of(request),
            keep_current=request.keep_current,
        )
        return pb.CreateSplitResponse(split=convert.revision(revision))

    async def PreviewSplit(self, request: pb.PreviewSplitRequest, context: Context) -> pb.PreviewSplitResponse:
        version, made = await self._splits.preview(
            current_call().scope,
            request.dataset_id,
            request.version_id,
            validate.split_parameters(request.parameters),
        )
        return pb.PreviewSplitResponse(split=convert.preview(version, made))

    async def CompareSplits(self, request: pb.CompareSplitsRequest, context: Context) -> pb.CompareSplitsResponse:
        asked = paging.page(request, int)
        after = pages.number_after(asked, first=-1)
        found = await self._splits.compare(
            current_call().scope, request.split_id, request.before_split_id, after, asked.size
        )
        assets, token = paging.fit(asked, found.assets, convert.moved_asset, lambda one: [one.asset.ordinal])
        return pb.CompareSplitsResponse(moves=convert.moves(found), assets=assets, next_page_token=token)

    async def FindLeaks(self, request: pb.FindLeaksRequest, context: Context) -> pb.FindLeaksResponse:
        asked = paging.page(request, int)
        distance = request.max_distance if request.HasField("max_distance") else MAX_DISTANCE
        found = await self._splits.leaks(
            current_call().scope, request.split_id, distance, pages.number_after(asked, first=0), asked.size
        )
        leaks, token = paging.fit(asked, found, convert.leak, lambda one: [one.number])
        return pb.FindLeaksResponse(leaks=leaks, next_page_token=token)

    async def GetSplit(self, request: pb.GetSplitRequest, context: Context) -> pb.GetSplitResponse:
        if request.split_id:
            ids = {"dataset_id": request.dataset_id, "version_id": request.version_id}
            revision = await self._splits.get(current_call().scope, request.split_id, **ids)
        else:
            revision = await self._splits.current(
                current_call().scope, request.dataset_id, validate.version_id(request)
            )
        return pb.GetSplitResponse(split=convert.revision(revision))

    async def ListSplits(self, request: pb.ListSplitsRequest, context: Context) -> pb.ListSplitsResponse:
        asked = paging.page(request, int)
        before = pages.number_before(asked)
        found = await self._splits.of_version(
            current_call().scope, request.dataset_id, request.version_id, before, asked.size
        )
        splits, token = paging.fit(asked, found, convert.revision, lambda one: [one.number])
        return pb.ListSplitsResponse(splits=splits, next_page_token=token)

    async def DeleteSplit(self, request: pb.DeleteSplitRequest, context: Context) -> pb.DeleteSplitResponse:
        with missing(allowed=request.allow_missing):
            await self._splits.delete(current_call().scope, request.split_id)
        return pb.DeleteSplitResponse()

    async def CheckContamination(
        self, request: pb.CheckContaminationRequest, context: Context
    ) -> pb.CheckContaminationResponse:
        found = await self._splits.contamination(
            current_call().scope,
            request.split_id,
            request.part,
            request.trained_split_id,
        )
        return pb.CheckContaminationResponse(images=found.images, overlap=found.overlap)


class StagingServicer(staging_service_pb2_grpc.StagingServiceServicer):
    """StagingService."""

    def __init__(self, splits: Splits, manifests: Manifests) -> None:
        self._splits = splits
        self._manifests = manifests

    async def PinSplit(self, request: staging_pb.PinSplitRequest, context: Context) -> staging_pb.PinSplitResponse:
        await self._splits.pin(current_call().scope, request.split_id, request.job_id)
        return staging_pb.PinSplitResponse()

    async def StreamManifest(
        self, request: staging_pb.StreamManifestRequest, context: Context
    ) -> AsyncIterator[staging_pb.StreamManifestResponse]:
        parts = sorted({fields.required_part(f"parts[{index}]", part) for index, part in enumerate(request.parts)})
        after = request.after_ordinal if request.HasField("after_ordinal") else -1
        call = current_call()
        async for found in self._manifests.stream(call.caller, call.scope, request.split_id, parts, after):
            if isinstance(found, ManifestEnd):
                yield staging_pb.StreamManifestResponse(end=convert.manifest_end(found))
            else:
                for message in await asyncio.to_thread(convert.manifest_messages, found):
                    yield message
