"""What tests say in many calls, and what a call that fails says."""

import hashlib

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, version_pb2

INVALID, PRECONDITION, NOT_FOUND = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
)
EMPTY, UNLABELLED, LABELLED = (
    dataset_pb2.LABEL_STATE_EMPTY,
    dataset_pb2.LABEL_STATE_UNLABELLED,
    dataset_pb2.LABEL_STATE_LABELLED,
)
TRAIN, VAL, TEST = dataset_pb2.PART_TRAIN, dataset_pb2.PART_VAL, dataset_pb2.PART_TEST


async def _failure(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in rpc_status.from_call(raised.value).details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return raised.value.code(), info, bad


async def refused(call):
    """(code, reason, fields) of a call that fails."""
    code, info, bad = await _failure(call)
    return code, info.reason, [item.field for item in bad.field_violations]


async def refused_with(call):
    """(code, reason, metadata) of a call that fails."""
    code, info, _ = await _failure(call)
    return code, info.reason, dict(info.metadata)


def invalid(*fields: str):
    """What `refused` gives for fields that cannot be meant."""
    return INVALID, "INVALID_FIELD", [*fields]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def box(class_id: int = 0, x: float = 0.5, y: float = 0.5, w: float = 0.2, h: float = 0.2) -> dataset_pb2.Annotation:
    return dataset_pb2.Annotation(class_id=class_id, box=dataset_pb2.Box(center_x=x, center_y=y, width=w, height=h))


def listed(*items: dataset_pb2.Annotation) -> version_pb2.AnnotationList:
    return version_pb2.AnnotationList(items=items)


def columns(place, version_id: str) -> list[tuple]:
    """The packed columns of a version."""
    return place.execute("SELECT name, data FROM version_array WHERE version_id = %s ORDER BY name", version_id)


async def assets_of(api, version, **filters) -> list[dataset_pb2.Asset]:
    """All images of a version that the filters leave, page by page."""
    request = dataset_service_pb2.ListAssetsRequest(
        dataset_id=version.dataset_id, version_id=version.version_id, **filters
    )
    found = []
    while True:
        page = await api.call(api.datasets.ListAssets, request)
        found += page.assets
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
