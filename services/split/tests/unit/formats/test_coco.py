"""COCO JSON: layouts, merging and bad input."""

import json

import pytest
from splitrail_common.annotations import LabelState, unpack
from splitrail_split.formats import Code, Format, Severity, parse
from splitrail_split.formats.reading import MAX_JSON_BYTES
from splitrail_split.imports.sources import MAX_ANNOTATION_BYTES

IMAGES = {"train/a.jpg": (200, 100), "train/b.jpg": (200, 100)}
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


def coco(*annotations, images=None, categories=None):
    listed = [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 100}] if images is None else images
    numbered = [{"id": i, "image_id": 1, "category_id": 3, **annotation} for i, annotation in enumerate(annotations)]
    return json.dumps(
        {"images": listed, "annotations": numbered, "categories": CATEGORIES if categories is None else categories}
    ).encode()


def one(data, images=IMAGES, path="annotations/instances_train2017.json"):
    return parse(Format.COCO, {path: data}, images)


def found(parsed):
    assert all(problem.line is None for problem in parsed.problems), "an annotation is no line"
    return [(problem.path, problem.object, problem.code) for problem in parsed.problems]


BOX = {"bbox": [20, 10, 100, 50]}


def test_boxes_classes_states_and_splits():
    parsed = one(coco(BOX, {**BOX, "category_id": 7}))
    assert parsed.class_names == ["cat", "dog"]
    assert [(item.path, item.label_state) for item in parsed.items] == [
        ("train/a.jpg", LabelState.LABELLED),
        ("train/b.jpg", LabelState.UNLABELLED),
    ]
    values = (350_000, 350_000, 500_000, 500_000)
    assert [(box.class_id, box.values) for box in unpack(parsed.items[0].annotations)] == [(0, values), (1, values)]
    assert parsed.source_splits == {"train/a.jpg": "train"}
    assert parsed.problems == []


def test_listed_without_annotations_is_reviewed_and_empty():
    assert [item.label_state for item in one(coco()).items] == [LabelState.EMPTY, LabelState.UNLABELLED]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"bbox": [20, 10, 0, 50]}, Code.NO_AREA),
        ({"bbox": [20, 10, -5, 50]}, Code.NO_AREA),
        ({"bbox": [float("nan"), 10, 5, 50]}, Code.NOT_FINITE),
        ({"bbox": [500, 10, 5, 50]}, Code.OUTSIDE),
        ({"bbox": [190, 10, 20, 50]}, Code.CLIPPED),
        ({"bbox": [1, 2, 3]}, Code.COLUMNS),
        ({"bbox": "1 2 3 4"}, Code.COLUMNS),
        ({}, Code.COLUMNS),
        ({"bbox": [1, 2, None, 4]}, Code.NOT_A_NUMBER),
        ({"bbox": [1, 2, "3", 4]}, Code.NOT_A_NUMBER),
        ({**BOX, "category_id": 99}, Code.CLASS_UNKNOWN),
        ({**BOX, "category_id": None}, Code.CLASS_UNKNOWN),
        ({**BOX, "image_id": 42}, Code.IMAGE_ABSENT),
        ({**BOX, "image_id": [1]}, Code.IMAGE_ABSENT),
        ({**BOX}, Code.DUPLICATE_BOX),
    ],
)
def test_a_bad_annotation_is_named_and_the_good_ones_stay(bad, code):
    parsed = one(coco(BOX, bad))
    assert found(parsed) == [("annotations/instances_train2017.json", 2, code)]
    assert len(unpack(parsed.items[0].annotations)) == (2 if code is Code.CLIPPED else 1)


@pytest.mark.parametrize(
    ("images", "code"),
    [
        ([{"id": 1, "file_name": "ghost.jpg"}], Code.IMAGE_ABSENT),
        ([{"id": 1}], Code.IMAGE_ABSENT),
        ([{"file_name": "a.jpg"}], Code.IMAGE_ABSENT),
        ([{"id": 1, "file_name": "../../etc/passwd"}], Code.IMAGE_ABSENT),
        ([{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}], Code.DUPLICATE_IMAGE),
        ([{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}], Code.DUPLICATE_IMAGE),
        ([{"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}], Code.SIZE_MISMATCH),
        ([{"id": 1, "file_name": "a.jpg"}, 5], Code.UNREADABLE),
    ],
)
def test_bad_image_entries(images, code):
    assert code in one(coco(images=images)).problem_counts


@pytest.mark.parametrize(
    ("categories", "code"),
    [
        ([*CATEGORIES, {"id": 9, "name": "cat"}], Code.DUPLICATE_CLASS),
        ([*CATEGORIES, {"id": 3, "name": "cow"}], Code.DUPLICATE_CLASS),
        ([*CATEGORIES, {"id": 4}], Code.CLASS_UNKNOWN),
        ([], Code.NO_CLASSES),
    ],
)
def test_bad_categories(categories, code):
    assert code in one(coco(categories=categories)).problem_counts


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"[" * 100_000, b"\xff", b"1" * 5000, b'{"images": 1}'])
def test_files_that_are_no_coco(data):
    parsed = one(data)
    assert parsed.problems[0].path == "annotations/instances_train2017.json"
    assert all(item.label_state is LabelState.UNLABELLED for item in parsed.items)


def test_several_files_merge_by_name_and_tell_their_splits():
    images = {"train/x.jpg": (200, 100), "val/x.jpg": (200, 100)}
    listed = [{"id": 1, "file_name": "x.jpg"}]
    other = [{"id": 3, "name": "dog"}, {"id": 4, "name": "cow"}]
    files = {
        "annotations/instances_train.json": coco(BOX, images=listed),
        "annotations/instances_val.json": coco(BOX, images=listed, categories=other),
        "annotations/captions_val.json": b"never read",
    }
    parsed = parse(Format.COCO, files, images)
    assert parsed.class_names == ["cat", "dog", "cow"]
    assert parsed.source_splits == {"train/x.jpg": "train", "val/x.jpg": "val"}
    assert [[box.class_id for box in unpack(item.annotations)] for item in parsed.items] == [[0], [1]]
    assert found(parsed) == [("annotations/captions_val.json", None, Code.FILE_IGNORED)]


def test_an_image_in_two_split_files_stays_in_training():
    files = {"test.json": coco(BOX), "train.json": coco(BOX)}
    parsed = parse(Format.COCO, files, {"a.jpg": (200, 100)})
    assert parsed.source_splits == {"a.jpg": "train"}
    assert Code.SPLIT_CONFLICT in parsed.problem_counts


def test_roboflow_folders():
    images = {"valid/a.jpg": (200, 100), "train/a.jpg": (200, 100)}
    parsed = one(coco(BOX, images=[{"id": 1, "file_name": "a.jpg"}]), images, "valid/_annotations.coco.json")
    assert parsed.source_splits == {"valid/a.jpg": "val"}


def test_masks_crowds_and_polygons_without_boxes_are_notes():
    parsed = one(
        coco(
            {**BOX, "segmentation": [[1, 1, 2, 2, 3, 1]]},
            {**BOX, "iscrowd": 1},
            {"segmentation": [[10, 10, 30, 10, 30, 40]]},
        )
    )
    assert {problem.severity for problem in parsed.problems} == {Severity.NOTE}
    assert sorted(parsed.problem_counts) == [Code.ATTRIBUTES_DROPPED, Code.POLYGON_TO_BOX]
    assert len(unpack(parsed.items[0].annotations)) == 2


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"counts": "abc", "size": [100, 200]}, "left out: it has no bbox, and the mask's counts end within a number"),
        ([[10, 10, 30, 10]], "left out: it has no bbox, and its segmentation is neither a list of polygons"),
    ],
)
def test_a_mask_that_gives_no_box_is_not_counted_as_kept(segmentation, message):
    parsed = one(coco(BOX, {"segmentation": segmentation}))
    assert found(parsed) == [("annotations/instances_train2017.json", 2, Code.COLUMNS)]
    assert message in parsed.problems[0].message
    flat = one(coco(BOX, {"segmentation": [[10, 10, 30, 10, 20, 10]]}))
    assert found(flat) == [("annotations/instances_train2017.json", 2, Code.NO_AREA)]


def test_an_annotation_is_named_by_its_place_and_its_own_id():
    (problem,) = one(coco(BOX, {"id": "box-17", "bbox": [20, 10, 0, 50]})).problems
    assert str(problem).startswith("annotations/instances_train2017.json, annotation 2: ")
    assert problem.message.endswith("(id 'box-17')")
    (problem,) = one(coco(BOX, {"id": None, "bbox": [20, 10, 0, 50]})).problems
    assert "(id" not in problem.message


def test_a_json_file_may_be_as_large_as_an_annotation_file():
    assert MAX_JSON_BYTES == MAX_ANNOTATION_BYTES


def test_annotations_of_bad_images_are_left_out_in_silence():
    parsed = parse(Format.COCO, {"a.json": coco(BOX)}, {}, bad_images={"train/a.jpg"})
    assert (parsed.items, parsed.problems) == ([], [])


@pytest.mark.parametrize("only", [{**BOX, "iscrowd": 1}, {"bbox": []}])
def test_an_image_of_which_no_object_is_kept_is_no_background(only):
    parsed = one(coco(only))
    assert [item.path for item in parsed.items] == ["train/b.jpg"]
    assert ("train/a.jpg", None, Code.BAD_IMAGE) in found(parsed)


def test_images_of_a_file_without_annotations_are_unlabelled():
    listed = {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": CATEGORIES}
    parsed = one(json.dumps(listed).encode(), path="annotations/image_info_test.json")
    assert [item.label_state for item in parsed.items] == [LabelState.UNLABELLED] * 2
    assert parsed.source_splits == {"train/a.jpg": "test"}
    assert found(parsed) == [("annotations/image_info_test.json", None, Code.UNREADABLE)]


def test_a_file_of_a_split_counts_more_than_folders():
    images = {"train/a.jpg": (200, 100), "val/b.jpg": (200, 100)}
    listed = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]
    assert one(coco(BOX, images=listed), images, "all.json").source_splits == {
        "train/a.jpg": "train",
        "val/b.jpg": "val",
    }
    assert one(coco(BOX, images=listed), images, "instances_val.json").source_splits == {
        "train/a.jpg": "val",
        "val/b.jpg": "val",
    }
