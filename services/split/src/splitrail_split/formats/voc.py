"""Pascal VOC: one XML file an image, pixel corners, splits in ImageSets/Main.

Corners are taken as plain pixel coordinates (xmin 0 is the left edge), as Ultralytics and most tools write and read them, though the
original devkit counts pixels from 1. Class names are those that occur, in sorted order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

from splitrail_split.formats.boxes import MAX_CLASSES, Four, ImagesByName, Labels, SourceSplits, frame, unlabelled
from splitrail_split.formats.model import Code, ParsedDataset, ParsedImage, Place, Problems, Source, SourceSplit
from splitrail_split.formats.reading import Document, number, read_text, read_xml, shown

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
    labels: Labels
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
    for path in sorted(path for path in source.files if path.lower().endswith(".xml")):
        document = read_xml(source, path, problems)
        if document is None:
            if (image := images.by_stem(PurePosixPath(path).stem, path)) is not None:
                refused.add(image)
            continue
        image = _image_of(document.root, path, images, problems)
        if image is None or image in source.bad_images:
            continue
        if image in found:
            problems.add(path, None, Code.DUPLICATE_IMAGE, f"is for {image}, which {found[image].path} describes already: this file is left out")
            continue
        labels = Labels(problems)
        found[image] = _File(path, labels, _objects(document, path, source.image_sizes[image], labels, problems))
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
    splits = _image_sets(source, images, problems)
    return ParsedDataset(names, items, problems.kept, dict(problems.counts), splits)


def _item(image: str, file: _File, class_of: dict[str, int], problems: Problems) -> ParsedImage | None:
    for one in file.objects:
        if one.name in class_of:
            file.labels.corners(one.at, class_of[one.name], one.corners)
        else:
            file.labels.drop(one.at, Code.CLASS_RANGE, f"class {shown(one.name)} is beyond the first {MAX_CLASSES}")
    item = file.labels.image(image)
    if item is None:
        problems.add(image, None, Code.BAD_IMAGE, f"left out: none of the {file.labels.dropped} objects in {file.path} can be used")
    return item


def _image_of(root: Element, path: str, images: ImagesByName, problems: Problems) -> str | None:
    """The image that an XML file describes: the one of its own name; else the one it names."""
    stem = PurePosixPath(path).stem
    named = (root.findtext("filename") or "").strip()
    image = images.by_stem(stem, path)
    if image is None and named:
        image = images.by_file_name(named, path)
        if image is not None:
            problems.add(path, None, Code.NAME_MISMATCH, f"has another name than its image {shown(named)}: taken by <filename>")
    elif image is not None and named and PurePosixPath(named).name != PurePosixPath(image).name:
        problems.add(path, None, Code.NAME_MISMATCH, f"<filename> is {shown(named)}, but this file's own name is that of {image}: that is taken")
    if image is None:
        problems.add(path, None, Code.IMAGE_ABSENT, f"there is no image {stem}.*" + (f" and no {shown(named)}" if named else ""))
    return image


def _objects(document: Document, path: str, actual: tuple[int, int], labels: Labels, problems: Problems) -> list[_Object]:
    """Objects with corners in fractions of the image."""
    size = document.root.find("size")
    width, height = (number(size.findtext(tag) if size is not None else None) for tag in ("width", "height"))
    declared = (width, height) if width is not None and height is not None else None
    (w, h), odd = frame(declared, actual)
    if odd:
        problems.add(path, None, Code.SIZE_MISMATCH, odd)
    objects = []
    for element in document.root.iterfind("object"):
        at = Place(path, document.lines[element])
        name = (element.findtext("name") or "").strip()
        if not name:
            labels.drop(at, Code.CLASS_UNKNOWN, "object without a <name>")
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


def _image_sets(source: Source, images: ImagesByName, problems: Problems) -> dict[str, SourceSplit]:
    """Splits of ImageSets/Main; trainval counts as train for what neither train nor val lists."""
    splits = SourceSplits()
    listings = [path for path in source.files if path.endswith(".txt") and PurePosixPath(path).parts[:-1][-2:] == ("ImageSets", "Main")]
    listings = [path for path in listings if PurePosixPath(path).stem in _SETS]
    last = ""
    for path in sorted(listings, key=lambda path: (PurePosixPath(path).stem == "trainval", path)):
        stem = PurePosixPath(path).stem
        text = read_text(source, path, problems)
        last = path
        for line, row in enumerate((text or "").splitlines(), start=1):
            if not row.strip():
                continue
            # A name may hold spaces; lists for one class have a second column.
            image = images.by_stem(row.strip(), path) or images.by_stem(row.split()[0], path)
            if image is None:
                problems.add(path, line, Code.IMAGE_ABSENT, f"names {shown(row.strip())}, for which there is no image")
            elif image in source.image_sizes and not (stem == "trainval" and image in splits.of):
                splits.put(image, _SETS[stem])
    splits.report(last, problems)
    return splits.of
