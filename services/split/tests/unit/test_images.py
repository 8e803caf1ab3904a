"""Images are judged by decoding them."""

import io

import pytest
from PIL import Image
from splitrail_split.formats.images import ImageError, inspect


def encoded(format_, size=(31, 17), **options):
    out = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(out, format_, **options)
    return out.getvalue()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_size_and_format(format_):
    assert inspect(encoded(format_))[:3] == (31, 17, format_)


@pytest.mark.parametrize(("orientation", "size"), [(1, (31, 17)), (3, (31, 17)), (6, (17, 31)), (8, (17, 31)), (99, (31, 17))])
def test_exif_orientation_turns_the_size(orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert inspect(encoded("JPEG", exif=exif))[:2] == size


def test_a_jpeg_with_further_frames_is_a_jpeg():
    first, second = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "red")
    out = io.BytesIO()
    first.save(out, "MPO", save_all=True, append_images=[second])
    assert inspect(out.getvalue())[:3] == (8, 8, "JPEG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"GIF89a" + b"\0" * 40, "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not_an_image"),
        (b"import os; os.system('true')", "not_an_image"),
    ],
)
def test_other_content_is_refused(data, reason):
    with pytest.raises(ImageError) as caught:
        inspect(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_truncated_images_are_refused(format_):
    data = encoded(format_)
    with pytest.raises(ImageError) as caught:
        inspect(data[: len(data) // 2])
    assert caught.value.reason in {"truncated", "not_an_image"}


def test_the_pixel_cap_holds_before_decoding():
    with pytest.raises(ImageError) as caught:
        inspect(encoded("PNG"), max_pixels=31 * 17 - 1)
    assert caught.value.reason == "too_many_pixels"


def test_a_header_that_promises_a_bomb_is_refused():
    data = bytearray(encoded("BMP"))
    data[18:22] = data[22:26] = (60_000).to_bytes(4, "little")
    with pytest.raises(ImageError) as caught:
        inspect(bytes(data))
    assert caught.value.reason == "too_many_pixels"
