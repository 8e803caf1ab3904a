"""Gathering the objects of one image from rows that cannot be trusted, and matching annotation files with images."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import takewhile
from pathlib import PurePosixPath
from typing import NamedTuple

from splitrail_common.annotations import MAX_CLASS_ID, Annotation, AnnotationError, Kind, LabelState, box_from_yolo, overhang, pack

from splitrail_split.formats import shapes
from splitrail_split.formats.model import Code, ParsedImage, Place, Problems, SourceSplit
from splitrail_split.formats.reading import shown

CLIP_TOLERANCE = 1e-4
"""Boxes that reach less than this beyond the image (a fraction of its side) are cut without a word: rounding, not a mistake."""

MAX_CLASSES = MAX_CLASS_ID + 1

_SPLIT_NAMES: dict[str, SourceSplit] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test",
}  # fmt: skip
_PLAIN_FOLDERS = frozenset(
    {
        *("images", "image", "imgs", "img", "jpegimages", "jpg", "jpgs", "data", "obj_train_data", "obj_valid_data", "obj_test_data"),
        *("annotations", "annotation", "labels", "xml", "xmls"),
    }
)
"""Folders that every dataset has: like those of splits, they do not tell its images apart."""
_YEAR = re.compile(r"(?:19|20)\d\d")
_CODES = {
    "not_finite": Code.NOT_FINITE, "no_area": Code.NO_AREA, "outside": Code.OUTSIDE, "too_many_points": Code.TOO_MANY_POINTS,
}  # fmt: skip

_FEW = 16
"""Images of one name that are looked through one by one."""

Four = tuple[float, float, float, float]

_CHANGES: Mapping[Code, str] = {
    Code.POLYGON_TO_BOX: "{} polygons or oriented boxes are kept as their bounding boxes (a dataset of another --task keeps them)",
    Code.BOX_TO_POLYGON: "{} objects without an outline are kept as rectangles",
    Code.SHAPE_CONVERTED: "{} objects are kept as oriented boxes around them, though the source has other shapes",
    Code.RINGS_JOINED: "{} objects in several pieces are kept as one outline each: lines without width join the pieces",
    Code.ATTRIBUTES_DROPPED: "{} objects have a shape or keypoints that are not kept (a dataset of another --task keeps them)",
}


@dataclass(slots=True)
class Changes:
    """Objects of one file that were kept in another shape than the source has them, by what became of them, with the first one's place."""

    places: dict[Code, Place] = field(default_factory=dict)
    counts: dict[Code, int] = field(default_factory=dict)

    def add(self, code: Code, at: Place) -> None:
        self.places.setdefault(code, at)
        self.counts[code] = self.counts.get(code, 0) + 1

    def report(self, problems: Problems) -> None:
        """One note, or problem, for each kind of change."""
        for code, at in self.places.items():
            problems.add(at.path, at.line, code, _CHANGES[code].format(self.counts[code]), at.object)


class Labels:
    """The objects of one image, as they are found. `kind` is the shape in which they are kept, whichever they have in the source.

    size: width and height of the image in pixels. changes: where it is counted what was kept in another shape.
    What is wrong with an object becomes a problem of its place; each method is False when the object was left out.
    """

    def __init__(self, problems: Problems, kind: Kind = Kind.BOX, size: tuple[float, float] = (1.0, 1.0), changes: Changes | None = None) -> None:
        self._problems = problems
        self._kind = kind
        self._size = size
        self.changes = Changes() if changes is None else changes
        self._found: dict[Annotation, None] = {}
        self.dropped = 0
        """Objects that were left out."""

    def box(self, at: Place, class_id: int, cxcywh: Four) -> bool:
        """Add an upright box given by centre and size in fractions of the image."""
        made: Callable[[], Annotation]
        if self._kind is Kind.BOX:
            made, change = partial(box_from_yolo, class_id, *cxcywh), None
        elif self._kind is Kind.KEYPOINTS:
            made, change = partial(shapes.keypoints, class_id, cxcywh, ()), None  # that it has none is told once all images are known
        elif self._kind is Kind.CLASS:
            return self._whole(at, class_id)
        else:
            # Cut first: what is left of an upright box is upright.
            def made() -> Annotation:
                x, y, w, h = (value / 1e6 for value in box_from_yolo(class_id, *cxcywh).values)
                return (shapes.polygon if self._kind is Kind.POLYGON else shapes.oriented)(class_id, shapes.rectangle((x, y, w, h)))

            change = Code.BOX_TO_POLYGON if self._kind is Kind.POLYGON else Code.SHAPE_CONVERTED
        return self._add(at, made, overhang(*cxcywh), change)

    def corners(self, at: Place, class_id: int, x1y1x2y2: Four) -> bool:
        """As `box`, from left, top, right and bottom."""
        x1, y1, x2, y2 = x1y1x2y2
        return self.box(at, class_id, ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))

    def polygon(self, at: Place, class_id: int, rings: Sequence[Sequence[shapes.Point]]) -> bool:
        """Add an object by its outline, in one piece or several; the points are fractions of the image."""
        points = [point for ring in rings for point in ring]
        if self._kind is Kind.CLASS:
            return self._whole(at, class_id)
        if self._kind in (Kind.BOX, Kind.KEYPOINTS):
            cxcywh = shapes.bounds(points)
            made = box_from_yolo if self._kind is Kind.BOX else _boxed
            return self._add(at, partial(made, class_id, *cxcywh), overhang(*cxcywh), Code.POLYGON_TO_BOX)
        beyond = shapes.beyond(points)
        if self._kind is Kind.POLYGON:
            change = Code.RINGS_JOINED if len(rings) > 1 else None
            return self._add(at, lambda: shapes.polygon(class_id, shapes.joined(rings)), beyond, change)
        if len(points) == shapes.CORNERS:
            return self._add(at, partial(shapes.oriented, class_id, points), beyond)

        def around() -> Annotation:
            corners = shapes.smallest_rectangle(points, self._size)
            if not corners:
                raise AnnotationError("no_area", f"polygon of {len(points)} points has no area")
            return shapes.oriented(class_id, corners)

        return self._add(at, around, beyond, Code.SHAPE_CONVERTED)

    def oriented(self, at: Place, class_id: int, corners: Sequence[shapes.Point]) -> bool:
        """Add a rotated box by its corners."""
        return self.polygon(at, class_id, [corners])

    def keypoints(self, at: Place, class_id: int, cxcywh: Four, points: Sequence[shapes.Keypoint]) -> bool:
        """Add a box with keypoints, all in fractions of the image."""
        if self._kind is not Kind.KEYPOINTS:
            kept = self.box(at, class_id, cxcywh)
            if kept and self._kind is not Kind.CLASS:
                self.changes.add(Code.ATTRIBUTES_DROPPED, at)
            return kept
        lost = sum(1 for x, y, visibility in points if visibility and not shapes.within((x, y)))
        kept = self._add(at, partial(shapes.keypoints, class_id, cxcywh, points), overhang(*cxcywh))
        if kept and lost:
            self._problems.add_at(at, Code.CLIPPED, f"{lost} keypoints lie outside the image: taken for not labelled")
        return kept

    def whole(self, at: Place, class_id: int) -> bool:
        """Add a class of the whole image; a dataset of shapes has no place for it."""
        if self._kind is Kind.CLASS:
            self._found[Annotation(class_id, Kind.CLASS, ())] = None
            return True
        self.remark(at)
        return False

    def _whole(self, at: Place, class_id: int) -> bool:
        self.changes.add(Code.ATTRIBUTES_DROPPED, at)
        return self.whole(at, class_id)

    def _add(self, at: Place, made: Callable[[], Annotation], beyond: float, change: Code | None = None) -> bool:
        try:
            annotation = made()
        except AnnotationError as error:
            self.drop(at, _CODES[error.reason], str(error))
            return False
        what = "box" if annotation.kind is Kind.BOX else "object"
        if beyond > CLIP_TOLERANCE:
            self._problems.add_at(at, Code.CLIPPED, f"{what} reaches {beyond:.2%} beyond the image: cut to it")
        if annotation in self._found:
            self._problems.add_at(at, Code.DUPLICATE_BOX, f"the same {what} of the same class occurs before: counted once")
        self._found[annotation] = None
        if change is not None:
            self.changes.add(change, at)
        return True

    def drop(self, at: Place, code: Code, message: str) -> None:
        """Report an object and leave it out."""
        self.dropped += 1
        self._problems.add_at(at, code, message)

    def remark(self, at: Place) -> None:
        """Leave out what is said of the whole image where objects are wanted: it is none, and who said it has looked."""
        self.changes.add(Code.ATTRIBUTES_DROPPED, at)

    def leave(self, at: Place) -> None:
        """Leave out what the dataset's shapes do not hold: a note of the file, and a problem of its image when that has nothing else."""
        self.dropped += 1
        self.changes.add(Code.ATTRIBUTES_DROPPED, at)

    def image(self, path: str, classes: list[int] | None = None) -> ParsedImage | None:
        """The image with its reviewed labels; None when it had objects and none could be used: it must not pass for a background.

        classes: new class id for each one used so far.
        """
        if self.dropped and not self._found:
            return None
        found: Iterable[Annotation] = self._found
        if classes is not None:
            found = {annotation._replace(class_id=classes[annotation.class_id]): None for annotation in found}
        if self._kind is Kind.CLASS and (several := len({annotation.class_id for annotation in found})) > 1:
            self.dropped += len(self._found)
            self._problems.add(path, None, Code.SEVERAL_CLASSES, f"the source gives it {several} classes: an image has one")
            return None
        return ParsedImage(path, pack(found), LabelState.LABELLED if self._found else LabelState.EMPTY)


def _boxed(class_id: int, *cxcywh: float) -> Annotation:
    x, y, w, h = cxcywh
    return shapes.keypoints(class_id, (x, y, w, h), ())


def label_path(image: str) -> str:
    """Where Ultralytics looks for an image's label file: the last folder `images` becomes `labels`."""
    parts = list(PurePosixPath(image).with_suffix(".txt").parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return "/".join(parts)


def unlabelled(path: str) -> ParsedImage:
    """An image that nobody annotated."""
    return ParsedImage(path, pack([]), LabelState.UNLABELLED)


def folder_split(path: str) -> SourceSplit | None:
    """The split that a folder of the path names, the innermost if several do."""
    for part in reversed(PurePosixPath(path).parts[:-1]):
        if (split := _plain(part)[1]) is not None:
            return split
    return None


@lru_cache(maxsize=1 << 14)
def _plain(folder: str) -> tuple[bool, SourceSplit | None]:
    """Whether every dataset may have a folder of this name (`images`, `train2017`, `Annotations_trainval`), and the one split that it names."""
    name = folder.lower()
    if name in _PLAIN_FOLDERS:
        return True, None
    words = [word for word in re.split(r"[\W_]+", _YEAR.sub("", name)) if word]
    if not words or any(word not in _PLAIN_FOLDERS and word not in _SPLIT_NAMES and word != "trainval" for word in words):
        return False, None
    splits = {_SPLIT_NAMES[word] for word in words if word in _SPLIT_NAMES}
    return True, splits.pop() if len(splits) == 1 else None


def split_of_word(word: str) -> SourceSplit | None:
    """The split that a word names: train, val, valid, validation, test and the like."""
    return _SPLIT_NAMES.get(word.lower())


class SourceSplits:
    """Which split the source had each image in. An image in several stays in the first of train, val, test: what was trained on cannot test."""

    _ORDER: tuple[SourceSplit, ...] = ("train", "val", "test")

    def __init__(self) -> None:
        self.of: dict[str, SourceSplit] = {}
        self._conflicts: dict[tuple[SourceSplit, SourceSplit], list[str]] = {}

    def put(self, image: str, split: SourceSplit) -> None:
        before = self.of.setdefault(image, split)
        if before != split:
            first, second = sorted((before, split), key=self._ORDER.index)
            self.of[image] = first
            self._conflicts.setdefault((first, second), []).append(image)

    def or_folders(self, images: Iterable[str]) -> None:
        """Where the source says nothing of splits, those that the folders of its images name."""
        if not self.of:
            for image in sorted(images):
                if (split := folder_split(image)) is not None:
                    self.put(image, split)

    def report(self, path: str, problems: Problems) -> None:
        """One problem for each pair of splits that share images; path is the file that declares the splits."""
        for (first, second), images in self._conflicts.items():
            problems.add(
                path, None, Code.SPLIT_CONFLICT,
                f"{len(images)} images are in both {first} and {second}, for example {images[0]}: counted as {first}",
            )  # fmt: skip


class ClassNames:
    """Class names with dense ids in the order in which they were declared; equal names are one class."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def id_of(self, name: str) -> int:
        """Id of a name, a new one if it has none."""
        return self._ids.setdefault(name, len(self._ids))

    @property
    def names(self) -> list[str]:
        return list(self._ids)


class ImagesByName:
    """Images of a source by the names under which annotation files refer to them.

    The folders of a name and those of an image must agree: but for folders that every dataset has (`images`, `train`), the fewer are the end of the
    others, and they do not name two splits. A name that starts with / was given on another machine, or beside the images: there, what holds all of
    them may be called otherwise. So it may where no name of a file is found with its folders: see `learn`. What may mean several images equally well
    means none.
    """

    def __init__(self, images: Iterable[str]) -> None:
        self._paths = frozenset(images)
        self._in_order = sorted(self._paths)
        self._by_name, self._by_stem = _Index(), _Index()
        for path in self._in_order:
            pure = PurePosixPath(path)
            self._by_name.of.setdefault(pure.name, []).append(path)
            self._by_stem.of.setdefault(pure.stem, []).append(path)
        self._root = common_folders(self._paths)
        self._known = {folder for path in self._in_order for folder in _folders_of(path).telling}
        self._above: dict[str, int] = {}

    def under(self, folder: str) -> list[str]:
        """The images in a folder or below it, sorted; all of them for the root ("" or ".")."""
        if folder in ("", "."):
            return self._in_order
        prefix = folder.rstrip("/")
        return self._in_order[bisect_left(self._in_order, f"{prefix}/") : bisect_left(self._in_order, f"{prefix}0")]  # 0 follows /

    def learn(self, names: Sequence[str], nears: Sequence[str], problems: Problems, *, stems: bool = False) -> None:
        """Looks at all names that the files `nears` will ask for. When none is found with its folders, and no image knows those that all of them
        begin with, these are called otherwise here: they are not looked at, and a problem of the first file says so.
        """
        find = self.by_stem if stems else self.by_file_name
        telling = [_folders_of(name.replace("\\", "/")).telling for name in names]
        least, most = min(telling, default=()), max(telling, default=())
        common = [*takewhile(lambda folder: folder not in self._known, least[: _alike(least, most)])]
        if common and all(find(name, nears[0]) is None for name in names):
            self._above.update(dict.fromkeys(nears, len(common)))
            if any(find(name, nears[0]) is not None for name in names):
                folders = shown("/".join(common))
                message = f"all names begin with {folders}, which no folder here is called: images are taken by what follows"
                problems.add(nears[0], None, Code.NAME_MISMATCH, message)

    def by_file_name(self, name: str, near: str, split: SourceSplit | None = None) -> str | None:
        """The image that `name`, perhaps with folders, means in the file `near`: relative to it, to the root, else the closest that agrees."""
        name = name.replace("\\", "/")
        inner = PurePosixPath(name.lstrip("/"))
        for path in (str(PurePosixPath(near).parent / inner), str(inner)):
            if path in self._paths:
                return path
        return _only(self._meant(self._by_name, name, near, split))

    def by_stem(self, name: str, near: str, file_name: str = "") -> str | None:
        """The image with this name, perhaps with folders, but for its extension, the closest to the file `near`; of equals the one called
        `file_name`.
        """
        meant = self._meant(self._by_stem, name, near, None)
        called = [path for path in meant if PurePosixPath(path).name == PurePosixPath(file_name).name]
        return _only(called or meant)

    def why_none(self, name: str, near: str) -> str:
        """Why a name, with or without extension, means no image: the end of a sentence that has named it."""
        name = name.replace("\\", "/")
        known = self._by_name if PurePosixPath(name).name in self._by_name.of else self._by_stem
        if len(meant := self._meant(known, name, near, None)) > 1:
            return f"which may be any of {len(meant)} images, such as {meant[0]} and {meant[1]}"
        others = known.of.get(PurePosixPath(name).name)
        return f"which is not among the files: {others[0]} lies in another folder" if others else "which is not among the files"

    def _meant(self, known: _Index, name: str, near: str, split: SourceSplit | None) -> list[str]:
        """The images whose folders agree best with a name's, then the closest to `near`; several when nothing tells them apart."""
        given, here, above = _folders_of(name), _folders_of(near).parts, self._above.get(near, 0)
        given = given._replace(telling=given.telling[above:])
        foreign = above > 0 or name.startswith("/") or name[1:2] == ":"
        root = self._root if foreign else ()
        ranked: dict[tuple[int, ...], list[str]] = {}
        for path in known.sharing(PurePosixPath(name).name, given.telling, root):
            own = _folders_of(path)
            contradicts = given.split is not None and own.split is not None and given.split != own.split
            if contradicts or not (_end_alike(given.telling, own.telling) or _end_alike(given.telling, own.telling[len(root) :])):
                continue
            alike = (_alike(given.telling[::-1], own.telling[::-1]), _alike(given.parts[::-1], own.parts[::-1]))
            rank = (-alike[0], -alike[1], split not in (None, own.split), -_alike(here, own.parts), len(own.telling))
            ranked.setdefault(rank, []).append(path)
        return ranked[min(ranked)] if ranked else []


class _Index:
    """Paths by their names; where many have one name, as the frames of videos do, also by the last folder that tells them apart."""

    def __init__(self) -> None:
        self.of: dict[str, list[str]] = {}
        self._by_folder: dict[str, dict[str, list[str]]] = {}

    def sharing(self, name: str, given: Sequence[str], root: Sequence[str]) -> list[str]:
        """The paths of that name, but for some whose folders cannot agree with those given."""
        paths = self.of.get(name, [])
        if len(paths) <= _FEW or not given:
            return paths
        by_folder = self._by_folder.get(name)
        if by_folder is None:
            by_folder = self._by_folder[name] = {}
            for path in paths:
                by_folder.setdefault("".join(_folders_of(path).telling[-1:]), []).append(path)
        return [path for folder in sorted({"", given[-1], *root[-1:]}) for path in by_folder.get(folder, ())]


class _Folders(NamedTuple):
    """Of a path: all its folders, those that tell one image from another of its name, and the split that they name."""

    parts: tuple[str, ...]
    telling: tuple[str, ...]
    split: SourceSplit | None


def _folders_of(path: str) -> _Folders:
    return _read_folders(path.rpartition("/")[0])


@lru_cache(maxsize=1 << 14)
def _read_folders(folder: str) -> _Folders:
    parts = PurePosixPath(folder).parts
    telling = tuple(one for one in parts if one not in ("/", "..") and not _plain(one)[0])
    return _Folders(parts, telling, folder_split(f"{folder}/_"))


def common_folders(paths: Iterable[str]) -> tuple[str, ...]:
    """The folders in which all paths lie, above the first that every dataset has: what a dataset is called on this machine."""
    found = {path.rpartition("/")[0] for path in paths} or {""}
    ways = [_read_folders(folder) for folder in found]
    first, last = min(way.parts for way in ways), max(way.parts for way in ways)
    return tuple(takewhile(lambda folder: bool(_read_folders(folder).telling), first[: _alike(first, last)]))


def _alike(some: Sequence[str], others: Sequence[str]) -> int:
    """How many equal words two sequences begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(some, others, strict=False)))


def _end_alike(some: Sequence[str], others: Sequence[str]) -> bool:
    """True when the shorter sequence is the end of the longer."""
    return _alike(some[::-1], others[::-1]) == min(len(some), len(others))


def _only(paths: Sequence[str]) -> str | None:
    return paths[0] if len(paths) == 1 else None


def frame(declared: tuple[float, float] | None, actual: tuple[int, int]) -> tuple[tuple[float, float], str | None]:
    """The size in pixels that coordinates refer to, and what is odd about it.

    An annotation file that declares another size than the image has was made for a resized copy when the shape agrees (within 1 %): its own
    size counts. Otherwise the image's does.
    """
    if declared is None or declared == actual:
        return actual, None
    (w, h), (width, height) = declared, actual
    said = f"declares {w:g} x {h:g} pixels, the image has {width} x {height}"
    if w > 0 and h > 0 and abs(w * height - h * width) <= 0.01 * w * height:
        return declared, f"{said}: taken as a resized copy, its boxes are scaled"
    return actual, f"{said}: its boxes are taken as pixels of the image"
