"""CVAT's XML: images, videos, every shape, and bad input."""

import pytest
from splitrail_common.annotations import Kind, LabelState, unpack
from splitrail_split.formats import Code, Format, detect, parse, recognize

SIZES = {f"images/frame_{number:06}.png": (100, 50) for number in range(3)}
LABELS = (
    "<labels><label><name>car</name></label><label><name>man</name></label>"
    "<label><name>p2</name><parent>man</parent></label><label><name>p1</name><parent>man</parent></label></labels>"
)


def xml(body, meta=""):
    return f"<annotations><meta><task><name>street</name><size>3</size>{LABELS}{meta}</task></meta>\n{body}\n</annotations>".encode()


def one(body, kind=Kind.BOX, meta=""):
    return parse(Format.CVAT, {"annotations.xml": xml(body, meta)}, SIZES, kind=kind)


def image(shapes, name="frame_000000.png", more=""):
    return f'<image id="0" name="{name}" width="100" height="50" {more}>{shapes}</image>'


def objects(parsed):
    return [(one.class_id, one.values) for item in parsed.items for one in unpack(item.annotations)]


BOX = '<box label="car" xtl="10" ytl="10" xbr="30" ybr="20"/>'


def test_it_is_told_from_voc():
    assert detect(["annotations.xml", "images/a.jpg"]) is Format.CVAT
    assert recognize(Format.VOC, {"Annotations/task.xml": xml("")}) is Format.CVAT
    assert recognize(Format.VOC, {"Annotations/a.xml": b"<annotation/>"}) is Format.VOC


def test_images_with_subsets():
    parsed = one(image(BOX, more='subset="Train"') + image("", "frame_000001.png", 'subset="Validation"'))
    assert parsed.class_names == ["car", "man"]
    assert [item.label_state for item in parsed.items] == [LabelState.LABELLED, LabelState.EMPTY, LabelState.UNLABELLED]
    assert objects(parsed) == [(0, (200_000, 300_000, 200_000, 200_000))]
    assert parsed.source_splits == {"images/frame_000000.png": "train", "images/frame_000001.png": "val"}
    assert all(not item.metadata for item in parsed.items)
    assert parsed.problems == []


def test_tracks_give_frames_their_sequence():
    track = '<track id="0" label="car">' + "".join(
        f'<box frame="{frame}" outside="{int(frame == 1)}" xtl="{10 + frame}" ytl="10" xbr="30" ybr="20"/>'
        for frame in range(3)
    )
    parsed = one(track + "</track>")
    assert [item.label_state for item in parsed.items] == [LabelState.LABELLED, LabelState.EMPTY, LabelState.LABELLED]
    assert [dict(item.metadata) for item in parsed.items] == [{"sequence": "street"}] * 3
    assert len(objects(parsed)) == 2
    assert one('<track label="car"><box frame="7" xtl="1" ytl="1" xbr="3" ybr="2"/></track>').problem_counts == {
        Code.IMAGE_ABSENT: 1
    }


def test_images_of_a_video_have_no_extension_in_their_names():
    parsed = one(image(BOX, "frame_000000"), meta="<mode>interpolation</mode>")
    assert parsed.items[0].metadata == {"sequence": "street"}


@pytest.mark.parametrize(
    ("shape", "kind", "values"),
    [
        (
            '<polygon label="car" points="10,10;30,10;30,20"/>',
            Kind.POLYGON,
            (100_000, 200_000, 300_000, 200_000, 300_000, 400_000),
        ),
        (
            '<mask label="car" rle="0,4" left="10" top="10" width="2" height="2"/>',
            Kind.POLYGON,
            (100_000, 200_000, 120_000, 200_000, 120_000, 240_000, 100_000, 240_000),
        ),
        (
            '<box label="car" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90"/>',
            Kind.OBB,
            (250_000, 100_000, 250_000, 500_000, 150_000, 500_000, 150_000, 100_000),
        ),
        (
            '<points label="man" points="10,10;30,20"/>',
            Kind.KEYPOINTS,
            (200_000, 300_000, 200_000, 200_000, 100_000, 200_000, 2, 300_000, 400_000, 2),
        ),
        (
            '<skeleton label="man"><points label="p1" points="10,10" occluded="1"/><points label="p2" points="30,20"/></skeleton>',
            Kind.KEYPOINTS,
            (200_000, 300_000, 200_000, 200_000, 300_000, 400_000, 2, 100_000, 200_000, 1),
        ),
        ('<tag label="man"/>', Kind.CLASS, ()),
    ],
)
def test_shapes(shape, kind, values):
    parsed = one(image(shape), kind)
    assert [value for _, value in objects(parsed)] == [values]
    assert parsed.problems == []


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        ('<box label="car" xtl="nan" ytl="10" xbr="30" ybr="20"/>', Code.NOT_FINITE),
        ('<box label="car" xtl="x" ytl="10" xbr="30" ybr="20"/>', Code.NOT_A_NUMBER),
        ('<box label="car" xtl="10" ytl="10" xbr="10" ybr="20"/>', Code.NO_AREA),
        ('<box label="car" xtl="1e300" ytl="10" xbr="30" ybr="20" rotation="45"/>', Code.NO_AREA),
        ('<box xtl="10" ytl="10" xbr="30" ybr="20"/>', Code.CLASS_UNKNOWN),
        ('<cuboid label="car" xtl1="1"/>', Code.SHAPE_UNKNOWN),
        ('<polygon label="car" points="1,2;3"/>', Code.NOT_A_NUMBER),
        ('<polygon label="car"/>', Code.NOT_A_NUMBER),
        ('<mask label="car" rle="1,x" left="0" top="0" width="1" height="1"/>', Code.COLUMNS),
        ('<mask label="car" rle="1" left="0" top="0" width="1e9" height="1"/>', Code.COLUMNS),
        ('<skeleton label="man"/>', Code.COLUMNS),
    ],
)
def test_a_bad_shape_is_named_with_its_line_and_the_good_one_stays(shape, code):
    parsed = one(image(BOX + "\n" + shape))
    assert [(problem.path, problem.line, problem.code) for problem in parsed.problems] == [("annotations.xml", 3, code)]
    assert len(objects(parsed)) == 1


def test_hostile_files():
    bomb = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>'
    for content, code in (
        (bomb, Code.UNREADABLE),
        (b"<annotation/>", Code.FILE_IGNORED),
        (b"<" * 5000, Code.UNREADABLE),
    ):
        assert code in parse(Format.CVAT, {"annotations.xml": content}, SIZES).problem_counts
    assert one(image(BOX, "../../etc/passwd")).problem_counts == {Code.IMAGE_ABSENT: 1}


@pytest.mark.parametrize(
    "shapes", ['<cuboid label="car" xtl1="1"/>', '<tag label="car"/><polyline label="man" points="1,1;2,2"/>']
)
def test_an_image_of_which_nothing_is_kept_is_no_background(shapes):
    parsed = one(image(shapes) + image("", "frame_000001.png"))
    assert [(item.path[-5], item.label_state) for item in parsed.items] == [
        ("1", LabelState.EMPTY),
        ("2", LabelState.UNLABELLED),
    ]
    assert ("images/frame_000000.png", Code.BAD_IMAGE) in [(problem.path, problem.code) for problem in parsed.problems]
    assert len(objects(one(image(BOX + shapes)))) == 1


def test_an_image_that_has_a_tag_alone_was_looked_at():
    parsed = one(image('<tag label="car"/>'))
    assert parsed.items[0].label_state is LabelState.EMPTY
    assert list(parsed.problem_counts) == [Code.ATTRIBUTES_DROPPED]


def test_frames_without_extension_keep_their_folder():
    sizes = {"images/cam2/frame_1.png": (100, 50), "images/cam1/frame_2.png": (100, 50)}
    for name, code in (("cam1/frame_1", Code.IMAGE_ABSENT), ("cam2/frame_1", None)):
        parsed = parse(Format.CVAT, {"annotations.xml": xml(image(BOX, name))}, sizes)
        assert list(parsed.problem_counts) == ([code] if code else [])


def test_subsets_count_more_than_folders():
    sizes = {"train/1.png": (100, 50), "val/2.png": (100, 50)}
    listed = image(BOX, "1.png", 'subset="{}"') + image(BOX, "2.png", 'subset="{}"')
    for subset, splits in (("default", ["train", "val"]), ("Test", ["test", "test"])):
        parsed = parse(Format.CVAT, {"annotations.xml": xml(listed.replace("{}", subset))}, sizes)
        assert list(parsed.source_splits.values()) == splits
