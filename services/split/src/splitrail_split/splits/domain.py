"""Split revisions: how they are asked for, what is stored of them, and what their certificates say."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from splitrail_common.paging import Page

from splitrail_split.domain.datasets import Asset


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
class PartSummary:
    """One part of a split (1 train, 2 val, 3 test): its images, objects, images without object, and the images that the
    ratios ask for.
    """

    part: int
    images: int
    objects: int
    background_images: int
    ideal_images: int


@dataclass(frozen=True, slots=True)
class ClassPart:
    """One class in one part.

    ideal_images: the class' images times the ratio. deviation: of the class' share in the part from the ratio.
    expected_half_width: of the 95 % interval of a proportion of so many objects.
    """

    part: int
    images: int
    objects: int
    ideal_images: float
    deviation: float
    expected_half_width: float


@dataclass(frozen=True, slots=True)
class ClassBalance:
    """One class over the parts."""

    class_name: str
    parts: tuple[ClassPart, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a split achieves; the meaning of each field is that of splitrail.split.v1.SplitCertificate."""

    parts: tuple[PartSummary, ...]
    classes: tuple[ClassBalance, ...]
    worst_class: str
    max_deviation: float
    random_max_deviation: float
    max_deviation_images: float
    empty_cells: int
    random_empty_cells: int
    duplicate_pairs: int
    near_duplicate_pairs: tuple[int, ...]
    neighbour_frame_pairs: int
    frame_pairs: int
    group_count: int
    parted_groups: int
    kept_images: int
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MadeRevision:
    """A revision that was worked out and is not stored: it has neither id nor number. vector (N,): the part of each
    image, 0 for none.
    """

    parameters: SplitParameters
    algorithm_version: str
    vector: npt.NDArray[np.uint8]
    digest: str
    part_digests: tuple[str, str, str]
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Revision:
    """A stored split revision."""

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
    part_digests: Sequence[str]
    certificate: Certificate
    create_time: datetime
    request_id: str

    @property
    def reference(self) -> str:
        """`cells@v3#2`."""
        return f"{self.dataset_name}@v{self.version_number}#{self.number}"


@dataclass(frozen=True, slots=True)
class MovedAsset:
    """An image that is in another part than before."""

    asset: Asset
    before: int
    now: int


@dataclass(frozen=True, slots=True)
class SplitComparison:
    """What moved between two revisions: images by (part before, part now), and a page of those that moved."""

    moves: dict[tuple[int, int], int]
    assets: Page[MovedAsset]


@dataclass(frozen=True, slots=True)
class LeakedAsset:
    """An image, its part and its address."""

    asset: Asset
    part: int
    url: str


@dataclass(frozen=True, slots=True)
class Leak:
    """Two images in different parts that look alike, and in how many bits their perceptual hashes differ."""

    number: int
    """Its place among those of the revision, from 1."""
    first: LeakedAsset
    second: LeakedAsset
    distance: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """Images of an evaluated part, and how many of them were trained on."""

    images: int
    overlap: int


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """An image that an attempt stages: with its annotations, its part and its address."""

    asset: Asset
    part: int
    url: str


@dataclass(frozen=True, slots=True)
class ManifestEnd:
    """What must have been staged in all. Digests of parts that were not asked for are empty."""

    class_names: Sequence[str]
    image_count: int
    part_digests: Sequence[str]
