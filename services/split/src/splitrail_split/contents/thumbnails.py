"""Small pictures of assets, made when they are asked for."""

import asyncio
import contextlib
import io
import warnings

import numpy as np
from PIL import Image, ImageOps
from splitrail_common.objects import ObjectStore

from splitrail_split.contents.keys import asset_key
from splitrail_split.contents.verify import MAX_IMAGE_BYTES

LONGEST_SIDE = 256
_SIZE = (LONGEST_SIDE, LONGEST_SIDE)
_QUALITY = 80
_AT_ONCE = 2  # an image of the largest size that is taken, 100 megapixels, needs up to 900 MB until it is small


class Thumbnails:
    """Thumbnails of assets, a few at a time."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def get(self, project_id: str, sha256: bytes) -> bytes:
        """A JPEG of an asset of the project."""
        async with self._slots:
            return await asyncio.to_thread(self._make, asset_key(project_id, sha256))

    def _make(self, key: str) -> bytes:
        return make(self._objects.read(key, MAX_IMAGE_BYTES))


def make(data: bytes) -> bytes:
    """A JPEG of an image that was verified when it was imported: upright, on white, at most LONGEST_SIDE pixels long.
    Blocking.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import has checked the size; odd metadata do not matter
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))  # a JPEG is decoded at a fraction of its size
            image.load()
            _turn_upright(image)
            small = _flat(image)
    target = io.BytesIO()
    small.save(target, "JPEG", quality=_QUALITY)
    return target.getvalue()


def _turn_upright(image: Image.Image) -> None:
    with contextlib.suppress(Exception):  # unreadable EXIF counts as none, as in formats/images.py; the pixels are fine
        ImageOps.exif_transpose(image, in_place=True)


def _flat(image: Image.Image) -> Image.Image:
    """Small, and as 8-bit grey or RGB: deep grey values are spread over what there is of them, what is transparent
    becomes white.

    Shrunk before all else, in its own mode where that can be averaged: each copy at full size costs as much as the
    image.
    """
    if image.mode.startswith(("I", "F")):
        return _stretched(image)
    if image.has_transparency_data:
        image = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
        image.thumbnail(_SIZE)
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGB")
    image.thumbnail(_SIZE)
    return image.copy()


def _stretched(image: Image.Image) -> Image.Image:
    """Deep grey values as 8 bits, from the least to the greatest of the whole image."""
    if image.mode not in ("I;16", "I", "F"):  # other orders of bytes
        image = image.convert("I")
    low, high = np.array(image.getextrema(), dtype=np.float64)
    image.thumbnail(_SIZE, reducing_gap=None)  # Pillow cannot reduce 16 bits, only resize them
    values = (np.asarray(image, dtype=np.float64) - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray(np.nan_to_num(values).clip(0, 255).astype(np.uint8))  # resizing overshoots at edges
