"""Canonical, packed annotations of one image.

Coordinates are quantized once, when they enter the system, to fixed-point fractions of the image's width or height in
units of 1e-6 (`SCALE`). From then on they are integers: export and re-import lose nothing, and equal annotations are
equal bytes.

Packed form (little-endian): one version byte, then one record per annotation, sorted by (class id, kind, values):
`class_id: u16, kind: u8, count: u16, count * value: u32`.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

PACK_VERSION = 1
SCALE = 1_000_000
MAX_CLASS_ID = 0xFFFF
MAX_VALUE = 0xFFFFFFFF

_VERSION = bytes([PACK_VERSION])
_HEADER = struct.Struct("<HBH")
_BOX_RECORD = struct.Struct("<HBHIIII")


class LabelState(enum.IntEnum):
    """What is known of an image's labels. The numbers are stored and enter digests: never renumber."""

    UNLABELLED = 1
    """Nobody has annotated the image: there is no annotation file or entry."""
    EMPTY = 2
    """Reviewed and found without objects: an annotation exists and lists none."""
    LABELLED = 3


class Kind(enum.IntEnum):
    """Shape of an annotation and the meaning of its values. The numbers are stored: never renumber."""

    BOX = 1
    """cx, cy, w, h in fractions of the image's width and height."""
    POLYGON = 2
    """x1, y1, x2, y2, ..."""
    KEYPOINTS = 3
    """cx, cy, w, h of the box, then x, y, visibility (0, 1, 2) for each point."""
    OBB = 4
    """x1, y1, ..., x4, y4: the four corners of an oriented box."""
    CLASS = 5
    """No values: the whole image is of this class."""


class Annotation(NamedTuple):
    """One object: values are fixed-point fractions in 1e-6 units (see `Kind`). Compares in canonical order."""

    class_id: int
    kind: Kind
    values: tuple[int, ...]


class AnnotationError(ValueError):
    """An annotation that cannot be kept. `reason` is a stable word (not_finite, no_area, outside), the message is for
    people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def pack(annotations: Iterable[Annotation]) -> bytes:
    """Canonical bytes of a set of annotations; their order does not matter, repeated ones are kept.

    Raises AnnotationError (out_of_range) when a class id or value does not fit the encoding.
    """
    parts = [_VERSION]
    for class_id, kind, values in sorted(annotations):
        try:
            parts.append(_HEADER.pack(class_id, kind, len(values)) + struct.pack(f"<{len(values)}I", *values))
        except struct.error as error:
            raise AnnotationError(
                "out_of_range",
                f"annotation of class {class_id} with {len(values)} values does not fit: class ids and value counts "
                f"go up to {MAX_CLASS_ID}, values from 0 to {MAX_VALUE}",
            ) from error
    return b"".join(parts)


def unpack(packed: bytes) -> list[Annotation]:
    """The annotations of `packed` in canonical order. Raises ValueError on bytes that `pack` did not make."""
    _check_version(packed)
    annotations = []
    offset = 1
    try:
        while offset < len(packed):
            class_id, kind, count = _HEADER.unpack_from(packed, offset)
            offset += _HEADER.size
            annotations.append(Annotation(class_id, Kind(kind), struct.unpack_from(f"<{count}I", packed, offset)))
            offset += 4 * count
    except struct.error as error:
        raise ValueError(
            f"packed annotations of {len(packed)} bytes end inside a record that starts before byte {offset}"
        ) from error
    return annotations


def labels_csr(packed: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """Class ids of many images at once, as the split service's `stratify.assign` and `certificate.certify` take them.

    Returns (indptr (N + 1,), class_ids (nnz,)): the objects of image i are class_ids[indptr[i]:indptr[i + 1]],
    ascending. Images that hold only boxes, the common case, are read without a Python loop over their objects.
    """
    lengths = np.fromiter((len(one) for one in packed), dtype=np.int64, count=len(packed))
    size = _BOX_RECORD.size
    if lengths.size and int(lengths.min()) < 1:
        raise ValueError("packed annotations are empty: even an image without objects has its version byte")
    if np.all((lengths - 1) % size == 0):
        counts = (lengths - 1) // size
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        data = np.frombuffer(b"".join(packed), dtype=np.uint8)
        starts = np.cumsum(lengths) - lengths
        if np.any(data[starts] != PACK_VERSION):
            raise ValueError(f"packed annotations have another version than {PACK_VERSION}")
        image = np.repeat(np.arange(counts.size), counts)
        at = np.arange(indptr[-1]) * size + image + 1  # each earlier image adds its version byte
        # A record whose kind is BOX with four values ends where the next one is expected: so checking all of them is
        # sound.
        if np.all(data[at + 2] == Kind.BOX) and np.all(data[at + 3] == 4) and np.all(data[at + 4] == 0):
            low, high = data[at].astype(np.uint16), data[at + 1].astype(np.uint16)
            return indptr, low | (high << np.uint16(8))
    rows = [[one.class_id for one in unpack(bytes_)] for bytes_ in packed]
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(row) for row in rows], dtype=np.int64)])
    return indptr, np.fromiter((one for row in rows for one in row), dtype=np.uint16, count=int(indptr[-1]))


def box_from_yolo(class_id: int, cx: float, cy: float, w: float, h: float) -> Annotation:
    """Quantize a box given by centre and size in fractions of the image, clipped to the image.

    Raises AnnotationError: `not_finite` (NaN or infinite), `no_area` (width or height not above zero once quantized, or
    negative), `outside` (no part of it lies within the image). Quantized boxes pass through unchanged.

    """
    if not all(map(math.isfinite, (cx, cy, w, h))):
        raise AnnotationError("not_finite", f"box {cx} {cy} {w} {h}: coordinates must be finite numbers")
    if w <= 0 or h <= 0:
        raise AnnotationError("no_area", f"box has no area: width {w:g}, height {h:g}")
    if not (-w / 2 < cx < 1 + w / 2 and -h / 2 < cy < 1 + h / 2):
        raise AnnotationError("outside", f"box lies wholly outside the image: centre {cx:g} {cy:g}, size {w:g} {h:g}")
    x, width = _clip_axis(cx, w)
    y, height = _clip_axis(cy, h)
    if width == 0 or height == 0:
        raise AnnotationError("no_area", f"box has no area within the image: centre {cx:g} {cy:g}, size {w:g} {h:g}")
    return Annotation(class_id, Kind.BOX, (x, y, width, height))


def overhang(cx: float, cy: float, w: float, h: float) -> float:
    """How far a box (centre and size in fractions) reaches beyond the image, as a fraction of its width or height; 0
    when inside."""
    return max(0.0, w / 2 - cx, cx + w / 2 - 1, h / 2 - cy, cy + h / 2 - 1)


def to_yolo_rows(packed: bytes) -> str:
    """Ultralytics detection label text, one `class cx cy w h` line per box with exactly six decimals.

    Parsing the text gives annotations that pack to the same bytes. Raises ValueError for kinds that a detection row
    cannot hold.
    """
    rows = []
    for class_id, kind, values in unpack(packed):
        if kind is not Kind.BOX:
            raise ValueError(f"annotation of kind {kind.name} cannot be written as a YOLO detection row")
        rows.append(" ".join([str(class_id), *(f"{value // SCALE}.{value % SCALE:06d}" for value in values)]))
    return "".join(row + "\n" for row in rows)


def _clip_axis(center: float, size: float) -> tuple[int, int]:
    """Quantized (centre, size) of an extent clipped to 0..1.

    A centre and a size rounded separately may reach half a unit beyond the edge; that is accepted, so that a quantized
    extent is left as it is and clipping twice equals clipping once.
    """
    if abs(center) < 2 and size < 2:
        c, s = round(center * SCALE), round(size * SCALE)
        if 2 * c - s >= -1 and 2 * c + s <= 2 * SCALE + 1:
            return c, s
    low, high = max(0.0, center - size / 2), min(1.0, center + size / 2)
    return round((low + high) / 2 * SCALE), round((high - low) * SCALE)


def _check_version(packed: bytes) -> None:
    if packed[:1] != _VERSION:
        raise ValueError(f"packed annotations start with {packed[:1]!r}, not with version {PACK_VERSION}")
