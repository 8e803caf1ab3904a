"""A COCO file, piece by piece: a million images need not be in memory to be one JSON document.

Coordinates are pixels with all decimals that a fixed-point fraction of the side can have, so that dividing by the side
gives the same fraction again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from splitrail_common.annotations import SCALE, Annotation, Kind, unpack

from splitrail_split.exports.yolo import UnwritableError

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """One entry of `images`. Width and height in pixels as shown, which is what annotations refer to."""

    image_id: int
    file_name: str
    width: int
    height: int


@dataclass(slots=True)
class Document:
    """One file: `start`, then all images, `turn`, then the annotations of all images, `end`. Each gives the next bytes."""

    class_names: Sequence[str]
    description: str
    _count: int = field(default=0, init=False)
    """Entries of the list that is open; ids of annotations begin with 1, because COCO's own evaluation takes 0 for
    none.
    """

    def start(self) -> bytes:
        """Everything before the images."""
        categories = [
            {"id": number, "name": name, "supercategory": ""} for number, name in enumerate(self.class_names, start=1)
        ]
        return f'{{"info": {_dumped({"description": self.description})},\n"licenses": [],\n"categories": {_dumped(categories)},\n"images": ['.encode()

    def images(self, images: Iterable[Image]) -> bytes:
        """More images; one without annotations later is a reviewed one without objects."""
        return self._listed(
            {"id": one.image_id, "file_name": one.file_name, "width": one.width, "height": one.height} for one in images
        )

    def turn(self) -> bytes:
        """Between images and annotations."""
        self._count = 0
        return b'],\n"annotations": ['

    def annotations(self, image: Image, packed: bytes) -> bytes:
        """The annotations of one image. Raises UnwritableError."""
        return self._listed(
            {
                "id": number,
                "image_id": image.image_id,
                "category_id": one.class_id + 1,
                "iscrowd": 0,
                **_SHAPES[one.kind](one, image),
            }
            for number, one in enumerate(unpack(packed), start=self._count + 1)
        )

    def end(self) -> bytes:
        """Everything after the annotations."""
        return b"]}\n"

    def _listed(self, entries: Iterable[Fields]) -> bytes:
        texts = [_dumped(entry) for entry in entries]
        lead = ",\n" if self._count and texts else "\n" if texts else ""
        self._count += len(texts)
        return (lead + ",\n".join(texts)).encode()


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _pixels(values: Sequence[int], image: Image) -> list[float]:
    """x1, y1, x2, y2, ... in pixels. Six decimals, which a float's shortest form gives exactly."""
    return [value * (image.height if index % 2 else image.width) / SCALE for index, value in enumerate(values)]


def _box(one: Annotation, image: Image) -> Fields:
    """`bbox` is left, top, width, height. Left and top may be half a unit outside the image, as centre and size are
    rounded separately.
    """
    x, y, w, h = one.values[:4]
    corner = [(2 * x - w) * image.width / (2 * SCALE), (2 * y - h) * image.height / (2 * SCALE)]
    size = _pixels((w, h), image)
    return {"bbox": [*corner, *size], "area": size[0] * size[1], "segmentation": []}


def _polygon(one: Annotation, image: Image) -> Fields:
    points = _pixels(one.values, image)
    xs, ys = points[0::2], points[1::2]
    twice = sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))
    return {
        "bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)],
        "area": abs(twice) / 2,
        "segmentation": [points],
    }


def _keypoints(one: Annotation, image: Image) -> Fields:
    points = one.values[4:]
    flat: list[float] = []
    for index in range(0, len(points), 3):
        flat += [*_pixels(points[index : index + 2], image), points[index + 2]]
    return {**_box(one, image), "keypoints": flat, "num_keypoints": sum(visibility > 0 for visibility in points[2::3])}


def _no_shape(one: Annotation, image: Image) -> Fields:
    raise UnwritableError(f"COCO has no shape for an object of kind {one.kind.name}")


_SHAPES: Mapping[Kind, Callable[[Annotation, Image], Fields]] = {
    Kind.BOX: _box,
    Kind.POLYGON: _polygon,
    Kind.KEYPOINTS: _keypoints,
    Kind.OBB: _polygon,  # its four corners: an outline that an import takes for the same box
    Kind.CLASS: _no_shape,
}
