"""Every annotation format that can be imported, declared once: how its files are told, what reads them, and what of
them must not be missed.

To add a format: write a module with `claims` and `parse`, give it a name in `model.Format` (that of the proto's
SourceFormat), and declare it here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from splitrail_common.annotations import Kind

from splitrail_split.formats import coco, cvat, labelstudio, tree, voc, yolo
from splitrail_split.formats.model import Format, ParsedDataset, Source


@dataclass(frozen=True, slots=True)
class Reader:
    """One format."""

    claims: Callable[[Sequence[str], Kind], int]
    """How strongly relative paths look like the format, 0: not at all; kind: the shape of the annotations that are
    wanted.
    """
    parse: Callable[[Source], ParsedDataset]
    """Reads a source, which is untrusted: reports problems and does not raise."""
    expected: Callable[[Kind], str]
    """For people: the files by which a source of this format is told."""
    names_images: bool = False
    """Its annotations name the images that they are of: when none of those is there, something is wrong with the
    source.
    """
    one_file_of_many: bool = False
    """A file holds the annotations of many images: when it cannot be read, images would pass for unlabelled."""
    declares: Callable[[str], bool] = lambda path: False
    """Whether a file of this path says something of all images, such as the names of the classes."""
    passes_for: Format | None = None
    """A format whose files have the same extension: where that is detected, `recognizes` looks into them."""
    recognizes: Callable[[Source], bool] = lambda source: False
    """Whether the content of the files shows that they are of this format."""


def _yolo_claims(paths: Sequence[str], kind: Kind) -> int:
    return tree.claims(paths) if kind is Kind.CLASS else yolo.claims(paths)


def _yolo_expected(kind: Kind) -> str:
    return (
        "a folder of images for each class" if kind is Kind.CLASS else "a data.yaml, classes.txt or labels/*.txt (YOLO)"
    )


READERS: Mapping[Format, Reader] = {
    Format.VOC: Reader(
        claims=lambda paths, kind: voc.claims(paths),
        parse=voc.parse,
        expected=lambda kind: "Annotations/*.xml (Pascal VOC)",
        names_images=True,
    ),
    Format.COCO: Reader(
        claims=lambda paths, kind: coco.claims(paths),
        parse=coco.parse,
        expected=lambda kind: "*.json (COCO)",
        names_images=True,
        one_file_of_many=True,
    ),
    Format.YOLO: Reader(
        claims=_yolo_claims,
        parse=yolo.parse,
        expected=_yolo_expected,
        declares=lambda path: not path.endswith(".txt"),
    ),
    Format.CVAT: Reader(
        claims=lambda paths, kind: cvat.claims(paths),
        parse=cvat.parse,
        expected=lambda kind: "annotations.xml (CVAT)",
        names_images=True,
        one_file_of_many=True,
        passes_for=Format.VOC,
        recognizes=cvat.recognizes,
    ),
    Format.LABEL_STUDIO: Reader(
        claims=lambda paths, kind: labelstudio.claims(paths),
        parse=labelstudio.parse,
        expected=lambda kind: "*.json (Label Studio)",
        names_images=True,
        one_file_of_many=True,
        passes_for=Format.COCO,
        recognizes=labelstudio.recognizes,
    ),
}
"""In the order of preference: of formats that claim a source equally, the first is taken. A list of objects of a bucket
(CSV, see `listing`) is told by its name alone, and is not among them.
"""
