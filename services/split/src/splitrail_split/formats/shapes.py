"""Outlines, keypoints and oriented boxes from numbers that cannot be trusted: clipped to the image and quantized once,
like boxes.

Coordinates are fractions of the image. Every function raises AnnotationError with a reason of
`annotations.box_from_yolo`, or `too_many_points`. What is within the image and quantized already passes through
unchanged, so that export and import lose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from splitrail_common.annotations import SCALE, Annotation, AnnotationError, Kind, box_from_yolo

Point = tuple[float, float]
Keypoint = tuple[float, float, int]
"""x, y and visibility (0: not labelled, 1: hidden, 2: visible)."""
Box = tuple[float, float, float, float]
"""Centre and size."""

MAX_POINTS = 0xFFFF // 2
"""Of an outline: what the packed form can count."""
MAX_KEYPOINTS = 1000
CORNERS = 4
_LEAST = 3
_FAR = 1e6
"""Points beyond this are not points of an object, and their products would leave the numbers."""
_JOINED = 100
"""Outlines that are joined to one: each costs a search through those before it."""


def polygon(class_id: int, points: Sequence[Point]) -> Annotation:
    """An outline, cut to the image (Sutherland and Hodgman: Reentrant polygon clipping, CACM 17 (1974)). Its points
    keep their order; one that equals the one before it, or the last that equals the first, counts once.
    """
    _finite(points, "polygon")
    # What is cut can have twice as many points: checked again after cutting.
    _countable(len(points))
    if len(points) < _LEAST or not _spans(points):
        raise AnnotationError("no_area", f"polygon of {len(points)} points has no area")
    inside = _clipped(points)
    if not inside:
        raise AnnotationError("outside", "polygon lies wholly outside the image")
    corners = _distinct([(round(x * SCALE), round(y * SCALE)) for x, y in inside])
    if len(corners) < _LEAST or not _spans(corners):
        raise AnnotationError("no_area", f"polygon of {len(points)} points has no area within the image")
    _countable(len(corners))
    return Annotation(class_id, Kind.POLYGON, _flat(corners))


def oriented(class_id: int, corners: Sequence[Point]) -> Annotation:
    """A box by its four corners in the order around it. Corners beyond the image are moved to its edge: four remain
    four.
    """
    _finite(corners, "oriented box")
    if len(corners) != CORNERS:
        raise ValueError(f"an oriented box has four corners, not {len(corners)}")
    if not _spans(corners):
        raise AnnotationError("no_area", "oriented box has no area")
    if not _clipped(corners):
        raise AnnotationError("outside", "oriented box lies wholly outside the image")
    moved = [(round(min(max(x, 0.0), 1.0) * SCALE), round(min(max(y, 0.0), 1.0) * SCALE)) for x, y in corners]
    if not _spans(moved):
        raise AnnotationError("no_area", "oriented box has no area within the image")
    return Annotation(class_id, Kind.OBB, _flat(moved))


def keypoints(class_id: int, box: Box, points: Sequence[Keypoint]) -> Annotation:
    """A box with its keypoints. One that is not labelled is 0, 0; one outside the image is taken for not labelled: it
    cannot be seen.
    """
    if len(points) > MAX_KEYPOINTS:
        raise AnnotationError("too_many_points", f"{len(points)} keypoints: at most {MAX_KEYPOINTS} are kept")
    _finite([(x, y) for x, y, visibility in points if visibility], "keypoints")
    values = list(box_from_yolo(class_id, *box).values)
    for x, y, visibility in points:
        seen = visibility > 0 and within((x, y))
        values += [round(x * SCALE), round(y * SCALE), visibility] if seen else [0, 0, 0]
    return Annotation(class_id, Kind.KEYPOINTS, tuple(values))


def within(point: Point) -> bool:
    """True for a point of the image, its edge included, as far as it can be told once quantized."""
    # Whatever is far off, NaN included, is told before it is multiplied: a product beyond all floats has no whole
    # number.
    return all(-1 < value < 2 and 0 <= round(value * SCALE) <= SCALE for value in point)


def bounds(points: Sequence[Point]) -> Box:
    """Centre and size of the box around points; NaN when a coordinate is not finite."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    odd = sum(x + y for x, y in points) * 0  # min and max may pass over NaN: the sum does not
    x1, y1, x2, y2 = min(xs) + odd, min(ys) + odd, max(xs) + odd, max(ys) + odd
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def rectangle(box: Box) -> list[Point]:
    """The corners of an upright box, from the top left clockwise."""
    x, y, w, h = box
    return [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]


def turned(box: Box, degrees: float, size: tuple[float, float], *, about: Point | None = None) -> list[Point]:
    """The corners of a box that is turned clockwise about its centre, or about another point. size: width and height of
    the image in pixels, because an angle means something in pixels only.
    """
    (w, h), turn = size, math.radians(degrees)
    cos, sin = math.cos(turn), math.sin(turn)
    at = about or box[:2]
    return [
        (
            at[0] + ((x - at[0]) * w * cos - (y - at[1]) * h * sin) / w,
            at[1] + ((x - at[0]) * w * sin + (y - at[1]) * h * cos) / h,
        )
        for x, y in rectangle(box)
    ]


def smallest_rectangle(points: Sequence[Point], size: tuple[float, float]) -> list[Point]:
    """The corners of the smallest rectangle, in any direction, around points: one of its sides lies on their hull
    (Freeman and Shapira, CACM 18 (1975)). size: width and height of the image in pixels. No points when they lie on one
    line.
    """
    _finite(points, "polygon")
    scale = np.array(size, dtype=np.float64)
    corners = _hull(points)
    if len(corners) < _LEAST:
        return []
    hull = np.array(corners, dtype=np.float64) * scale
    sides = np.roll(hull, -1, axis=0) - hull
    along = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    low_u, high_u, low_v, high_v = _extents(hull, along, across)
    best = int(np.argmin((high_u - low_u) * (high_v - low_v)))
    u, v = along[best], across[best]
    around = [(low_u, low_v), (high_u, low_v), (high_u, high_v), (low_u, high_v)]
    placed = [(u * one[best] + v * other[best]) / scale for one, other in around]
    return [(float(x), float(y)) for x, y in placed]


def joined(rings: Sequence[Sequence[Point]]) -> list[Point]:
    """One outline of several: each is joined to those before it where they are nearest, by a line without width there
    and back.

    It is what Ultralytics makes of an object in several pieces (its `merge_multi_segment`). Raises AnnotationError for
    too many points.
    """
    _finite([point for ring in rings for point in ring], "polygon")
    _countable(sum(map(len, rings)))
    if len(rings) > _JOINED:
        raise AnnotationError(
            "too_many_points", f"an object in {len(rings)} pieces: at most {_JOINED} are joined to one"
        )
    path = list(rings[0])
    for ring in rings[1:]:
        distances, nearest = cKDTree(np.array(path)).query(np.array(ring))
        there = int(np.argmin(distances))
        here = int(nearest[there])
        path[here + 1 : here + 1] = [*ring[there:], *ring[: there + 1], path[here]]
    return path


def beyond(points: Sequence[Point]) -> float:
    """How far points reach beyond the image, as a fraction of its side; 0 when they are inside."""
    return max((max(-x, x - 1, -y, y - 1, 0.0) for x, y in points), default=0.0)


def _extents(
    hull: npt.NDArray[np.float64], along: npt.NDArray[np.float64], across: npt.NDArray[np.float64]
) -> tuple[Any, Any, Any, Any]:
    """The hull's extent in each direction, piece by piece: a hull can have thousands of points."""
    found: list[list[npt.NDArray[np.float64]]] = [[], [], [], []]
    for start in range(0, len(hull), 256):
        u, v = along[start : start + 256] @ hull.T, across[start : start + 256] @ hull.T
        for kept, one in zip(found, (u.min(axis=1), u.max(axis=1), v.min(axis=1), v.max(axis=1)), strict=True):
            kept.append(one)
    low_u, high_u, low_v, high_v = (np.concatenate(one) for one in found)
    return low_u, high_u, low_v, high_v


def _hull(points: Sequence[Point]) -> list[Point]:
    """Corners of the convex hull (Andrew's monotone chain)."""
    ordered = sorted(set(points))
    if len(ordered) < _LEAST:
        return ordered
    chains: list[list[Point]] = []
    for sequence in (ordered, ordered[::-1]):
        chain: list[Point] = []
        for point in sequence:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        chains.append(chain[:-1])
    return chains[0] + chains[1]


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _clipped(points: Sequence[Point]) -> list[Point]:
    """The part of an outline within the unit square; empty when there is none."""
    if all(within(point) for point in points):
        return list(points)
    current = list(points)
    for axis, limit, sign in ((0, 0.0, 1.0), (0, 1.0, -1.0), (1, 0.0, 1.0), (1, 1.0, -1.0)):
        current = _cut(current, axis, limit, sign)
    return [(min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)) for x, y in current]


def _cut(points: Sequence[Point], axis: int, limit: float, sign: float) -> list[Point]:
    """What of an outline is beyond a limit on one axis, in the direction of the sign."""
    kept: list[Point] = []
    for index, point in enumerate(points):
        before = points[index - 1]
        here, there = sign * (point[axis] - limit), sign * (before[axis] - limit)
        if (here >= 0) != (there >= 0):
            part = there / (there - here)
            kept.append((before[0] + part * (point[0] - before[0]), before[1] + part * (point[1] - before[1])))
        if here >= 0:
            kept.append(point)
    return kept


def _distinct(corners: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    kept = [corner for index, corner in enumerate(corners) if index == 0 or corner != corners[index - 1]]
    while len(kept) > 1 and kept[0] == kept[-1]:
        kept.pop()
    return kept


def _spans(points: Sequence[tuple[float, float]]) -> bool:
    """False when all points lie on one line."""
    first = points[0]
    second = next((point for point in points if point != first), None)
    return second is not None and any(_turn(first, second, point) != 0 for point in points)


def _flat(corners: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(value for corner in corners for value in corner)


def _countable(points: int) -> None:
    if points > MAX_POINTS:
        raise AnnotationError("too_many_points", f"polygon of {points} points: at most {MAX_POINTS} are kept")


def _finite(points: Sequence[Point], what: str) -> None:
    if not all(math.isfinite(x) and math.isfinite(y) for x, y in points):
        raise AnnotationError("not_finite", f"{what}: coordinates must be finite numbers")
    if any(abs(x) > _FAR or abs(y) > _FAR for x, y in points):
        raise AnnotationError("outside", f"{what}: a point lies more than {_FAR:g} images away")
