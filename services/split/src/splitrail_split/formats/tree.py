"""Classes of whole images as Ultralytics reads them: a folder for each class, perhaps within train, val and test.

`train/cat/1.jpg` is of the class cat and was in train; without folders of splits the innermost folder is the class. Class ids are in the order of
the names. An image that lies in no folder of a class is unlabelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from splitrail_common.annotations import Annotation, Kind, LabelState, pack

from splitrail_split.formats.boxes import MAX_CLASSES, SourceSplits, split_of_word, unlabelled
from splitrail_split.formats.images import EXTENSIONS
from splitrail_split.formats.model import Code, ParsedDataset, ParsedImage, Problems, Source, SourceSplit
from splitrail_split.formats.reading import shown

_LEAST_CLASSES = 2


def claims(paths: Sequence[str]) -> int:
    """2: images in folders of at least two classes. What describes boxes can describe classes too, and claims more."""
    placed = (_place(path) for path in paths if PurePosixPath(path).suffix.lower() in EXTENSIONS)
    return 2 if len({name for _, name in placed if name}) >= _LEAST_CLASSES else 0


def parse(source: Source) -> ParsedDataset:
    """See `formats.parse`."""
    problems = Problems()
    splits = SourceSplits()
    # Folders of which no image decodes are classes too: otherwise a bad image would renumber the others.
    placed = {image: _place(image) for image in [*source.image_sizes, *source.bad_images]}
    names = sorted({name for _, name in placed.values() if name})
    if not names:
        problems.add("", None, Code.NO_CLASSES, "no image lies in a folder of a class, such as train/cat/1.jpg")
    if len(names) > MAX_CLASSES:
        problems.add("", None, Code.CLASS_RANGE, f"{len(names)} classes: the first {MAX_CLASSES} are kept")
        names = names[:MAX_CLASSES]
    class_of = {name: number for number, name in enumerate(names)}
    items = []
    for image in sorted(source.image_sizes):
        split, name = placed[image]
        if split is not None:
            splits.put(image, split)
        if not name:
            items.append(unlabelled(image))
        elif name in class_of:
            items.append(ParsedImage(image, pack([Annotation(class_of[name], Kind.CLASS, ())]), LabelState.LABELLED))
        else:
            problems.add(image, None, Code.CLASS_RANGE, f"left out: its class {shown(name)} is beyond the first {MAX_CLASSES}")
    for path in sorted(source.files):
        if PurePosixPath(path).suffix.lower() not in EXTENSIONS:
            problems.add(path, None, Code.FILE_IGNORED, "not read: folders tell the classes")
    return ParsedDataset(names, items, problems.kept, dict(problems.counts), splits.of)


def _place(path: str) -> tuple[SourceSplit | None, str]:
    """The split and the class that the folders of an image tell; an empty text for no class."""
    folders = PurePosixPath(path).parts[:-1]
    for index, folder in enumerate(folders):
        if (split := split_of_word(folder)) is not None:
            return split, folders[index + 1] if index + 1 < len(folders) else ""
    return None, folders[-1] if folders else ""
