"""CVAT's own XML: `CVAT for images 1.1` and `CVAT for video 1.1`.

Classes are those that the file declares, in its order, then what else occurs. An image that a file lists is reviewed;
so are all frames of a video. Frames are found by the number at the end of their names (`frame_000012.png`), and get the
video's name as their `sequence`. Subsets are the splits, or without any the folders of images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

from splitrail_split.formats import masks, shapes
from splitrail_split.formats.boxes import (
    MAX_CLASSES,
    ClassNames,
    ConvertedShapes,
    ImageLabels,
    SourceSplits,
    frame,
    unlabelled,
)
from splitrail_split.formats.image_names import ImagesByName, split_of_word
from splitrail_split.formats.images import MAX_PIXELS
from splitrail_split.formats.model import SEQUENCE, Code, ParsedDataset, Place, Problems, Source
from splitrail_split.formats.reading import XmlDocument, number, read_xml, shown

MAX_BYTES = 256 << 20
"""One file holds all of a task."""
_SNIFFED_FILES = 3
_SNIFFED_BYTES = 4096
_TRAILING = re.compile(r"(\d{1,9})$")
_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_METADATA_CHARACTERS = 200


@dataclass(slots=True)
class _State:
    """What all files of a source have given so far."""

    source: Source
    problems: Problems
    images: ImagesByName
    classes: ClassNames = field(default_factory=ClassNames)
    labels: dict[str, ImageLabels] = field(default_factory=dict)
    sequences: dict[str, str] = field(default_factory=dict)
    splits: SourceSplits = field(default_factory=SourceSplits)


@dataclass(slots=True)
class _File:
    """One XML file. parts: names of a skeleton's points in their order; attributes: objects that carry some."""

    path: str
    document: XmlDocument
    name: str
    is_video: bool
    parts: list[str]
    changes: ConvertedShapes = field(default_factory=ConvertedShapes)
    attributes: int = 0


@dataclass(frozen=True, slots=True)
class _Object:
    """A shape's element on an image. size: of the frame that its pixels refer to; image_size: of the image itself."""

    at: Place
    class_id: int
    element: Element
    size: tuple[float, float]
    image_size: tuple[int, int]
    labels: ImageLabels
    parts: Sequence[str]


def claims(paths: Sequence[str]) -> int:
    """4: a file annotations.xml, as CVAT's exports have. Others of CVAT's are told by their content: see `recognizes`."""
    return 4 if any(PurePosixPath(path).name.lower() == "annotations.xml" for path in paths) else 0


def recognizes(source: Source) -> bool:
    """True when XML files are CVAT's, by the name of their root."""
    paths = sorted(path for path in source.files if path.lower().endswith(".xml"))
    return any(re.search(rb"<annotations[\s>]", source.read(path)[:_SNIFFED_BYTES]) for path in paths[:_SNIFFED_FILES])


def parse(source: Source) -> ParsedDataset:
    """See `formats.parse`."""
    problems = Problems()
    state = _State(source, problems, ImagesByName([*source.image_sizes, *source.bad_images]))
    last = ""
    for path in sorted(path for path in source.files if path.lower().endswith(".xml")):
        document = read_xml(source, path, problems, MAX_BYTES)
        if document is None:
            continue
        if document.root.tag != "annotations":
            problems.add(
                path,
                None,
                Code.FILE_IGNORED,
                f"not read: its root is {shown(document.root.tag)}, CVAT's is 'annotations'",
            )
            continue
        last = path
        state.images.learn(
            [name for one in document.root.iterfind("image") if (name := (one.get("name") or "").strip())],
            [path],
            problems,
        )
        _file(state, path, document)
    if not len(state.classes):
        problems.add(last, None, Code.NO_CLASSES, "no file declares labels")
    items = []
    for image in sorted(source.image_sizes):
        labels = state.labels.get(image)
        item = unlabelled(image) if labels is None else labels.image(image)
        if item is not None:
            sequence = state.sequences.get(image)
            items.append(replace(item, metadata={SEQUENCE: sequence}) if sequence else item)
        elif labels is not None:
            problems.add(
                image, None, Code.BAD_IMAGE, f"left out: none of its {labels.dropped} objects and tags can be used"
            )
    state.splits.or_folders(source.image_sizes)
    state.splits.report(last, problems)
    return ParsedDataset(state.classes.names, items, problems.kept, dict(problems.counts), state.splits.of)


def _file(state: _State, path: str, document: XmlDocument) -> None:
    root = document.root
    meta = root.find("meta")
    task = next(
        (found for tag in ("task", "job", "project") if meta is not None and (found := meta.find(tag)) is not None),
        None,
    )
    name = (_said(task, "name") or _said(task, "source") or PurePosixPath(path).stem)[:_METADATA_CHARACTERS]
    tracks = root.findall("track")
    file = _File(path, document, name, bool(tracks) or _said(task, "mode") == "interpolation", [])
    for label in meta.iter("label") if meta is not None else ():
        declared = (label.findtext("name") or "").strip()
        if (label.findtext("parent") or "").strip():
            file.parts.append(declared)
        elif declared:
            _class_id(state, path, declared)
    for element in root.findall("image"):
        _image(state, file, element)
    if tracks:
        _tracks(state, file, tracks, task, _said(task, "subset"))
    file.changes.report(state.problems)
    if file.attributes:
        state.problems.add(path, None, Code.ATTRIBUTES_DROPPED, f"attributes of {file.attributes} objects are not kept")


def _said(task: Element | None, tag: str) -> str:
    return (task.findtext(tag) or "").strip() if task is not None else ""


def _class_id(state: _State, path: str, name: str) -> int | None:
    if name not in state.classes and len(state.classes) >= MAX_CLASSES:
        state.problems.add(path, None, Code.CLASS_RANGE, f"class {shown(name)} is beyond the first {MAX_CLASSES}")
        return None
    return state.classes.id_of(name)


def _image(state: _State, file: _File, element: Element) -> None:
    name, line = (element.get("name") or "").strip(), file.document.lines[element]
    image = state.images.by_file_name(name, file.path) if name else None
    if image is None and name and not PurePosixPath(name).suffix:  # a video's frames are listed without extension
        image = state.images.by_stem(name, file.path)
    if image is None:
        state.problems.add(
            file.path,
            line,
            Code.IMAGE_ABSENT,
            f"names the image {shown(name)}, {state.images.why_none(name, file.path)}",
        )
        return
    if image in state.source.bad_images:
        return
    if image in state.labels:
        state.problems.add(
            file.path, line, Code.DUPLICATE_IMAGE, f"{image} is listed twice: its annotations are put together"
        )
    size = _size(element.get("width"), element.get("height"))
    pixels, odd = frame(size, state.source.image_sizes[image])
    if odd:
        state.problems.add(file.path, line, Code.SIZE_MISMATCH, f"image {shown(name)} {odd}")
    labels = _labels(state, file, image, pixels, element.get("subset") or "")
    for one in element:
        _add(state, file, one, (one.get("label") or "").strip(), (labels, pixels, state.source.image_sizes[image]))


def _labels(state: _State, file: _File, image: str, size: tuple[float, float], subset: str) -> ImageLabels:
    labels = state.labels.setdefault(image, ImageLabels(state.problems, state.source.kind, size))
    labels.changes = file.changes
    if file.is_video:
        state.sequences.setdefault(image, file.name)
    if (split := split_of_word(subset.strip())) is not None:
        state.splits.put(image, split)
    return labels


def _tracks(state: _State, file: _File, tracks: Sequence[Element], task: Element | None, subset: str) -> None:
    """Tracks of a video: an element for each frame on which the object is, which says so unless it is `outside`."""
    frames = _frames(state, file)
    total = number(task.findtext("size")) if task is not None else None
    original = task.find("original_size") if task is not None else None
    declared = _size(original.findtext("width"), original.findtext("height")) if original is not None else None
    placed: dict[int, tuple[ImageLabels, tuple[float, float], tuple[int, int]]] = {}
    odd_sizes: list[str] = []
    for index, image in sorted(frames.items()):
        if image not in state.source.bad_images and (total is None or index < total):
            pixels, odd = frame(declared, state.source.image_sizes[image])
            if odd:
                odd_sizes.append(f"{image} {odd}")
            placed[index] = (_labels(state, file, image, pixels, subset), pixels, state.source.image_sizes[image])
    if odd_sizes:
        message = f"{len(odd_sizes)} frames have another size than the video, the first: {odd_sizes[0]}"
        state.problems.add(file.path, None, Code.SIZE_MISMATCH, message)
    absent: dict[str, int] = {}
    for track in tracks:
        label = (track.get("label") or "").strip()
        for element in track:
            if element.get("outside") == "1":
                continue
            text = (element.get("frame") or "").strip()
            index = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
            if index in placed:
                _add(state, file, element, label, placed[index])
            elif frames.get(index) not in state.source.bad_images:
                absent.setdefault(text, file.document.lines[element])
    for text, line in absent.items():
        state.problems.add(file.path, line, Code.IMAGE_ABSENT, f"describes the frame {shown(text)}, which has no image")


def _frames(state: _State, file: _File) -> dict[int, str]:
    """The image of each frame: those beside or below the file, or all when there are none, by the number at the end of
    their names.
    """
    candidates = state.images.under(str(PurePosixPath(file.path).parent)) or state.images.under("")
    frames: dict[int, str] = {}
    for image in candidates:
        if match := _TRAILING.search(PurePosixPath(image).stem):
            before = frames.setdefault(int(match[1]), image)
            if before != image:
                message = f"{image} and {before} are the same frame of {shown(file.name)} by their names: only the latter is taken for it"
                state.problems.add(file.path, None, Code.DUPLICATE_IMAGE, message)
    return frames


def _size(width: str | None, height: str | None) -> tuple[float, float] | None:
    w, h = number(width), number(height)
    return (w, h) if w is not None and h is not None else None


def _add(
    state: _State,
    file: _File,
    element: Element,
    label: str,
    onto: tuple[ImageLabels, tuple[float, float], tuple[int, int]],
) -> None:
    """Adds what an element describes to the labels of an image; `onto`: these, its frame in pixels, its own size."""
    labels, size, image_size = onto
    at = Place(file.path, file.document.lines[element])
    if not label:
        labels.drop(at, Code.CLASS_UNKNOWN, f"<{element.tag}> without a label")
        return
    class_id = _class_id(state, file.path, label)
    if class_id is None:
        labels.dropped += 1
        return
    if element.find("attribute") is not None:
        file.attributes += 1
    shape = _SHAPES.get(element.tag)
    if shape is None:
        labels.drop(at, Code.SHAPE_UNKNOWN, f"left out: a <{element.tag[:40]}> is a shape that cannot be kept")
        return
    try:
        shape(_Object(at, class_id, element, size, image_size, labels, file.parts))
    except _BadNumberError as error:
        labels.drop(at, Code.NOT_A_NUMBER, str(error))
    except masks.MaskError as error:
        labels.drop(at, Code.COLUMNS, str(error))


class _BadNumberError(ValueError):
    """Text where a number belongs."""


def _box(one: _Object) -> None:
    x1, y1, x2, y2 = _numbers(one.element, _CORNERS)
    w, h = one.size
    corners = (x1 / w, y1 / h, x2 / w, y2 / h)
    if rotation := number(one.element.get("rotation", "0")):
        box = (
            (corners[0] + corners[2]) / 2,
            (corners[1] + corners[3]) / 2,
            corners[2] - corners[0],
            corners[3] - corners[1],
        )
        if box[2] > 0 and box[3] > 0 and abs(rotation) <= 360:
            one.labels.oriented(one.at, one.class_id, shapes.turned(box, rotation, one.size))
            return
    one.labels.corners(one.at, one.class_id, corners)


def _polygon(one: _Object) -> None:
    one.labels.polygon(one.at, one.class_id, [_points(one)])


def _keypoints(one: _Object) -> None:
    points = _points(one)
    one.labels.keypoints(one.at, one.class_id, shapes.bounds(points), [(x, y, 2) for x, y in points])


def _skeleton(one: _Object) -> None:
    """Points with labels of their own, in the order in which those are declared."""
    found: dict[str, shapes.Keypoint] = {}
    for part in one.element.findall("points"):
        x, y = next(_pairs(part.get("points") or ""))
        visibility = 0 if part.get("outside") == "1" else 1 if part.get("occluded") == "1" else 2
        found[(part.get("label") or "").strip()] = (x / one.size[0], y / one.size[1], visibility)
    points = [found.get(name, (0.0, 0.0, 0)) for name in one.parts or found]
    seen = [(x, y) for x, y, visibility in points if visibility]
    if not seen:
        one.labels.drop(one.at, Code.COLUMNS, "skeleton without a visible point")
        return
    one.labels.keypoints(one.at, one.class_id, shapes.bounds(seen), points)


def _mask(one: _Object) -> None:
    left, top, width, height = _numbers(one.element, ("left", "top", "width", "height"))
    if not all(0 <= value < MAX_PIXELS and value == int(value) for value in (left, top, width, height)):
        raise masks.MaskError("the mask's place is not given in whole pixels")
    w, h = one.size
    if width > w or height > h:
        raise masks.MaskError(f"the mask has {width:g} x {height:g} pixels, the image {w:g} x {h:g}")
    texts = [text.strip() for text in (one.element.get("rle") or "").split(",")]
    runs = [int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None for text in texts]
    rings = masks.outlines(masks.from_rows(runs, int(width), int(height), masks.most_pixels(one.image_size)))
    one.labels.polygon(one.at, one.class_id, [[((x + left) / w, (y + top) / h) for x, y in ring] for ring in rings])


def _tag(one: _Object) -> None:
    one.labels.whole(one.at, one.class_id)


def _points(one: _Object) -> list[shapes.Point]:
    return [(x / one.size[0], y / one.size[1]) for x, y in _pairs(one.element.get("points") or "")]


def _pairs(text: str) -> Iterator[shapes.Point]:
    """`x1,y1;x2,y2`."""
    for pair in text.split(";"):
        values = [number(value) for value in pair.split(",")]
        if len(values) != 2 or values[0] is None or values[1] is None:
            raise _BadNumberError(f"points has {shown(pair)} where x,y belongs")
        yield values[0], values[1]


def _numbers(element: Element, names: Sequence[str]) -> list[float]:
    found = []
    for name in names:
        value = number(element.get(name))
        if value is None:
            raise _BadNumberError(f"{name} is {shown(element.get(name))}, not a number")
        found.append(value)
    return found


_SHAPES: Mapping[str, Callable[[_Object], None]] = {
    "box": _box,
    "polygon": _polygon,
    "points": _keypoints,
    "skeleton": _skeleton,
    "mask": _mask,
    "tag": _tag,
}
