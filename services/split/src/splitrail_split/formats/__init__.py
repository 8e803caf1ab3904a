"""Annotation formats: one module each, with the same two functions.

`claims(paths)` says how strongly a set of relative paths looks like the format (0: not at all), and `parse(source)` turns it into a `ParsedDataset`.
To add a format: write the module, add its name to `model.Format` and a row to `_PARSERS`.
The input is untrusted: whatever it holds, `parse` reports problems and does not raise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from splitrail_split.formats import coco, voc, yolo
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
}
_PARSERS: Mapping[Format, Callable[[Source], ParsedDataset]] = {
    Format.VOC: voc.parse,
    Format.COCO: coco.parse,
    Format.YOLO: yolo.parse,
}


class UnknownFormatError(ValueError):
    """The files look like none of the formats; the message says what was looked for."""


def detect(paths: Sequence[str]) -> Format:
    """The format of a source, from the relative paths of its files alone. Raises UnknownFormatError."""
    claims = {format_: claim(paths) for format_, claim in _CLAIMS.items()}
    best = max(claims, key=lambda format_: claims[format_])
    if claims[best] == 0:
        raise UnknownFormatError(
            f"none of the {len(paths)} files tells the annotation format: expected a data.yaml, classes.txt or labels/*.txt (YOLO), "
            "Annotations/*.xml (Pascal VOC) or *.json with images, annotations and categories (COCO)"
        )
    return best


def parse(
    format_: Format,
    files: Mapping[str, Loader],
    image_sizes: Mapping[str, tuple[int, int]],
    bad_images: Collection[str] = frozenset(),
) -> ParsedDataset:
    """Parse a source (see `Source` for the arguments). Bad content becomes problems, never an exception."""
    return _PARSERS[format_](Source(files, image_sizes, bad_images))
