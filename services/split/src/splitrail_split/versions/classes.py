"""Classes of a dataset: stable ids across its versions, and what a draft does to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from splitrail_common.annotations import PACK_VERSION, Kind, pack, unpack

from splitrail_split.formats.boxes import MAX_CLASSES

_BOX = np.dtype([("class_id", "<u2"), ("kind", "u1"), ("count", "<u2"), ("values", "<u4", (4,))])
_VERSION = bytes([PACK_VERSION])


@dataclass(frozen=True, slots=True)
class DraftClasses:
    """Classes by position. `targets`: the position that each one's objects go to at the commit, its own when it stays a class."""

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


def stable_ids(names: Sequence[str], earlier: Mapping[str, int], next_id: int) -> tuple[list[int], int]:
    """The stable id of each class, and the next free one.

    earlier: the id that a name last had in the dataset. Such a class keeps it, unless two names of one renamed class meet: then the later one is new.
    """
    return _more_ids([], names, earlier, next_id)


def _more_ids(taken: Sequence[int], names: Sequence[str], earlier: Mapping[str, int], next_id: int) -> tuple[list[int], int]:
    found: list[int] = []
    used = set(taken)
    for name in names:
        class_id = earlier.get(name)
        if class_id is None or class_id in used:
            class_id, next_id = next_id, next_id + 1
        used.add(class_id)
        found.append(class_id)
    return found, next_id


def changed(classes: DraftClasses, changes: Sequence[Change], earlier: Mapping[str, int], next_id: int) -> tuple[DraftClasses, int]:
    """The classes after all changes in order, and the next free id. Raises ChangeError; changes that were made before are harmless."""
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
            raise ChangeError(index, "add.name", f"{name!r} is merged into {into!r} in this draft: its name is free after the commit")
        return next_id
    if len(classes.names) >= MAX_CLASSES:
        raise ChangeError(index, "add.name", f"a version has at most {MAX_CLASSES} classes")
    (class_id,), next_id = _more_ids(classes.ids, [name], earlier, next_id)
    classes.targets.append(len(classes.names))
    classes.names.append(name)
    classes.ids.append(class_id)
    return next_id


def _rename(classes: DraftClasses, index: int, class_id: int, name: str) -> None:
    at = _staying(classes, index, "rename.class_id", class_id)
    if name in classes.names and classes.names.index(name) != at:
        raise ChangeError(index, "rename.name", f"another class of the draft is called {name!r}: merge the two to make them one")
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
        raise ChangeError(index, field, f"the class {classes.names[at]!r} is merged into {classes.names[classes.targets[at]]!r} already")
    return at


def committed_positions(classes: DraftClasses) -> npt.NDArray[np.uint16]:
    """(classes,) the position that each class of a draft has in the version that it becomes."""
    dense = np.zeros(len(classes.targets), dtype=np.uint16)
    staying = classes.staying
    dense[staying] = np.arange(len(staying))
    return dense[classes.targets]


def recoded(packed: Sequence[bytes], positions: npt.NDArray[np.uint16]) -> list[bytes]:
    """Canonical annotations of many images with class id c replaced by positions[c]; objects that become equal are one.

    Images that hold only boxes, the common case, are rewritten without a Python loop over their objects.
    """
    lengths = np.fromiter((len(one) for one in packed), dtype=np.int64, count=len(packed))
    data = np.frombuffer(b"".join(packed), dtype=np.uint8)
    if np.all((lengths - 1) % _BOX.itemsize == 0):
        inside = np.ones(len(data), dtype=np.bool_)
        inside[np.cumsum(lengths) - lengths] = False
        boxes = data[inside].view(_BOX)
        # A record of a box ends where the next one is expected: so checking all of them is sound.
        if np.all(boxes["kind"] == Kind.BOX) and np.all(boxes["count"] == 4):
            return _recoded_boxes(boxes, (lengths - 1) // _BOX.itemsize, positions)
    return [pack({one._replace(class_id=int(positions[one.class_id])) for one in unpack(image)}) for image in packed]


def _recoded_boxes(boxes: npt.NDArray[np.void], counts: npt.NDArray[np.int64], positions: npt.NDArray[np.uint16]) -> list[bytes]:
    boxes = boxes.copy()
    boxes["class_id"] = positions[boxes["class_id"]]
    image = np.repeat(np.arange(len(counts)), counts)
    values = boxes["values"]
    boxes = boxes[np.lexsort((values[:, 3], values[:, 2], values[:, 1], values[:, 0], boxes["class_id"], image))]
    first = np.ones(len(boxes), dtype=np.bool_)
    first[1:] = (boxes[1:] != boxes[:-1]) | (image[1:] != image[:-1])
    ends = np.cumsum(np.bincount(image[first], minlength=len(counts))) * _BOX.itemsize
    data = boxes[first].tobytes()
    return [_VERSION + data[start:end] for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)] if len(counts) else []
