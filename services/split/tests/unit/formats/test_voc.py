"""Pascal VOC: layouts, bad input, and real data where it is there."""

from pathlib import Path, PurePosixPath

import pytest
from splitrail_common.annotations import LabelState, labels_csr, unpack
from splitrail_split.formats import Code, Format, detect, parse
from splitrail_split.formats.images import EXTENSIONS, inspect

SIZE = "<size><width>200</width><height>100</height><depth>3</depth></size>"
IMAGES = {"JPEGImages/a.jpg": (200, 100)}


def an_object(name="cat", box=("20", "10", "120", "60")):
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


def xml(*objects, head=SIZE, filename="a.jpg"):
    """Each object on a line of its own, the first on line 2."""
    return "\n".join((f"<annotation><filename>{filename}</filename>{head}", *objects, "</annotation>")).encode()


def one(data, images=IMAGES, **extra):
    return parse(Format.VOC, {"Annotations/a.xml": data, **extra}, images)


def found(parsed):
    return [(problem.path, problem.line, problem.code) for problem in parsed.problems]


def test_pixel_corners_are_plain_coordinates():
    parsed = one(xml(an_object("dog"), an_object("cat", ("0", "0", "200", "100"))))
    assert parsed.class_names == ["cat", "dog"]
    assert [box.values for box in unpack(parsed.items[0].annotations)] == [
        (500_000, 500_000, 10**6, 10**6),
        (350_000, 350_000, 500_000, 500_000),
    ]
    assert parsed.problems == []


def test_without_xml_unlabelled_and_without_objects_empty():
    parsed = one(xml(), images={**IMAGES, "JPEGImages/b.png": (5, 5)})
    assert [item.label_state for item in parsed.items] == [LabelState.EMPTY, LabelState.UNLABELLED]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (an_object(box=("20", "10", "20", "60")), Code.NO_AREA),
        (an_object(box=("120", "10", "20", "60")), Code.NO_AREA),
        (an_object(box=("nan", "10", "20", "60")), Code.NOT_FINITE),
        (an_object(box=("300", "10", "400", "60")), Code.OUTSIDE),
        (an_object(box=("150", "10", "210", "60")), Code.CLIPPED),
        (an_object(box=("1,5", "10", "20", "60")), Code.NOT_A_NUMBER),
        ("<object><name>cat</name></object>", Code.COLUMNS),
        ("<object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>", Code.COLUMNS),
        ("<object><name> </name></object>", Code.CLASS_UNKNOWN),
    ],
)
def test_a_bad_object_is_named_and_the_good_ones_stay(bad, code):
    parsed = one(xml(an_object(), bad))
    assert found(parsed) == [("Annotations/a.xml", 3, code)]
    assert len(unpack(parsed.items[0].annotations)) == (2 if code is Code.CLIPPED else 1)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_problem_names_the_line_on_which_its_object_starts(newline, encoding):
    lines = [
        "<annotation>",
        "  <!-- <object> -->",
        "  <part><object/></part><object",
        "  ><name>cat</name></object>",
        "",
        "  <object><name><![CDATA[<object>]]></name></object>",
        "</annotation>",
    ]
    assert found(one(newline.join(lines).encode(encoding)))[:2] == [
        ("Annotations/a.xml", line, Code.COLUMNS) for line in (3, 6)
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<annotation><object>",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="klingon"?><annotation/>',
        b'<!DOCTYPE a [<!ENTITY x "xxxx">]><annotation><filename>&x;</filename></annotation>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
    ],
)
def test_a_file_that_cannot_be_read_excludes_its_image(data):
    parsed = one(data, images={**IMAGES, "JPEGImages/b.jpg": (5, 5)})
    assert [item.path for item in parsed.items] == ["JPEGImages/b.jpg"]
    assert parsed.problems[0].path == "Annotations/a.xml"
    assert parsed.problems[0].code in {Code.UNREADABLE, Code.NOT_UTF8}


def test_names_and_sizes_that_disagree():
    parsed = one(xml(an_object(), filename="other.jpg"))
    assert found(parsed) == [("Annotations/a.xml", None, Code.NAME_MISMATCH)]
    resized = one(xml(an_object()), images={"JPEGImages/a.jpg": (400, 200)})
    assert found(resized) == [("Annotations/a.xml", None, Code.SIZE_MISMATCH)]
    assert unpack(resized.items[0].annotations)[0].values == (350_000, 350_000, 500_000, 500_000)
    other = one(xml(an_object()), images={"JPEGImages/a.jpg": (200, 200)})
    assert unpack(other.items[0].annotations)[0].values == (350_000, 175_000, 500_000, 250_000)
    assert one(xml(an_object(), head="")).problems == []


def test_an_image_named_only_inside():
    parsed = one(xml(an_object(), filename="c.jpg"), images={"JPEGImages/c.jpg": (200, 100)})
    assert found(parsed) == [("Annotations/a.xml", None, Code.NAME_MISMATCH)]
    assert parsed.items[0].label_state is LabelState.LABELLED


def test_absent_and_bad_images_and_two_files_for_one():
    assert found(one(xml(an_object()), images={})) == [("Annotations/a.xml", None, Code.IMAGE_ABSENT)]
    bad = parse(Format.VOC, {"Annotations/a.xml": xml(an_object())}, {}, bad_images={"JPEGImages/a.jpg"})
    assert (bad.items, bad.problems) == ([], [])
    twice = one(xml(an_object()), **{"Annotations/more/a.xml": xml()})
    assert found(twice) == [("Annotations/more/a.xml", None, Code.DUPLICATE_IMAGE)]
    assert twice.items[0].label_state is LabelState.LABELLED


def test_image_sets():
    images = {f"JPEGImages/{name}.jpg": (200, 100) for name in ("a", "b", "c", "d e")}
    sets = {
        "ImageSets/Main/train.txt": b"a\n\n",
        "ImageSets/Main/val.txt": b"b  1\nghost\n",
        "ImageSets/Main/trainval.txt": b"a\nb\nd e\n",
        "ImageSets/Main/test.txt": b"c\na\n",
        "ImageSets/Main/cat_train.txt": b"c -1\n",
    }
    parsed = one(xml(an_object()), images, **sets)
    expected = {"a": "train", "b": "val", "c": "test", "d e": "train"}
    assert parsed.source_splits == {f"JPEGImages/{name}.jpg": split for name, split in expected.items()}
    assert ("ImageSets/Main/val.txt", 2, Code.IMAGE_ABSENT) in found(parsed)
    assert parsed.problem_counts[Code.SPLIT_CONFLICT] == 1


def test_real_data(bccd: Path):
    files, sizes = {}, {}
    for path in sorted(bccd.rglob("*")):
        if path.is_file():
            name = path.relative_to(bccd).as_posix()
            if path.suffix in EXTENSIONS:
                sizes[name] = inspect(path.read_bytes())[:2]
            else:
                files[name] = path.read_bytes
    parsed = parse(detect([*files, *sizes]), files, sizes)
    assert len(parsed.items) == 364
    assert parsed.class_names == ["Platelets", "RBC", "WBC"]
    assert parsed.problem_counts == {Code.NO_AREA: 2}
    for problem in parsed.problems:
        assert files[problem.path]().splitlines()[problem.line - 1].strip() == b"<object>"
    assert sorted(set(parsed.source_splits.values())) == ["test", "train", "val"]
    assert len(labels_csr([item.annotations for item in parsed.items])[1]) == 4886


def test_of_equal_names_the_one_that_the_file_names_counts():
    images = {"JPEGImages/a.jpg": (200, 100), "JPEGImages/a.png": (200, 100)}
    sets = {"ImageSets/Main/val.txt": b"a\n"}
    for named in ("a.png", "a.jpg"):
        parsed = one(xml(an_object(), filename=named), images, **sets)
        assert [item.path for item in parsed.items if item.label_state is LabelState.LABELLED] == [
            f"JPEGImages/{named}"
        ]
        assert (parsed.problems, parsed.source_splits) == ([], {f"JPEGImages/{named}": "val"})
    parsed = one(xml(an_object(), filename=""), images)
    assert found(parsed) == [("Annotations/a.xml", None, Code.IMAGE_ABSENT)]
    assert "which may be any of 2 images" in parsed.problems[0].message
    masks = {"JPEGImages/a.jpg": (200, 100), "SegmentationClass/a.png": (200, 100)}
    assert one(xml(an_object(), filename=""), masks).problems == []


@pytest.mark.parametrize(
    ("path", "images", "expected"),
    [
        ("Annotations/cam1/a.xml", ["JPEGImages/cam2/a.jpg"], None),
        ("Annotations/cam2/a.xml", ["JPEGImages/cam1/a.jpg", "JPEGImages/cam2/a.jpg"], "JPEGImages/cam2/a.jpg"),
        ("Annotations/cam1/b.xml", ["JPEGImages/cam2/a.jpg"], None),
        ("train/a.xml", ["valid/a.jpg"], None),
        ("labels_voc/a.xml", ["photos/a.jpg", "photos/b.jpg"], "photos/a.jpg"),
        ("labels_voc/cam2/a.xml", ["photos/cam1/a.jpg", "photos/cam2/a.jpg"], "photos/cam2/a.jpg"),
        ("annotations/xmls/a.xml", ["images/a.jpg"], "images/a.jpg"),
    ],
)
def test_an_image_of_the_same_name_elsewhere_is_another_one(path, images, expected):
    files = {path: xml(an_object()), f"{PurePosixPath(path).parent.parent}/cam9/z.xml": b"<"}
    parsed = parse(Format.VOC, files if "cam" in path else {path: xml(an_object())}, dict.fromkeys(images, (200, 100)))
    assert [item.path for item in parsed.items if item.label_state is LabelState.LABELLED] == (
        [expected] if expected else []
    )
    assert (Code.IMAGE_ABSENT in parsed.problem_counts) == (expected is None)


def test_folders_tell_the_splits_where_image_sets_do_not():
    splits = {"train/a.jpg": "train", "valid/b.jpg": "val", "test/c.jpg": "test"}
    files = {path.replace(".jpg", ".xml"): xml(an_object(), filename=path[-5:]) for path in splits}
    sizes = dict.fromkeys(splits, (200, 100))
    parsed = parse(Format.VOC, files, sizes)
    assert (parsed.source_splits, parsed.problems) == (splits, [])
    assert parse(Format.VOC, {**files, "ImageSets/Main/test.txt": b"a\n"}, sizes).source_splits == {
        "train/a.jpg": "test"
    }


def test_image_sets_are_those_of_their_own_devkit():
    images = {
        "VOC2007/JPEGImages/a.jpg": (200, 100),
        "VOC2012/JPEGImages/a.jpg": (200, 100),
        "VOC2012/JPEGImages/b.jpg": (200, 100),
    }
    sets = {"VOC2007/ImageSets/Main/train.txt": b"a\nb\n", "VOC2012/ImageSets/Main/val.txt": b"a\nb\n"}
    parsed = parse(Format.VOC, sets, images)
    assert parsed.source_splits == dict(zip(images, ("train", "val", "val"), strict=True))
    assert found(parsed) == [("VOC2007/ImageSets/Main/train.txt", 2, Code.IMAGE_ABSENT)]


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("Annotations/Horizontal Bounding Boxes/{}.xml", ("JPEGImages-trainval/{}.jpg", "JPEGImages-test/{}.jpg")),
        ("Annotations_train/{}.xml", ("Images_train/{}.jpg", "Images_train/{}.jpg")),
        ("train_annotations/{}.xml", ("train_images/{}.jpg", "train_images/{}.jpg")),
    ],
)
def test_folders_of_annotations_and_images_go_by_other_names(annotations, images):
    xml = b"<annotation><object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
    paths = [image.format(number) for number, image in enumerate(images)]
    parsed = parse(Format.VOC, {annotations.format(number): xml for number in range(2)}, dict.fromkeys(paths, (10, 10)))
    assert [item.label_state for item in parsed.items] == [LabelState.LABELLED] * 2
