"""Label Studio's JSON export: shapes, choices, keypoints, and bad input."""

import json

import pytest
from splitrail_common.annotations import Kind, LabelState, unpack
from splitrail_split.formats import Code, Format, detect, parse, recognize

SIZES = {"images/a.jpg": (200, 100), "images/b.jpg": (200, 100), "images/c.jpg": (200, 100)}


def result(type_, names, id_="r", **value):
    parent = {"parentID": value.pop("parent")} if "parent" in value else {}
    return {"id": id_, "type": type_, "value": {**value, type_: names}, **parent}


RECTANGLE = result("rectanglelabels", ["car"], x=10, y=20, width=30, height=40)


def task(*results, image="/data/upload/1/0123abcd-a.jpg", **fields):
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": list(results)}], **fields}


def one(*tasks, kind=Kind.BOX):
    return parse(Format.LABEL_STUDIO, {"export.json": json.dumps(list(tasks)).encode()}, SIZES, kind=kind)


def objects(parsed):
    return [(one.class_id, one.values) for item in parsed.items for one in unpack(item.annotations)]


def test_it_is_told_from_coco():
    assert detect(["project-1-at-2026-01-01-00-00-abcdef.json", "a.jpg"]) is Format.LABEL_STUDIO
    assert recognize(Format.COCO, {"x.json": b' \n[{"data": {}}]'}) is Format.LABEL_STUDIO
    for other in (b"[]", b'[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', b'{"images": []}'):
        assert recognize(Format.COCO, {"instances.json": b"{}", "results.json": other}) is Format.COCO
    assert recognize(Format.COCO, {"x.json": b'{"images": []}'}) is Format.COCO


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/1/0123abcd-a.jpg",
        "s3://bucket/x/a.jpg",
        "/data/local-files/?d=images/a.jpg",
        "https://host/a.jpg?token=x",
        "a.jpg",
    ],
)
def test_images_are_found_by_their_names(image):
    assert objects(one(task(RECTANGLE, image=image))) == [(0, (250_000, 400_000, 300_000, 400_000))]


def test_states_and_the_annotation_that_counts():
    several = task(RECTANGLE)
    several["annotations"] = [
        {"result": [], "was_cancelled": True},
        {"result": []},
        {"result": [RECTANGLE], "ground_truth": True},
    ]
    parsed = one(
        several, task(image="b.jpg"), task(image="c.jpg", annotations=[], predictions=[{"result": [RECTANGLE]}])
    )
    assert [item.label_state for item in parsed.items] == [LabelState.LABELLED, LabelState.EMPTY, LabelState.UNLABELLED]
    assert parsed.problem_counts == {Code.ATTRIBUTES_DROPPED: 1}


def test_polygons_rotation_and_choices():
    polygon = result("polygonlabels", ["man"], points=[[10, 10], [20, 10], [20, 20]])
    parsed = one(task(polygon, RECTANGLE), kind=Kind.POLYGON)
    assert parsed.class_names == ["car", "man"]
    assert (1, (100_000, 100_000, 200_000, 100_000, 200_000, 200_000)) in objects(parsed)
    turned = result("rectanglelabels", ["car"], x=50, y=20, width=10, height=10, rotation=90)
    # About its top left corner: 20 pixels wide and 10 high before, so 10 wide and 20 high to the left of it.
    assert objects(one(task(turned), kind=Kind.OBB)) == [
        (0, (500_000, 200_000, 500_000, 400_000, 450_000, 400_000, 450_000, 200_000))
    ]
    choice = result("choices", ["night"])
    parsed = one(task(choice, RECTANGLE), kind=Kind.CLASS)
    assert (parsed.class_names, objects(parsed)) == (["night"], [(0, ())])
    assert one(task(choice, RECTANGLE)).class_names == ["car"]


def test_keypoints_belong_to_their_parent_or_to_what_is_around_them():
    nose = result("keypointlabels", ["nose"], x=20, y=30, width=1, parent="r")
    eye = result("keypointlabels", ["eye"], x=15, y=25, width=1)
    far = result("keypointlabels", ["eye"], x=90, y=90, width=1)
    parsed = one(task(RECTANGLE, nose, eye, far), kind=Kind.KEYPOINTS)
    assert objects(parsed) == [(0, (250_000, 400_000, 300_000, 400_000, 150_000, 250_000, 2, 200_000, 300_000, 2))]
    assert parsed.problem_counts == {Code.SHAPE_UNKNOWN: 1}
    assert one(task(RECTANGLE, nose)).problem_counts == {Code.ATTRIBUTES_DROPPED: 1}


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (result("rectanglelabels", ["car"], x=float("nan"), y=20, width=30, height=40), Code.NOT_FINITE),
        (result("rectanglelabels", ["car"], x="a", y=20, width=30, height=40), Code.NOT_A_NUMBER),
        (result("rectanglelabels", ["car"], x=10, y=20, width=0, height=40), Code.NO_AREA),
        (result("rectanglelabels", [], x=10, y=20, width=30, height=40), Code.CLASS_UNKNOWN),
        (result("brushlabels", ["car"], rle=[1, 2]), Code.SHAPE_UNKNOWN),
        (result("polygonlabels", ["car"], points=[[1, 2], 3]), Code.NOT_A_NUMBER),
        (result("polygonlabels", ["car"], points="x"), Code.NOT_A_NUMBER),
        ({"type": "rectanglelabels", "value": 3}, Code.COLUMNS),
        ("x", Code.COLUMNS),
    ],
)
def test_a_bad_result_is_named_with_its_task(bad, code):
    parsed = one(task(image="b.jpg"), task(RECTANGLE, bad))
    assert [(problem.object, problem.code) for problem in parsed.problems] == [(2, code)]
    assert len(objects(parsed)) == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{}", Code.UNREADABLE),
        (b"[1]", Code.UNREADABLE),
        (b"[{}]", Code.UNREADABLE),
        (b"[" * 99999, Code.UNREADABLE),
        (b"\xff", Code.NOT_UTF8),
        (b"null", Code.UNREADABLE),
    ],
)
def test_hostile_files(text, code):
    assert code in parse(Format.LABEL_STUDIO, {"x.json": text}, SIZES).problem_counts
    names = [
        {"data": {"image": name}, "annotations": [{"result": []}]}
        for name in ("http://[", "../../etc/passwd", 3, None, "x" * 10**5)
    ]
    assert one(*names).problem_counts[Code.IMAGE_ABSENT] == 5


def test_an_image_that_has_a_choice_alone_was_looked_at():
    assert one(task(result("choices", ["good"]))).items[0].label_state is LabelState.EMPTY


@pytest.mark.parametrize(
    ("kind", "only", "other"),
    [
        (Kind.BOX, result("keypointlabels", ["nose"], x=20, y=30, width=1), RECTANGLE),
        (Kind.BOX, result("brushlabels", ["car"], rle=[1, 2]), RECTANGLE),
        (Kind.CLASS, RECTANGLE, result("choices", ["night"])),
    ],
)
def test_an_image_of_which_nothing_is_kept_is_no_background(kind, only, other):
    parsed = one(task(only), task(other, image="b.jpg"), task(image="c.jpg"), kind=kind)
    assert [(item.path, item.label_state) for item in parsed.items] == [
        ("images/b.jpg", LabelState.LABELLED),
        ("images/c.jpg", LabelState.EMPTY),
    ]
    assert ("images/a.jpg", Code.BAD_IMAGE) in [(problem.path, problem.code) for problem in parsed.problems]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("/data/upload/1/0123abcd-a.jpg", "photos/a.jpg"),
        ("/data/upload/1/0123abcd-a.jpg", "photos/0123abcd-a.jpg"),
        ("/data/local-files/?d=cam1/0123abcd-a.jpg", None),
        ("s3://bucket/cam2/a.jpg", "images/cam2/a.jpg"),
    ],
)
def test_folders_of_label_studio_are_none_of_the_source(name, image):
    sizes = dict.fromkeys([image or "images/cam2/a.jpg", "images/cam1/x.jpg"], (200, 100))
    parsed = parse(Format.LABEL_STUDIO, {"export.json": json.dumps([task(RECTANGLE, image=name)]).encode()}, sizes)
    assert [item.path for item in parsed.items if item.label_state is LabelState.LABELLED] == ([image] if image else [])
