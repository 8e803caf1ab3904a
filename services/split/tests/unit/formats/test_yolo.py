"""YOLO text labels: layouts and bad input."""

import pytest
from splitrail_common.annotations import LabelState, unpack
from splitrail_split.formats import Code, Format, Severity, parse

A = {"images/a.jpg": (100, 100)}
GOOD = b"0 0.5 0.5 0.25 0.25\n"


def one(rows, names=b"names: [cat, dog]", images=A, **extra):
    return parse(Format.YOLO, {"labels/a.txt": rows, "data.yaml": names, **extra}, images)


def found(parsed):
    return [(problem.path, problem.line, problem.code) for problem in parsed.problems]


@pytest.mark.parametrize(
    ("image", "label", "split"),
    [
        ("images/train/a.jpg", "labels/train/a.txt", "train"),
        ("valid/images/a.PNG", "valid/labels/a.txt", "val"),
        ("set/images/test/deep/a.jpg", "set/labels/test/deep/a.txt", "test"),
        ("a.jpg", "a.txt", None),
        ("images/a.b.jpeg", "labels/a.b.txt", None),
    ],
)
def test_layouts(image, label, split):
    parsed = parse(Format.YOLO, {label: GOOD, "data.yaml": b"names: {0: cat, 1: dog}"}, {image: (10, 20)})
    assert [(item.path, item.label_state) for item in parsed.items] == [(image, LabelState.LABELLED)]
    assert parsed.class_names == ["cat", "dog"]
    assert parsed.source_splits == ({image: split} if split else {})
    assert parsed.problems == []


def test_missing_is_unlabelled_and_empty_is_reviewed():
    images = {f"images/{name}.jpg": (10, 10) for name in "abc"}
    parsed = parse(Format.YOLO, {"labels/a.txt": b"", "labels/b.txt": b" \n\n", "data.yaml": b"names: [cat]"}, images)
    assert [item.label_state for item in parsed.items] == [LabelState.EMPTY, LabelState.EMPTY, LabelState.UNLABELLED]
    assert parsed.problems == []


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (b"0 nan 0.5 0.1 0.1", Code.NOT_FINITE),
        (b"0 inf 0.5 0.1 0.1", Code.NOT_FINITE),
        (b"0 0.5 0.5 0 0.1", Code.NO_AREA),
        (b"0 0.5 0.5 0.1 -0.1", Code.NO_AREA),
        (b"0 2.5 0.5 0.1 0.1", Code.OUTSIDE),
        (b"0 0.5 0.5 0.1", Code.COLUMNS),
        (b"0 0.5 0.5 0.1 0.1 0.9", Code.COLUMNS),
        (b"0", Code.COLUMNS),
        (b"cat 0.5 0.5 0.1 0.1", Code.NOT_A_NUMBER),
        (b"2 0.5 0.5 0.1 0.1", Code.CLASS_RANGE),
        (b"-1 0.5 0.5 0.1 0.1", Code.CLASS_RANGE),
        (b"0.5 0.5 0.5 0.1 0.1", Code.CLASS_RANGE),
        (b"nan 0.5 0.5 0.1 0.1", Code.CLASS_RANGE),
        (b"1e300 0.5 0.5 0.1 0.1", Code.CLASS_RANGE),
        (b"0 0.1 0.1 nan 0.2 0.3 0.3", Code.NOT_FINITE),
        (b"0 0.1 0.1 0.1 0.2 0.1 0.3", Code.NO_AREA),
    ],
)
def test_a_bad_row_is_named_and_the_good_ones_stay(row, code):
    parsed = one(GOOD + row + b"\n")
    assert ("labels/a.txt", 2, code) in found(parsed)
    assert [box.class_id for box in unpack(parsed.items[0].annotations)] == [0]


def test_an_image_whose_objects_are_all_bad_is_left_out_not_taken_for_background():
    parsed = one(b"7 0.5 0.5 0.1 0.1\n")
    assert parsed.items == []
    assert ("images/a.jpg", None, Code.BAD_IMAGE) in found(parsed)


def test_boxes_slightly_outside_are_clipped_and_counted():
    parsed = one(b"0 0.05 0.5 0.2 0.2\n0 0.50001 0.5 1.0 1.0\n")
    assert found(parsed) == [("labels/a.txt", 1, Code.CLIPPED)]
    assert unpack(parsed.items[0].annotations)[0].values == (75_000, 500_000, 150_000, 200_000)


def test_repeated_boxes_count_once():
    parsed = one(GOOD * 2)
    assert found(parsed) == [("labels/a.txt", 2, Code.DUPLICATE_BOX)]
    assert len(unpack(parsed.items[0].annotations)) == 1


def test_polygons_become_boxes_with_a_note():
    parsed = one(b"1 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6\n")
    assert found(parsed) == [("labels/a.txt", 1, Code.POLYGON_TO_BOX)]
    assert parsed.problems[0].severity is Severity.NOTE
    assert unpack(parsed.items[0].annotations)[0].values == (300_000, 400_000, 400_000, 400_000)


def test_keypoints_keep_their_box():
    parsed = one(b"0 0.5 0.5 0.2 0.2 0.5 0.5 2 0.6 0.6 1\n", b"names: [cat]\nkpt_shape: [2, 3]")
    assert found(parsed) == [("labels/a.txt", 1, Code.ATTRIBUTES_DROPPED)]
    assert unpack(parsed.items[0].annotations)[0].values == (500_000, 500_000, 200_000, 200_000)


def test_text_that_is_not_utf8():
    parsed = one(GOOD + b"\xff\xfe0 0")
    assert found(parsed) == [("labels/a.txt", 2, Code.NOT_UTF8)]
    assert parsed.items == []


def test_a_byte_order_mark_and_windows_lines_are_fine():
    assert one(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n")).problems == []


def test_labels_without_an_image():
    parsed = one(GOOD, **{"labels/gone.txt": GOOD, "labels/broken.txt": GOOD})
    assert found(parsed) == [
        ("labels/broken.txt", None, Code.IMAGE_ABSENT),
        ("labels/gone.txt", None, Code.IMAGE_ABSENT),
    ]
    files = {"labels/a.txt": GOOD, "labels/broken.txt": GOOD, "data.yaml": b"names: [cat]"}
    assert parse(Format.YOLO, files, A, bad_images={"images/broken.jpg"}).problems == []


def test_download_is_never_run():
    parsed = one(GOOD, b"names: [cat, dog]\ndownload: |\n  import os\n  os.abort()\n")
    assert found(parsed) == [("data.yaml", None, Code.DOWNLOAD_IGNORED)]


@pytest.mark.parametrize(
    "text",
    [
        b"!!python/object/apply:os.abort []",
        b"names: !!python/name:os.abort",
        b"names: [a\nnc: ]",
        b"- a\n- b",
        b"\xff\xfe",
        b"[" * 5000,
        b"a: &a [x]\nb: *missing",
        b"x: " + b"y" * (1 << 20),
    ],
)
def test_yaml_that_is_not_plain_is_refused(text):
    parsed = one(GOOD, text)
    assert parsed.problems[0].path == "data.yaml"
    assert parsed.problems[0].code in {Code.UNREADABLE, Code.NOT_UTF8, Code.TOO_LARGE}
    assert Code.NO_CLASSES in parsed.problem_counts
    assert parsed.class_names == ["class0"]


def test_nested_aliases_stay_small():
    laughs = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (97 + i, 97 + i, b",".join([b"*%c" % (96 + i)] * 9)) for i in range(1, 12)
    )
    assert Code.CLASS_UNKNOWN in one(GOOD, laughs + b"names: *l\n").problem_counts


@pytest.mark.parametrize(
    ("text", "names", "code"),
    [
        (b"names: [no, 1.0, null]", ["no", "1.0", "null"], None),
        (b"names: {0: cat, 2: dog}", ["cat", "class1", "dog"], Code.CLASS_UNKNOWN),
        (b"names: {x: cat, 0: dog}", ["dog"], Code.CLASS_UNKNOWN),
        (b"names: [cat, [dog]]", ["cat", "class1"], Code.CLASS_UNKNOWN),
        (b"names: [cat, '']", ["cat", "class1"], Code.CLASS_UNKNOWN),
        (b"nc: 3\nnames: [cat, dog]", ["cat", "dog"], Code.CLASS_RANGE),
        (b"names: cat", [], Code.UNREADABLE),
        (b"names: {99999999: cat}", [], Code.CLASS_UNKNOWN),
    ],
)
def test_names(text, names, code):
    parsed = one(b"", text)
    assert parsed.class_names == names
    assert list(parsed.problem_counts) == ([code] if code else [])


def test_equal_names_are_one_class():
    parsed = one(b"0 0.5 0.5 0.1 0.1\n1 0.4 0.4 0.1 0.1\n2 0.3 0.3 0.1 0.1", b"names: [cat, dog, cat]")
    assert parsed.class_names == ["cat", "dog"]
    assert sorted(box.class_id for box in unpack(parsed.items[0].annotations)) == [0, 0, 1]
    assert found(parsed) == [("data.yaml", None, Code.DUPLICATE_CLASS)]


def test_classes_txt_and_no_names_at_all():
    named = parse(Format.YOLO, {"labels/a.txt": b"1 0.5 0.5 0.1 0.1", "classes.txt": b"cat\ndog\n\n"}, A)
    assert (named.class_names, named.problems) == (["cat", "dog"], [])
    bare = parse(Format.YOLO, {"labels/a.txt": b"1 0.5 0.5 0.1 0.1"}, A)
    assert bare.class_names == ["class0", "class1"]
    assert list(bare.problem_counts) == [Code.NO_CLASSES]


def test_splits_of_data_yaml():
    images = {
        f"{folder}/images/{name}.jpg": (10, 10)
        for folder, name in [("one", "a"), ("two", "b"), ("three", "c"), ("rest", "d")]
    }
    text = b"path: ../datasets/cells\nnames: [cat]\ntrain: ../one/images\nvalid: [/abs/two/images]\ntest: ./lists/test.txt\n"
    listing = b"./three/images/c.jpg\n/home/me/gone.jpg\n"
    parsed = parse(Format.YOLO, {"data.yaml": text, "lists/test.txt": listing}, images)
    assert parsed.source_splits == {"one/images/a.jpg": "train", "three/images/c.jpg": "test"}
    assert found(parsed) == [("lists/test.txt", 2, Code.IMAGE_ABSENT)]


def test_an_image_in_two_splits_stays_in_training():
    parsed = one(GOOD, b"names: [cat]\ntrain: images\ntest: images\n")
    assert parsed.source_splits == {"images/a.jpg": "train"}
    assert found(parsed) == [("data.yaml", None, Code.SPLIT_CONFLICT)]


def test_a_val_that_is_train_itself_is_no_split():
    files = {"labels/a.txt": GOOD, "held/labels/b.txt": GOOD}
    sizes = {"images/a.jpg": (10, 10), "held/images/b.jpg": (10, 10)}
    for more, expected in ((b"", {}), (b"test: held/images\n", {"images/a.jpg": "train", "held/images/b.jpg": "test"})):
        parsed = parse(Format.YOLO, {**files, "data.yaml": b"names: [cat]\ntrain: images\nval: images\n" + more}, sizes)
        assert (parsed.source_splits, parsed.problems) == (expected, [])


def test_a_list_does_not_take_an_image_of_another_folder():
    files = {
        "train.txt": b"cam1/0001.jpg\n",
        "val.txt": b"cam2/0001.jpg\n",
        "data.yaml": b"names: [cat]\ntrain: train.txt\nval: val.txt\n",
    }
    parsed = parse(Format.YOLO, files, {"images/cam2/0001.jpg": (10, 10)})
    assert parsed.source_splits == {"images/cam2/0001.jpg": "val"}
    assert found(parsed) == [("train.txt", 1, Code.IMAGE_ABSENT)]
