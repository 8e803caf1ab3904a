"""What an uploaded image is, told by decoding all of it."""

from __future__ import annotations

import io
import warnings
from posixpath import splitext
from typing import NamedTuple

import imagehash
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

MAX_PIXELS = 100_000_000
"""Default cap on width x height: decoding needs about four bytes a pixel."""

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Extensions of the files that count as images, in lower case."""

MIN_SIDE = 10
"""Pixels. Ultralytics leaves out what has fewer, images of a test split too."""

_FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "WEBP",
    "TIFF",
)  # Pillow opens MPO, what phones write as .jpg with further frames, as part of JPEG
_ORIENTATION = 0x0112
_HASHED_PIXELS = 64
_TURNED = frozenset({5, 6, 7, 8})  # EXIF orientations that exchange width and height
_TRANSPOSED = {
    2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
}  # fmt: skip


def is_image(path: str) -> bool:
    """True when the name says that it is an image."""
    return splitext(path)[1].lower() in EXTENSIONS


class ImageInfo(NamedTuple):
    """Width and height in pixels as displayed (EXIF orientation applied); the format is Pillow's name, with MPO given
    as JPEG.
    """

    width: int
    height: int
    format: str
    perceptual_hash: int
    """Signed 64 bits; see `_perceptual_hash`."""


class ImageError(ValueError):
    """Bytes that are not an image we take. `reason`: empty, not_an_image, truncated, too_many_pixels, too_few_pixels;
    the message is for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def inspect(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Decode an image in full and give its size and format; blocking, so call it off the event loop. Raises ImageError."""
    if not data:
        raise ImageError("empty", "the file has 0 bytes")
    try:
        with warnings.catch_warnings():
            # Pillow warns above its own pixel limit and raises above twice that; ours is checked below, before any
            # pixel is decoded. Its other warnings tell of odd metadata, which do not matter when the pixels decode.
            warnings.simplefilter("ignore")
            with _opened(data) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ImageError("too_many_pixels", f"{width} x {height} pixels exceed the limit of {max_pixels}")
                if min(width, height) < MIN_SIDE:
                    raise ImageError(
                        "too_few_pixels",
                        f"{width} x {height} pixels: nothing is trained on images with fewer than {MIN_SIDE} on a side",
                    )
                name = image.format or ""
                decoded = _decoded(image, data)
                orientation = _orientation(decoded)
                perceptual_hash = _perceptual_hash(decoded, orientation)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("too_many_pixels", str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError("not_an_image", "the bytes are not a JPEG, PNG, BMP, WebP or TIFF image") from error
    except (
        Exception
    ) as error:  # Pillow's decoders raise what they please on hostile bytes: OSError, SyntaxError, struct.error, ...
        raise ImageError("truncated", f"the image does not decode: {type(error).__name__}: {error}") from error
    if orientation in _TURNED:
        width, height = height, width
    return ImageInfo(width, height, "JPEG" if name == "MPO" else name, perceptual_hash)


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=_FORMATS)


def _decoded(image: Image.Image, data: bytes) -> Image.Image:
    """All of an image; of a JPEG its brightness, which is all that the hash looks at. The verdict is that of decoding
    in colour.
    """
    if not _has_whole_sampling(image):
        image.load()
        return image
    image.draft("L", None)
    try:
        image.load()
    except Exception:  # a lossless JPEG is decoded as it is or not at all
        image = _opened(data)
        image.load()
    return image


def _has_whole_sampling(image: Image.Image) -> bool:
    """True for JPEGs whose colours lie on every first, second, ... of the pixels: decoders refuse others in colour, but
    not their brightness.
    """
    layers = getattr(image, "layer", [])
    return bool(layers) and all(
        max(column) % factor == 0 for column in list(zip(*layers, strict=True))[1:3] for factor in column
    )


def _perceptual_hash(image: Image.Image, orientation: int | None) -> int:
    """ImageHash's DCT hash of the brightness: 64 bits, as a signed number, of which near-duplicates (re-encoded,
    resized, brightened) differ in few.

    The image is averaged down first: what is finer than 32 x 32 pixels does not enter it, and resizing all of it would
    cost as much as decoding.
    """
    plain = image if image.mode in ("RGB", "L") else image.convert("RGB")
    small = plain.reduce(max(1, min(image.size) // _HASHED_PIXELS))
    if (shown_as := _TRANSPOSED.get(orientation or 1)) is not None:
        small = small.transpose(shown_as)
    return int.from_bytes(np.packbits(imagehash.phash(small).hash).tobytes(), "big", signed=True)


def _orientation(image: Image.Image) -> int | None:
    """EXIF orientation, or None. Unreadable EXIF counts as none, as viewers and Ultralytics treat it."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # a parser of free-form metadata, see above; the pixels are fine
        return None
    return value if isinstance(value, int) else None
