"""Datasets that callers name, label, change and delete."""

import asyncio

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from splitrail.split.v1 import dataset_service_pb2, split_service_pb2, version_service_pb2
from splitrail_common.ids import new_id

from .calls import NOT_FOUND, invalid, refused, refused_with

pytestmark = pytest.mark.integration
pb = dataset_service_pb2
ABORTED, EXISTS = grpc.StatusCode.ABORTED, grpc.StatusCode.ALREADY_EXISTS


async def update(api, dataset_id, *mask, **fields):
    request = pb.UpdateDatasetRequest(dataset_id=dataset_id, update_mask=FieldMask(paths=mask), **fields)
    return (await api.call(api.datasets.UpdateDataset, request)).dataset


async def test_an_update_changes_what_its_mask_names(api):
    made = await api.dataset(external_id="a", labels={"x": "1"})
    changed = await update(api, made.dataset_id, "labels", external_id="b", labels={"y": "2"}, etag=made.etag)
    assert (changed.external_id, dict(changed.labels)) == ("a", {"y": "2"})
    assert changed.etag != made.etag
    assert (
        await api.call(api.datasets.GetDataset, pb.GetDatasetRequest(dataset_id=made.dataset_id))
    ).dataset == changed
    emptied = await update(api, made.dataset_id, "external_id", "labels")
    assert (emptied.external_id, dict(emptied.labels)) == ("", {})


async def test_an_update_is_refused_when_somebody_was_faster(api):
    made = await api.dataset()
    changed = await update(api, made.dataset_id, "labels", labels={"by": "one"}, etag=made.etag)
    stale = update(api, made.dataset_id, "labels", labels={"by": "another"}, etag=made.etag)
    assert await refused_with(stale) == (ABORTED, "ETAG_MISMATCH", {"etag": changed.etag})
    several = [
        update(api, made.dataset_id, "labels", labels={"by": str(number)}, etag=changed.etag) for number in range(6)
    ]
    results = await asyncio.gather(*several, return_exceptions=True)
    assert sum(not isinstance(one, Exception) for one in results) == 1


async def test_a_repeated_update_is_not_refused_for_the_etag_that_it_changed(api):
    made = await api.dataset()
    request = {"labels": {"a": "1"}, "etag": made.etag, "request_id": "r1"}
    changed = await update(api, made.dataset_id, "labels", **request)
    assert await update(api, made.dataset_id, "labels", **request) == changed
    assert await refused(update(api, made.dataset_id, "labels", **{**request, "labels": {"a": "2"}})) == invalid(
        "request_id"
    )
    await update(api, made.dataset_id, "labels", labels={"b": "3"})
    assert (await refused(update(api, made.dataset_id, "labels", **request)))[:2] == (ABORTED, "ETAG_MISMATCH")


async def test_updates_that_cannot_be(api):
    made, _ = await api.dataset("one"), await api.dataset("two", external_id="taken")
    assert await refused(update(api, made.dataset_id, "external_id", external_id="taken")) == (
        EXISTS,
        "ALREADY_EXISTS",
        ["external_id"],
    )
    assert await refused(update(api, made.dataset_id, "name")) == invalid("update_mask")
    assert await refused(update(api, made.dataset_id)) == invalid("update_mask")
    assert await refused(update(api, made.dataset_id, "labels", labels={"": "x"})) == invalid("labels[]")
    assert (await refused(update(api, new_id(), "labels")))[0] is NOT_FOUND


async def test_a_delete_may_be_repeated(api, cells):
    split = await api.split(cells.version_id)
    draft = await api.draft(cells.dataset_id)
    v = version_service_pb2
    deletes = [
        (api.splits.DeleteSplit, split_service_pb2.DeleteSplitRequest(split_id=split.split_id)),
        (api.versions.DeleteDraft, v.DeleteDraftRequest(version_id=draft.version_id)),
        (api.versions.DeleteVersion, v.DeleteVersionRequest(version_id=cells.version_id)),
        (api.datasets.DeleteDataset, pb.DeleteDatasetRequest(dataset_id=cells.dataset_id)),
    ]
    for method, request in deletes:
        await api.call(method, request)
        assert (await refused(api.call(method, request)))[0] is NOT_FOUND
        request.allow_missing = True
        await api.call(method, request)
        await api.as_user(elsewhere="admin").call(method, request)
