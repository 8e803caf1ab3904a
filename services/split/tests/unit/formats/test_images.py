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


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (31, 17)), (3, (31, 17)), (6, (17, 31)), (8, (17, 31)), (99, (31, 17))]
)
def test_exif_orientation_turns_the_size(orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert inspect(encoded("JPEG", exif=exif))[:2] == size


def test_a_jpeg_with_further_frames_is_a_jpeg():
    first, second = Image.new("RGB", (16, 16)), Image.new("RGB", (16, 16), "red")
    out = io.BytesIO()
    first.save(out, "MPO", save_all=True, append_images=[second])
    assert inspect(out.getvalue())[:3] == (16, 16, "JPEG")


def jpeg(frame, components, scan, entropy):
    """A JPEG by hand: one Huffman code of one bit for nothing, so that zero bits are differences and blocks of nothing."""

    def segment(marker, payload):
        return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload

    tables = b"".join(segment(0xC4, bytes([kind, 1]) + bytes(15) + b"\0") for kind in (0x00, 0x10))
    listed = b"".join(bytes([name, sampling, 0]) for name, sampling in components)
    start = segment(frame, b"\x08\x00\x10\x00\x18\x03" + listed)  # 24 x 16 pixels of 8 bits, three components
    selected = b"".join(bytes([name, 0]) for name, _ in components)
    return (
        b"\xff\xd8"
        + segment(0xDB, b"\0" + b"\1" * 64)
        + start
        + tables
        + segment(0xDA, b"\x03" + selected + scan)
        + entropy
        + b"\xff\xd9"
    )


def test_jpegs_are_judged_as_in_colour_though_their_brightness_alone_is_decoded():
    lossless = jpeg(0xC3, [(82, 0x11), (71, 0x11), (66, 0x11)], b"\1\0\0", bytes(3 * 24 * 16 // 8))
    assert inspect(lossless)[:3] == (24, 16, "JPEG")
    fractional = jpeg(0xC0, [(1, 0x31), (2, 0x21), (3, 0x21)], b"\0\x3f\0", b"\0\3")
    with pytest.raises(OSError, match="broken data stream"), Image.open(io.BytesIO(fractional)) as image:
        image.load()
    with pytest.raises(ImageError) as caught:
        inspect(fractional)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_of_all_samplings(mode, subsampling):
    out = io.BytesIO()
    Image.effect_noise((31, 17), 60).convert(mode).save(out, "JPEG", subsampling=subsampling)
    assert inspect(out.getvalue())[:3] == (31, 17, "JPEG")


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


def test_images_that_nothing_is_trained_on():
    for size, reason in [((9, 40), "too_few_pixels"), ((40, 9), "too_few_pixels"), ((10, 10), None)]:
        out = io.BytesIO()
        Image.new("RGB", size).save(out, "PNG")
        if reason is None:
            assert inspect(out.getvalue())[:2] == size
            continue
        with pytest.raises(ImageError) as caught:
            inspect(out.getvalue())
        assert caught.value.reason == reason


def test_a_header_that_promises_a_bomb_is_refused():
    data = bytearray(encoded("BMP"))
    data[18:22] = data[22:26] = (60_000).to_bytes(4, "little")
    with pytest.raises(ImageError) as caught:
        inspect(bytes(data))
    assert caught.value.reason == "too_many_pixels"
