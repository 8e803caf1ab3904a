"""Annotation formats: one module each, with the same two functions.

`claims(paths)` says how strongly a set of relative paths looks like the format (0: not at all), and `parse(source)` turns it into a `ParsedDataset`.
To add a format: write the module, add its name to `model.Format` and a row to `_PARSERS`.
The input is untrusted: whatever it holds, `parse` reports problems and does not raise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from splitrail_common.annotations import Kind

from splitrail_split.formats import coco, cvat, keypoints, labelstudio, tree, voc, yolo
from splitrail_split.formats.model import Code, Format, Loader, ParsedDataset, ParsedImage, Problem, Problems, Severity, Source, SourceSplit, spot

__all__ = [
    "Code",
    "Format",
    "Loader",
    "ParsedDataset",
    "ParsedImage",
    "Problem",
    "Problems",
    "Severity",
    "Source",
    "SourceSplit",
    "UnknownFormatError",
    "detect",
    "parse",
    "spot",
]

_CLAIMS: Mapping[Format, Callable[[Sequence[str]], int]] = {
    Format.VOC: voc.claims,
    Format.COCO: coco.claims,
    Format.YOLO: yolo.claims,
    Format.CVAT: cvat.claims,
    Format.LABEL_STUDIO: labelstudio.claims,
}
_PARSERS: Mapping[Format, Callable[[Source], ParsedDataset]] = {
    Format.VOC: voc.parse,
    Format.COCO: coco.parse,
    Format.YOLO: yolo.parse,
    Format.CVAT: cvat.parse,
    Format.LABEL_STUDIO: labelstudio.parse,
}
# Formats whose files have the same extension: what of the content tells one from the other.
_CONTENTS: Mapping[Format, Callable[[Source], bool]] = {Format.CVAT: cvat.recognizes, Format.LABEL_STUDIO: labelstudio.recognizes}
_MISTAKEN = {Format.VOC: Format.CVAT, Format.COCO: Format.LABEL_STUDIO}


class UnknownFormatError(ValueError):
    """The files look like none of the formats; the message says what was looked for."""


def detect(paths: Sequence[str], kind: Kind = Kind.BOX) -> Format:
    """The format of a source, from the relative paths of its files alone; kind: the shape of its annotations. Raises UnknownFormatError."""
    claims = {format_: claim(paths) for format_, claim in _CLAIMS.items()}
    if kind is Kind.CLASS:
        claims[Format.YOLO] = tree.claims(paths)
    best = max(claims, key=lambda format_: claims[format_])
    if claims[best] == 0:
        wanted = "a folder of images for each class, " if kind is Kind.CLASS else "a data.yaml, classes.txt or labels/*.txt (YOLO), "
        raise UnknownFormatError(
            f"none of the {len(paths)} files tells the annotation format: expected {wanted}"
            "Annotations/*.xml (Pascal VOC), annotations.xml (CVAT), or *.json of COCO or Label Studio"
            + (". A folder of images for each class is for the task classify" if kind is not Kind.CLASS else "")
            + ". Images that nobody has annotated can be put into a draft"
        )
    return best


def recognize(format_: Format, files: Mapping[str, Loader]) -> Format:
    """The format that the content of the files has, where their names cannot tell: CVAT for Pascal VOC, Label Studio for COCO."""
    other = _MISTAKEN.get(format_)
    return other if other is not None and _CONTENTS[other](Source(files, {})) else format_


def parse(
    format_: Format,
    files: Mapping[str, Loader],
    image_sizes: Mapping[str, tuple[int, int]],
    bad_images: Collection[str] = frozenset(),
    kind: Kind = Kind.BOX,
) -> ParsedDataset:
    """Parse a source (see `Source` for the arguments). Bad content becomes problems, never an exception."""
    parsed = _PARSERS[format_](Source(files, image_sizes, bad_images, kind))
    return keypoints.completed(parsed) if kind is Kind.KEYPOINTS else parsed
