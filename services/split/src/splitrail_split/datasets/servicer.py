"""DatasetService: check the request, call the use case, convert the answer."""

import asyncio

from google.api import httpbody_pb2
from splitrail.split.v1 import dataset_service_pb2 as pb
from splitrail.split.v1 import dataset_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context

from splitrail_split.datasets import convert, validate
from splitrail_split.datasets.assets import AssetPage, Assets
from splitrail_split.datasets.service import Datasets
from splitrail_split.requests import fields, pages
from splitrail_split.requests.missing import missing

THUMBNAIL_CACHING = "private, max-age=31536000, immutable"
"""A header of the gateway's answer: the address names the content, so it never changes; and only who may see it keeps
it.
"""


class DatasetServicer(dataset_service_pb2_grpc.DatasetServiceServicer):
    """DatasetService."""

    def __init__(self, datasets: Datasets, assets: Assets) -> None:
        self._datasets = datasets
        self._assets = assets

    async def CreateDataset(self, request: pb.CreateDatasetRequest, context: Context) -> pb.CreateDatasetResponse:
        made = await self._datasets.create(current_call().scope, validate.new_dataset(request))
        return pb.CreateDatasetResponse(dataset=convert.dataset(made))

    async def UpdateDataset(self, request: pb.UpdateDatasetRequest, context: Context) -> pb.UpdateDatasetResponse:
        updated = await self._datasets.update(
            current_call().scope, request.dataset_id, validate.dataset_update(request)
        )
        return pb.UpdateDatasetResponse(dataset=convert.dataset(updated))

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Context) -> pb.DeleteDatasetResponse:
        with missing(allowed=request.allow_missing):
            await self._datasets.delete(current_call().scope, request.dataset_id)
        return pb.DeleteDatasetResponse()

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> pb.GetDatasetResponse:
        found = await self._datasets.dataset(current_call().scope, request.dataset_id)
        return pb.GetDatasetResponse(dataset=convert.dataset(found))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:
        asked = paging.page(request, str)
        found = await self._datasets.datasets(
            current_call().scope,
            project_id=request.project_id,
            name=request.name,
            external_id=request.external_id,
            before=pages.id_before(asked),
            limit=asked.size,
        )
        datasets, token = paging.fit(asked, found, convert.dataset, lambda one: [one.dataset_id])
        return pb.ListDatasetsResponse(datasets=datasets, next_page_token=token)

    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        dataset_id = request.dataset_id
        found = await self._datasets.version(current_call().scope, dataset_id, request.version_id)
        return pb.GetVersionResponse(version=convert.version(found))

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Context) -> pb.ListVersionsResponse:
        asked = paging.page(request, int)
        found = await self._datasets.versions(
            current_call().scope, request.dataset_id, pages.number_before(asked), asked.size
        )
        versions, token = paging.fit(asked, found, convert.version, lambda one: [one.number])
        return pb.ListVersionsResponse(versions=versions, next_page_token=token)

    async def ResolveVersion(self, request: pb.ResolveVersionRequest, context: Context) -> pb.ResolveVersionResponse:
        version, split_id = await self._datasets.resolve(
            current_call().scope, fields.project(request.project_id), request.reference
        )
        return pb.ResolveVersionResponse(version=convert.version(version), split_id=split_id)

    async def ListAssets(self, request: pb.ListAssetsRequest, context: Context) -> pb.ListAssetsResponse:
        asked = paging.page(request, str, str, int)
        found = await self._assets.page(current_call().scope, validate.asset_query(request, asked))
        return await asyncio.to_thread(_page, asked, found)

    async def GetThumbnail(self, request: pb.GetThumbnailRequest, context: Context) -> httpbody_pb2.HttpBody:
        dataset_id, sha256 = request.dataset_id, bytes.fromhex(request.sha256)
        made = await self._datasets.thumbnail(current_call().scope, dataset_id, sha256)
        await context.send_initial_metadata((("cache-control", THUMBNAIL_CACHING),))
        return httpbody_pb2.HttpBody(content_type="image/jpeg", data=made)


def _page(asked: paging.PageRequest, found: AssetPage) -> pb.ListAssetsResponse:
    assets, token = paging.fit(
        asked,
        found.assets,
        lambda one: convert.asset(one.asset, one.part, one.url, one.group),
        lambda one: [found.version_id, found.split_id, one.asset.ordinal],
    )
    return pb.ListAssetsResponse(assets=assets, next_page_token=token)
