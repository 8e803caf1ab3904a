"""Thumbnails look as the whole image would, and need no more memory than decoding it."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from splitrail_split.contents import thumbnails

SIDE = 1500


def field(low, high):
    """A smooth picture with edges, from low to high."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    values = (np.sin(6 * x) + np.cos(5 * y) + 2) / 4
    values[300:600, 300:700], values[900:1000, 200:1300] = 0, 1
    return low + values * (high - low)


def encoded(image, format_, **options):
    target = io.BytesIO()
    image.save(target, format_, **options)
    return target.getvalue()


def made(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=float)


def deep(dtype, low, high):
    return Image.fromarray(field(low, high).astype(dtype))


DEEP = [
    (deep(np.uint16, 100, 60_000), "PNG"),
    (deep(np.uint16, 3000, 3300), "TIFF"),
    (deep(">u2", 100, 60_000), "TIFF"),
    (deep(np.int32, -(10**6), 10**6), "TIFF"),
    (deep(np.float32, -0.5, 0.25), "TIFF"),
]


@pytest.mark.parametrize(("image", "format_"), DEEP)
def test_deep_grey_is_shrunk_before_it_is_stretched(image, format_):
    data = encoded(image, format_)
    tracemalloc.start()
    small = made(thumbnails.make(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < SIDE * SIDE + 2 * len(data)  # numpy's arrays count here, Pillow's images do not

    values = np.asarray(image, dtype=float)
    stretched = Image.fromarray(((values - values.min()) * 255 / (values.max() - values.min())).astype(np.uint8))
    stretched.thumbnail((256, 256))
    assert abs(small - made(encoded(stretched, "JPEG", quality=80))).max() < 16
    assert abs(small - made(encoded(stretched, "JPEG", quality=80))).mean() < 1


def test_one_deep_value_and_values_that_are_none():
    assert made(thumbnails.make(encoded(Image.fromarray(np.full((300, 300), 7000, np.uint16)), "PNG"))).max() == 0
    odd = field(0, 1).astype(np.float32)
    odd[5, 5], odd[900, 900] = np.nan, np.inf
    assert made(thumbnails.make(encoded(Image.fromarray(odd), "TIFF"))).shape == (256, 256, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparency_is_put_on_white_once_the_image_is_small(monkeypatch, mode):
    grey = field(0, 255).astype(np.uint8)
    if mode in ("RGBA", "LA"):
        image = Image.merge(mode, [Image.fromarray(grey)] * len(mode))
        options = {}
    elif mode == "P":
        image, options = Image.fromarray(grey).convert("P"), {"transparency": 0}
    else:
        image, options = Image.merge("RGB", [Image.fromarray(grey)] * 3), {"transparency": (0, 0, 0)}
    data = encoded(image, "PNG", **options)
    with Image.open(io.BytesIO(data)) as opened:
        layered = opened.convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    on_white.thumbnail((256, 256))
    expected = made(encoded(on_white, "JPEG", quality=80))

    sizes = []
    composite = Image.alpha_composite
    monkeypatch.setattr(
        Image, "alpha_composite", lambda below, above: sizes.append(above.size) or composite(below, above)
    )
    found = made(thumbnails.make(data))
    assert sizes == [(256, 256)]
    assert abs(found - expected).mean() < 1


@pytest.mark.parametrize(("mode", "format_"), [("I;16", "TIFF"), ("P", "PNG"), ("RGBA", "PNG"), ("RGB", "JPEG")])
def test_every_mode_is_turned_upright(mode, format_):
    grey = np.zeros((400, 800), np.uint16 if mode == "I;16" else np.uint8)
    grey[:, 400:] = 255
    image = Image.fromarray(grey)
    image = image if mode == "I;16" else image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = made(thumbnails.make(encoded(image, format_, exif=exif)))
    assert found.shape == (256, 128, 3)
    assert found[:100].mean() < 5
    assert found[-100:].mean() > 250
