"""How two versions differ: which images, in what, and which classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from splitrail_split.domain.datasets import Asset, Version

ABSENT = -(2**31)
"""In place of an image that is not there."""


class DifferenceKind(IntEnum):
    """How something differs."""

    ADDED = 1
    REMOVED = 2
    CHANGED = 3


class AssetField(IntEnum):
    """What of an image can differ: a bit each in the third column of Differences."""

    CONTENT = 1
    PATH = 2
    EXTERNAL_ID = 3
    LABEL_STATE = 4
    ANNOTATIONS = 5
    METADATA = 6

    @property
    def bit(self) -> int:
        """It, in the third column."""
        return 1 << (self - 1)


@dataclass(frozen=True, slots=True)
class ClassDifference:
    """A class that differs; a name is None where the class is not there."""

    kind: DifferenceKind
    class_id: int
    name: str | None
    other_name: str | None


@dataclass(frozen=True, slots=True)
class AssetDifference:
    """An image that differs, as it is in either version."""

    kind: DifferenceKind
    asset: Asset | None
    other: Asset | None
    fields: list[AssetField]


@dataclass(frozen=True, slots=True)
class Counts:
    """Images that differ."""

    added: int
    removed: int
    changed: int
    fields: dict[AssetField, int]


@dataclass(frozen=True, slots=True)
class Differences:
    """(n, 3) int32: place in the first version, place in the second one, bits of the fields; added ones first, then
    removed, then changed ones.

    A place is an ordinal, or ABSENT, or -1 - position of what a draft has itself.
    """

    rows: npt.NDArray[np.int32]

    @property
    def common(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the image is in both versions."""
        there: npt.NDArray[np.bool_] = np.all(self.rows[:, :2] != ABSENT, axis=1)
        return there

    @property
    def kinds(self) -> npt.NDArray[np.int32]:
        """(n,) the DifferenceKind of each row."""
        return np.where(
            self.rows[:, 1] == ABSENT,
            DifferenceKind.ADDED,
            np.where(self.rows[:, 0] == ABSENT, DifferenceKind.REMOVED, DifferenceKind.CHANGED),
        ).astype(np.int32)

    @property
    def counts(self) -> Counts:
        """Of all rows."""
        kinds = np.bincount(self.kinds, minlength=len(DifferenceKind) + 1)
        bits = self.rows[:, 2]
        fields = {field: int(np.count_nonzero(bits & field.bit)) for field in AssetField}
        return Counts(
            int(kinds[DifferenceKind.ADDED]),
            int(kinds[DifferenceKind.REMOVED]),
            int(kinds[DifferenceKind.CHANGED]),
            {one: n for one, n in fields.items() if n},
        )

    def of_kind(self, kind: int) -> npt.NDArray[np.int32]:
        """The rows of one kind; 0: all."""
        return self.rows[self.kinds == kind] if kind else self.rows


def ordered(rows: npt.NDArray[np.int32]) -> Differences:
    """Rows in the order of pages: by kind, then by place in the first version where the image is there, a draft's own
    last and as they came.
    """
    rows = np.ascontiguousarray(rows)
    place = np.where(rows[:, 0] == ABSENT, rows[:, 1], rows[:, 0]).astype(np.int64)
    # A draft's own places count down from -1.
    place = np.where(place < 0, 2**32 - place, place)
    return Differences(rows[np.lexsort((place, Differences(rows).kinds))])


def fields(bits: int) -> list[AssetField]:
    """The fields that a row's bits name."""
    return [field for field in AssetField if bits & field.bit]


def of_classes(ours: Version, theirs: Version | None, targets: Sequence[int] | None = None) -> list[ClassDifference]:
    """Classes that differ, by stable id. theirs None: nothing is there. targets: of a draft's classes; those merged
    into others are gone.
    """
    here = {
        class_id: name
        for position, (class_id, name) in enumerate(zip(ours.class_ids, ours.class_names, strict=True))
        if targets is None or targets[position] == position
    }
    there = dict(zip(theirs.class_ids, theirs.class_names, strict=True)) if theirs else {}
    found = []
    for class_id in sorted(here.keys() | there.keys()):
        name, other = here.get(class_id), there.get(class_id)
        if name != other:
            kind = (
                DifferenceKind.ADDED
                if other is None
                else DifferenceKind.REMOVED
                if name is None
                else DifferenceKind.CHANGED
            )
            found.append(ClassDifference(kind, class_id, name, other))
    return found
