"""VersionService: check the request, call the use case, convert the answer."""

import asyncio

from splitrail.split.v1 import version_service_pb2 as pb
from splitrail.split.v1 import version_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context
from splitrail_common.repeats import RequestKey

from splitrail_split.contents.convert import upload
from splitrail_split.datasets.convert import version as version_proto
from splitrail_split.requests import pages
from splitrail_split.requests.fields import project
from splitrail_split.requests.missing import missing
from splitrail_split.versions import convert, validate
from splitrail_split.versions.comparison import Comparisons, DiffPage, DiffQuery
from splitrail_split.versions.drafts import Draft
from splitrail_split.versions.incoming import Incoming
from splitrail_split.versions.service import Versions


class VersionServicer(version_service_pb2_grpc.VersionServiceServicer):
    """VersionService."""

    def __init__(self, versions: Versions, incoming: Incoming, comparisons: Comparisons) -> None:
        self._versions = versions
        self._incoming = incoming
        self._comparisons = comparisons

    async def _draft(self, dataset_id: str, version_id: str) -> Draft:
        return await self._versions.draft(current_call().scope, dataset_id, version_id)

    async def CheckAssets(self, request: pb.CheckAssetsRequest, context: Context) -> pb.CheckAssetsResponse:
        sizes = validate.contents(request.contents)
        uploads = await self._incoming.check(current_call().scope, project(request.project_id), sizes)
        return pb.CheckAssetsResponse(uploads=[upload(one) for one in uploads])

    async def CreateVersion(self, request: pb.CreateVersionRequest, context: Context) -> pb.CreateVersionResponse:
        names = validate.class_names(request.class_names, has_base=bool(request.base_version_id))
        key = RequestKey.of(request)
        version = await self._versions.begin(
            current_call().scope, request.dataset_id, request.base_version_id, names, key
        )
        return pb.CreateVersionResponse(version=version_proto(version))

    async def ListDrafts(self, request: pb.ListDraftsRequest, context: Context) -> pb.ListDraftsResponse:
        asked = paging.page(request, str)
        found = await self._versions.drafts(
            current_call().scope, request.dataset_id, pages.id_before(asked), asked.size
        )
        drafts, token = paging.fit(asked, found, convert.draft, lambda one: [one.version_id])
        return pb.ListDraftsResponse(drafts=drafts, next_page_token=token)

    async def UpsertAssets(self, request: pb.UpsertAssetsRequest, context: Context) -> pb.UpsertAssetsResponse:
        draft = await self._draft(request.dataset_id, request.version_id)
        upserts = await asyncio.to_thread(validate.upserts, request.assets, draft)
        done = await self._versions.upsert(current_call().scope, draft, upserts)
        return pb.UpsertAssetsResponse(
            added_count=done.added,
            changed_count=done.changed,
            unchanged_count=done.unchanged,
            version=version_proto(done.draft.as_version()),
        )

    async def DeleteAssets(self, request: pb.DeleteAssetsRequest, context: Context) -> pb.DeleteAssetsResponse:
        external_ids, paths = validate.deletions(request)
        draft = await self._draft(request.dataset_id, request.version_id)
        count, draft = await self._versions.remove(current_call().scope, draft, external_ids, paths)
        return pb.DeleteAssetsResponse(deleted_count=count, version=version_proto(draft.as_version()))

    async def UpdateClasses(self, request: pb.UpdateClassesRequest, context: Context) -> pb.UpdateClassesResponse:
        changes = validate.class_changes(request.changes)
        draft = await self._versions.update_classes(
            current_call().scope, await self._draft(request.dataset_id, request.version_id), changes
        )
        return pb.UpdateClassesResponse(
            version=version_proto(draft.as_version()), classes=convert.draft_classes(draft.classes)
        )

    async def CommitVersion(self, request: pb.CommitVersionRequest, context: Context) -> pb.CommitVersionResponse:
        version = await self._versions.commit(
            current_call().scope,
            request.dataset_id,
            request.version_id,
            request.expected_base_version_id,
        )
        return pb.CommitVersionResponse(version=version_proto(version))

    async def DiffVersions(self, request: pb.DiffVersionsRequest, context: Context) -> pb.DiffVersionsResponse:
        asked = paging.page(request, int)
        query = DiffQuery(
            dataset_id=request.dataset_id,
            version_id=request.version_id,
            other_version_id=request.other_version_id,
            kind=request.kind,
            annotations=request.include_annotations,
            start=pages.number_after(asked, first=0),
            limit=asked.size,
        )
        page = await self._comparisons.diff(current_call().scope, query)
        return await asyncio.to_thread(_differences, asked, query, page)

    async def DeleteDraft(self, request: pb.DeleteDraftRequest, context: Context) -> pb.DeleteDraftResponse:
        with missing(allowed=request.allow_missing):
            await self._versions.delete_draft(current_call().scope, request.dataset_id, request.version_id)
        return pb.DeleteDraftResponse()

    async def DeleteVersion(self, request: pb.DeleteVersionRequest, context: Context) -> pb.DeleteVersionResponse:
        with missing(allowed=request.allow_missing):
            await self._versions.delete_version(current_call().scope, request.dataset_id, request.version_id)
        return pb.DeleteVersionResponse()


def _differences(asked: paging.PageRequest, query: DiffQuery, page: DiffPage) -> pb.DiffVersionsResponse:
    """Unpacking annotations takes a moment: on a thread."""
    assets = [convert.asset_difference(one) for one in page.assets]
    count = paging.fitting(assets)
    following = query.start + (count if count < len(assets) else page.size)
    return pb.DiffVersionsResponse(
        counts=convert.counts(page.counts),
        classes=convert.class_differences(page.classes),
        assets=assets[:count],
        next_page_token=asked.token([following]) if page.more or count < len(assets) else "",
    )
