"""Which format a set of paths is, and properties that all parsers share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_common.annotations import Kind, LabelState, unpack
from splitrail_split.formats import Code, Format, Severity, UnknownFormatError, detect, parse
from splitrail_split.formats.model import MAX_KEPT_PROBLEMS


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


PATHS = ["data.yaml", "classes.txt", "labels/a.txt", "labels/b.txt", "Annotations/a.xml", "x.json", "class_folders.json", "ImageSets/Main/val.txt"]


@pytest.mark.parametrize("format_", sorted(set(Format) - {Format.CSV}))  # a list of objects is no set of files: test_formats_listing.py
@given(st.dictionaries(st.sampled_from(PATHS), junk), st.sampled_from(Kind))
def test_no_content_makes_a_parser_raise(format_, files, kind):
    parsed = parse(format_, files, IMAGES, kind=kind)
    assert {item.path for item in parsed.items} <= set(IMAGES)
    for item in parsed.items:
        boxes = unpack(item.annotations)
        assert bool(boxes) == (item.label_state is LabelState.LABELLED)
        assert all(box.class_id < len(parsed.class_names) for box in boxes)
    assert sum(parsed.problem_counts.values()) == len(parsed.problems)


@pytest.mark.parametrize("value", ["!!timestamp x", "!!bool x", "!!int ''", "!!float ''", "!!python/object:os.system x"])
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
    parsed = parse(Format.YOLO, {"labels/a.txt": b"\n0 nan 0.5 0.1 0.1", "classes.txt": b"cat"}, {"images/a.jpg": (10, 10)})
    first = parsed.problems[0]
    assert str(first).startswith("labels/a.txt:2: ")
    assert first.severity is Severity.PROBLEM
