"""Small pictures of images, made when they are asked for."""

import asyncio
import io
import warnings

import numpy as np
from PIL import Image, ImageOps
from splitrail_common.access import Scope
from splitrail_common.errors import not_found
from splitrail_common.objects import ObjectStore

from splitrail_split.domain import asset_key
from splitrail_split.service import Datasets
from splitrail_split.sources import MAX_IMAGE_BYTES
from splitrail_split.store import DatasetStore

LONGEST_SIDE = 256
_QUALITY = 80
_AT_ONCE = 2  # an image of the largest size that is taken needs hundreds of megabytes while it is decoded


class Thumbnails:
    """Thumbnails of the images of datasets."""

    def __init__(self, datasets: Datasets, store: DatasetStore, objects: ObjectStore) -> None:
        self._datasets = datasets
        self._store = store
        self._objects = objects
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def get(self, scope: Scope, dataset_id: str, sha256: bytes) -> bytes:
        """A JPEG. Raises NOT_FOUND for the dataset, or when none of its versions holds the image."""
        dataset = await self._datasets.dataset(scope, dataset_id)
        if not await self._store.dataset_holds(dataset_id, sha256):
            raise not_found("image", sha256.hex())
        async with self._slots:
            return await asyncio.to_thread(self._make, asset_key(dataset.project_id, sha256))

    def _make(self, key: str) -> bytes:
        return make(self._objects.read(key, MAX_IMAGE_BYTES))


def make(data: bytes) -> bytes:
    """A JPEG of an image that was verified when it was imported: upright, on white, at most LONGEST_SIDE pixels long. Blocking."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import has checked the size; odd metadata do not matter
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))  # a JPEG is decoded at a fraction of its size
            small = _flat(_upright(image))
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    target = io.BytesIO()
    small.save(target, "JPEG", quality=_QUALITY)
    return target.getvalue()


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF counts as none, as in formats/images.py; the pixels are fine
        return image


def _flat(image: Image.Image) -> Image.Image:
    """As 8-bit grey or RGB: deep grey values are spread over what there is of them, what is transparent becomes white."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        return Image.fromarray(((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))
    if image.mode in ("RGB", "L"):
        return image.copy()
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return image.convert("RGB")
