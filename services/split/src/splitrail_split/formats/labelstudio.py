"""Label Studio's JSON export: a list of tasks, each an image with annotations of rectangles, polygons, keypoints or
choices, in percent of the image.

Class names are those that occur, in sorted order, because the export does not declare any. Of several annotations of a
task the ground truth counts, or the first that was not cancelled; predictions never do. Keypoints belong to the
rectangle that is their parent, or the only one around them, and their order is that of their sorted names. Folders of
images that are called like splits are those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from splitrail_common.annotations import Kind

from splitrail_split.formats import shapes
from splitrail_split.formats.boxes import MAX_CLASSES, ConvertedShapes, ImageLabels, SourceSplits, unlabelled
from splitrail_split.formats.image_names import ImagesByName
from splitrail_split.formats.images import EXTENSIONS
from splitrail_split.formats.model import Code, ParsedDataset, Place, Problems, Source
from splitrail_split.formats.reading import number, read_json_list, shown

_EXPORT = re.compile(r"project-\d+-at-.*\.json", re.IGNORECASE)
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")
_UPLOADS = re.compile(r"data/upload/(\d+/)?")
_SNIFFED_FILES = 3
_SNIFFED_BYTES = 256
_TASKS = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*\{")
_MAX_TEXT = 4096
_NO_REGIONS = ("relation", "textarea", "number", "rating", "datetime", "taxonomy")
"""Types of results that describe no object."""
_SHAPES = ("rectanglelabels", "polygonlabels", "keypointlabels", "choices")


@dataclass(frozen=True, slots=True)
class _Region:
    """One labelled thing of a task."""

    at: Place
    type: str
    id: str
    parent: str
    value: Mapping[str, object]
    names: Sequence[str]


@dataclass(slots=True)
class _Described:
    """An image with what was found for it."""

    labels: ImageLabels
    size: tuple[float, float]
    regions: list[_Region] = field(default_factory=list)


def claims(paths: Sequence[str]) -> int:
    """4: a name as Label Studio gives to exports. Others are told by their content: see `recognizes`."""
    return 4 if any(_EXPORT.fullmatch(PurePosixPath(path).name) for path in paths) else 0


def recognizes(source: Source) -> bool:
    """True when a JSON file is a list of tasks: COCO's files are not lists, except those of a detector's results."""
    paths = sorted(path for path in source.files if path.lower().endswith(".json"))
    heads = (source.read(path)[:_SNIFFED_BYTES] for path in paths[:_SNIFFED_FILES])
    return any(_TASKS.match(head) and b'"image_id"' not in head for head in heads)


def parse(source: Source) -> ParsedDataset:
    """See `formats.parse`."""
    problems = Problems()
    images = ImagesByName([*source.image_sizes, *source.bad_images])
    found: dict[str, _Described] = {}
    changes: list[ConvertedShapes] = []
    last = ""
    for path in sorted(path for path in source.files if path.lower().endswith(".json")):
        tasks = read_json_list(source, path, problems)
        if tasks is not None:
            last = path
            images.learn([name for task in tasks if (name := _named(task))], [path], problems)
            changes.append(ConvertedShapes())
            _file(source, _File(path, changes[-1], problems, images), tasks, found)
    classes, points = _names(source.kind, found)
    if not classes:
        problems.add(last, None, Code.NO_CLASSES, "no task has a label")
    if len(classes) > MAX_CLASSES:
        problems.add(last, None, Code.CLASS_RANGE, f"{len(classes)} classes: the first {MAX_CLASSES} are kept")
    class_of = {name: number for number, name in enumerate(classes[:MAX_CLASSES])}
    items = []
    for image in sorted(source.image_sizes):
        described = found.get(image)
        if described is None:
            items.append(unlabelled(image))
            continue
        _objects(described, class_of, points, source.kind)
        item = described.labels.image(image)
        if item is not None:
            items.append(item)
        else:
            problems.add(
                image,
                None,
                Code.BAD_IMAGE,
                f"left out: none of its {described.labels.dropped} objects and choices can be used",
            )
    for one in changes:
        one.report(problems)
    splits = SourceSplits()
    splits.or_folders(source.image_sizes)
    return ParsedDataset(list(class_of), items, problems.kept, dict(problems.counts), splits.of)


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    changes: ConvertedShapes
    problems: Problems
    images: ImagesByName


def _file(source: Source, file: _File, tasks: Sequence[object], found: dict[str, _Described]) -> None:
    several = 0
    for index, task in enumerate(tasks, start=1):
        at = Place(file.path, object=index)
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(task, dict) or not isinstance(data, dict):
            file.problems.add_at(at, Code.UNREADABLE, "is not a Label Studio task: it has no data")
            continue
        name = _image_name(data)
        image = _image(file, name)
        if image is None:
            file.problems.add_at(
                at,
                Code.IMAGE_ABSENT,
                f"names the image {shown(name.strip('/'))}, {file.images.why_none(name, file.path)}",
            )
            continue
        if image in source.bad_images:
            continue
        annotations = [
            one
            for one in _list(task.get("annotations"))
            if isinstance(one, dict) and one.get("was_cancelled") is not True
        ]
        if not annotations:
            continue
        several += len(annotations) > 1
        chosen = next((one for one in annotations if one.get("ground_truth") is True), annotations[0])
        if image in found:
            file.problems.add_at(at, Code.DUPLICATE_IMAGE, f"{image} occurs before: its annotations are put together")
        width, height = source.image_sizes[image]
        size = (float(width), float(height))
        described = found.setdefault(
            image, _Described(ImageLabels(file.problems, source.kind, size, file.changes), size)
        )
        for one in _list(chosen.get("result")):
            _region(at, one, described)
    if several:
        message = f"{several} tasks have several annotations: the ground truth counts, or the first"
        file.problems.add(file.path, None, Code.ATTRIBUTES_DROPPED, message)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _image_name(data: Mapping[object, object]) -> str:
    """The image of a task: `image` if it has that, else its first text that ends like an image; as a path without what
    URLs have besides.
    """
    texts = [data.get("image"), *data.values()]
    for text in texts:
        if not isinstance(text, str) or len(text) > _MAX_TEXT:
            continue
        try:
            url = urlsplit(text)
            local = parse_qs(url.query).get("d", [""])[0]  # /data/local-files/?d=folder/a.jpg
        except ValueError:
            continue
        name = local or unquote(url.path)
        if PurePosixPath(name).suffix.lower() in EXTENSIONS:
            name = name.strip("/")
            # Uploads lie in folders of Label Studio's own, and whatever else it names is a place on another machine.
            return name[uploads.end() :] if (uploads := _UPLOADS.match(name)) else f"/{name}"
    return ""


def _named(task: object) -> str:
    data = task.get("data") if isinstance(task, dict) else None
    return _image_name(data) if isinstance(data, dict) else ""


def _image(file: _File, name: str) -> str | None:
    """Label Studio puts eight digits before the names of uploaded files."""
    if not name:
        return None
    uploaded = _UPLOADED.fullmatch(PurePosixPath(name).name)
    image = file.images.by_file_name(name, file.path)
    return image or (
        file.images.by_file_name(str(PurePosixPath(name).with_name(uploaded[1])), file.path) if uploaded else None
    )


def _region(task: Place, one: object, described: _Described) -> None:
    fields = one if isinstance(one, dict) else {}
    type_, value, own_id = fields.get("type"), fields.get("value"), fields.get("id")
    at = task._replace(own_id=shown(own_id) if own_id is not None else "")
    if type_ in _NO_REGIONS:
        return
    if not isinstance(value, dict) or not isinstance(type_, str):
        described.labels.drop(at, Code.COLUMNS, "a result without type and value")
    elif type_ not in _SHAPES:
        described.labels.drop(at, Code.SHAPE_UNKNOWN, f"left out: {shown(type_)} is a shape that cannot be kept")
    else:
        names = [name.strip() for name in _list(value.get(type_)) if isinstance(name, str) and name.strip()]
        if not names:
            described.labels.drop(at, Code.CLASS_UNKNOWN, f"{type_} without a label")
            return
        parent = fields.get("parentID")
        described.regions.append(
            _Region(
                at,
                type_,
                own_id if isinstance(own_id, str) else "",
                parent if isinstance(parent, str) else "",
                value,
                names,
            )
        )


def _names(kind: Kind, found: Mapping[str, _Described]) -> tuple[list[str], list[str]]:
    """Classes and names of keypoints, each sorted."""
    shaped: set[str] = set()
    chosen: set[str] = set()
    points: set[str] = set()
    for described in found.values():
        for region in described.regions:
            (points if region.type == "keypointlabels" else chosen if region.type == "choices" else shaped).update(
                region.names
            )
    # Choices say something of an image that has shapes as well: only where classes of images are wanted are they
    # classes.
    classes = (chosen or shaped) if kind is Kind.CLASS else shaped
    return sorted(classes), sorted(points)


def _objects(described: _Described, class_of: Mapping[str, int], points: Sequence[str], kind: Kind) -> None:
    labels = described.labels
    placed = _keypoints(described, points) if kind is Kind.KEYPOINTS else {}
    for index, region in enumerate(described.regions):
        if region.type == "keypointlabels":
            if kind is not Kind.KEYPOINTS:
                labels.leave(region.at)
            continue
        if region.type == "choices" and kind is not Kind.CLASS:
            labels.remark(region.at)
            continue
        for name in region.names:
            if name in class_of:
                _object(region, class_of[name], described, placed.get(index))
            elif kind is Kind.CLASS:
                labels.leave(region.at)
            else:
                labels.drop(region.at, Code.CLASS_RANGE, f"class {shown(name)} is beyond the first {MAX_CLASSES}")


def _object(region: _Region, class_id: int, described: _Described, keypoints: list[shapes.Keypoint] | None) -> None:
    labels = described.labels
    if region.type == "choices":
        labels.whole(region.at, class_id)
    elif region.type == "polygonlabels":
        points = [_pair(point) for point in _list(region.value.get("points"))]
        ring = [point for point in points if point is not None]
        if len(ring) < len(points) or not ring:
            labels.drop(region.at, Code.NOT_A_NUMBER, "points is not a list of pairs of numbers")
        else:
            labels.polygon(region.at, class_id, [ring])
    elif (box := _box(region)) is None:
        labels.drop(region.at, Code.NOT_A_NUMBER, "x, y, width and height are not all numbers")
    elif keypoints is not None:
        labels.keypoints(region.at, class_id, box, keypoints)
    elif (rotation := number(region.value.get("rotation") or 0)) and abs(rotation) <= 360 and min(box[2:]) > 0:
        # About the top left corner, and x and y are that corner.
        corner = (box[0] - box[2] / 2, box[1] - box[3] / 2)
        labels.oriented(region.at, class_id, shapes.turned(box, rotation, described.size, about=corner))
    else:
        labels.box(region.at, class_id, box)


def _box(region: _Region) -> shapes.Box | None:
    values = [number(region.value.get(name)) for name in ("x", "y", "width", "height")]
    x, y, w, h = values
    if x is None or y is None or w is None or h is None:
        return None
    return (x + w / 2) / 100, (y + h / 2) / 100, w / 100, h / 100


def _pair(point: object) -> shapes.Point | None:
    values = [number(value) for value in point] if isinstance(point, list) else []
    if len(values) != 2 or values[0] is None or values[1] is None:
        return None
    return values[0] / 100, values[1] / 100


def _keypoints(described: _Described, names: Sequence[str]) -> dict[int, list[shapes.Keypoint]]:
    """Keypoints in the order of their names, by the position of the rectangle that they belong to."""
    boxes = {
        index: box
        for index, region in enumerate(described.regions)
        if region.type == "rectanglelabels" and (box := _box(region)) is not None
    }
    by_id = {described.regions[index].id: index for index in boxes}
    found: dict[int, dict[str, shapes.Keypoint]] = {}
    for region in described.regions:
        if region.type != "keypointlabels":
            continue
        x, y = number(region.value.get("x")), number(region.value.get("y"))
        if x is None or y is None:
            described.labels.drop(region.at, Code.NOT_A_NUMBER, "x and y of a keypoint are not both numbers")
            continue
        point = (x / 100, y / 100)
        around = [
            index
            for index, (cx, cy, w, h) in boxes.items()
            if abs(point[0] - cx) <= w / 2 and abs(point[1] - cy) <= h / 2
        ]
        owner = by_id.get(region.parent) if region.parent else around[0] if len(around) == 1 else None
        if owner is None:
            described.labels.drop(
                region.at,
                Code.SHAPE_UNKNOWN,
                "left out: a keypoint without a parent, and not within exactly one rectangle",
            )
        else:
            found.setdefault(owner, {})[region.names[0]] = (*point, 2)
    return {index: [points.get(name, (0.0, 0.0, 0)) for name in names] for index, points in found.items()}
