"""Annotation formats: what tells one from another and reads it is declared in `registry`.

The input is untrusted: whatever it holds, `parse` reports problems and does not raise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from splitrail_common.annotations import Kind

from splitrail_split.formats import keypoints
from splitrail_split.formats.model import (
    Code,
    Format,
    Loader,
    ParsedDataset,
    ParsedImage,
    Problem,
    Problems,
    Severity,
    Source,
    SourceSplit,
    spot,
)
from splitrail_split.formats.registry import READERS

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


class UnknownFormatError(ValueError):
    """The files look like none of the formats; the message says what was looked for."""


def detect(paths: Sequence[str], kind: Kind = Kind.BOX) -> Format:
    """The format of a source, from the relative paths of its files alone; kind: the shape of its annotations. Raises
    UnknownFormatError.
    """
    claims = {format_: reader.claims(paths, kind) for format_, reader in READERS.items()}
    best = max(claims, key=lambda format_: claims[format_])
    if claims[best] == 0:
        expected = ", ".join(reader.expected(kind) for reader in READERS.values())
        raise UnknownFormatError(
            f"none of the {len(paths)} files tells the annotation format: expected one of {expected}"
            + (". A folder of images for each class is for the task classify" if kind is not Kind.CLASS else "")
            + ". Images without annotations can be put into a draft"
        )
    return best


def recognize(format_: Format, files: Mapping[str, Loader]) -> Format:
    """The format that the content of the files has, where their names cannot tell: CVAT for Pascal VOC, Label Studio
    for COCO.
    """
    for other, reader in READERS.items():
        if reader.passes_for is format_ and reader.recognizes(Source(files, {})):
            return other
    return format_


def parse(
    format_: Format,
    files: Mapping[str, Loader],
    image_sizes: Mapping[str, tuple[int, int]],
    bad_images: Collection[str] = frozenset(),
    kind: Kind = Kind.BOX,
) -> ParsedDataset:
    """Parse a source (see `Source` for the arguments). Bad content becomes problems, never an exception."""
    parsed = READERS[format_].parse(Source(files, image_sizes, bad_images, kind))
    return keypoints.completed(parsed) if kind is Kind.KEYPOINTS else parsed
