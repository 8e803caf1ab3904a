"""The demo's dataset: shapes with noise and clutter, made on the spot, the same bytes for the same seed.

Each image holds up to four shapes of four classes on a noisy gradient, between lines and specks that belong to no
class. The classes are imbalanced (about 40, 30, 20 and 10 per cent of the objects), so that a split which stratifies
differs from one which does not; about one image in sixteen is empty with an empty label file: reviewed, nothing there.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

CLASS_NAMES = ("circle", "square", "triangle", "star")

_CLASS_SHARES = (0.40, 0.30, 0.20, 0.10)
_OBJECT_COUNT_SHARES = (0.06, 0.30, 0.30, 0.20, 0.14)  # shares of images with 0, 1, 2, 3 and 4 objects
_PLACEMENT_TRIES = 20
_POLYGONS = {  # corners, direction of the first (radians), reach of every second corner as a share of the radius
    "square": (4, math.pi / 4, 1.0),
    "triangle": (3, -math.pi / 2, 1.0),
    "star": (10, -math.pi / 2, 0.45),
}

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
Point = tuple[float, float]


def generate(folder: Path, images: int = 300, size: int = 128, seed: int = 0) -> None:
    """Write `images` square JPEGs of `size` pixels in the YOLO layout: images/, labels/ and data.yaml below `folder`
    (created when absent).
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(images):
        canvas, labels = _image(rng, size)
        name = f"shapes_{index:04d}"
        canvas.save(folder / "images" / f"{name}.jpg", quality=92, subsampling=0)
        lines = (f"{kind} {' '.join(f'{value:.6f}' for value in _yolo(box, size))}\n" for kind, box in labels)
        (folder / "labels" / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(CLASS_NAMES))
    (folder / "data.yaml").write_text(f"path: .\ntrain: images\nnames:\n{names}", encoding="utf-8")


def _image(rng: np.random.Generator, size: int) -> tuple[Image.Image, list[tuple[int, Box]]]:
    """One image and its objects as (class, box)."""
    canvas = Image.fromarray(_background(rng, size))
    draw = ImageDraw.Draw(canvas)
    _clutter(rng, draw, size)
    labels: list[tuple[int, Box]] = []
    for _ in range(int(rng.choice(len(_OBJECT_COUNT_SHARES), p=_OBJECT_COUNT_SHARES))):
        kind = int(rng.choice(len(CLASS_NAMES), p=_CLASS_SHARES))
        for _ in range(_PLACEMENT_TRIES):
            radius = float(rng.uniform(0.08, 0.17)) * size
            centre = (float(rng.uniform(radius, size - radius)), float(rng.uniform(radius, size - radius)))
            outline, box = _outline(kind, centre, radius, turn=float(rng.uniform(-0.35, 0.35)))
            colour = _bright(rng)
            if all(_apart(box, other) for _, other in labels):
                if outline:
                    draw.polygon(outline, fill=colour)
                else:
                    draw.ellipse(box, fill=colour)
                labels.append((kind, box))
                break
    noisy = np.asarray(canvas, dtype=np.float32) + rng.normal(0.0, 12.0, (size, size, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)), labels


def _background(rng: np.random.Generator, size: int) -> npt.NDArray[np.uint8]:
    """A gradient in a random direction between two dark colours: uint8 [size, size, 3]."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:size, 0:size] / size
    ramp = (x * math.cos(angle) + y * math.sin(angle) + 1.5) / 3.0
    low, high = rng.uniform(20, 90, 3), rng.uniform(50, 130, 3)
    image: npt.NDArray[np.uint8] = (low + ramp[..., None] * (high - low)).astype(np.uint8)
    return image


def _clutter(rng: np.random.Generator, draw: ImageDraw.ImageDraw, size: int) -> None:
    """Lines and specks that a detector must learn to leave alone."""
    for _ in range(int(rng.integers(3, 8))):
        ends = rng.uniform(0, size, 4)
        draw.line([float(value) for value in ends], fill=_bright(rng), width=1)
    for _ in range(int(rng.integers(5, 15))):
        x, y, radius = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(0.5, 0.016 * size)
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_bright(rng))


def _bright(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(110, 255, 3)
    return int(red), int(green), int(blue)


def _outline(kind: int, centre: Point, radius: float, *, turn: float) -> tuple[list[Point], Box]:
    """The corners of a shape, none for a circle, and its box. `turn` in radians."""
    if CLASS_NAMES[kind] == "circle":
        return [], (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
    corners, phase, notch = _POLYGONS[CLASS_NAMES[kind]]
    points: list[Point] = []
    for index in range(corners):
        reach = radius * (notch if index % 2 else 1.0)
        angle = phase + turn + 2 * math.pi * index / corners
        points.append((centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle)))
    return points, (
        min(x for x, _ in points),
        min(y for _, y in points),
        max(x for x, _ in points),
        max(y for _, y in points),
    )


def _apart(one: Box, other: Box) -> bool:
    """Whether two boxes are more than two pixels from each other."""
    return one[2] + 2 < other[0] or other[2] + 2 < one[0] or one[3] + 2 < other[1] or other[3] + 2 < one[1]


def _yolo(box: Box, size: int) -> tuple[float, float, float, float]:
    """Centre x, centre y, width, height as fractions of the image."""
    left, top, right, bottom = (min(max(value, 0.0), float(size)) / size for value in box)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
