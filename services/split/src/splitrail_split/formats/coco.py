"""COCO JSON: images, annotations and categories in one or several files.

Categories are matched by name, so that files with other ids merge. An image that no file lists is unlabelled; one that
is listed without annotations is reviewed and empty. A file's name or folder (instances_train2017.json,
valid/_annotations.coco.json) tells its split; if none does, the folders of images do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from splitrail_common.annotations import Kind

from splitrail_split.formats import masks, shapes
from splitrail_split.formats.boxes import (
    MAX_CLASSES,
    ClassNames,
    ConvertedShapes,
    Four,
    ImageLabels,
    SourceSplits,
    frame,
    unlabelled,
)
from splitrail_split.formats.image_names import ImagesByName, folder_split, split_of_word
from splitrail_split.formats.model import Code, ParsedDataset, Place, Problems, Source, SourceSplit
from splitrail_split.formats.reading import number, read_json, shown

_KEYPOINTS = "person_keypoints"
_OTHER_TASKS = ("captions", _KEYPOINTS, "stuff", "panoptic", "image_info")

Id = int | str


@dataclass(slots=True)
class _State:
    """What all files of a source have given so far."""

    source: Source
    problems: Problems
    images: ImagesByName
    classes: ClassNames = field(default_factory=ClassNames)
    labels: dict[str, ImageLabels] = field(default_factory=dict)
    splits: SourceSplits = field(default_factory=SourceSplits)


@dataclass(slots=True)
class _File:
    """One JSON file. images: its image id -> (path, frame in pixels), None for images that are known to be bad or
    absent.

    reviewed: it has a list of annotations, perhaps an empty one; the images of one without, as of COCO's test sets, are
    unlabelled.
    """

    path: str
    split: SourceSplit | None
    reviewed: bool
    images: dict[Id, tuple[str, tuple[float, float]] | None] = field(default_factory=dict)
    class_of: dict[Id, int] = field(default_factory=dict)
    crowds: int = 0
    polygons: list[int] = field(default_factory=list)
    extras: int = 0
    changes: ConvertedShapes = field(default_factory=ConvertedShapes)


def claims(paths: Sequence[str]) -> int:
    """3: names that COCO files have (instances_*.json, *.coco.json) or JSON in a folder annotations; 1: any other JSON."""
    files = [PurePosixPath(path) for path in paths if path.lower().endswith(".json")]
    for path in files:
        name = path.name.lower()
        if (
            name.startswith("instances")
            or name.endswith(".coco.json")
            or "annotations" in (part.lower() for part in path.parts[:-1])
        ):
            return 3
    return 1 if files else 0


def parse(source: Source) -> ParsedDataset:
    """See `formats.parse`."""
    problems = Problems()
    state = _State(source, problems, ImagesByName([*source.image_sizes, *source.bad_images]))
    paths = sorted(path for path in source.files if path.lower().endswith(".json"))
    names = [PurePosixPath(path).name.lower() for path in paths]
    instances = any(name.startswith("instances") for name in names)
    keypoints = source.kind is Kind.KEYPOINTS and any(name.startswith(_KEYPOINTS) for name in names)
    others = ("instances", *(name for name in _OTHER_TASKS if name != _KEYPOINTS)) if keypoints else _OTHER_TASKS
    last = ""
    for path in paths:
        if (keypoints or instances) and PurePosixPath(path).name.lower().startswith(others):
            what = (
                "person_keypoints files hold the keypoints"
                if keypoints
                else "instances files hold the boxes and outlines"
            )
            problems.add(path, None, Code.FILE_IGNORED, f"not read: the {what}")
            continue
        data = read_json(source, path, problems)
        if data is None:
            continue
        if not isinstance(data.get("images"), list) or not isinstance(data.get("categories"), list):
            problems.add(path, None, Code.FILE_IGNORED, "not read: it has no lists of images and categories")
            continue
        last = path
        _file(state, path, data)
    if not len(state.classes):
        problems.add(last, None, Code.NO_CLASSES, "no file declares categories")
    items = []
    for image in sorted(source.image_sizes):
        if image not in state.labels:
            items.append(unlabelled(image))
        elif (item := state.labels[image].image(image)) is not None:
            items.append(item)
        else:
            problems.add(
                image, None, Code.BAD_IMAGE, f"left out: none of its {state.labels[image].dropped} objects can be used"
            )
    state.splits.or_folders(source.image_sizes)
    state.splits.report(last, problems)
    return ParsedDataset(state.classes.names, items, problems.kept, dict(problems.counts), state.splits.of)


def _file(state: _State, path: str, data: dict[str, object]) -> None:
    file = _File(path, _split_of(path), isinstance(data.get("annotations"), list))
    _categories(state, file, _entries(state, path, data, "categories"))
    _images(state, file, _entries(state, path, data, "images"))
    for index, annotation in _entries(state, path, data, "annotations"):
        _annotation(state, file, index, annotation)
    if file.polygons:
        message = f"{len(file.polygons)} objects without a bbox are kept as the bounding boxes of their outlines"
        state.problems.add(path, None, Code.POLYGON_TO_BOX, message, file.polygons[0])
    if file.extras:
        state.problems.add(
            path,
            None,
            Code.ATTRIBUTES_DROPPED,
            f"masks and keypoints of {file.extras} objects are not kept, their boxes are",
        )
    file.changes.report(state.problems)
    if file.crowds:
        state.problems.add(
            path,
            None,
            Code.ATTRIBUTES_DROPPED,
            f"{file.crowds} crowd regions (iscrowd) are left out: they are not single objects",
        )


def _entries(state: _State, path: str, data: dict[str, object], key: str) -> list[tuple[int, dict[str, object]]]:
    """(index from 1, object) of the objects in a list."""
    listed = data.get(key)
    if not isinstance(listed, list):
        state.problems.add(path, None, Code.UNREADABLE, f"{key} is not a list")
        return []
    entries: list[tuple[int, dict[str, object]]] = []
    for index, entry in enumerate(listed, start=1):
        if isinstance(entry, dict):
            entries.append((index, entry))
        else:
            message = f"entry {index} of {key} is {shown(entry)}, not an object"
            state.problems.add(path, None, Code.UNREADABLE, message, index if key == "annotations" else None)
    return entries


def _id(value: object) -> Id | None:
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _categories(state: _State, file: _File, entries: list[tuple[int, dict[str, object]]]) -> None:
    usable: list[tuple[Id, str]] = []
    for index, entry in entries:
        id_, name = _id(entry.get("id")), entry.get("name")
        if id_ is None or not isinstance(name, str) or not name.strip():
            message = f"category {index} of the list has the id {shown(entry.get('id'))} and the name {shown(name)}: both are needed"
            state.problems.add(file.path, None, Code.CLASS_UNKNOWN, message)
        else:
            usable.append((id_, name.strip()))
    seen: set[str] = set()
    for id_, name in sorted(
        usable, key=lambda one: (isinstance(one[0], str), one[0] if isinstance(one[0], int) else 0, str(one[0]))
    ):
        if name in seen or id_ in file.class_of:
            message = f"category {shown(id_)} {shown(name)} repeats an id or a name: equal names are one class, of equal ids the first counts"
            state.problems.add(file.path, None, Code.DUPLICATE_CLASS, message)
        seen.add(name)
        if name not in state.classes and len(state.classes) >= MAX_CLASSES:
            state.problems.add(
                file.path, None, Code.CLASS_RANGE, f"class {shown(name)} is beyond the first {MAX_CLASSES}"
            )
        else:
            file.class_of.setdefault(id_, state.classes.id_of(name))


def _images(state: _State, file: _File, entries: list[tuple[int, dict[str, object]]]) -> None:
    paths: set[str] = set()
    state.images.learn(
        [name.strip() for _, entry in entries if isinstance(name := entry.get("file_name"), str) and name.strip()],
        [file.path],
        state.problems,
    )
    for index, entry in entries:
        id_, name = _id(entry.get("id")), entry.get("file_name")
        if id_ is None or not isinstance(name, str) or not name.strip():
            message = f"image {index} of the list has the id {shown(entry.get('id'))} and the file_name {shown(name)}: both are needed"
            state.problems.add(file.path, None, Code.IMAGE_ABSENT, message)
            continue
        if id_ in file.images:
            state.problems.add(
                file.path, None, Code.DUPLICATE_IMAGE, f"image id {shown(id_)} occurs before: the first one counts"
            )
            continue
        file.images[id_] = None
        path = state.images.by_file_name(name.strip(), file.path, file.split)
        if path is None:
            why = state.images.why_none(name.strip(), file.path)
            state.problems.add(file.path, None, Code.IMAGE_ABSENT, f"names the image {shown(name)}, {why}")
        if path is None or path in state.source.bad_images:
            continue
        if path in paths:
            state.problems.add(
                file.path, None, Code.DUPLICATE_IMAGE, f"{path} is listed twice: its annotations are put together"
            )
        paths.add(path)
        width, height = number(entry.get("width")), number(entry.get("height"))
        pixels, odd = frame(
            (width, height) if width is not None and height is not None else None, state.source.image_sizes[path]
        )
        if odd:
            state.problems.add(file.path, None, Code.SIZE_MISMATCH, f"image {shown(name)} {odd}")
        file.images[id_] = (path, pixels)
        if file.reviewed:
            labels = state.labels.setdefault(path, ImageLabels(state.problems, state.source.kind, pixels))
            labels.changes = file.changes
        if file.split is not None:
            state.splits.put(path, file.split)


def _annotation(state: _State, file: _File, index: int, entry: dict[str, object]) -> None:
    own_id, image_id, category = _id(entry.get("id")), _id(entry.get("image_id")), _id(entry.get("category_id"))
    at = Place(file.path, object=index, own_id="" if own_id is None else shown(own_id))
    if image_id is None or image_id not in file.images:
        message = f"annotation for the image id {shown(entry.get('image_id'))}, which the file does not list"
        state.problems.add_at(at, Code.IMAGE_ABSENT, message)
        return
    placed = file.images[image_id]
    if placed is None:
        return
    path, (width, height) = placed
    labels = state.labels[path]
    if entry.get("iscrowd") in (1, True):
        labels.dropped += 1
        file.crowds += 1
        return
    if category is None or category not in file.class_of:
        message = f"category id {shown(entry.get('category_id'))} is not declared"
        labels.drop(at, Code.CLASS_UNKNOWN, message)
        return
    _object(
        state,
        file,
        _Entry(at, index, file.class_of[category], entry, (width, height), state.source.image_sizes[path]),
        labels,
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """An annotation of a known image and class. size: of the frame that its pixels refer to; image_size: of the image
    itself.
    """

    at: Place
    index: int
    class_id: int
    fields: dict[str, object]
    size: tuple[float, float]
    image_size: tuple[int, int]


def _object(state: _State, file: _File, one: _Entry, labels: ImageLabels) -> None:
    """Adds an object in the shape that the dataset is made of, or in the one that comes nearest to it."""
    kind, at = state.source.kind, one.at
    segmentation, listed, box = one.fields.get("segmentation"), one.fields.get("keypoints"), one.fields.get("bbox")
    boxed = box not in (None, [])
    if kind is Kind.CLASS:
        labels.box(at, one.class_id, (0.5, 0.5, 1.0, 1.0))
    elif segmentation and (not boxed or kind in (Kind.POLYGON, Kind.OBB)):
        rings = _rings(segmentation, one)
        if isinstance(rings, str):
            labels.drop(at, Code.COLUMNS, f"left out: {'it has no bbox, and ' if not boxed else ''}{rings}")
        elif kind is Kind.BOX:
            if labels.box(at, one.class_id, shapes.bounds([point for ring in rings for point in ring])):
                file.polygons.append(one.index)
        else:
            labels.polygon(at, one.class_id, rings)
    else:
        four = _bbox(box, one, labels)
        if four is None:
            return
        if kind is Kind.KEYPOINTS and listed:
            points = _keypoints(listed, one.size)
            if points is None:
                labels.drop(at, Code.COLUMNS, "keypoints is not a list [x1, y1, visibility1, ...] of numbers")
            else:
                labels.keypoints(at, one.class_id, four, points)
        elif labels.box(at, one.class_id, four) and (segmentation or listed):
            file.extras += 1


def _bbox(box: object, one: _Entry, labels: ImageLabels) -> Four | None:
    if not isinstance(box, list) or len(box) != 4:
        labels.drop(one.at, Code.COLUMNS, "bbox is not a list of four numbers [x, y, width, height]")
        return None
    numbers = [number(value) if not isinstance(value, str) else None for value in box]
    x, y, w, h = numbers
    if x is None or y is None or w is None or h is None:
        labels.drop(one.at, Code.NOT_A_NUMBER, f"bbox has {shown(box[numbers.index(None)])} where a number belongs")
        return None
    width, height = one.size
    return (x + w / 2) / width, (y + h / 2) / height, w / width, h / height


def _rings(segmentation: object, one: _Entry) -> list[list[shapes.Point]] | str:
    """Outlines in fractions of the image, of polygons [[x1, y1, ...], ...] or of a run-length mask; else why there are
    none.
    """
    if isinstance(segmentation, dict):
        try:
            mask = masks.from_coco(segmentation, (one.size, one.image_size), masks.most_pixels(one.image_size))
            height, width = mask.shape
            return [[(x / width, y / height) for x, y in ring] for ring in masks.outlines(mask)]
        except masks.MaskError as error:
            return str(error)
    rings: list[list[shapes.Point]] = []
    for ring in segmentation if isinstance(segmentation, list) else [None]:
        values = (
            [number(value) if not isinstance(value, str) else None for value in ring] if isinstance(ring, list) else []
        )
        numbers = [value for value in values if value is not None]
        if len(values) < 6 or len(values) % 2 or len(numbers) != len(values):
            return "its segmentation is neither a list of polygons [x1, y1, x2, y2, x3, y3, ...] nor a run-length mask"
        rings.append([(x / one.size[0], y / one.size[1]) for x, y in zip(numbers[0::2], numbers[1::2], strict=True)])
    return rings


def _keypoints(listed: object, size: tuple[float, float]) -> list[shapes.Keypoint] | None:
    """Keypoints [x1, y1, visibility1, ...] in fractions of the image; None for anything else."""
    values = (
        [number(value) if not isinstance(value, str) else None for value in listed] if isinstance(listed, list) else []
    )
    numbers = [value for value in values if value is not None]
    if len(numbers) != len(values) or len(numbers) % 3 or not numbers:
        return None
    triples = zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True)
    return [(x / size[0], y / size[1], 2 if seen >= 2 else 1 if seen >= 1 else 0) for x, y, seen in triples]


def _split_of(path: str) -> SourceSplit | None:
    """The split that a file's name tells by one of its words, else its folder."""
    for word in re.split(r"[^a-z]+", PurePosixPath(path).stem.lower()):
        if (split := split_of_word(word)) is not None:
            return split
    return folder_split(path)
