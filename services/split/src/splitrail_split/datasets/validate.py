"""Stateless rules of requests about datasets and images: each breach becomes INVALID_ARGUMENT that names the field."""

from collections.abc import Mapping, Sequence

from splitrail.split.v1 import dataset_pb2, dataset_service_pb2
from splitrail_common import ids, paging
from splitrail_common.errors import Violation, invalid

from splitrail_split.datasets.assets import AssetQuery
from splitrail_split.datasets.store import NewDataset
from splitrail_split.domain.datasets import KINDS, Task
from splitrail_split.domain.paths import MAX_PATH_BYTES
from splitrail_split.requests import fields, pages

MAX_METADATA_FILTERS = 16
MAX_EXTERNAL_ID = 256
MAX_ENTRIES = 64
MAX_KEY = 128
MAX_VALUE = 1024

Problem = tuple[str, str]
"""(field, what is wrong with it)"""


def task(value: int) -> int:
    """What is annotated; boxes when nothing is given."""
    if value and value not in KINDS:
        raise invalid(Violation("task", f"{fields.enum_name(dataset_pb2.Task, value)} is not a task"))
    return value or Task.DETECT


def new_dataset(request: dataset_service_pb2.CreateDatasetRequest) -> NewDataset:
    """A dataset to make."""
    wrong = [*external_id_problem("external_id", request.external_id), *entry_problems("labels", request.labels)]
    if wrong:
        raise invalid(*(Violation(*one) for one in wrong))
    return NewDataset(
        project_id=fields.project(request.project_id),
        name=fields.dataset_name(request.name, field="name"),
        task=task(request.task),
        external_id=request.external_id,
        labels=dict(request.labels),
        request_id=fields.request_id(request.request_id),
    )


def asset_query(request: dataset_service_pb2.ListAssetsRequest) -> AssetQuery:
    """Which images to show. A page token leads on in the version and split that the first page showed, whatever is the newest by now."""
    dataset_id = fields.optional_uuid("dataset_id", request.dataset_id)
    version_id = fields.optional_uuid("version_id", request.version_id)
    split_id = fields.optional_uuid("split_id", request.split_id)
    key = pages.cursor(request, (str, str, int))
    begun_version, begun_split, after = (str(key[0]), str(key[1]), int(key[2])) if key else ("", "", -1)
    if key:
        asked = [(version_id, begun_version), (split_id, begun_split)]
        known = ids.is_uuid(begun_version) and (ids.is_uuid(begun_split) or not begun_split)
        if not known or any(one not in ("", begun) for one, begun in asked):
            raise invalid(Violation("page_token", "not a token of an earlier response to this request"))
    elif not version_id:
        fields.uuid("dataset_id", dataset_id)
    return AssetQuery(
        dataset_id=dataset_id,
        version_id=begun_version or version_id,
        split_id=begun_split if key else split_id or None,
        part=fields.part("split", request.split),
        class_name=request.class_name,
        label_state=_label_state(request.label_state),
        path_prefix=_path_prefix(request.path_prefix),
        metadata=_metadata_filter(request.metadata),
        annotations=request.include_annotations,
        after=after,
        limit=paging.page_size(request.page_size),
        group=request.group if request.HasField("group") else None,
        groups=request.include_groups,
        urls=request.include_urls,
    )


def _label_state(value: int) -> int:
    """A label state as a filter; 0 for all."""
    if value not in dataset_pb2.LabelState.values():
        raise invalid(Violation("label_state", f"{value} is not a label state"))
    return value


def _path_prefix(value: str) -> str:
    """The beginning of paths, as a filter."""
    if len(value.encode()) > MAX_PATH_BYTES or "\0" in value:
        raise invalid(Violation("path_prefix", f"at most {MAX_PATH_BYTES} bytes, none of them NUL"))
    return value


def _metadata_filter(values: Sequence[str]) -> dict[str, str]:
    """Metadata as a filter, each `key=value`."""
    if len(values) > MAX_METADATA_FILTERS:
        raise invalid(Violation("metadata", f"at most {MAX_METADATA_FILTERS}, not {len(values)}"))
    found: dict[str, str] = {}
    for index, one in enumerate(values):
        key, equals, value = one.partition("=")
        if not equals or not key or "\0" in one:
            raise invalid(Violation(f"metadata[{index}]", f"{one[:100]!r} is not of the form key=value"))
        if found.setdefault(key, value) != value:
            raise invalid(Violation(f"metadata[{index}]", f"{key[:100]!r} cannot have two values at once"))
    return found


def external_id_problem(field: str, value: str) -> list[Problem]:
    """What is wrong with a caller's own identifier."""
    if len(value) > MAX_EXTERNAL_ID or "\0" in value:
        return [(field, f"at most {MAX_EXTERNAL_ID} characters, none of them NUL")]
    return []


def entry_problems(field: str, entries: Mapping[str, str]) -> list[Problem]:
    """What is wrong with labels or metadata."""
    if len(entries) > MAX_ENTRIES:
        return [(field, f"at most {MAX_ENTRIES} entries, not {len(entries)}")]
    found = []
    for key, value in entries.items():
        if not 0 < len(key) <= MAX_KEY or "\0" in key:
            found.append((field, f"the key {key[:MAX_KEY]!r} must be 1 to {MAX_KEY} characters, none of them NUL"))
        elif len(value) > MAX_VALUE or "\0" in value:
            found.append((f"{field}[{key}]", f"at most {MAX_VALUE} characters, none of them NUL"))
    return found
