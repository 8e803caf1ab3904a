"""Projects: made, listed, archived; and what an archived one refuses."""

import asyncio

import grpc
import pytest
from splitrail.internal.split.v1 import staging_service_pb2
from splitrail.split.v1 import (
    dataset_service_pb2,
    export_service_pb2,
    export_service_pb2_grpc,
    project_service_pb2,
    split_pb2,
    split_service_pb2,
    version_service_pb2,
)
from splitrail_common.ids import new_id

from .calls import PRECONDITION, invalid, refused

pytestmark = pytest.mark.integration
pb = project_service_pb2
DENIED = grpc.StatusCode.PERMISSION_DENIED
NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXISTS = grpc.StatusCode.ALREADY_EXISTS
RATIOS = split_pb2.SplitParameters(ratios=split_pb2.SplitRatios(train=0.5, val=0.5))


async def create(api, project_id, **fields):
    return (
        await api.call(api.projects.CreateProject, pb.CreateProjectRequest(project_id=project_id, **fields))
    ).project


async def ids(api, **fields):
    """Of all projects that are listed, page by page."""
    found, token = [], ""
    while True:
        page = await api.call(
            api.projects.ListProjects, pb.ListProjectsRequest(page_size=2, page_token=token, **fields)
        )
        found += [one.project_id for one in page.projects]
        token = page.next_page_token
        if not token:
            return found


async def test_a_project_is_made_found_and_listed(api, place):
    made = await create(api, "b-lab", external_id="crm/7", labels={"team": "vision"}, request_id="r1")
    assert (made.project_id, made.external_id, dict(made.labels)) == ("b-lab", "crm/7", {"team": "vision"})
    assert made.HasField("create_time")
    assert not made.HasField("archive_time")
    assert await create(api, "b-lab", external_id="crm/7", labels={"team": "vision"}, request_id="r1") == made
    assert (await api.call(api.projects.GetProject, pb.GetProjectRequest(project_id="b-lab"))).project == made
    await create(api, "a-lab")
    assert await ids(api) == sorted(["default", place.project, "a-lab", "b-lab"])
    assert await ids(api, external_id="crm/7") == ["b-lab"]
    assert await ids(api.as_user(**{"a-lab": "viewer", "gone": "viewer"})) == ["a-lab"]


async def test_what_is_taken(api):
    await create(api, "lab", external_id="x", request_id="r1")
    assert await refused(create(api, "lab")) == (EXISTS, "ALREADY_EXISTS", ["project_id"])
    assert await refused(create(api, "lab2", external_id="x")) == (EXISTS, "ALREADY_EXISTS", ["external_id"])
    assert await refused(create(api, "lab2", request_id="r1")) == invalid("request_id")
    assert await refused(create(api, "lab", external_id="y", request_id="r1")) == invalid("request_id")
    assert await refused(create(api, "lab2", labels={"k" * 129: ""})) == invalid(f"labels[{'k' * 100}]")
    made = await asyncio.gather(*(create(api, "twice", external_id="t", request_id="r2") for _ in range(8)))
    assert len({one.SerializeToString(deterministic=True) for one in made}) == 1


async def test_who_may_make_a_project(api):
    assert (await create(api.as_user(mine="admin"), "mine")).project_id == "mine"
    assert (await refused(create(api.as_user(mine="admin"), "other")))[:2] == (DENIED, "ROLE_MISSING")
    assert (await refused(create(api.as_user(other="editor"), "other")))[:2] == (DENIED, "ROLE_MISSING")


async def test_an_archived_project_can_only_be_read(api, place, sources):
    version = (await api.bring(sources.yolo(8))).version
    split = await api.split(version.version_id)
    draft = await api.draft(version.dataset_id, base_version_id=version.version_id)
    opened = await api.open("others")
    project = pb.ArchiveProjectRequest(project_id=place.project)
    archived = (await api.call(api.projects.ArchiveProject, project)).project
    assert archived.HasField("archive_time")
    assert (await api.call(api.projects.ArchiveProject, project)).project == archived
    assert place.project not in await ids(api)
    assert place.project in await ids(api, include_archived=True)
    d, s = dataset_service_pb2, split_service_pb2
    changes = {
        "CreateDataset": api.dataset("new"),
        "UpdateDataset": api.call(
            api.datasets.UpdateDataset,
            d.UpdateDatasetRequest(dataset_id=version.dataset_id, update_mask={"paths": ["external_id"]}),
        ),
        "DeleteDataset": api.call(api.datasets.DeleteDataset, d.DeleteDatasetRequest(dataset_id=version.dataset_id)),
        "CreateImport": api.open("more"),
        "AddFiles": api.announce(opened.import_id, {"a.jpg": b"x"}),
        "StartImport": api.start(opened.import_id),
        "CheckAssets": api.check([b"x"]),
        "CreateVersion": api.draft(version.dataset_id),
        "UpsertAssets": api.upsert(draft.version_id, {"path": "a.jpg"}),
        "DeleteAssets": api.remove(draft.version_id, paths=["a.jpg"]),
        "CommitVersion": api.commit(draft.version_id),
        "DeleteDraft": api.call(
            api.versions.DeleteDraft, version_service_pb2.DeleteDraftRequest(version_id=draft.version_id)
        ),
        "DeleteVersion": api.call(
            api.versions.DeleteVersion, version_service_pb2.DeleteVersionRequest(version_id=version.version_id)
        ),
        "CreateSplit": api.split(version.version_id),
        "DeleteSplit": api.call(api.splits.DeleteSplit, s.DeleteSplitRequest(split_id=split.split_id)),
        "PinSplit": api.as_service().call(
            api.staging.PinSplit, staging_service_pb2.PinSplitRequest(split_id=split.split_id, job_id=new_id())
        ),
    }
    found = {name: (await refused(call))[:2] for name, call in changes.items()}
    assert found == dict.fromkeys(changes, (PRECONDITION, "PROJECT_ARCHIVED"))
    assert len(await api.assets(version.version_id)) == 8
    assert (
        await api.call(api.splits.PreviewSplit, s.PreviewSplitRequest(version_id=version.version_id, parameters=RATIOS))
    ).split.digest
    export = export_service_pb2.ExportVersionRequest(version_id=version.version_id)
    assert (
        await export_service_pb2_grpc.ExportServiceStub(api.channel).ExportVersion(export, metadata=api.metadata).read()
    ).start.image_count
    active = (
        await api.call(api.projects.UnarchiveProject, pb.UnarchiveProjectRequest(project_id=place.project))
    ).project
    assert not active.HasField("archive_time")
    assert (await api.dataset("new")).name == "new"
