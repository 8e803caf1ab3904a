"""What the split service knows of: plain values, without I/O or protos. Numbers of enums are those of the protos and are stored."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

from splitrail_common.annotations import Kind

from splitrail_split.formats import Format, spot


class Task(IntEnum):
    """What the annotations of a dataset describe."""

    DETECT = 1
    SEGMENT = 2
    POSE = 3
    OBB = 4
    CLASSIFY = 5


KINDS = {Task.DETECT: Kind.BOX, Task.SEGMENT: Kind.POLYGON, Task.POSE: Kind.KEYPOINTS, Task.OBB: Kind.OBB, Task.CLASSIFY: Kind.CLASS}
"""The shape of the annotations of each task."""


class VersionState(IntEnum):
    """Whether a version can still change."""

    DRAFT = 1
    COMMITTED = 2


class ImportState(IntEnum):
    """Life of an import."""

    OPEN = 1
    QUEUED = 2
    RUNNING = 3
    SUCCEEDED = 4
    FAILED = 5

    @property
    def ended(self) -> bool:
        """True when it will not change any more."""
        return self in (ImportState.SUCCEEDED, ImportState.FAILED)


FORMAT_NUMBERS = {Format.YOLO: 1, Format.VOC: 2, Format.COCO: 3, Format.CVAT: 4, Format.LABEL_STUDIO: 5, Format.CSV: 6}
FORMATS = {number: name for name, number in FORMAT_NUMBERS.items()}

PART_NAMES = ("train", "val", "test")
"""Value of a split vector - 1 -> name of the part; 0 in a vector is "in no part"."""
PARTS = {name: number for number, name in enumerate(PART_NAMES, start=1)}

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


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable (once committed) set of images and their annotations."""

    version_id: str
    dataset_id: str
    project_id: str
    dataset_name: str
    number: int
    state: int
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
    """For each keypoint, which one it becomes when an image is mirrored; empty when nobody has said."""

    @property
    def reference(self) -> str:
        """`cells@v3`; drafts have no number."""
        return f"{self.dataset_name}@v{self.number}" if self.number else f"{self.dataset_name} (draft {self.version_id})"


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


class Method(StrEnum):
    """How the images of a split that nothing else decides are placed."""

    STRATIFIED = "stratified"
    RANDOM = "random"
    HASH = "hash"
    IMPORTED = "imported"
    """As the source had them: only imports make such a revision."""


class GroupKind(StrEnum):
    """What makes images one group."""

    METADATA = "metadata"
    FOLDER = "folder"
    FILENAME = "filename"
    NEAR_DUPLICATES = "near_duplicates"


@dataclass(frozen=True, slots=True)
class GroupBy:
    """A rule by which images are grouped. value: the metadata's key, the pattern, or the distance."""

    kind: GroupKind
    value: str | int = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """An image whose part is given; by is sha256, external_id or path."""

    by: str
    value: str
    part: int


@dataclass(frozen=True, slots=True)
class Folds:
    """Fold `index` of `count`."""

    count: int
    index: int


@dataclass(frozen=True, slots=True)
class SplitParameters:
    """How images are assigned. Ratios of train, val and test."""

    ratios: tuple[float, float, float]
    seed: int
    method: Method = Method.STRATIFIED
    group_by: tuple[GroupBy, ...] = ()
    base_split_id: str = ""
    pins: tuple[Pin, ...] = ()
    folds: Folds | None = None

    def to_json(self) -> dict[str, Any]:
        """As stored; the seed as text, because JSON's numbers end at 2**53 for many readers."""
        return {
            "ratios": list(self.ratios),
            "seed": str(self.seed),
            "method": self.method.value,
            "group_by": [[one.kind.value, one.value] for one in self.group_by],
            "base_split_id": self.base_split_id,
            "pins": [[one.by, one.value, one.part] for one in self.pins],
            "folds": [self.folds.count, self.folds.index] if self.folds else None,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "SplitParameters":
        """From `to_json`."""
        train, val, test = stored["ratios"]
        return cls(
            (train, val, test),
            int(stored["seed"]),
            Method(stored["method"]),
            tuple(GroupBy(GroupKind(kind), value) for kind, value in stored["group_by"]),
            stored["base_split_id"],
            tuple(Pin(*one) for one in stored["pins"]),
            Folds(*stored["folds"]) if stored["folds"] else None,
        )


@dataclass(frozen=True, slots=True)
class Revision:
    """A stored split revision. `certificate` is a serialized splitrail.split.v1.SplitCertificate: the contract is its schema."""

    split_id: str
    version_id: str
    dataset_id: str
    project_id: str
    dataset_name: str
    version_number: int
    number: int
    parameters: SplitParameters
    algorithm_version: str
    digest: str
    part_digests: list[str]
    certificate: bytes
    create_time: datetime
    request_id: str

    @property
    def reference(self) -> str:
        """`cells@v3#2`."""
        return f"{self.dataset_name}@v{self.version_number}#{self.number}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What moved between two revisions: images by (part before, part now), and a page of those that moved with their parts before."""

    moves: dict[tuple[int, int], int]
    assets: list[Asset]
    before: list[int]
    now: list[int]
    more: bool


@dataclass(frozen=True, slots=True)
class Import:
    """One transfer of a source into a new version of a dataset."""

    import_id: str
    project_id: str
    dataset_name: str
    task: int
    state: int
    format: int
    strict: bool
    dry_run: bool
    file_count: int
    image_count: int
    processed_count: int
    excluded_count: int
    problem_count: int
    note_count: int
    failure: str
    version_id: str | None
    create_time: datetime


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a source, as announced."""

    path: str
    sha256: bytes
    size_bytes: int
    is_image: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """An import that this process works on until its lease ends."""

    import_id: str
    project_id: str
    dataset_name: str
    task: int
    format: int
    strict: bool
    dry_run: bool
    image_count: int
    claims: int
    owner: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, or a note, of an import's report; `line` and `object` as in `formats.Problem`."""

    path: str
    line: int | None
    code: str
    message: str
    image_excluded: bool
    note: bool
    object: int | None = None

    def __str__(self) -> str:
        return f"{spot(self.path, self.line, self.object)}: {self.message}" if self.path else self.message


@dataclass(frozen=True, slots=True)
class Report:
    """What an import found: as many findings as are kept, and the complete numbers."""

    findings: Sequence[Finding] = field(default_factory=tuple)
    problem_count: int = 0
    note_count: int = 0
    excluded_count: int = 0


@dataclass(frozen=True, slots=True)
class PresignedUpload:
    """Where a client puts one content."""

    sha256: bytes
    url: str
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class ImportView:
    """An import with the version it made and the beginning of its report."""

    found: Import
    version: Version | None
    findings: Sequence[Finding]


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


def asset_key(project_id: str, sha256: bytes) -> str:
    """Where the bytes of a verified image lie."""
    return f"projects/{project_id}/assets/{sha256.hex()}"


def staging_key(project_id: str, sha256: bytes) -> str:
    """Where a client puts bytes that it says have this hash."""
    return f"staging/{project_id}/{sha256.hex()}"
