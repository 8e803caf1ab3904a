"""A CSV of images that lie in a bucket already, a row for each image, or for each object on it.

Columns by their names in the first row: `object` (where the image lies), and if there are any `path` (its name in the
dataset), `split`, `class` and `xmin`, `ymin`, `xmax`, `ymax` (a box, in pixels of the image as displayed). Every other
column is metadata of the image. Without a column `class` the images are unlabelled; with one, an image whose rows name
no class is one without objects. Class names are those that occur, in sorted order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from splitrail_common.annotations import Kind

from splitrail_split.formats.boxes import MAX_CLASSES, ConvertedShapes, ImageLabels, SourceSplits, unlabelled
from splitrail_split.formats.image_names import split_of_word
from splitrail_split.formats.model import Code, ParsedDataset, ParsedImage, Place, Problems
from splitrail_split.formats.reading import number, shown

OBJECT, PATH, SPLIT, CLASS = "object", "path", "split", "class"
CORNERS = ("xmin", "ymin", "xmax", "ymax")
MAX_METADATA_COLUMNS = 32
MAX_METADATA_CHARACTERS = 1024
"""Of a value, as in a draft; and of a column's name."""
_MAX_LINE = 1 << 20

L = TypeVar("L")


@dataclass(frozen=True, slots=True)
class Row:
    """A row that describes an image, or an object on it. `line`: from 1."""

    line: int
    class_name: str
    corners: tuple[str, ...]
    split: str


@dataclass(slots=True)
class Listed(Generic[L]):
    """An image with where it lies and all rows about it."""

    location: L
    metadata: dict[str, str]
    rows: list[Row]


@dataclass(slots=True)
class Listing(Generic[L]):
    """A CSV as far as it can be used: images by path, in the order of the rows. `path` is the CSV's own."""

    path: str
    has_classes: bool = False
    images: dict[str, Listed[L]] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)


class ListingError(ValueError):
    """The CSV cannot be used at all; the message is for people. `line`: where it was noticed, from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read(path: str, data: bytes, locate: Callable[[str, str], tuple[L, str]]) -> Listing[L]:
    """Groups the rows by image. `locate(object, path)` gives where an image lies and its name, or raises ValueError
    with why it may not be used.

    Raises ListingError when the first row does not name the columns, or the file is not CSV in UTF-8.
    """
    listing: Listing[L] = Listing(path)
    rows = _rows(data)
    columns = next(rows, (1, []))[1]
    metadata_columns = _checked_columns(columns)
    listing.has_classes = CLASS in columns
    named: dict[L, str] = {}
    for line, cells in rows:
        if not any(cells):
            continue
        if len(cells) != len(columns):
            listing.problems.add(
                path, line, Code.COLUMNS, f"has {len(cells)} columns, the first row names {len(columns)}"
            )
            continue
        values = dict(zip(columns, cells, strict=True))
        try:
            location, name = locate(values[OBJECT], values.get(PATH, ""))
        except ValueError as error:
            listing.problems.add(path, line, Code.OBJECT_REFUSED, f"{shown(values[OBJECT])} {error}")
            continue
        if named.setdefault(location, name) != name or (
            name in listing.images and listing.images[name].location != location
        ):
            listing.problems.add(
                path,
                line,
                Code.DUPLICATE_IMAGE,
                f"{shown(values[OBJECT])} and {shown(name)} belong to other rows already",
            )
            continue
        metadata = {column: values[column] for column in metadata_columns if values[column]}
        row = Row(
            line, values.get(CLASS, ""), tuple(values.get(corner, "") for corner in CORNERS), values.get(SPLIT, "")
        )
        if name not in listing.images:
            listing.images[name] = Listed(location, {}, [])
        listing.images[name].rows.append(row)
        _put_metadata(listing, listing.images[name], line, metadata)
    return listing


def parse(
    listing: Listing[L], image_sizes: Mapping[str, tuple[int, int]], absent: Mapping[str, str], kind: Kind
) -> ParsedDataset:
    """See `formats.parse`. absent: why the bytes of an image cannot be had, by its path. Images in neither are bad,
    which is told elsewhere.
    """
    problems = listing.problems
    for path, why in absent.items():
        problems.add(listing.path, listing.images[path].rows[0].line, Code.IMAGE_ABSENT, why)
    there = {path: listed for path, listed in listing.images.items() if path in image_sizes}
    names = sorted({row.class_name for listed in there.values() for row in listed.rows if row.class_name})
    if there and listing.has_classes and not names:
        problems.add(listing.path, 1, Code.NO_CLASSES, f"has a column {CLASS!r}, but no row names a class")
    class_of = {name: number for number, name in enumerate(names[:MAX_CLASSES])}
    splits, changes = SourceSplits(), ConvertedShapes()
    items = []
    for path, listed in sorted(there.items()):
        labels = ImageLabels(problems, kind, image_sizes[path], changes)
        item = _item(listing, path, listed, _Adding(labels, kind, image_sizes[path], class_of))
        if item is not None:
            items.append(item)
            _put_split(listing, path, listed, splits)
    splits.report(listing.path, problems)
    changes.report(problems)
    return ParsedDataset(names[:MAX_CLASSES], items, problems.kept, dict(problems.counts), splits.of)


def _put_metadata(listing: Listing[L], listed: Listed[L], line: int, metadata: Mapping[str, str]) -> None:
    """The first value that any row of an image has counts."""
    for column, value in metadata.items():
        if len(value) > MAX_METADATA_CHARACTERS:
            listing.problems.add(
                listing.path,
                line,
                Code.METADATA,
                f"{shown(column)} has more than {MAX_METADATA_CHARACTERS} characters: left out",
            )
        elif listed.metadata.setdefault(column, value) != value:
            message = f"{shown(column)} is {shown(value)}, an earlier row of the image says {shown(listed.metadata[column])}: that is kept"
            listing.problems.add(listing.path, line, Code.METADATA, message)


def _rows(data: bytes) -> Iterator[tuple[int, list[str]]]:
    if (nul := data.find(b"\0")) >= 0:
        raise ListingError(data.count(b"\n", 0, nul) + 1, "holds a NUL byte: it is not text")
    try:
        text = io.StringIO(data.decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ListingError(line, f"is not UTF-8 text: {error.reason} at byte {error.start}") from error
    reader = csv.reader(_short(text), strict=True)
    try:
        for cells in reader:
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise ListingError(reader.line_num, f"is not CSV: {error}") from error


def _short(text: io.StringIO) -> Iterator[str]:
    """Lines, none of which makes millions of cells."""
    for line in text:
        if len(line) > _MAX_LINE:
            raise csv.Error(f"a line of {len(line)} characters")
        yield line


def _checked_columns(columns: list[str]) -> list[str]:
    """The columns that are metadata."""
    where = "the first row"
    if OBJECT not in columns:
        raise ListingError(
            1, f"{where} must name the columns, and {OBJECT!r} among them: the bucket's object that an image is"
        )
    if len(set(columns)) != len(columns) or "" in columns:
        raise ListingError(1, f"{where} names a column twice, or not at all")
    corners = [corner for corner in CORNERS if corner in columns]
    if corners and (len(corners) != len(CORNERS) or CLASS not in columns):
        raise ListingError(1, f"{where} has {', '.join(corners)}: a box needs {CLASS}, {', '.join(CORNERS)}")
    metadata = [column for column in columns if column not in (OBJECT, PATH, SPLIT, CLASS, *CORNERS)]
    if len(metadata) > MAX_METADATA_COLUMNS or any(len(column) > MAX_METADATA_CHARACTERS for column in metadata):
        raise ListingError(1, f"{where} names more than {MAX_METADATA_COLUMNS} columns of metadata, or a very long one")
    return metadata


@dataclass(frozen=True, slots=True)
class _Adding:
    """An image's objects and what their rows are read with."""

    labels: ImageLabels
    kind: Kind
    size: tuple[int, int]
    class_of: Mapping[str, int]

    def row(self, at: Place, row: Row) -> None:
        if not row.class_name:
            if any(row.corners):
                self.labels.drop(at, Code.CLASS_UNKNOWN, "a box without a class")
        elif (class_id := self.class_of.get(row.class_name)) is None:
            self.labels.drop(at, Code.CLASS_RANGE, f"class {shown(row.class_name)} is beyond the first {MAX_CLASSES}")
        elif any(row.corners):
            self._box(at, class_id, row)
        elif self.kind is Kind.CLASS:
            self.labels.whole(at, class_id)
        else:
            self.labels.drop(at, Code.COLUMNS, f"class {shown(row.class_name)} without a box")

    def _box(self, at: Place, class_id: int, row: Row) -> None:
        x1, y1, x2, y2 = (number(text) for text in row.corners)
        if x1 is None or y1 is None or x2 is None or y2 is None:
            texts = ", ".join(shown(text, 20) for text in row.corners)
            self.labels.drop(at, Code.NOT_A_NUMBER, f"{', '.join(CORNERS)} are {texts}: expected four numbers")
        else:
            width, height = self.size
            self.labels.corners(at, class_id, (x1 / width, y1 / height, x2 / width, y2 / height))


def _item(listing: Listing[L], path: str, listed: Listed[L], adding: _Adding) -> ParsedImage | None:
    """The image with its objects; None, with a problem, when it had some and none can be used."""
    if not listing.has_classes:
        item: ParsedImage | None = unlabelled(path)
    else:
        for row in listed.rows:
            adding.row(Place(listing.path, row.line), row)
        item = adding.labels.image(path)
    if item is None:
        why = f"left out: none of the {adding.labels.dropped} objects in {listing.path} can be used"
        listing.problems.add(path, None, Code.BAD_IMAGE, why)
        return None
    return ParsedImage(item.path, item.annotations, item.label_state, listed.metadata)


def _put_split(listing: Listing[L], path: str, listed: Listed[L], splits: SourceSplits) -> None:
    for row in listed.rows:
        if not row.split:
            continue
        split = split_of_word(row.split)
        if split is None:
            listing.problems.add(
                listing.path,
                row.line,
                Code.SPLIT_UNKNOWN,
                f"{shown(row.split)} is not a split: expected train, val or test",
            )
        else:
            splits.put(path, split)
