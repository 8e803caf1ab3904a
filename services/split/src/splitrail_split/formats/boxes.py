"""Gathering the objects of one image from rows that cannot be trusted, and matching annotation files with images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath

from splitrail_common.annotations import (
    MAX_CLASS_ID,
    Annotation,
    AnnotationError,
    Kind,
    LabelState,
    box_from_yolo,
    overhang,
    pack,
)

from splitrail_split.formats import shapes
from splitrail_split.formats.image_names import folder_split
from splitrail_split.formats.model import Code, ParsedImage, Place, Problems, SourceSplit

CLIP_TOLERANCE = 1e-4
"""Boxes that reach less than this beyond the image (a fraction of its side) are cut without a word: rounding, not a
mistake.
"""

MAX_CLASSES = MAX_CLASS_ID + 1

_CODES = {
    "not_finite": Code.NOT_FINITE, "no_area": Code.NO_AREA, "outside": Code.OUTSIDE, "too_many_points": Code.TOO_MANY_POINTS,
}  # fmt: skip

Four = tuple[float, float, float, float]

_CHANGES: Mapping[Code, str] = {
    Code.POLYGON_TO_BOX: "{} polygons or oriented boxes are kept as their bounding boxes (a dataset of another --task keeps them)",
    Code.BOX_TO_POLYGON: "{} objects without an outline are kept as rectangles",
    Code.SHAPE_CONVERTED: "{} objects are kept as oriented boxes around them, though the source has other shapes",
    Code.RINGS_JOINED: "{} objects in several pieces are kept as one outline each: lines without width join the pieces",
    Code.ATTRIBUTES_DROPPED: "{} objects have a shape or keypoints that are not kept (a dataset of another --task keeps them)",
}


@dataclass(slots=True)
class ConvertedShapes:
    """Objects of one file that were kept in another shape than the source has them, by what became of them, with the
    first one's place.
    """

    places: dict[Code, Place] = field(default_factory=dict)
    counts: dict[Code, int] = field(default_factory=dict)

    def add(self, code: Code, at: Place) -> None:
        self.places.setdefault(code, at)
        self.counts[code] = self.counts.get(code, 0) + 1

    def report(self, problems: Problems) -> None:
        """One note, or problem, for each kind of change."""
        for code, at in self.places.items():
            problems.add(at.path, at.line, code, _CHANGES[code].format(self.counts[code]), at.object)


class ImageLabels:
    """The objects of one image, as they are found. `kind` is the shape in which they are kept, whichever they have in
    the source.

    size: width and height of the image in pixels. changes: where it is counted what was kept in another shape.
    What is wrong with an object becomes a problem of its place; each method is False when the object was left out.
    """

    def __init__(
        self,
        problems: Problems,
        kind: Kind = Kind.BOX,
        size: tuple[float, float] = (1.0, 1.0),
        changes: ConvertedShapes | None = None,
    ) -> None:
        self._problems = problems
        self._kind = kind
        self._size = size
        self.changes = ConvertedShapes() if changes is None else changes
        self._found: dict[Annotation, None] = {}
        self.dropped = 0
        """Objects that were left out."""

    def box(self, at: Place, class_id: int, cxcywh: Four) -> bool:
        """Add an upright box given by centre and size in fractions of the image."""
        made: Callable[[], Annotation]
        if self._kind is Kind.BOX:
            made, change = partial(box_from_yolo, class_id, *cxcywh), None
        elif self._kind is Kind.KEYPOINTS:
            made, change = (
                partial(shapes.keypoints, class_id, cxcywh, ()),
                None,
            )  # that it has none is told once all images are known
        elif self._kind is Kind.CLASS:
            return self._whole(at, class_id)
        else:
            # Cut first: what is left of an upright box is upright.
            def made() -> Annotation:
                x, y, w, h = (value / 1e6 for value in box_from_yolo(class_id, *cxcywh).values)
                return (shapes.polygon if self._kind is Kind.POLYGON else shapes.oriented)(
                    class_id, shapes.rectangle((x, y, w, h))
                )

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
            self._problems.add_at(
                at, Code.DUPLICATE_BOX, f"the same {what} of the same class occurs before: counted once"
            )
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
        """Leave out what the dataset's shapes do not hold: a note of the file, and a problem of its image when that has
        nothing else.
        """
        self.dropped += 1
        self.changes.add(Code.ATTRIBUTES_DROPPED, at)

    def image(self, path: str, classes: list[int] | None = None) -> ParsedImage | None:
        """The image with its reviewed labels; None when it had objects and none could be used: it must not pass for a
        background.

        classes: new class id for each one used so far.
        """
        if self.dropped and not self._found:
            return None
        found: Iterable[Annotation] = self._found
        if classes is not None:
            found = {annotation._replace(class_id=classes[annotation.class_id]): None for annotation in found}
        if self._kind is Kind.CLASS and (several := len({annotation.class_id for annotation in found})) > 1:
            self.dropped += len(self._found)
            self._problems.add(
                path, None, Code.SEVERAL_CLASSES, f"the source gives it {several} classes: an image has one"
            )
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
    """An image without annotation."""
    return ParsedImage(path, pack([]), LabelState.UNLABELLED)


class SourceSplits:
    """Which split the source had each image in. An image in several stays in the first of train, val, test: what was
    trained on cannot test.
    """

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


def frame(declared: tuple[float, float] | None, actual: tuple[int, int]) -> tuple[tuple[float, float], str | None]:
    """The size in pixels that coordinates refer to, and what is odd about it.

    An annotation file that declares another size than the image has was made for a resized copy when the shape agrees
    (within 1 %): its own size counts. Otherwise the image's does.
    """
    if declared is None or declared == actual:
        return actual, None
    (w, h), (width, height) = declared, actual
    said = f"declares {w:g} x {h:g} pixels, the image has {width} x {height}"
    if w > 0 and h > 0 and abs(w * height - h * width) <= 0.01 * w * height:
        return declared, f"{said}: taken as a resized copy, its boxes are scaled"
    return actual, f"{said}: its boxes are taken as pixels of the image"
