"""Creates that are sent twice with one request_id: one rule for all of them."""

import asyncio

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from splitrail.split.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    import_service_pb2,
    project_service_pb2,
    split_pb2,
    split_service_pb2,
    version_service_pb2,
)
from splitrail_common.peers import bearer

from .calls import invalid, refused

pytestmark = pytest.mark.integration
RATIOS = split_pb2.SplitParameters(ratios=split_pb2.SplitRatios(train=0.5, val=0.5))


def creates(api, version):
    """(method, request, what it makes, another request with its request_id) of each create."""
    i, d, v, s = import_service_pb2, dataset_service_pb2, version_service_pb2, split_service_pb2
    project, ids = api.place.project, {"dataset_id": version.dataset_id}
    return [
        (
            api.datasets.CreateDataset,
            d.CreateDatasetRequest(project_id=project, name="new", external_id="e", labels={"a": "1"}, request_id="r"),
            lambda response: response.dataset.dataset_id,
            {"labels": {"a": "2"}},
        ),
        (
            api.imports.CreateImport,
            i.CreateImportRequest(project_id=project, dataset_name="new", request_id="r"),
            lambda response: response.dataset_import.import_id,
            {"task": dataset_pb2.TASK_DETECT},
        ),
        (
            api.versions.CreateVersion,
            v.CreateVersionRequest(**ids, class_names=["a"], request_id="r"),
            lambda response: response.version.version_id,
            {"class_names": ["b"]},
        ),
        (
            api.splits.CreateSplit,
            s.CreateSplitRequest(**ids, version_id=version.version_id, parameters=RATIOS, request_id="r"),
            lambda response: response.split.split_id,
            {"keep_current": True},
        ),
    ]


async def test_the_same_request_gives_what_the_first_one_made_also_in_an_archived_project(api, place, cells):
    made = {}
    for method, request, identity, _ in creates(api, cells):
        made[type(request)] = identity(await api.call(method, request))
    await api.call(api.projects.ArchiveProject, project_service_pb2.ArchiveProjectRequest(project_id=place.project))
    for method, request, identity, change in creates(api, cells):
        assert identity(await api.call(method, request)) == made[type(request)]
        request.MergeFrom(type(request)(**change))
        assert await refused(api.call(method, request)) == invalid("request_id")


async def test_a_dataset_that_was_changed_since_is_still_what_the_request_made(api):
    fields = {"external_id": "e", "labels": {"a": "1"}, "request_id": "r"}
    made = await api.dataset(**fields)
    mask = FieldMask(paths=["external_id", "labels"])
    await api.call(
        api.datasets.UpdateDataset,
        dataset_service_pb2.UpdateDatasetRequest(dataset_id=made.dataset_id, update_mask=mask),
    )
    again = await api.dataset(**fields)
    assert (again.dataset_id, again.external_id) == (made.dataset_id, "")


async def test_one_request_id_never_makes_two_projects(api, place):
    requests = [
        project_service_pb2.CreateProjectRequest(project_id=f"lab-{number}", request_id="r") for number in range(6)
    ]
    results = await asyncio.gather(
        *(api.call(api.projects.CreateProject, one) for one in requests), return_exceptions=True
    )
    refusals = [one for one in results if isinstance(one, grpc.aio.AioRpcError)]
    assert len(refusals) == 5
    assert {one.code() for one in refusals} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert place.execute("SELECT count(*) FROM project WHERE project_id LIKE 'lab-%%'") == [(1,)]


async def test_request_ids_of_other_callers_do_not_matter(api):
    for name in ("mine", "yours"):
        caller = api.as_(bearer(api.place.stack.user_token({name: "admin"}, subject=name)))
        request = project_service_pb2.CreateProjectRequest(project_id=name, request_id="1")
        for _ in range(2):
            assert (await caller.call(caller.projects.CreateProject, request)).project.project_id == name
