"""YOLO, COCO and Pascal VOC in datasets of outlines, keypoints, oriented boxes and classes of whole images."""

import json
import re

import pytest
from splitrail_common.annotations import Kind, LabelState, unpack
from splitrail_split.formats import Code, Format, detect, parse
from splitrail_split.formats.tree import claims

A = {"images/a.jpg": (100, 50)}


def yolo(rows, kind, names=b"names: [cat, dog]"):
    return parse(Format.YOLO, {"labels/a.txt": rows, "data.yaml": names}, A, kind=kind)


def coco(kind, *annotations, size=(100, 50), **fields):
    entries = [{"id": n, "image_id": 1, "category_id": 1, **one} for n, one in enumerate(annotations, start=1)]
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1]}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    files = {"annotations/instances.json": json.dumps({**document, "annotations": entries, **fields}).encode()}
    return parse(Format.COCO, files, A, kind=kind)


def voc(kind, *names, box="<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"):
    described = "\n".join(f"<object><name>{name}</name>{box}</object>" for name in names)
    return parse(Format.VOC, {"Annotations/a.xml": f"<annotation>\n{described}\n</annotation>".encode()}, A, kind=kind)


def objects(parsed):
    return [(one.kind, one.values) for item in parsed.items for one in unpack(item.annotations)]


def found(parsed):
    return [(problem.line, problem.code) for problem in parsed.problems]


def test_polygons_are_kept_and_boxes_become_rectangles():
    parsed = yolo(b"0 0.1 0.1 0.5 0.1 0.5 0.6\n1 0.5 0.5 0.2 0.2\n", Kind.POLYGON)
    assert objects(parsed) == [
        (Kind.POLYGON, (100_000, 100_000, 500_000, 100_000, 500_000, 600_000)),
        (Kind.POLYGON, (400_000, 400_000, 600_000, 400_000, 600_000, 600_000, 400_000, 600_000)),
    ]
    assert found(parsed) == [(2, Code.BOX_TO_POLYGON)]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (b"0 nan 0.1 0.5 0.1 0.5 0.6", Code.NOT_FINITE),
        (b"0 0.1 0.1 0.2 0.2 0.3 0.3", Code.NO_AREA),
        (b"0 1.1 0.1 1.5 0.1 1.5 0.6", Code.OUTSIDE),
        (b"0 0.5 0.1 1.5 0.1 1.5 0.6", Code.CLIPPED),
        (b"0 0.1 0.1 0.5 0.1 0.5", Code.COLUMNS),
        (b"0 " + b"0.1 " * 10_000, Code.NO_AREA),
    ],
)
def test_bad_outlines_are_named(row, code):
    parsed = yolo(b"1 0.1 0.1 0.5 0.1 0.5 0.6\n" + row + b"\n", Kind.POLYGON)
    assert found(parsed) == [(2, code)]


def test_yolo_boxes_alone_become_outlines_as_well():
    parsed = yolo(b"1 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.4 0.4\n", Kind.POLYGON)
    assert [(kind, len(values)) for kind, values in objects(parsed)] == [(Kind.POLYGON, 8)] * 2
    assert found(parsed) == [(1, Code.BOX_TO_POLYGON)]


VOC_CORNERS = (100_000, 200_000, 300_000, 200_000, 300_000, 400_000, 100_000, 400_000)


@pytest.mark.parametrize(
    ("kind", "kept", "findings"),
    [
        (Kind.BOX, (200_000, 300_000, 200_000, 200_000), []),
        (Kind.POLYGON, VOC_CORNERS, [(2, Code.BOX_TO_POLYGON)]),
        (Kind.OBB, VOC_CORNERS, [(2, Code.SHAPE_CONVERTED)]),
        (Kind.KEYPOINTS, (200_000, 300_000, 200_000, 200_000), [(None, Code.KEYPOINTS_ABSENT)]),
        (Kind.CLASS, (), [(2, Code.ATTRIBUTES_DROPPED)]),
    ],
)
def test_voc_boxes_become_what_the_dataset_is_made_of(kind, kept, findings):
    parsed = voc(kind, "cat")
    assert (objects(parsed), found(parsed)) == ([(kind, kept)], findings)


def test_voc_gives_an_image_the_class_of_all_its_objects():
    parsed = voc(Kind.CLASS, "cat", "cat", box="")
    assert (objects(parsed), parsed.class_names) == ([(Kind.CLASS, ())], ["cat"])
    parsed = voc(Kind.CLASS, "cat", "dog")
    assert parsed.items == []
    assert (None, Code.SEVERAL_CLASSES) in found(parsed)


@pytest.mark.parametrize(
    ("point", "code"),
    [
        ((1e308, 0.5), Code.OUTSIDE),
        ((0.5, -1e303), Code.OUTSIDE),
        ((float("inf"), 0.5), Code.NOT_FINITE),
        ((1.5, 0.5), Code.CLIPPED),
    ],
)
def test_a_keypoint_beyond_all_numbers_is_named(point, code):
    x, y = point
    rows = f"0 0.5 0.5 0.1 0.1 0.5 0.5 2\n0 0.5 0.5 0.2 0.2 {x} {y} 2\n".encode()
    parsed = yolo(rows, Kind.KEYPOINTS, b"names: [cat]\nkpt_shape: [1, 3]")
    assert found(parsed) == [(2, code)]
    good = {"bbox": [10, 10, 20, 20], "keypoints": [20, 20, 2]}
    parsed = coco(Kind.KEYPOINTS, good, {"bbox": [10, 10, 30, 20], "keypoints": [x * 100, y * 50, 2]})
    # In pixels the largest is no number any more.
    assert [(problem.object, problem.code) for problem in parsed.problems] == [
        (2, Code.NOT_FINITE if x == 1e308 else code)
    ]


def test_keypoints_are_kept_with_their_visibility():
    parsed = yolo(b"0 0.5 0.5 0.2 0.2 0.5 0.5 2 0.6 0.6 1\n", Kind.KEYPOINTS, b"names: [cat]\nkpt_shape: [2, 3]")
    assert objects(parsed) == [
        (Kind.KEYPOINTS, (500_000, 500_000, 200_000, 200_000, 500_000, 500_000, 2, 600_000, 600_000, 1))
    ]
    parsed = yolo(b"0 0.5 0.5 0.2 0.2 0.5 0.5 0 0\n", Kind.KEYPOINTS, b"names: [cat]\nkpt_shape: [2, 2]")
    assert objects(parsed)[0][1][4:] == (500_000, 500_000, 2, 0, 0, 0)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("[0, 2]", "'2' occurs before, or is not one of 0 to 1"),
        ("[0, 0]", "'0' occurs before"),
        ("[0, -1]", "'-1'"),
        ("[1]", "it has 1 numbers, and kpt_shape gives 2"),
        ("[[0], 1]", "a list occurs"),
        ("{0: 1}", "a dict is not a list"),
        ("mirrored", "'mirrored' is not a list"),
    ],
)
def test_which_keypoints_a_mirrored_image_exchanges(given, why):
    row = b"0 0.5 0.5 0.2 0.2 0.5 0.5 2 0.6 0.6 1\n"
    start = "names: [cat]\nkpt_shape: [2, 3]\n"
    assert list(yolo(row, Kind.KEYPOINTS, f"{start}flip_idx: [1, 0]".encode()).flip_idx) == [1, 0]
    for silent in ("", "flip_idx: []", "flip_idx:"):
        parsed = yolo(row, Kind.KEYPOINTS, f"{start}{silent}".encode())
        assert (list(parsed.flip_idx), parsed.problems) == ([], [])
    parsed = yolo(row, Kind.KEYPOINTS, f"{start}# left and right\nflip_idx: {given}".encode())
    (problem,) = parsed.problems
    assert (list(parsed.flip_idx), problem.path, problem.line, problem.code) == ([], "data.yaml", 4, Code.KEYPOINT_FLIP)
    assert problem.message.startswith("flip_idx is left out: ")
    assert re.search(why, problem.message)
    assert len(objects(parsed)) == 1
    (problem,) = yolo(b"0 0.5 0.5 0.2 0.2\n", Kind.KEYPOINTS, b"names: [cat]\nflip_idx: [0]").problems[:1]
    assert (problem.line, problem.code) == (2, Code.KEYPOINT_FLIP)
    assert yolo(b"0 0.5 0.5 0.2 0.2\n", Kind.BOX, b"names: [cat]\nflip_idx: [0]").problems == []


def test_objects_without_keypoints_get_as_many_as_the_others():
    parsed = yolo(
        b"0 0.5 0.5 0.2 0.2 0.5 0.5 2\n0 0.2 0.2 0.1 0.1\n", Kind.KEYPOINTS, b"names: [cat]\nkpt_shape: [1, 3]"
    )
    assert {len(values) for _, values in objects(parsed)} == {7}
    assert parsed.problem_counts == {Code.KEYPOINTS_ABSENT: 1}
    assert Code.KEYPOINTS_ABSENT in yolo(b"0 0.5 0.5 0.2 0.2\n", Kind.KEYPOINTS, b"names: [cat]").problem_counts


def test_columns_without_kpt_shape_are_not_guessed():
    parsed = yolo(b"0 0.5 0.5 0.2 0.2 0.5 0.5 2\n", Kind.KEYPOINTS)
    assert (None, Code.BAD_IMAGE) in found(parsed)
    assert any("kpt_shape" in problem.message for problem in parsed.problems)


def test_oriented_boxes_keep_their_corners():
    parsed = yolo(
        b"0 0.1 0.2 0.3 0.1 0.4 0.3 0.2 0.4\n1 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.9 0.5 0.9 0.9 0.7 0.9 0.5 0.9\n", Kind.OBB
    )
    assert [len(values) for _, values in objects(parsed)] == [8, 8, 8]
    assert objects(parsed)[0][1] == (100_000, 200_000, 300_000, 100_000, 400_000, 300_000, 200_000, 400_000)
    assert found(parsed) == [(2, Code.SHAPE_CONVERTED)]
    assert parsed.problems[0].message.startswith("2 ")


@pytest.mark.parametrize(
    ("paths", "names", "splits"),
    [
        (["train/cat/1.jpg", "valid/dog/2.jpg", "test/cat/x/3.jpg"], ["cat", "dog"], ["test", "train", "val"]),
        (["root/train/b/1.jpg", "root/train/a/2.jpg"], ["a", "b"], ["train", "train"]),
        (["cat/1.jpg", "dog/2.jpg"], ["cat", "dog"], []),
    ],
)
def test_folders_are_classes(paths, names, splits):
    assert detect(paths, Kind.CLASS) is Format.YOLO
    parsed = parse(Format.YOLO, {}, dict.fromkeys(paths, (10, 10)), kind=Kind.CLASS)
    assert parsed.class_names == names
    assert all(kind is Kind.CLASS and values == () for kind, values in objects(parsed))
    assert [parsed.source_splits[path] for path in sorted(parsed.source_splits)] == splits
    assert parsed.problems == []


def test_an_image_in_no_folder_of_a_class_is_unlabelled_and_a_bad_one_names_its_class_still():
    parsed = parse(
        Format.YOLO, {"data.yaml": b""}, {"train/1.jpg": (9, 9), "train/b/2.jpg": (9, 9)}, {"train/a/3.jpg"}, Kind.CLASS
    )
    assert [item.label_state for item in parsed.items] == [LabelState.UNLABELLED, LabelState.LABELLED]
    assert parsed.class_names == ["a", "b"]
    assert parsed.problem_counts == {Code.FILE_IGNORED: 1}
    assert claims(["a.jpg", "images/b.jpg"]) == 0


def test_coco_outlines_of_several_pieces_and_masks():
    parsed = coco(
        Kind.POLYGON,
        {"segmentation": [[10, 10, 20, 10, 20, 20]], "bbox": [0, 0, 50, 50]},
        {"segmentation": [[0, 0, 10, 0, 10, 10], [30, 0, 40, 0, 40, 10]]},
        {"segmentation": {"size": [50, 100], "counts": [0, 5, 45, 5, 4945]}},
        {"bbox": [50, 20, 10, 10]},
    )
    kept = dict.fromkeys(values for _, values in objects(parsed))
    assert (100_000, 200_000, 200_000, 200_000, 200_000, 400_000) in kept
    assert (0, 0, 20_000, 0, 20_000, 100_000, 0, 100_000) in kept
    assert {(problem.object, problem.code) for problem in parsed.problems} == {
        (2, Code.RINGS_JOINED),
        (4, Code.BOX_TO_POLYGON),
    }


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [50, 100], "counts": [1]},
        {"size": [10**6, 10**6], "counts": []},
        [["a"] * 6],
        "x",
        [[0, 0, 1, 1]],
        [[]],
    ],
)
def test_coco_outlines_that_are_none(segmentation):
    parsed = coco(Kind.POLYGON, {"segmentation": segmentation}, {"segmentation": [[10, 10, 20, 10, 20, 20]]})
    assert [(problem.object, problem.code) for problem in parsed.problems] == [(1, Code.COLUMNS)]
    assert len(objects(parsed)) == 1


def test_coco_masks_give_boxes_where_boxes_are_wanted():
    parsed = coco(Kind.BOX, {"segmentation": {"size": [50, 100], "counts": [0, 5, 45, 5, 4945]}})
    assert objects(parsed) == [(Kind.BOX, (10_000, 50_000, 20_000, 100_000))]


def test_coco_keypoints():
    parsed = coco(
        Kind.KEYPOINTS,
        {"bbox": [10, 10, 20, 20], "keypoints": [20, 20, 2, 0, 0, 0]},
        {"bbox": [10, 10, 30, 20], "keypoints": [20, 20, 2, 0]},
        {"bbox": [10, 10, 40, 20]},
    )
    assert objects(parsed)[0][1] == (200_000, 400_000, 200_000, 400_000, 200_000, 400_000, 2, 0, 0, 0)
    assert [problem.code for problem in parsed.problems] == [Code.COLUMNS, Code.KEYPOINTS_ABSENT]


def test_an_image_of_several_classes_is_left_out_where_one_is_wanted():
    assert objects(coco(Kind.CLASS, {"bbox": [1, 1, 5, 5]}, {"bbox": [9, 9, 5, 5]})) == [(Kind.CLASS, ())]
    parsed = coco(Kind.CLASS, {}, {"category_id": 2})
    assert parsed.items == []
    assert Code.SEVERAL_CLASSES in parsed.problem_counts


def tree(listed, images, **files):
    everything = {"export/class_folders.json": json.dumps(listed).encode(), **files}
    return parse(Format.YOLO, everything, {f"export/{path}": (9, 9) for path in images}, kind=Kind.CLASS)


def test_an_exported_tree_says_what_its_classes_are_called():
    listed = {
        "classes": [
            {"folder": "y_z", "name": "y/z"},
            {"folder": "a", "name": "train"},
            {"folder": "unused", "name": "unused"},
        ]
    }
    images = [
        "train/a/1.jpg",
        "test/y_z/clip/2.jpg",
        "unassigned/y_z/clip/3.jpg",
        "images/val/4.jpg",
        "images/unassigned/5.jpg",
        "train/more/6.jpg",
    ]
    assert detect(["export/class_folders.json", "export/images/unassigned/1.jpg"], Kind.CLASS) is Format.YOLO
    parsed = tree(listed, images, **{"export/labels/val/4.txt": b""})
    assert (parsed.class_names, parsed.problems) == (["y/z", "train", "unused", "more"], [])
    shown = {
        item.path.removeprefix("export/"): [one.class_id for one in unpack(item.annotations)] for item in parsed.items
    }
    assert shown == dict(zip(images, [[1], [0], [0], [], [], [3]], strict=True))
    states = {item.path[-5]: item.label_state for item in parsed.items}
    assert (states["4"], states["5"]) == (LabelState.EMPTY, LabelState.UNLABELLED)
    assert {path[-5]: part for path, part in parsed.source_splits.items()} == {
        "1": "train",
        "2": "test",
        "4": "val",
        "6": "train",
    }


@pytest.mark.parametrize(
    ("listed", "code"),
    [
        ([], Code.UNREADABLE),
        ({}, Code.UNREADABLE),
        ({"classes": {"a": "b"}}, Code.UNREADABLE),
        ({"classes": ["a"]}, Code.CLASS_UNKNOWN),
        ({"classes": [{"folder": "a", "name": " "}]}, Code.CLASS_UNKNOWN),
        ({"classes": [{"folder": ["a"], "name": "a"}]}, Code.CLASS_UNKNOWN),
        ({"classes": [{"folder": "a", "name": "b"}, {"folder": "a", "name": "c"}]}, Code.DUPLICATE_CLASS),
        ({"classes": [{"folder": "a", "name": "b"}, {"folder": "c", "name": "b"}]}, Code.DUPLICATE_CLASS),
    ],
)
def test_a_list_of_classes_that_is_none(listed, code):
    parsed = tree(listed, ["train/a/1.jpg", "train/b/2.jpg"])
    assert parsed.problems[0].code is code
    assert len(parsed.items) == 2
