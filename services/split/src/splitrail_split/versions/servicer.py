"""VersionService: judge the request, call the use case, convert the answer."""

import asyncio
from typing import Any

import grpc
from splitrail.split.v1 import version_service_pb2 as pb
from splitrail.split.v1 import version_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import Scope, current_call

from splitrail_split.datasets import convert as common
from splitrail_split.datasets.validate import optional_uuid, page_after, page_before_id, project, request_id, uuid
from splitrail_split.versions import convert, validate
from splitrail_split.versions.comparison import Comparisons, DiffPage, DiffQuery
from splitrail_split.versions.drafts import Draft
from splitrail_split.versions.incoming import Incoming
from splitrail_split.versions.service import Versions

Context = grpc.aio.ServicerContext[Any, Any]


def _scope() -> Scope:
    return current_call().scope


class VersionServicer(version_service_pb2_grpc.VersionServiceServicer):
    """VersionService."""

    def __init__(self, versions: Versions, incoming: Incoming, comparisons: Comparisons) -> None:
        self._versions = versions
        self._incoming = incoming
        self._comparisons = comparisons

    async def _draft(self, dataset_id: str, version_id: str) -> Draft:
        return await self._versions.draft(_scope(), optional_uuid("dataset_id", dataset_id), uuid("version_id", version_id))

    async def CheckAssets(self, request: pb.CheckAssetsRequest, context: Context) -> pb.CheckAssetsResponse:
        sizes = validate.contents(request.contents)
        uploads = await self._incoming.check(_scope(), project(request.project_id), sizes)
        return pb.CheckAssetsResponse(uploads=[common.upload(one) for one in uploads])

    async def CreateVersion(self, request: pb.CreateVersionRequest, context: Context) -> pb.CreateVersionResponse:
        base_version_id = optional_uuid("base_version_id", request.base_version_id)
        names = validate.class_names(request.class_names, has_base=bool(base_version_id))
        dataset_id = uuid("dataset_id", request.dataset_id)
        version = await self._versions.begin(_scope(), dataset_id, base_version_id, names, request_id(request.request_id))
        return pb.CreateVersionResponse(version=common.version(version))

    async def ListDrafts(self, request: pb.ListDraftsRequest, context: Context) -> pb.ListDraftsResponse:
        size, before = page_before_id(request)
        found = await self._versions.drafts(_scope(), uuid("dataset_id", request.dataset_id), before, size + 1)
        drafts = [convert.draft(one) for one in found[:size]]
        count = paging.fitting(drafts)
        token = paging.encode([found[count - 1].version_id]) if len(found) > count else ""
        return pb.ListDraftsResponse(drafts=drafts[:count], next_page_token=token)

    async def UpsertAssets(self, request: pb.UpsertAssetsRequest, context: Context) -> pb.UpsertAssetsResponse:
        draft = await self._draft(request.dataset_id, request.version_id)
        upserts = await asyncio.to_thread(validate.upserts, request.assets, draft)
        done = await self._versions.upsert(_scope(), draft, upserts)
        return pb.UpsertAssetsResponse(
            added_count=done.added,
            changed_count=done.changed,
            unchanged_count=done.unchanged,
            version=common.version(done.draft.as_version()),
        )

    async def DeleteAssets(self, request: pb.DeleteAssetsRequest, context: Context) -> pb.DeleteAssetsResponse:
        external_ids, paths = validate.deletions(request)
        draft = await self._draft(request.dataset_id, request.version_id)
        count, draft = await self._versions.remove(_scope(), draft, external_ids, paths)
        return pb.DeleteAssetsResponse(deleted_count=count, version=common.version(draft.as_version()))

    async def UpdateClasses(self, request: pb.UpdateClassesRequest, context: Context) -> pb.UpdateClassesResponse:
        changes = validate.class_changes(request.changes)
        draft = await self._versions.update_classes(_scope(), await self._draft(request.dataset_id, request.version_id), changes)
        return pb.UpdateClassesResponse(version=common.version(draft.as_version()), classes=convert.draft_classes(draft.classes))

    async def CommitVersion(self, request: pb.CommitVersionRequest, context: Context) -> pb.CommitVersionResponse:
        version = await self._versions.commit(
            _scope(),
            optional_uuid("dataset_id", request.dataset_id),
            uuid("version_id", request.version_id),
            optional_uuid("expected_base_version_id", request.expected_base_version_id),
        )
        return pb.CommitVersionResponse(version=common.version(version))

    async def DiffVersions(self, request: pb.DiffVersionsRequest, context: Context) -> pb.DiffVersionsResponse:
        size, start = page_after(request, first=0)
        query = DiffQuery(
            dataset_id=optional_uuid("dataset_id", request.dataset_id),
            version_id=uuid("version_id", request.version_id),
            other_version_id=optional_uuid("other_version_id", request.other_version_id),
            kind=validate.difference_kind(request.kind),
            annotations=request.include_annotations,
            start=start,
            limit=size,
        )
        page = await self._comparisons.diff(_scope(), query)
        return await asyncio.to_thread(self._differences, page, start)

    def _differences(self, page: DiffPage, start: int) -> pb.DiffVersionsResponse:
        """Unpacking annotations takes a moment: on a thread."""
        assets = [convert.asset_difference(one) for one in page.assets]
        count = paging.fitting(assets)
        following = start + (count if count < len(assets) else page.size)
        token = paging.encode([following]) if page.more or count < len(assets) else ""
        return pb.DiffVersionsResponse(
            counts=convert.counts(page.counts),
            classes=convert.class_differences(page.classes),
            assets=assets[:count],
            next_page_token=token,
        )

    async def DeleteDraft(self, request: pb.DeleteDraftRequest, context: Context) -> pb.DeleteDraftResponse:
        dataset_id, version_id = optional_uuid("dataset_id", request.dataset_id), uuid("version_id", request.version_id)
        await self._versions.delete_draft(_scope(), dataset_id, version_id)
        return pb.DeleteDraftResponse()

    async def DeleteVersion(self, request: pb.DeleteVersionRequest, context: Context) -> pb.DeleteVersionResponse:
        dataset_id, version_id = optional_uuid("dataset_id", request.dataset_id), uuid("version_id", request.version_id)
        await self._versions.delete_version(_scope(), dataset_id, version_id)
        return pb.DeleteVersionResponse()
