"""Datasets, their versions and the images in them: plain values."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum

from splitrail_common.annotations import Kind


class Task(IntEnum):
    """What the annotations of a dataset describe. The numbers are stored."""

    DETECT = 1
    SEGMENT = 2
    POSE = 3
    OBB = 4
    CLASSIFY = 5


KINDS = {
    Task.DETECT: Kind.BOX,
    Task.SEGMENT: Kind.POLYGON,
    Task.POSE: Kind.KEYPOINTS,
    Task.OBB: Kind.OBB,
    Task.CLASSIFY: Kind.CLASS,
}
"""The shape of the annotations of each task."""


class VersionState(StrEnum):
    """Whether a version can still change."""

    DRAFT = "DRAFT"
    COMMITTED = "COMMITTED"


EXTENSIONS = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif"}
"""File name extension by the format that the bytes have, whatever the source called them."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A named collection of images with its versions."""

    dataset_id: str
    project_id: str
    name: str
    task: int
    external_id: str
    labels: dict[str, str]
    create_time: datetime
    latest_version: int
    update_count: int

    @property
    def etag(self) -> str:
        """Changes with every update."""
        return str(self.update_count)


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable (once committed) set of images and their annotations."""

    version_id: str
    dataset_id: str
    project_id: str
    dataset_name: str
    number: int
    state: VersionState
    class_names: list[str]
    image_count: int
    object_count: int
    empty_count: int
    unlabelled_count: int
    problem_count: int
    class_images: list[int]
    class_objects: list[int]
    digest: str
    commit_time: datetime | None
    current_split_id: str | None
    class_ids: list[int]
    base_version_id: str | None
    flip_idx: list[int] = field(default_factory=list)
    """For each keypoint, which one it becomes when an image is mirrored; empty when the source did not say."""

    @property
    def reference(self) -> str:
        """`cells@v3`; drafts have no number."""
        return (
            f"{self.dataset_name}@v{self.number}" if self.number else f"{self.dataset_name} (draft {self.version_id})"
        )


@dataclass(frozen=True, slots=True)
class Asset:
    """One image of a version; `annotations` (packed) only when they were asked for."""

    ordinal: int
    sha256: bytes
    path: str
    width: int
    height: int
    size_bytes: int
    format: str
    label_state: int
    external_id: str
    metadata: dict[str, str]
    annotations: bytes | None


@dataclass(frozen=True, slots=True)
class Reference:
    """`cells`, `cells@v3` or `cells@v3#2`; numbers are 0 where nothing was written."""

    name: str
    version: int
    split: int


_REFERENCE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?:@v([1-9]\d{0,8})(?:#([1-9]\d{0,8}))?)?")


def parse_reference(text: str) -> Reference | None:
    """What people write for a version or a split revision; None when it is not that."""
    match = _REFERENCE.fullmatch(text)
    return Reference(match[1], int(match[2] or 0), int(match[3] or 0)) if match else None
