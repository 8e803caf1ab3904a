"""Pascal VOC: one XML file an image, pixel corners, splits in ImageSets/Main or told by the folders of images.

Corners are taken as plain pixel coordinates (xmin 0 is the left edge), as Ultralytics and most tools write and read
them, though the original devkit counts pixels from 1. Class names are those that occur, in sorted order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

from splitrail_common.annotations import Kind

from splitrail_split.formats.boxes import MAX_CLASSES, Four, ImageLabels, SourceSplits, frame, unlabelled
from splitrail_split.formats.image_names import ImagesByName, common_folders
from splitrail_split.formats.model import Code, ParsedDataset, ParsedImage, Place, Problems, Source, SourceSplit
from splitrail_split.formats.reading import XmlDocument, number, read_text, read_xml, shown

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SETS: dict[str, SourceSplit] = {"train": "train", "val": "val", "test": "test", "trainval": "train"}


@dataclass(frozen=True, slots=True)
class _Object:
    at: Place
    name: str
    corners: Four


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    labels: ImageLabels
    objects: list[_Object]


def claims(paths: Sequence[str]) -> int:
    """3: XML files in a folder Annotations; 2: XML files elsewhere."""
    xml = [PurePosixPath(path) for path in paths if path.lower().endswith(".xml")]
    if any("annotations" in (part.lower() for part in path.parts[:-1]) for path in xml):
        return 3
    return 2 if xml else 0


def parse(source: Source) -> ParsedDataset:
    """See `formats.parse`."""
    problems = Problems()
    images = ImagesByName([*source.image_sizes, *source.bad_images])
    found: dict[str, _File] = {}
    refused: set[str] = set()
    paths = sorted(path for path in source.files if path.lower().endswith(".xml"))
    above = len(common_folders(paths))
    places = [PurePosixPath("/", *PurePosixPath(path).parts[above:-1], PurePosixPath(path).stem) for path in paths]
    images.learn([str(place) for place in places], paths, problems, stems=True)
    for path, place in zip(paths, places, strict=True):
        document = read_xml(source, path, problems)
        if document is None:
            if (image := images.by_stem(str(place), path)) is not None:
                refused.add(image)
            continue
        image = _image_of(document.root, path, place, images, problems)
        if image is None or image in source.bad_images:
            continue
        if image in found:
            problems.add(
                path,
                None,
                Code.DUPLICATE_IMAGE,
                f"is for {image}, which {found[image].path} describes already: this file is left out",
            )
            continue
        pixels, odd = _frame(document.root, source.image_sizes[image])
        if odd:
            problems.add(path, None, Code.SIZE_MISMATCH, odd)
        labels = ImageLabels(problems, source.kind, pixels)
        found[image] = _File(
            path, labels, _objects(document, path, pixels, labels, boxed=source.kind is not Kind.CLASS)
        )
    names = sorted({one.name for file in found.values() for one in file.objects})
    if len(names) > MAX_CLASSES:
        problems.add("", None, Code.CLASS_RANGE, f"{len(names)} classes: the first {MAX_CLASSES} are kept")
        names = names[:MAX_CLASSES]
    class_of = {name: index for index, name in enumerate(names)}
    items = []
    for image in sorted(source.image_sizes):
        if image in found:
            item = _item(image, found[image], class_of, problems)
            if item is not None:
                items.append(item)
        elif image not in refused:
            items.append(unlabelled(image))
    splits = _image_sets(source, (ImagesByName(found), images), problems)
    return ParsedDataset(names, items, problems.kept, dict(problems.counts), splits)


def _item(image: str, file: _File, class_of: dict[str, int], problems: Problems) -> ParsedImage | None:
    for one in file.objects:
        if one.name in class_of:
            file.labels.corners(one.at, class_of[one.name], one.corners)
        else:
            file.labels.drop(one.at, Code.CLASS_RANGE, f"class {shown(one.name)} is beyond the first {MAX_CLASSES}")
    file.labels.changes.report(problems)
    item = file.labels.image(image)
    if item is None:
        problems.add(
            image,
            None,
            Code.BAD_IMAGE,
            f"left out: none of the {file.labels.dropped} objects in {file.path} can be used",
        )
    return item


def _image_of(root: Element, path: str, place: PurePosixPath, images: ImagesByName, problems: Problems) -> str | None:
    """The image that an XML file describes: the one of its own name; else the one it names.

    place: of the file below the folder that holds all of them, without extension; as a path from elsewhere, since it is
    none of an image.
    """
    named = (root.findtext("filename") or "").strip()
    image = images.by_stem(str(place), path, named)
    if image is None and named:
        image = images.by_file_name(str(place.parent / named), path)
        if image is not None:
            problems.add(
                path, None, Code.NAME_MISMATCH, f"has another name than its image {shown(named)}: taken by <filename>"
            )
    elif image is not None and named and PurePosixPath(named).name != PurePosixPath(image).name:
        problems.add(
            path,
            None,
            Code.NAME_MISMATCH,
            f"<filename> is {shown(named)}, but this file's own name is that of {image}: that is taken",
        )
    if image is None:
        said = f" or {shown(named)}" if named else ""
        problems.add(
            path, None, Code.IMAGE_ABSENT, f"is for the image {place.name}.*{said}, {images.why_none(str(place), path)}"
        )
    return image


def _frame(root: Element, actual: tuple[int, int]) -> tuple[tuple[float, float], str | None]:
    """See `frame`."""
    size = root.find("size")
    width, height = (number(size.findtext(tag) if size is not None else None) for tag in ("width", "height"))
    return frame((width, height) if width is not None and height is not None else None, actual)


def _objects(
    document: XmlDocument, path: str, pixels: tuple[float, float], labels: ImageLabels, *, boxed: bool
) -> list[_Object]:
    """Objects with corners in fractions of the image; boxed: whether those are wanted."""
    w, h = pixels
    objects = []
    for element in document.root.iterfind("object"):
        at = Place(path, document.lines[element])
        name = (element.findtext("name") or "").strip()
        if not name:
            labels.drop(at, Code.CLASS_UNKNOWN, "object without a <name>")
            continue
        if not boxed:
            objects.append(_Object(at, name, (0.0, 0.0, 1.0, 1.0)))
            continue
        box = element.find("bndbox")
        texts = [box.findtext(tag) if box is not None else None for tag in _CORNERS]
        corners = [number(text) for text in texts]
        x1, y1, x2, y2 = corners
        if x1 is None or y1 is None or x2 is None or y2 is None:
            wrong = corners.index(None)
            if texts[wrong] is None:
                labels.drop(at, Code.COLUMNS, f"object without <{_CORNERS[wrong]}> in a <bndbox>")
            else:
                labels.drop(at, Code.NOT_A_NUMBER, f"<{_CORNERS[wrong]}> is {shown(texts[wrong])}, not a number")
            continue
        objects.append(_Object(at, name, (x1 / w, y1 / h, x2 / w, y2 / h)))
    return objects


def _image_sets(
    source: Source, images: tuple[ImagesByName, ImagesByName], problems: Problems
) -> dict[str, SourceSplit]:
    """Splits of ImageSets/Main; trainval counts as train for what neither train nor val lists. images: those that are
    described, then all.
    """
    splits = SourceSplits()
    listings = [
        path
        for path in source.files
        if path.endswith(".txt") and PurePosixPath(path).parts[:-1][-2:] == ("ImageSets", "Main")
    ]
    listings = [path for path in listings if PurePosixPath(path).stem in _SETS]
    last = ""
    for path in sorted(listings, key=lambda path: (PurePosixPath(path).stem == "trainval", path)):
        stem = PurePosixPath(path).stem
        text = read_text(source, path, problems)
        last = path
        # Beside Annotations and JPEGImages of its own devkit: an image of VOC2007 is none of VOC2012.
        beside = PurePosixPath("/", *PurePosixPath(path).parts[:-3])
        for line, row in enumerate((text or "").splitlines(), start=1):
            if not row.strip():
                continue
            # A name may hold spaces; lists for one class have a second column.
            names = [str(beside / name) for name in (row.strip(), row.split()[0])]
            image = next((image for name in names for known in images if (image := known.by_stem(name, path))), None)
            if image is None:
                problems.add(
                    path, line, Code.IMAGE_ABSENT, f"names {shown(row.strip())}, {images[1].why_none(names[1], path)}"
                )
            elif image in source.image_sizes and not (stem == "trainval" and image in splits.of):
                splits.put(image, _SETS[stem])
    splits.or_folders(source.image_sizes)
    splits.report(last, problems)
    return splits.of
