"""Classes of whole images as Ultralytics reads them: a folder for each class, perhaps within train, val and test.

`train/cat/1.jpg` is of the class cat and was in train; without folders of splits the innermost folder is the class.
Class ids are in the order of the names. An image that lies in no folder of a class is unlabelled.

An export of this service has a `class_folders.json` besides, which says what the classes are called, in the order of
their ids: a folder cannot have every name. Below it `unassigned` holds images in no part, and `images` those without
class: with a label file, which is empty, somebody has looked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from splitrail_common.annotations import Annotation, Kind, LabelState, pack

from splitrail_split.formats.boxes import MAX_CLASSES, ClassNames, SourceSplits, label_path, unlabelled
from splitrail_split.formats.image_names import split_of_word
from splitrail_split.formats.images import EXTENSIONS
from splitrail_split.formats.model import Code, ParsedDataset, ParsedImage, Problems, Source, SourceSplit
from splitrail_split.formats.reading import read_json, shown

CLASSES_FILE = "class_folders.json"
_LEAST_CLASSES = 2


def claims(paths: Sequence[str]) -> int:
    """4: a class_folders.json; 2: images in folders of at least two classes. What describes boxes can describe classes
    too, and claims more.
    """
    if any(PurePosixPath(path).name == CLASSES_FILE for path in paths):
        return 4
    placed = (_place(path) for path in paths if PurePosixPath(path).suffix.lower() in EXTENSIONS)
    return 2 if len({one.name for one in placed if one.name}) >= _LEAST_CLASSES else 0


def parse(source: Source) -> ParsedDataset:
    """See `formats.parse`."""
    problems = Problems()
    declared = _declared(source, problems)
    splits = SourceSplits()
    # Folders of which no image decodes are classes too: otherwise a bad image would renumber the others.
    placed = {image: declared.place(image, source) for image in [*source.image_sizes, *source.bad_images]}
    classes = ClassNames()
    for name in [*declared.name_of.values(), *sorted({one.name for one in placed.values() if one.name})]:
        classes.id_of(name)
    names = classes.names
    if not names:
        problems.add("", None, Code.NO_CLASSES, "no image lies in a folder of a class, such as train/cat/1.jpg")
    if len(names) > MAX_CLASSES:
        problems.add("", None, Code.CLASS_RANGE, f"{len(names)} classes: the first {MAX_CLASSES} are kept")
        names = names[:MAX_CLASSES]
    class_of = {name: number for number, name in enumerate(names)}
    items = []
    read = {declared.path}
    for image in sorted(source.image_sizes):
        spot = placed[image]
        if spot.split is not None:
            splits.put(image, spot.split)
        if spot.reviewed:
            read.add(label_path(image))
            items.append(ParsedImage(image, pack([]), LabelState.EMPTY))
        elif not spot.name:
            items.append(unlabelled(image))
        elif spot.name in class_of:
            items.append(
                ParsedImage(image, pack([Annotation(class_of[spot.name], Kind.CLASS, ())]), LabelState.LABELLED)
            )
        else:
            problems.add(
                image,
                None,
                Code.CLASS_RANGE,
                f"left out: its class {shown(spot.name)} is beyond the first {MAX_CLASSES}",
            )
    for path in sorted(source.files):
        if path not in read and PurePosixPath(path).suffix.lower() not in EXTENSIONS:
            problems.add(path, None, Code.FILE_IGNORED, "not read: folders tell the classes")
    return ParsedDataset(names, items, problems.kept, dict(problems.counts), splits.of)


class _Spot(NamedTuple):
    """What the folders of an image tell: its split, its class (an empty text for none), and whether somebody has found
    that it has none.
    """

    split: SourceSplit | None
    name: str
    reviewed: bool = False


def _place(path: str) -> _Spot:
    folders = PurePosixPath(path).parts[:-1]
    for index, folder in enumerate(folders):
        if (split := split_of_word(folder)) is not None:
            return _Spot(split, folders[index + 1] if index + 1 < len(folders) else "")
    return _Spot(None, folders[-1] if folders else "")


@dataclass(frozen=True, slots=True)
class _Declared:
    """What class_folders.json says: the name of the class that each folder stands for, in the order of class ids.
    Without one, `path` is empty.
    """

    path: str = ""
    name_of: Mapping[str, str] = field(default_factory=dict)

    def place(self, image: str, source: Source) -> _Spot:
        """Where an image is."""
        root = PurePosixPath(self.path).parent
        if not self.path or not PurePosixPath(image).is_relative_to(root):
            return _place(image)
        inner = PurePosixPath(image).relative_to(root)
        folders = inner.parts[:-1]
        if folders and folders[0] == "images":
            return _Spot(split_of_word(folders[1]) if len(folders) > 1 else None, "", label_path(image) in source.files)
        spot = (
            _Spot(None, folders[1] if len(folders) > 1 else "")
            if folders and folders[0] == "unassigned"
            else _place(str(inner))
        )
        return spot._replace(name=self.name_of.get(spot.name, spot.name))


def _declared(source: Source, problems: Problems) -> _Declared:
    path = min(
        (one for one in source.files if PurePosixPath(one).name == CLASSES_FILE),
        key=lambda one: (one.count("/"), one),
        default="",
    )
    data = read_json(source, path, problems) if path else None
    if data is None:
        return _Declared()
    listed = data.get("classes")
    if not isinstance(listed, list):
        problems.add(path, None, Code.UNREADABLE, "classes is not a list")
        return _Declared()
    name_of: dict[str, str] = {}
    names: set[str] = set()
    for index, entry in enumerate(listed, start=1):
        folder, name = (entry.get("folder"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if not isinstance(folder, str) or not isinstance(name, str) or not folder or not name.strip():
            problems.add(path, None, Code.CLASS_UNKNOWN, f"class {index} of the list has no folder or no name")
        elif folder in name_of or name in names:
            message = f"class {index} of the list repeats the folder {shown(folder)} or the name {shown(name)}: the first one counts"
            problems.add(path, None, Code.DUPLICATE_CLASS, message)
        else:
            name_of[folder] = name
            names.add(name)
    return _Declared(path, name_of)
