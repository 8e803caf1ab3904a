"""What every annotation format is parsed into, and the vocabulary of what can be wrong with it."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from splitrail_common.annotations import Kind, LabelState

Loader = bytes | Callable[[], bytes]
"""The bytes of a file, or how to get them."""

SourceSplit = Literal["train", "val", "test"]

SEQUENCE = "sequence"
"""Key of the metadata that names the video of an image."""

MAX_KEPT_PROBLEMS = 10_000
"""Problems beyond this are counted, not kept: a hostile file must not fill memory with complaints."""


class Format(enum.StrEnum):
    """An annotation format that can be imported."""

    YOLO = "yolo"
    VOC = "voc"
    COCO = "coco"
    CVAT = "cvat"
    LABEL_STUDIO = "label_studio"
    CSV = "csv"


class Severity(enum.StrEnum):
    """NOTE: nothing is lost that the service could hold, worth knowing. PROBLEM: something was left out or changed;
    `--strict` refuses.
    """

    NOTE = "note"
    PROBLEM = "problem"


class Code(enum.StrEnum):
    """Stable words for what can be wrong. Clients branch on them; messages are for people."""

    UNREADABLE = "unreadable"  # a file that cannot be parsed at all
    TOO_LARGE = "too_large"  # a file beyond its cap
    NOT_UTF8 = "not_utf8"
    COLUMNS = "columns"  # a row with the wrong number of columns
    NOT_A_NUMBER = "not_a_number"  # text where a number belongs
    NOT_FINITE = "not_finite"  # NaN or infinite coordinates
    NO_AREA = "no_area"
    OUTSIDE = "outside"  # a box wholly outside its image: dropped
    CLIPPED = "clipped"  # a box partly outside its image: cut to it
    CLASS_RANGE = "class_range"  # a class id beyond the names
    CLASS_UNKNOWN = "class_unknown"  # a class that is not declared, or has no name
    DUPLICATE_CLASS = "duplicate_class"
    DUPLICATE_BOX = "duplicate_box"  # the same object twice, whatever its shape
    SHAPE_UNKNOWN = "shape_unknown"  # an object of a shape that no dataset holds: left out
    TOO_MANY_POINTS = "too_many_points"  # an outline that cannot be kept
    KEYPOINTS_ABSENT = "keypoints_absent"  # an object with fewer keypoints than others
    KEYPOINT_FLIP = "keypoint_flip"  # what says where keypoints go when an image is mirrored does not fit them
    SEVERAL_CLASSES = "several_classes"  # an image of several classes where one is wanted
    DUPLICATE_IMAGE = "duplicate_image"  # two annotations claim the same image
    IMAGE_ABSENT = "image_absent"  # an annotation names an image that is not there
    SIZE_MISMATCH = "size_mismatch"
    NAME_MISMATCH = "name_mismatch"
    NO_CLASSES = "no_classes"  # nothing declares class names
    OBJECT_REFUSED = "object_refused"  # an object of a bucket that may not be imported
    METADATA = "metadata"  # a value that is too long, or contradicts another
    SPLIT_UNKNOWN = "split_unknown"  # a word that names no split
    SPLIT_FOUND = "split_found"  # the source has parts of its own
    SPLIT_CONFLICT = "split_conflict"  # one image in two source splits
    BAD_IMAGE = "bad_image"  # an image that does not decode
    POLYGON_TO_BOX = "polygon_to_box"
    BOX_TO_POLYGON = "box_to_polygon"  # a rectangle where an outline is wanted
    SHAPE_CONVERTED = "shape_converted"  # a shape kept as another one that holds it
    RINGS_JOINED = "rings_joined"  # an object in several pieces, kept as one outline
    ATTRIBUTES_DROPPED = "attributes_dropped"  # keypoints, masks, crowds: what the dataset's shapes do not hold
    GROUP_SUGGESTED = "group_suggested"  # images that seem to belong together
    REFUSED = "refused"  # why the whole source was, when nothing else says it
    DOWNLOAD_IGNORED = "download_ignored"
    FILE_IGNORED = "file_ignored"


_NOTES = frozenset(
    {
        *(Code.POLYGON_TO_BOX, Code.SHAPE_CONVERTED, Code.RINGS_JOINED, Code.ATTRIBUTES_DROPPED),
        *(Code.DOWNLOAD_IGNORED, Code.FILE_IGNORED, Code.GROUP_SUGGESTED, Code.SPLIT_FOUND),
    }
)


def spot(path: str, line: int | None, object: int | None) -> str:
    """A place for people: `labels/a.txt:3`, `instances.json, annotation 3`, or the path alone."""
    if object is not None:
        return f"{path}, annotation {object}"
    return path if line is None else f"{path}:{line}"


class Place(NamedTuple):
    """Where a source describes an object: see `Problem`. `own_id` is what the source itself calls it, as text for
    messages.
    """

    path: str
    line: int | None = None
    object: int | None = None
    own_id: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `line`: of a text file, from 1. `object`: position of an annotation in a JSON file's list, from 1.
    The whole file: neither.
    """

    path: str
    line: int | None
    code: Code
    message: str
    object: int | None = None

    @property
    def severity(self) -> Severity:
        return Severity.NOTE if self.code in _NOTES else Severity.PROBLEM

    def __str__(self) -> str:
        return f"{spot(self.path, self.line, self.object)}: {self.message}"


@dataclass(slots=True)
class Problems:
    """Findings of one parse: the first MAX_KEPT_PROBLEMS in full, all of them counted by code."""

    kept: list[Problem] = field(default_factory=list)
    counts: Counter[Code] = field(default_factory=Counter)

    def add(self, path: str, line: int | None, code: Code, message: str, object: int | None = None) -> None:
        self.counts[code] += 1
        if len(self.kept) < MAX_KEPT_PROBLEMS:
            self.kept.append(Problem(path, line, code, message, object))

    def add_at(self, at: Place, code: Code, message: str) -> None:
        """As `add`, with the object's own id in the message."""
        self.add(at.path, at.line, code, f"{message} (id {at.own_id})" if at.own_id else message, at.object)


@dataclass(frozen=True, slots=True)
class ParsedImage:
    """One image to import: its path among the source files, its canonical annotations (`annotations.pack`) and what is
    known of them.
    """

    path: str
    annotations: bytes
    label_state: LabelState
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the source says about the image: `sequence` for the video it is a frame of."""


@dataclass(frozen=True, slots=True)
class ParsedDataset:
    """A source, parsed. Images that cannot be trusted are absent from `items` and named in `problems`."""

    class_names: list[str]
    items: list[ParsedImage]
    problems: list[Problem]
    problem_counts: dict[Code, int]
    """How often each code occurred; complete even when `problems` is not."""
    source_splits: dict[str, SourceSplit]
    """Image path -> the split in which the source had it; images of no split are absent."""
    flip_idx: Sequence[int] = ()
    """For each keypoint, which one it becomes when the image is mirrored; empty when the source does not say."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a parser gets.

    `files` maps relative paths (with /) to bytes or loaders, images excluded or not. `image_sizes` maps the images that
    decode to (width, height) in pixels as displayed, EXIF orientation applied. `bad_images` are images that exist but
    were refused: their own problem is reported already, so annotations that belong to them are left out in silence.
    `kind` is the shape that the dataset's annotations have.
    """

    files: Mapping[str, Loader]
    image_sizes: Mapping[str, tuple[int, int]]
    bad_images: Collection[str] = frozenset()
    kind: Kind = Kind.BOX

    def read(self, path: str) -> bytes:
        """Bytes of a file. Errors of its loader are those of the store it reads from and pass through."""
        loader = self.files[path]
        return loader if isinstance(loader, bytes) else loader()
