"""The RPCs: judge the request, call the use case, convert the answer."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
from google.api import httpbody_pb2
from splitrail.split.v1 import (
    dataset_pb2,
    dataset_service_pb2_grpc,
    import_service_pb2_grpc,
    split_service_pb2_grpc,
)
from splitrail.split.v1 import (
    dataset_service_pb2 as datasets_pb,
)
from splitrail.split.v1 import (
    import_service_pb2 as imports_pb,
)
from splitrail.split.v1 import (
    split_service_pb2 as splits_pb,
)
from splitrail_common import paging
from splitrail_common.access import Scope, current_call
from splitrail_common.errors import Violation, invalid
from splitrail_common.objects import ObjectStore

from splitrail_split.contents.thumbnails import Thumbnails
from splitrail_split.datasets import convert, validate
from splitrail_split.datasets.service import AssetPage, AssetQuery, Datasets
from splitrail_split.domain.datasets import Asset, asset_key
from splitrail_split.imports.service import Imports
from splitrail_split.splits.service import LeakPage, Splits
from splitrail_split.versions.service import Versions
from splitrail_split.versions.validate import new_dataset

Context = grpc.aio.ServicerContext[Any, Any]

ASSET_URL_LIFETIME = timedelta(minutes=15)
THUMBNAIL_CACHING = "private, max-age=31536000, immutable"
"""A header of the gateway's answer: the address names the content, so it never changes; and only who may see it keeps it."""


def _scope() -> Scope:
    return current_call().scope


class DatasetServicer(dataset_service_pb2_grpc.DatasetServiceServicer):
    """DatasetService."""

    def __init__(self, datasets: Datasets, versions: Versions, thumbnails: Thumbnails, objects: ObjectStore) -> None:
        self._datasets = datasets
        self._versions = versions
        self._thumbnails = thumbnails
        self._objects = objects

    async def CreateDataset(self, request: datasets_pb.CreateDatasetRequest, context: Context) -> datasets_pb.CreateDatasetResponse:
        made = await self._versions.create_dataset(_scope(), new_dataset(request))
        return datasets_pb.CreateDatasetResponse(dataset=convert.dataset(made))

    async def DeleteDataset(self, request: datasets_pb.DeleteDatasetRequest, context: Context) -> datasets_pb.DeleteDatasetResponse:
        await self._versions.delete_dataset(_scope(), validate.uuid("dataset_id", request.dataset_id))
        return datasets_pb.DeleteDatasetResponse()

    async def GetDataset(self, request: datasets_pb.GetDatasetRequest, context: Context) -> datasets_pb.GetDatasetResponse:
        found = await self._datasets.dataset(_scope(), validate.uuid("dataset_id", request.dataset_id))
        return datasets_pb.GetDatasetResponse(dataset=convert.dataset(found))

    async def ListDatasets(self, request: datasets_pb.ListDatasetsRequest, context: Context) -> datasets_pb.ListDatasetsResponse:
        size, before = validate.page_before_id(request)
        project_id = validate.optional_project(request.project_id)
        found = await self._datasets.datasets(
            _scope(), project_id=project_id, name=request.name, external_id=request.external_id, before=before, limit=size + 1
        )
        token = paging.encode([found[size - 1].dataset_id]) if len(found) > size else ""
        return datasets_pb.ListDatasetsResponse(datasets=[convert.dataset(one) for one in found[:size]], next_page_token=token)

    async def GetVersion(self, request: datasets_pb.GetVersionRequest, context: Context) -> datasets_pb.GetVersionResponse:
        dataset_id = validate.optional_uuid("dataset_id", request.dataset_id)
        found = await self._datasets.version(_scope(), dataset_id, validate.uuid("version_id", request.version_id))
        return datasets_pb.GetVersionResponse(version=convert.version(found))

    async def ListVersions(self, request: datasets_pb.ListVersionsRequest, context: Context) -> datasets_pb.ListVersionsResponse:
        size, before = validate.page_before(request)
        found = await self._datasets.versions(_scope(), validate.uuid("dataset_id", request.dataset_id), before, size + 1)
        versions = [convert.version(one) for one in found[:size]]
        count = paging.fitting(versions)
        token = paging.encode([found[count - 1].number]) if len(found) > count else ""
        return datasets_pb.ListVersionsResponse(versions=versions[:count], next_page_token=token)

    async def ResolveVersion(self, request: datasets_pb.ResolveVersionRequest, context: Context) -> datasets_pb.ResolveVersionResponse:
        version, split_id = await self._datasets.resolve(_scope(), validate.project(request.project_id), request.reference)
        return datasets_pb.ResolveVersionResponse(version=convert.version(version), split_id=split_id)

    async def ListAssets(self, request: datasets_pb.ListAssetsRequest, context: Context) -> datasets_pb.ListAssetsResponse:
        size, begun = validate.page_of_assets(request)
        split_id = validate.optional_uuid("split_id", request.split_id)
        query = AssetQuery(
            split_id=begun.split_id if begun else split_id or None,
            part=validate.part("split", request.split),
            class_name=request.class_name,
            label_state=validate.label_state(request.label_state),
            path_prefix=validate.path_prefix(request.path_prefix),
            metadata=validate.metadata_filter(request.metadata),
            annotations=request.include_annotations,
            after=begun.after if begun else -1,
            limit=size,
            group=request.group if request.HasField("group") else None,
            groups=request.include_groups,
        )
        dataset_id = validate.optional_uuid("dataset_id", request.dataset_id)
        version_id = validate.optional_uuid("version_id", request.version_id)
        if begun or version_id:
            version = await self._datasets.version(_scope(), dataset_id, begun.version_id if begun else version_id)
        else:
            version = await self._datasets.newest(_scope(), validate.uuid("dataset_id", dataset_id))
        page = await self._datasets.assets(_scope(), version, query)
        return await asyncio.to_thread(self._page, page, urls=request.include_urls)

    async def GetThumbnail(self, request: datasets_pb.GetThumbnailRequest, context: Context) -> httpbody_pb2.HttpBody:
        dataset_id, sha256 = validate.uuid("dataset_id", request.dataset_id), validate.sha256("sha256", request.sha256)
        made = await self._thumbnails.get(_scope(), dataset_id, sha256)
        await context.send_initial_metadata((("cache-control", THUMBNAIL_CACHING),))
        return httpbody_pb2.HttpBody(content_type="image/jpeg", data=made)

    def _page(self, page: AssetPage, *, urls: bool) -> datasets_pb.ListAssetsResponse:
        """Signing and unpacking a thousand images takes a moment: on a thread."""
        project_id = page.version.project_id
        assets = [
            convert.asset(one, part, self._objects.download_url(asset_key(project_id, one.sha256), ASSET_URL_LIFETIME) if urls else "", group)
            for one, part, group in zip(page.assets, page.parts, page.groups, strict=True)
        ]
        count = paging.fitting(assets)
        key: list[str | int] = [page.version.version_id, page.split_id, page.assets[count - 1].ordinal] if assets else []
        token = paging.encode(key) if page.more or count < len(assets) else ""
        return datasets_pb.ListAssetsResponse(assets=assets[:count], next_page_token=token)


class ImportServicer(import_service_pb2_grpc.ImportServiceServicer):
    """ImportService."""

    def __init__(self, imports: Imports) -> None:
        self._imports = imports

    async def CreateImport(self, request: imports_pb.CreateImportRequest, context: Context) -> imports_pb.CreateImportResponse:
        view = await self._imports.create(
            _scope(),
            validate.project(request.project_id),
            validate.dataset_name(request.dataset_name),
            validate.request_id(request.request_id),
            validate.task(request.task),
        )
        return imports_pb.CreateImportResponse(**{"import": convert.import_(view)})

    async def AddFiles(self, request: imports_pb.AddFilesRequest, context: Context) -> imports_pb.AddFilesResponse:
        import_id, files = validate.uuid("import_id", request.import_id), validate.source_files(request.files)
        uploads = await self._imports.add_files(_scope(), import_id, files, validate.contents(request.files))
        return imports_pb.AddFilesResponse(uploads=[convert.upload(one) for one in uploads])

    async def StartImport(self, request: imports_pb.StartImportRequest, context: Context) -> imports_pb.StartImportResponse:
        import_id, format_number = validate.uuid("import_id", request.import_id), validate.source_format(request.format)
        view = await self._imports.start(_scope(), import_id, format_number, strict=request.strict, dry_run=request.dry_run)
        return imports_pb.StartImportResponse(**{"import": convert.import_(view)})

    async def GetImport(self, request: imports_pb.GetImportRequest, context: Context) -> imports_pb.GetImportResponse:
        view = await self._imports.get(_scope(), validate.uuid("import_id", request.import_id))
        return imports_pb.GetImportResponse(**{"import": convert.import_(view)})

    async def WatchImport(self, request: imports_pb.WatchImportRequest, context: Context) -> AsyncIterator[imports_pb.WatchImportResponse]:
        async for view in self._imports.watch(_scope(), validate.uuid("import_id", request.import_id)):
            yield imports_pb.WatchImportResponse(**{"import": convert.import_(view)})

    async def ListProblems(self, request: imports_pb.ListProblemsRequest, context: Context) -> imports_pb.ListProblemsResponse:
        size, after = validate.page_after(request, first=0)
        found = await self._imports.problems(_scope(), validate.uuid("import_id", request.import_id), after, size + 1)
        token = paging.encode([found[size - 1][0]]) if len(found) > size else ""
        return imports_pb.ListProblemsResponse(problems=[convert.problem(one) for _, one in found[:size]], next_page_token=token)


class SplitServicer(split_service_pb2_grpc.SplitServiceServicer):
    """SplitService."""

    def __init__(self, splits: Splits, objects: ObjectStore) -> None:
        self._splits = splits
        self._objects = objects

    async def CreateSplit(self, request: splits_pb.CreateSplitRequest, context: Context) -> splits_pb.CreateSplitResponse:
        revision = await self._splits.create(
            _scope(),
            validate.optional_uuid("dataset_id", request.dataset_id),
            validate.uuid("version_id", request.version_id),
            validate.split_parameters(request.parameters),
            validate.request_id(request.request_id),
            keep_current=request.keep_current,
        )
        return splits_pb.CreateSplitResponse(split=convert.revision(revision))

    async def PreviewSplit(self, request: splits_pb.PreviewSplitRequest, context: Context) -> splits_pb.PreviewSplitResponse:
        version, made = await self._splits.preview(
            _scope(),
            validate.optional_uuid("dataset_id", request.dataset_id),
            validate.uuid("version_id", request.version_id),
            validate.split_parameters(request.parameters),
        )
        return splits_pb.PreviewSplitResponse(split=convert.preview(version, made))

    async def CompareSplits(self, request: splits_pb.CompareSplitsRequest, context: Context) -> splits_pb.CompareSplitsResponse:
        size, after = validate.page_after(request, first=-1)
        split_id, before = validate.uuid("split_id", request.split_id), validate.uuid("before_split_id", request.before_split_id)
        found = await self._splits.compare(_scope(), split_id, before, after, size)
        return convert.comparison(found)

    async def FindLeaks(self, request: splits_pb.FindLeaksRequest, context: Context) -> splits_pb.FindLeaksResponse:
        size, after = validate.page_after(request, first=0)
        page = await self._splits.leaks(_scope(), validate.uuid("split_id", request.split_id), validate.max_distance(request), after, size)
        return await asyncio.to_thread(self._leaks, page, after)

    def _leaks(self, page: LeakPage, after: int) -> splits_pb.FindLeaksResponse:
        """Signing takes a moment: on a thread."""

        def shown(asset: Asset) -> dataset_pb2.Asset:
            url = self._objects.download_url(asset_key(page.project_id, asset.sha256), ASSET_URL_LIFETIME)
            return convert.asset(asset, int(page.vector[asset.ordinal]), url)

        found = [splits_pb.Leak(first=shown(first), second=shown(second), distance=distance) for first, second, distance in page.pairs]
        count = paging.fitting(found)
        token = paging.encode([after + count]) if page.more or count < len(found) else ""
        return splits_pb.FindLeaksResponse(leaks=found[:count], next_page_token=token)

    async def GetSplit(self, request: splits_pb.GetSplitRequest, context: Context) -> splits_pb.GetSplitResponse:
        dataset_id = validate.optional_uuid("dataset_id", request.dataset_id)
        if request.split_id:
            revision = await self._splits.get(_scope(), validate.uuid("split_id", request.split_id))
        else:
            revision = await self._splits.current(_scope(), dataset_id, validate.uuid("version_id", request.version_id))
        return splits_pb.GetSplitResponse(split=convert.revision(revision))

    async def ListSplits(self, request: splits_pb.ListSplitsRequest, context: Context) -> splits_pb.ListSplitsResponse:
        size, before = validate.page_before(request)
        dataset_id = validate.optional_uuid("dataset_id", request.dataset_id)
        found = await self._splits.of_version(_scope(), dataset_id, validate.uuid("version_id", request.version_id), before, size + 1)
        splits = [convert.revision(one) for one in found[:size]]
        count = paging.fitting(splits)
        token = paging.encode([found[count - 1].number]) if len(found) > count else ""
        return splits_pb.ListSplitsResponse(splits=splits[:count], next_page_token=token)

    async def DeleteSplit(self, request: splits_pb.DeleteSplitRequest, context: Context) -> splits_pb.DeleteSplitResponse:
        await self._splits.delete(_scope(), validate.uuid("split_id", request.split_id))
        return splits_pb.DeleteSplitResponse()

    async def PinSplit(self, request: splits_pb.PinSplitRequest, context: Context) -> splits_pb.PinSplitResponse:
        await self._splits.pin(_scope(), validate.uuid("split_id", request.split_id), validate.uuid("job_id", request.job_id))
        return splits_pb.PinSplitResponse()

    async def CheckContamination(self, request: splits_pb.CheckContaminationRequest, context: Context) -> splits_pb.CheckContaminationResponse:
        found = await self._splits.contamination(
            _scope(),
            validate.uuid("split_id", request.split_id),
            validate.required_part("split", request.split),
            validate.uuid("trained_split_id", request.trained_split_id),
        )
        return splits_pb.CheckContaminationResponse(images=found.images, overlap=found.overlap)

    async def StreamManifest(self, request: splits_pb.StreamManifestRequest, context: Context) -> AsyncIterator[splits_pb.StreamManifestResponse]:
        split_id = validate.uuid("split_id", request.split_id)
        parts = sorted({validate.required_part("splits", part) for part in request.splits})
        if not parts:
            raise invalid(Violation("splits", "is empty: name the parts to stage"))
        after = request.after_ordinal if request.HasField("after_ordinal") else -1
        async for message in self._splits.manifest(current_call().caller, _scope(), split_id, parts, after):
            yield message
