"""Which format a set of paths is, and properties that all parsers share."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail.split.v1 import import_pb2
from splitrail_common.annotations import Kind, LabelState, unpack
from splitrail_split.formats import Code, Format, Severity, UnknownFormatError, detect, parse
from splitrail_split.formats.model import MAX_KEPT_PROBLEMS
from splitrail_split.formats.registry import READERS
from splitrail_split.imports.convert import FORMATS


@pytest.mark.parametrize(
    ("format_", "paths"),
    [
        (Format.YOLO, ["data.yaml", "images/train/a.jpg", "labels/train/a.txt"]),
        (Format.YOLO, ["root/train/images/a.jpg", "root/train/labels/a.txt"]),
        (Format.YOLO, ["classes.txt", "a.jpg", "a.txt"]),
        (Format.YOLO, ["images/a.jpg", "labels/a.txt", "notes.json", "classes.txt"]),
        (Format.YOLO, ["data.yaml", "images/a.jpg"]),
        (Format.VOC, ["Annotations/a.xml", "JPEGImages/a.jpg", "ImageSets/Main/train.txt"]),
        (Format.VOC, ["a.xml", "a.jpg"]),
        (Format.COCO, ["annotations/instances_train.json", "train/a.jpg"]),
        (Format.COCO, ["train/_annotations.coco.json", "train/a.jpg", "README.dataset.txt"]),
        (Format.COCO, ["result.json", "images/a.jpg"]),
    ],
)
def test_detect(format_, paths):
    assert detect(paths) is format_
    assert detect(paths[::-1]) is format_


@pytest.mark.parametrize("paths", [[], ["a.jpg", "b.jpg"], ["README.md", "images/a.jpg"]])
def test_unknown(paths):
    with pytest.raises(UnknownFormatError, match=r"data\.yaml"):
        detect(paths)


IMAGES = {"images/a.jpg": (640, 480), "images/b.jpg": (100, 100), "JPEGImages/a.jpg": (640, 480)}
junk = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=80).map(str.encode),
    st.text("0123456789.- \nnaif<>/[]{}:\",'&!*", max_size=120).map(str.encode),
)


PATHS = [
    "data.yaml",
    "classes.txt",
    "labels/a.txt",
    "labels/b.txt",
    "Annotations/a.xml",
    "x.json",
    "class_folders.json",
    "ImageSets/Main/val.txt",
]


def test_every_format_is_declared_and_has_a_number_in_the_contract():
    assert set(READERS) == set(Format) - {Format.CSV}  # a list of objects is told by its name alone
    assert set(FORMATS) == set(Format)
    assert sorted(FORMATS.values()) == sorted(
        set(import_pb2.SourceFormat.values()) - {import_pb2.SOURCE_FORMAT_UNSPECIFIED}
    )
    assert all(READERS[reader.passes_for].passes_for is None for reader in READERS.values() if reader.passes_for)


@pytest.mark.parametrize(
    "format_", sorted(set(Format) - {Format.CSV})
)  # a list of objects is no set of files: test_listing.py
@given(st.dictionaries(st.sampled_from(PATHS), junk), st.sampled_from(Kind))
def test_no_content_makes_a_parser_raise(format_, files, kind):
    parsed = parse(format_, files, IMAGES, kind=kind)
    assert {item.path for item in parsed.items} <= set(IMAGES)
    for item in parsed.items:
        boxes = unpack(item.annotations)
        assert bool(boxes) == (item.label_state is LabelState.LABELLED)
        assert all(box.class_id < len(parsed.class_names) for box in boxes)
    assert sum(parsed.problem_counts.values()) == len(parsed.problems)


@pytest.mark.parametrize(
    "value", ["!!timestamp x", "!!bool x", "!!int ''", "!!float ''", "!!python/object:os.system x"]
)
def test_a_tag_of_yaml_is_a_problem_of_its_file(value):
    parsed = parse(Format.YOLO, {"data.yaml": f"names: [cat]\nodd: {value}\n".encode()}, IMAGES)
    assert (parsed.problems[0].path, parsed.problems[0].code) == ("data.yaml", Code.UNREADABLE)


def test_loaders_are_called_when_needed():
    read = []

    def loader():
        read.append(True)
        return b"0 0.5 0.5 0.1 0.1"

    parsed = parse(Format.YOLO, {"labels/a.txt": loader, "classes.txt": b"cat"}, {"images/a.jpg": (10, 10)})
    assert read == [True]
    assert parsed.items[0].label_state is LabelState.LABELLED


def test_problems_are_counted_beyond_those_kept():
    rows = b"oops\n" * (MAX_KEPT_PROBLEMS + 5)
    parsed = parse(Format.YOLO, {"labels/a.txt": rows, "classes.txt": b"cat"}, {"images/a.jpg": (10, 10)})
    assert len(parsed.problems) == MAX_KEPT_PROBLEMS
    assert parsed.problem_counts[Code.NOT_A_NUMBER] == MAX_KEPT_PROBLEMS + 5


def test_a_problem_reads_like_a_compiler_message():
    parsed = parse(
        Format.YOLO, {"labels/a.txt": b"\n0 nan 0.5 0.1 0.1", "classes.txt": b"cat"}, {"images/a.jpg": (10, 10)}
    )
    first = parsed.problems[0]
    assert str(first).startswith("labels/a.txt:2: ")
    assert first.severity is Severity.PROBLEM


def described(format_, file_name):
    """A source that gives the image of this name one box."""
    box = '<box label="car" xtl="1" ytl="1" xbr="3" ybr="3"/>'
    value = {"rectanglelabels": ["car"], "x": 1, "y": 1, "width": 5, "height": 5}
    result = {"type": "rectanglelabels", "value": value}
    return {
        Format.COCO: (
            "all.json",
            {
                "images": [{"id": 1, "file_name": file_name}],
                "categories": [{"id": 1, "name": "car"}],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]}],
            },
        ),
        Format.CVAT: ("annotations.xml", f'<annotations><image name="{file_name}">{box}</image></annotations>'),
        Format.LABEL_STUDIO: ("all.json", [{"data": {"image": file_name}, "annotations": [{"result": [result]}]}]),
    }[format_]


def labelled(format_, file_name, *images):
    path, content = described(format_, file_name)
    text = content if isinstance(content, str) else json.dumps(content)
    parsed = parse(format_, {path: text.encode()}, dict.fromkeys(images, (10, 10)))
    assert (Code.IMAGE_ABSENT in parsed.problem_counts) == (not any(unpack(item.annotations) for item in parsed.items))
    return [item.path for item in parsed.items if item.label_state is LabelState.LABELLED], parsed


NAMING = (Format.COCO, Format.CVAT, Format.LABEL_STUDIO)


@pytest.mark.parametrize("format_", NAMING)
@pytest.mark.parametrize(
    ("file_name", "images"),
    [
        ("cam1/0001.jpg", ["images/cam2/0001.jpg", "images/cam1/0002.jpg"]),
        ("cam1/images/0001.jpg", ["cam2/images/0001.jpg", "cam1/images/0002.jpg"]),
        ("/home/me/set/cam1/0001.jpg", ["images/cam2/0001.jpg", "images/cam1/0002.jpg"]),
        ("images/train/0001.jpg", ["images/val/0001.jpg"]),
        ("0001.jpg", ["cam1/0001.jpg", "cam2/0001.jpg"]),
        ("images/0001.jpg", ["cam1/0001.jpg", "cam2/0001.jpg"]),
        ("cam1/0001.jpg", [f"images/cam{number}/0001.jpg" for number in range(2, 30)]),
    ],
)
def test_an_image_of_the_same_name_elsewhere_is_another_one(format_, file_name, images):
    assert labelled(format_, file_name, *images)[0] == []


@pytest.mark.parametrize("format_", NAMING)
@pytest.mark.parametrize(
    ("file_name", "image", "others"),
    [
        ("0001.jpg", "images/cam2/0001.jpg", []),
        ("0001.jpg", "images/0001.jpg", ["images/cam2/0001.jpg"]),
        ("./images/0001.jpg", "images/0001.jpg", ["0001.jpg"]),
        ("../images/0001.jpg", "deep/images/0001.jpg", ["deep/thumbs/0001.jpg"]),
        ("cells/0001.jpg", "0001.jpg", ["other/0001.jpg"]),
        ("cells/0001.jpg", "images/0001.jpg", []),
        ("cam2/0001.jpg", "root/cam2/images/0001.jpg", ["root/cam1/images/0001.jpg", "root/images/0001.jpg"]),
        ("/home/me/set/cam2/0001.jpg", "images/cam2/0001.jpg", ["images/cam1/0001.jpg"]),
        ("/home/me/set/images/val/0001.jpg", "images/val/0001.jpg", ["images/train/0001.jpg"]),
        ("/home/me/cells/images/0001.jpg", "cells-v2/images/0001.jpg", ["cells-v2/images/0002.jpg"]),
        ("/home/me/0001.jpg", "photos/0001.jpg", []),
        ("train2017/0001.jpg", "coco/train2017/0001.jpg", ["coco/val2017/0001.jpg"]),
        ("cam7/0001.jpg", "images/cam7/0001.jpg", [f"images/cam{number}/0001.jpg" for number in range(8, 40)]),
    ],
)
def test_folders_that_agree_tell_which_image_is_meant(format_, file_name, image, others):
    assert labelled(format_, file_name, image, *others)[0] == [image]


@pytest.mark.parametrize("format_", NAMING)
@pytest.mark.parametrize(
    ("file_name", "image", "others"),
    [
        ("cells/0001.jpg", "photos/0001.jpg", ["photos/0002.jpg"]),
        ("a/cam1/0001.jpg", "b/cam1/0001.jpg", ["b/cam2/0001.jpg"]),
        ("C:\\Users\\me\\proj\\imgs\\1.jpg", "photos/day1/1.jpg", ["photos/day2/2.jpg"]),
        ("../../label-studio/data/media/upload/1/x.jpg", "ds/images/x.jpg", []),
    ],
)
def test_folders_that_no_image_knows_are_called_otherwise_and_it_is_said(format_, file_name, image, others):
    found, parsed = labelled(format_, file_name, image, *others)
    assert found == [image]
    assert Code.NAME_MISMATCH in parsed.problem_counts or file_name[0] in "C." or format_ is Format.LABEL_STUDIO


def test_names_of_one_file_that_are_found_leave_no_doubt_of_its_folders():
    images = [{"id": number, "file_name": f"cam1/{number}.jpg"} for number in (1, 2)]
    boxes = [{"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 3, 3]} for number in (1, 2)]
    document = json.dumps({"images": images, "categories": [{"id": 1, "name": "car"}], "annotations": boxes}).encode()
    parsed = parse(Format.COCO, {"all.json": document}, dict.fromkeys(["cam1/1.jpg", "cam2/2.jpg"], (10, 10)))
    assert [item.label_state for item in parsed.items] == [LabelState.LABELLED, LabelState.UNLABELLED]
    assert list(parsed.problem_counts) == [Code.IMAGE_ABSENT]


def test_folders_of_years_tell_the_splits_of_equal_names():
    files = {}
    for number, split in enumerate(("train", "val")):
        images, boxes = (
            [{"id": 1, "file_name": "1.jpg"}],
            [{"id": 1, "image_id": 1, "category_id": number, "bbox": [1, 1, 3, 3]}],
        )
        classes = [{"id": 0, "name": "car"}, {"id": 1, "name": "van"}]
        files[f"annotations/instances_{split}2017.json"] = json.dumps(
            {"images": images, "categories": classes, "annotations": boxes}
        ).encode()
    parsed = parse(Format.COCO, files, dict.fromkeys(["train2017/1.jpg", "val2017/1.jpg"], (10, 10)))
    assert [[one.class_id for one in unpack(item.annotations)] for item in parsed.items] == [[0], [1]]
    assert parsed.source_splits == {"train2017/1.jpg": "train", "val2017/1.jpg": "val"}


def test_why_a_name_means_no_image():
    def why(*images):
        return next(
            one.message
            for one in labelled(Format.COCO, "cam1/1.jpg", *images)[1].problems
            if one.code is Code.IMAGE_ABSENT
        )

    assert why("2.jpg").endswith("which is not among the files")
    assert why("cam2/1.jpg", "cam1/2.jpg").endswith("which is not among the files: cam2/1.jpg lies in another folder")
    assert why("a/cam1/1.jpg", "b/cam1/1.jpg").endswith(
        "which may be any of 2 images, such as a/cam1/1.jpg and b/cam1/1.jpg"
    )


@pytest.mark.parametrize("format_", NAMING)
def test_folders_tell_the_splits_where_nothing_else_does(format_):
    images = ["train/0001.jpg", "valid/0002.jpg", "test/0003.jpg", "more/0004.jpg"]
    parsed = labelled(format_, "train/0001.jpg", *images)[1]
    assert parsed.source_splits == dict(zip(images[:3], ("train", "val", "test"), strict=True))
