"""Stateless rules of requests about datasets and images: each breach becomes INVALID_ARGUMENT that names the field."""

from collections.abc import Sequence

from splitrail.split.v1 import dataset_service_pb2
from splitrail_common import paging
from splitrail_common.errors import Violation, invalid
from splitrail_common.repeats import RequestKey

from splitrail_split.datasets.assets import AssetQuery
from splitrail_split.datasets.store import DatasetUpdate, NewDataset
from splitrail_split.domain.datasets import Task
from splitrail_split.domain.paths import MAX_PATH_BYTES
from splitrail_split.requests import fields, pages

_UPDATED = ("external_id", "labels")


def new_dataset(request: dataset_service_pb2.CreateDatasetRequest) -> NewDataset:
    """A dataset to make; boxes are annotated when nothing else is said."""
    return NewDataset(
        project_id=fields.project(request.project_id),
        name=request.name,
        task=request.task or Task.DETECT,
        external_id=request.external_id,
        labels=fields.labels(request.labels),
        key=RequestKey.of(request),
    )


def dataset_update(request: dataset_service_pb2.UpdateDatasetRequest) -> DatasetUpdate:
    """What to change of a dataset: what the update mask names."""
    paths = list(request.update_mask.paths)
    unknown = [path for path in paths if path not in _UPDATED]
    if unknown or not paths:
        named = f"names {unknown[0][:100]!r}" if unknown else "names nothing"
        raise invalid(Violation("update_mask", f"{named}: {' and '.join(_UPDATED)} can be changed"))
    return DatasetUpdate(
        external_id=request.external_id if "external_id" in paths else None,
        labels=fields.labels(request.labels) if "labels" in paths else None,
        etag=request.etag,
        request_id=request.request_id,
    )


def asset_query(request: dataset_service_pb2.ListAssetsRequest, asked: paging.PageRequest) -> AssetQuery:
    """Which images to show. A page token leads on in the version and split that the first page showed, whatever is the
    newest by now.
    """
    begun_version, begun_split = (str(asked.after[0]), str(asked.after[1])) if asked.after else ("", "")
    if not asked.after and not request.version_id and not request.dataset_id:
        raise invalid(Violation("dataset_id", "or version_id is needed"))
    return AssetQuery(
        dataset_id=request.dataset_id,
        version_id=begun_version or request.version_id,
        split_id=begun_split if asked.after else request.split_id or None,
        part=request.split,
        class_name=request.class_name,
        label_state=request.label_state,
        path_prefix=_path_prefix(request.path_prefix),
        metadata=_metadata_filter(request.metadata),
        annotations=request.include_annotations,
        after=pages.number_after(asked, first=-1),
        limit=asked.size,
        group=request.group if request.HasField("group") else None,
        groups=request.include_groups,
        urls=request.include_urls,
    )


def _path_prefix(value: str) -> str:
    """The beginning of paths, as a filter."""
    if len(value.encode()) > MAX_PATH_BYTES:
        raise invalid(Violation("path_prefix", f"at most {MAX_PATH_BYTES} bytes"))
    return value


def _metadata_filter(values: Sequence[str]) -> dict[str, str]:
    """Metadata as a filter, each `key=value`."""
    found: dict[str, str] = {}
    for index, one in enumerate(values):
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise invalid(Violation(f"metadata[{index}]", f"{one[:100]!r} is not of the form key=value"))
        if found.setdefault(key, value) != value:
            raise invalid(Violation(f"metadata[{index}]", f"{key[:100]!r} cannot have two values at once"))
    return found
