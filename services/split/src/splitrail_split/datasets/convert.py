"""Datasets, versions and images as protos. The other direction is in validate.py, where requests are checked."""

from collections.abc import Sequence

from splitrail.split.v1 import dataset_pb2
from splitrail_common import annotations

from splitrail_split.contents.convert import timestamp
from splitrail_split.domain.datasets import Asset, Dataset, Task, Version
from splitrail_split.domain.parts import PART_NAMES

PARTS = (dataset_pb2.PART_UNSPECIFIED, *(dataset_pb2.Part.Value(f"PART_{name.upper()}") for name in PART_NAMES))
"""A part by the number that split vectors have for it."""
_LABEL_STATES = {state: dataset_pb2.LabelState.Value(f"LABEL_STATE_{state.name}") for state in annotations.LabelState}
_VISIBILITIES = (dataset_pb2.VISIBILITY_NOT_LABELLED, dataset_pb2.VISIBILITY_HIDDEN, dataset_pb2.VISIBILITY_VISIBLE)
"""By COCO's number."""


def dataset(found: Dataset) -> dataset_pb2.Dataset:
    """A dataset."""
    return dataset_pb2.Dataset(
        dataset_id=found.dataset_id,
        project_id=found.project_id,
        name=found.name,
        task=dataset_pb2.Task.Value(f"TASK_{Task(found.task).name}"),
        external_id=found.external_id,
        labels=found.labels,
        create_time=timestamp(found.create_time),
        latest_version=found.latest_version,
        etag=found.etag,
    )


def version(found: Version) -> dataset_pb2.DatasetVersion:
    """A version with its counts."""
    counts = zip(found.class_names, found.class_images, found.class_objects, strict=True)
    return dataset_pb2.DatasetVersion(
        version_id=found.version_id,
        dataset_id=found.dataset_id,
        project_id=found.project_id,
        number=found.number,
        state=dataset_pb2.VersionState.Value(f"VERSION_STATE_{found.state}"),
        class_names=found.class_names,
        image_count=found.image_count,
        object_count=found.object_count,
        digest=found.digest,
        commit_time=timestamp(found.commit_time),
        class_counts=[
            dataset_pb2.ClassCount(class_name=name, images=images, objects=objects) for name, images, objects in counts
        ],
        empty_count=found.empty_count,
        unlabelled_count=found.unlabelled_count,
        problem_count=found.problem_count,
        current_split_id=found.current_split_id or "",
        dataset_name=found.dataset_name,
        class_ids=found.class_ids,
        base_version_id=found.base_version_id or "",
        flip_idx=found.flip_idx,
    )


def asset(found: Asset, part: int, url: str, group: int | None = None) -> dataset_pb2.Asset:
    """An image; annotations when it carries them, the group when it is known. Unpacking those of a thousand images
    takes a moment: on a thread.
    """
    return dataset_pb2.Asset(
        ordinal=found.ordinal,
        sha256=found.sha256.hex(),
        path=found.path,
        width=found.width,
        height=found.height,
        size_bytes=found.size_bytes,
        label_state=_LABEL_STATES[annotations.LabelState(found.label_state)],
        part=PARTS[part],
        annotations=[_annotation(one) for one in annotations.unpack(found.annotations)]
        if found.annotations is not None
        else (),
        url=url,
        external_id=found.external_id,
        metadata=found.metadata,
        group=group,
    )


def _annotation(one: annotations.Annotation) -> dataset_pb2.Annotation:
    made = dataset_pb2.Annotation(class_id=one.class_id)
    match one.kind:
        case annotations.Kind.BOX:
            made.box.CopyFrom(_box(one.values))
        case annotations.Kind.POLYGON:
            made.polygon.CopyFrom(dataset_pb2.Polygon(points=_points(one.values)))
        case annotations.Kind.OBB:
            made.oriented_box.CopyFrom(dataset_pb2.OrientedBox(corners=_points(one.values)))
        case annotations.Kind.KEYPOINTS:
            made.keypoints.CopyFrom(dataset_pb2.Keypoints(box=_box(one.values[:4]), points=_keypoints(one.values[4:])))
        case annotations.Kind.CLASS:
            pass  # no shape: the whole image
    return made


def _box(values: Sequence[int]) -> dataset_pb2.Box:
    x, y, width, height = (value / annotations.SCALE for value in values)
    return dataset_pb2.Box(center_x=x, center_y=y, width=width, height=height)


def _points(values: Sequence[int]) -> list[dataset_pb2.Point]:
    return [
        dataset_pb2.Point(x=x / annotations.SCALE, y=y / annotations.SCALE)
        for x, y in zip(values[0::2], values[1::2], strict=True)
    ]


def _keypoints(values: Sequence[int]) -> list[dataset_pb2.Keypoint]:
    triples = zip(values[0::3], values[1::3], values[2::3], strict=True)
    return [
        dataset_pb2.Keypoint(point=_points((x, y))[0], visibility=_VISIBILITIES[visibility])
        for x, y, visibility in triples
    ]
