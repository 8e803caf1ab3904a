"""Classes of a dataset: stable ids across its versions, and what a draft does to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from splitrail_common.annotations import PACK_VERSION, pack, unpack

from splitrail_split.datasets.class_ids import stable_ids
from splitrail_split.formats.boxes import MAX_CLASSES

_HEADER_SIZE = 5
"""Bytes of an object before its values: class_id u16, kind u8, count u16."""
_VERSION = bytes([PACK_VERSION])


@dataclass(frozen=True, slots=True)
class DraftClasses:
    """Classes by position. `targets`: the position that each one's objects go to at the commit, its own when it stays a
    class.
    """

    names: list[str]
    ids: list[int]
    targets: list[int]

    def position(self, class_id: int) -> int | None:
        """Where the class of this stable id is."""
        return self.ids.index(class_id) if class_id in self.ids else None

    @property
    def staying(self) -> list[int]:
        """Positions of the classes that a commit keeps, in order."""
        return [position for position, target in enumerate(self.targets) if target == position]


@dataclass(frozen=True, slots=True)
class Add:
    """A new class."""

    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    """Another name for a class."""

    class_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Merge:
    """The objects of one class become objects of another one."""

    class_id: int
    into: int


Change = Add | Rename | Merge


class ChangeError(ValueError):
    """A change that cannot be made: `field` of the change, and why."""

    def __init__(self, index: int, field: str, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.field = field


def changed(
    classes: DraftClasses, changes: Sequence[Change], earlier: Mapping[str, int], next_id: int
) -> tuple[DraftClasses, int]:
    """The classes after all changes in order, and the next free id. Raises ChangeError; changes that were made before
    are harmless.
    """
    made = DraftClasses(list(classes.names), list(classes.ids), list(classes.targets))
    for index, change in enumerate(changes):
        match change:
            case Add(name):
                next_id = _add(made, index, name, earlier, next_id)
            case Rename(class_id, name):
                _rename(made, index, class_id, name)
            case Merge(class_id, into):
                _merge(made, index, class_id, into)
    return made, next_id


def _add(classes: DraftClasses, index: int, name: str, earlier: Mapping[str, int], next_id: int) -> int:
    if name in classes.names:
        at = classes.names.index(name)
        if classes.targets[at] != at:
            into = classes.names[classes.targets[at]]
            raise ChangeError(
                index, "add.name", f"{name!r} is merged into {into!r} in this draft: its name is free after the commit"
            )
        return next_id
    if len(classes.names) >= MAX_CLASSES:
        raise ChangeError(index, "add.name", f"a version has at most {MAX_CLASSES} classes")
    (class_id,), next_id = stable_ids([name], earlier, next_id, taken=classes.ids)
    classes.targets.append(len(classes.names))
    classes.names.append(name)
    classes.ids.append(class_id)
    return next_id


def _rename(classes: DraftClasses, index: int, class_id: int, name: str) -> None:
    at = _staying(classes, index, "rename.class_id", class_id)
    if name in classes.names and classes.names.index(name) != at:
        raise ChangeError(
            index, "rename.name", f"another class of the draft is called {name!r}: merge the two to make them one"
        )
    classes.names[at] = name


def _merge(classes: DraftClasses, index: int, class_id: int, into: int) -> None:
    if class_id == into:
        raise ChangeError(index, "merge.into_class_id", "is the class itself")
    target = _staying(classes, index, "merge.into_class_id", into)
    at = classes.position(class_id)
    if at is not None and classes.targets[at] == target:
        return
    at = _staying(classes, index, "merge.class_id", class_id)
    for position, before in enumerate(classes.targets):
        if before == at:
            classes.targets[position] = target


def _staying(classes: DraftClasses, index: int, field: str, class_id: int) -> int:
    at = classes.position(class_id)
    if at is None:
        raise ChangeError(index, field, f"the draft has no class with the id {class_id}")
    if classes.targets[at] != at:
        raise ChangeError(
            index,
            field,
            f"the class {classes.names[at]!r} is merged into {classes.names[classes.targets[at]]!r} already",
        )
    return at


def committed_positions(classes: DraftClasses) -> npt.NDArray[np.uint16]:
    """(classes,) the position that each class of a draft has in the version that it becomes."""
    dense = np.zeros(len(classes.targets), dtype=np.uint16)
    staying = classes.staying
    dense[staying] = np.arange(len(staying))
    return dense[classes.targets]


def moved_positions(ours: Sequence[int], theirs: Sequence[int]) -> npt.NDArray[np.int64] | None:
    """(theirs,) the position in which a version with the ids `ours` has each class of one with the ids `theirs`, -1
    where it has not.

    None: no position means different classes in the two, so annotations can be compared as they are.
    """
    if all(one == other for one, other in zip(ours, theirs, strict=False)):
        return None
    at = {class_id: position for position, class_id in enumerate(ours)}
    return np.array([at.get(class_id, -1) for class_id in theirs], dtype=np.int64)


def differing(
    ours: Sequence[bytes], theirs: Sequence[bytes], positions: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """(N,) which images have other annotations, when class c of theirs is class positions[c] of ours, or -1: none of
    them.
    """
    data, lengths = _joined(theirs)
    starts, image = _objects(data, lengths)
    gone = np.zeros(len(theirs), dtype=np.bool_)
    gone[image[positions[_class_ids(data, starts)] < 0]] = True
    there = recoded(theirs, np.maximum(positions, 0).astype(np.uint16))
    return gone | np.fromiter(
        (one != other for one, other in zip(ours, there, strict=True)), dtype=np.bool_, count=len(ours)
    )


def recoded(packed: Sequence[bytes], positions: npt.NDArray[np.uint16]) -> list[bytes]:
    """Canonical annotations of many images with class id c replaced by positions[c]; objects that become equal are one.

    No Python loop over objects, but for images with objects of several sizes whose order changes.
    """
    data, lengths = _joined(packed)
    starts, image = _objects(data, lengths)
    before = _class_ids(data, starts)
    after = positions[before]
    data[starts], data[starts + 1] = after & 0xFF, after >> 8
    made = _parted(data, lengths)
    # Objects are ordered by class first: they still are in order where classes ascend and no two of an image have
    # become one.
    unordered = (after[1:] < after[:-1]) | ((after[1:] == after[:-1]) & (before[1:] != before[:-1]))
    images = np.unique(image[1:][unordered & (image[1:] == image[:-1])]).tolist()
    for number, one in zip(images, _canonical([made[number] for number in images]), strict=True):
        made[number] = one
    return made


def _joined(packed: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All bytes in a row, and the length of each image's."""
    lengths = np.fromiter((len(one) for one in packed), dtype=np.int64, count=len(packed))
    return np.frombuffer(bytearray(b"".join(packed)), dtype=np.uint8), lengths


def _parted(data: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64]) -> list[bytes]:
    whole, ends = data.tobytes(), np.cumsum(lengths)
    return [whole[start:end] for start, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]


def _objects(
    data: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(objects,) where the record of each one starts, and its image. Goes from object to object in all images at once."""
    ends = np.cumsum(lengths)
    at, image = ends - lengths + 1, np.arange(len(lengths))
    starts, images = [at[:0]], [image[:0]]
    while (open_ := np.flatnonzero(at < ends[image])).size:
        at, image = at[open_], image[open_]
        starts.append(at)
        images.append(image)
        at = at + _HEADER_SIZE + 4 * (data[at + 3] + (data[at + 4].astype(np.int64) << 8))
    found = np.concatenate(starts)
    order = np.argsort(found)
    return found[order], np.concatenate(images)[order]


def _class_ids(data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    return data[starts] | (data[starts + 1].astype(np.uint16) << np.uint16(8))


def _canonical(packed: Sequence[bytes]) -> list[bytes]:
    """The same objects in their order, equal ones once."""
    data, lengths = _joined(packed)
    starts, image = _objects(data, lengths)
    count = int(data[starts[0] + 3]) | int(data[starts[0] + 4]) << 8 if len(starts) else 0
    size = _HEADER_SIZE + 4 * count
    # Objects of one size lie in a row, each image's behind its version byte.
    if len(data) != len(packed) + len(starts) * size or not np.array_equal(
        starts, np.arange(len(starts)) * size + image + 1
    ):
        return [pack(set(unpack(one))) for one in packed]
    rows = data[starts[:, None] + np.arange(size)]
    values = np.ascontiguousarray(rows[:, _HEADER_SIZE:]).view("<u4")
    order = np.lexsort((*values.T[::-1], rows[:, 2], _class_ids(data, starts), image))
    rows, image = rows[order], image[order]
    first = np.ones(len(rows), dtype=np.bool_)
    first[1:] = (rows[1:] != rows[:-1]).any(axis=1) | (image[1:] != image[:-1])
    return [
        _VERSION + one for one in _parted(rows[first].ravel(), np.bincount(image[first], minlength=len(packed)) * size)
    ]
