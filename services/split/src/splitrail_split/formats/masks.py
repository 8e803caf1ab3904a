"""Run-length masks of COCO and CVAT, and the outlines of what they cover.

Read here and not by pycocotools, which the tests compare this with: its decoder gives back uninitialized memory when
the run lengths add up to less than the mask (tried with 2.0.11), and what comes in here is untrusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from splitrail_split.formats.images import MAX_PIXELS
from splitrail_split.formats.shapes import Point

Mask = npt.NDArray[np.bool_]

MAX_RUNS = 4_000_000
MAX_EDGES = 500_000
"""Pixel edges between a mask and what surrounds it; more is noise, not the outline of an object."""
_RESIZED = 100
"""Pixels of a mask for each of its image, which may be a copy at a tenth of the size that was annotated."""
_FIRST_CHARACTER = 48
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # east, south, west, north; y grows downwards


class MaskError(ValueError):
    """Run lengths that make no mask; the message is for people."""


def most_pixels(image_size: tuple[int, int]) -> int:
    """How many pixels a mask may have, for decoding costs what its declared size says: a few bytes can declare any."""
    return min(MAX_PIXELS, _RESIZED * image_size[0] * image_size[1])


def from_coco(
    segmentation: dict[str, object], sizes: Sequence[tuple[float, float]] = (), most: int = MAX_PIXELS
) -> Mask:
    """(height, width) from COCO's {"size": [height, width], "counts": [...] or "..."}: runs of 0 and 1 by turns, column
    by column.

    sizes: widths and heights of which it must have one, unless there are none. most: see `most_pixels`. Raises
    MaskError: when the size is at fault, before anything is decoded.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(isinstance(one, int) and not isinstance(one, bool) for one in size)
    ):
        raise MaskError("the mask's size is not [height, width]")
    height, width = size
    if sizes and (width, height) not in sizes:
        raise MaskError(f"the mask has {width} x {height} pixels, the image {sizes[0][0]:g} x {sizes[0][1]:g}")
    _check_pixels(width, height, most)
    if isinstance(counts, str):
        counts = _uncompressed(counts)
    if not isinstance(counts, list):
        raise MaskError("the mask's counts are neither a list nor a text")
    return _filled(counts, width, height).T


def from_rows(counts: Sequence[object], width: int, height: int, most: int = MAX_PIXELS) -> Mask:
    """(height, width) from runs row by row, as CVAT writes them. most: see `most_pixels`. Raises MaskError."""
    _check_pixels(width, height, most)
    return _filled(counts, height, width)


def outlines(mask: Mask) -> list[list[Point]]:
    """The outer outline of each component (pixels that touch at a corner are connected), in pixels, clockwise, along
    the pixels' edges.

    Holes are not kept. Raises MaskError when there is no pixel, or the outlines are too long.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise MaskError("the mask is empty")
    top, left = int(rows[0]), int(columns[0])
    padded = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    inside = padded[1:-1, 1:-1]
    # Each pixel's edge towards a pixel outside, from its start in a direction that has the mask on its right.
    around = ((padded[:-2, 1:-1], 0, 0), (padded[1:-1, 2:], 1, 0), (padded[2:, 1:-1], 1, 1), (padded[1:-1, :-2], 0, 1))
    edges = [inside & ~neighbour for neighbour, _, _ in around]
    if sum(np.count_nonzero(one) for one in edges) > MAX_EDGES:
        raise MaskError(f"the mask has more than {MAX_EDGES} edges")
    outgoing: dict[tuple[int, int], list[int]] = {}
    order: Literal["C", "F"] = (
        "F" if mask.flags.f_contiguous else "C"
    )  # as they lie in memory: argwhere takes longer than all the rest
    for direction, (found, (_, right, down)) in enumerate(zip(edges, around, strict=True)):
        ys, xs = np.unravel_index(np.flatnonzero(found.ravel(order)), found.shape, order=order)
        for y, x in zip(ys.tolist(), xs.tolist(), strict=True):
            outgoing.setdefault((x + right, y + down), []).append(direction)
    loops = []
    for start in sorted(outgoing, key=lambda point: point[::-1]):
        while outgoing[start]:
            corners = _loop(start, outgoing)
            if sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)) > 0:
                loops.append([(float(x + left), float(y + top)) for x, y in corners])
    return loops


def _loop(start: tuple[int, int], outgoing: dict[tuple[int, int], list[int]]) -> list[tuple[int, int]]:
    """Takes a closed walk along edges out of `outgoing`; returns the points at which it turns. Where two ways lead on
    it turns left: so pixels that touch at a corner are in one outline.
    """
    corners: list[tuple[int, int]] = []
    first = direction = outgoing[start].pop()
    x, y = start
    while True:
        x, y = x + _STEPS[direction][0], y + _STEPS[direction][1]
        ways = outgoing[x, y]
        if (x, y) == start and ((direction + 3) % 4 not in ways or first == (direction + 3) % 4):
            break
        onward = next(way for way in ((direction + 3) % 4, direction, (direction + 1) % 4) if way in ways)
        ways.remove(onward)
        if onward != direction:
            corners.append((x, y))
        direction = onward
    return [start, *corners] if first != direction else corners


def _check_pixels(width: int, height: int, most: int) -> None:
    if width < 1 or height < 1 or width * height > most:
        raise MaskError(f"the mask has {width} x {height} pixels: 1 to {most} can be kept")


def _filled(counts: Sequence[object], rows: int, columns: int) -> Mask:
    if len(counts) > MAX_RUNS:
        raise MaskError(f"the mask has more than {MAX_RUNS} runs")
    total = 0
    for run in counts:
        if not isinstance(run, int) or isinstance(run, bool) or run < 0:
            raise MaskError("a run length of the mask is not a whole number from 0")
        total += run
    if total != rows * columns:
        raise MaskError(f"the mask's run lengths add up to {total}, not to its {rows * columns} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, np.array(counts, dtype=np.int64)).reshape(rows, columns)


def _uncompressed(text: str) -> list[object]:
    """Run lengths from COCO's text: each in groups of 5 bits, lowest first, from the third on as the difference to the
    last but one.
    """
    if len(text) > MAX_RUNS:
        raise MaskError(f"the mask has more than {MAX_RUNS} runs")
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - _FIRST_CHARACTER
        if not 0 <= bits < 64 or shift > 60:
            raise MaskError("the mask's counts are not COCO's run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise MaskError("the mask's counts end within a number")
    return list(counts)
