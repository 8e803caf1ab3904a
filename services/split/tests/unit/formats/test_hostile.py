"""Small files that would cost memory or hours: they are refused before they do."""

import json

import pytest
from splitrail_common.annotations import Kind
from splitrail_split.formats import Format, masks, parse
from splitrail_split.formats.image_names import ImagesByName
from splitrail_split.formats.model import Code, Problems, Source
from splitrail_split.formats.reading import read_yaml


def yaml(text):
    problems = Problems()
    value = read_yaml(Source({"data.yaml": text.encode()}, {}), "data.yaml", problems)
    return value, [(problem.line, problem.code) for problem in problems.kept]


@pytest.mark.parametrize("key", ["? !!merge z ", "? !<tag:yaml.org,2002:merge> z "])
def test_merge_keys_do_not_copy_mappings(key):
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{{key}: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 6))]
    assert yaml("\n".join(lines)) == (None, [(2, Code.UNREADABLE)])
    assert yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}") == ({"a": {"x": "1"}, "b": {"<<": {"x": "1"}, "y": "2"}}, [])


def test_lists_that_aliases_repeat_are_one_object():
    value, problems = yaml(
        "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40))])
    )
    assert not problems
    assert all(one is value["a38"] for one in value["a39"])


def test_texts_that_aliases_repeat_are_counted():
    assert yaml(f"names: [&s '{'x' * 2000} ', {'*s, ' * 600}]") == (None, [(1, Code.UNREADABLE)])
    assert yaml("train: &t images\nval: *t") == ({"train": "images", "val": "images"}, [])


def coco(declared, size, counts):
    images = [{"id": 1, "file_name": "a.jpg", "width": declared[0], "height": declared[1]}]
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"size": size, "counts": counts}}
    data = {"images": images, "categories": [{"id": 1, "name": "c"}], "annotations": [annotation]}
    return parse(
        Format.COCO, {"annotations/instances.json": json.dumps(data).encode()}, {"a.jpg": (10, 8)}, kind=Kind.POLYGON
    )


def cvat(declared, place, rle):
    left, top, width, height = place
    mask = f'<mask label="c" rle="{rle}" left="{left}" top="{top}" width="{width}" height="{height}"/>'
    image = f'<image id="0" name="a.jpg" width="{declared[0]}" height="{declared[1]}">{mask}</image>'
    xml = f"<annotations><meta><task><labels><label><name>c</name></label></labels></task></meta>{image}</annotations>"
    return parse(Format.CVAT, {"annotations.xml": xml.encode()}, {"a.jpg": (10, 8)}, kind=Kind.POLYGON)


def square(width, height):
    """Declared as large as the image is, or in its shape."""
    return [
        coco((width, height), [height, width], [0, width * height]),
        cvat((width, height), (0, 0, width, height), f"0,{width * height}"),
    ]


@pytest.mark.parametrize(
    "made",
    [
        lambda: coco((10, 8), [10_000, 10_000], [0, 10**8]),
        lambda: coco((10, 8), [10_000, 10_000], "P" * 100),
        lambda: coco((10, 8), [10, 8], [0, 80]),
        lambda: cvat((10, 8), (0, 0, 10_000, 10_000), "0,100000000"),
        lambda: cvat((10, 8), (0, 0, 1, 10_000), "0,10000"),
        lambda: square(10_000, 8_000)[0],
        lambda: square(10_000, 8_000)[1],
        lambda: square(110, 88)[0],
        lambda: square(110, 88)[1],
    ],
)
def test_masks_are_not_decoded_when_their_size_cannot_be_the_images(monkeypatch, made):
    decoded = []
    monkeypatch.setattr(masks, "_filled", lambda *given: decoded.append(given))
    monkeypatch.setattr(masks, "_uncompressed", decoded.append)
    parsed = made()
    assert parsed.problem_counts[Code.COLUMNS] == 1
    assert not parsed.items
    assert not decoded


def test_masks_of_the_image_or_of_the_copy_that_was_annotated():
    whole = square(10, 8)
    assert not whole[0].problem_counts
    assert whole[0].items == whole[1].items
    for one in (*square(100, 80), coco((100, 80), [8, 10], [0, 80])):
        assert list(one.problem_counts) == [Code.SIZE_MISMATCH]
        assert one.items == whole[0].items


def test_a_name_that_is_said_often_is_looked_for_once(monkeypatch):
    """Of as many images: else the work is the square of what a small file says."""
    looked = []
    ranked = ImagesByName._ranked
    monkeypatch.setattr(ImagesByName, "_ranked", lambda self, *asked: looked.append(asked[1:]) or ranked(self, *asked))
    entries = [{"id": number, "file_name": "a.jpg"} for number in range(200)]
    document = json.dumps({"images": entries, "categories": [], "annotations": []}).encode()
    parsed = parse(Format.COCO, {"all.json": document}, {f"cam{number}/a.jpg": (10, 10) for number in range(200)})
    assert parsed.problem_counts[Code.IMAGE_ABSENT] == 200
    assert len(looked) == len(set(looked)) == 1
