"""A CSV of images that lie in a bucket: rows to images, and what is wrong with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_common.annotations import Kind, LabelState, unpack
from splitrail_split.formats import Code
from splitrail_split.formats.listing import MAX_METADATA_CHARACTERS, ListingError, parse, read


def locate(name, path):
    if not name.startswith("in/"):
        raise ValueError("does not lie there")
    return name, path or name[3:]


def parsed(text, sizes=(100, 200), kind=Kind.BOX, absent=()):
    listing = read("list.csv", text.encode(), locate)
    paths = [path for path in listing.images if path not in absent]
    return parse(listing, dict.fromkeys(paths, sizes), dict.fromkeys(absent, "is gone"), kind)


def told(dataset):
    return [(problem.line, problem.code) for problem in dataset.problems]


def test_boxes_splits_and_metadata():
    found = parsed(
        "object,split,class,xmin,ymin,xmax,ymax,camera,site\n"
        "in/b.jpg,train,dog,0,0,50,100,front,\n"
        'in/b.jpg,train,"cat, small",50,100,100,200,front,north\n'
        "in/a.jpg,valid,,,,,,front,south\n"
        "\n"
    )
    assert (found.class_names, found.problems) == (["cat, small", "dog"], [])
    first, second = found.items
    assert (first.path, first.label_state, dict(first.metadata)) == (
        "a.jpg",
        LabelState.EMPTY,
        {"camera": "front", "site": "south"},
    )
    assert (second.path, second.label_state, dict(second.metadata)) == (
        "b.jpg",
        LabelState.LABELLED,
        {"camera": "front", "site": "north"},
    )
    assert [(one.class_id, one.values) for one in unpack(second.annotations)] == [
        (0, (750_000, 750_000, 500_000, 500_000)),
        (1, (250_000, 250_000, 500_000, 500_000)),
    ]
    assert found.source_splits == {"a.jpg": "val", "b.jpg": "train"}


def test_without_classes_nobody_has_looked():
    found = parsed("object\nin/a.jpg\n")
    assert ([one.label_state for one in found.items], found.class_names, found.problems) == (
        [LabelState.UNLABELLED],
        [],
        [],
    )


def test_classes_of_whole_images():
    found = parsed("object,class\nin/a.jpg,dog\nin/b.jpg,cat\nin/c.jpg,cat\nin/c.jpg,dog\n", kind=Kind.CLASS)
    assert [(one.path, [a.class_id for a in unpack(one.annotations)]) for one in found.items] == [
        ("a.jpg", [1]),
        ("b.jpg", [0]),
    ]
    assert Code.SEVERAL_CLASSES in {code for _, code in told(found)}


def test_what_is_wrong_is_named_by_line():
    found = parsed(
        "\ufeffobject,path,split,class,xmin,ymin,xmax,ymax\n"  # 1
        "elsewhere/a.jpg,,,x,0,0,10,10\n"  # 2: not allowed
        "in/a.jpg,a.jpg\n"  # 3: columns
        "in/a.jpg,,nowhere,x,0,0,10,10\n"  # 4: no split
        "in/a.jpg,other.jpg,,x,0,0,10,10\n"  # 5: another name
        "in/b.jpg,a.jpg,,x,0,0,10,10\n"  # 6: another object
        "in/a.jpg,,,x,0,nan,10,10\n"  # 7
        "in/a.jpg,,,x,0,zero,10,10\n"  # 8
        "in/a.jpg,,,x,300,300,400,400\n"  # 9: outside
        "in/a.jpg,,,,1,1,2,2\n"  # 10: no class
        "in/a.jpg,,,x,,,,\n"  # 11: no box
        "in/gone.jpg,,,x,0,0,10,10\n",  # 12
        absent=["gone.jpg"],
    )
    assert sorted(told(found)) == [
        (2, Code.OBJECT_REFUSED),
        (3, Code.COLUMNS),
        (4, Code.SPLIT_UNKNOWN),
        (5, Code.DUPLICATE_IMAGE),
        (6, Code.DUPLICATE_IMAGE),
        (7, Code.NOT_FINITE),
        (8, Code.NOT_A_NUMBER),
        (9, Code.OUTSIDE),
        (10, Code.CLASS_UNKNOWN),
        (11, Code.COLUMNS),
        (12, Code.IMAGE_ABSENT),
    ]
    assert [(one.path, len(unpack(one.annotations))) for one in found.items] == [("a.jpg", 1)]


def test_an_image_of_which_nothing_can_be_used_is_no_background():
    found = parsed("object,class,xmin,ymin,xmax,ymax\nin/a.jpg,x,9,9,9,9\n")
    assert (found.items, [code for _, code in told(found)]) == ([], [Code.NO_AREA, Code.BAD_IMAGE])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'object' among them"),
        ("a.jpg,train\n", "'object' among them"),
        ("object,object\n", "twice"),
        ("object,\n", "not at all"),
        ("object,xmin,ymin\n", "a box needs"),
        ("object,xmin,ymin,xmax,ymax\n", "a box needs"),
        ("object," + ",".join(f"m{n}" for n in range(40)) + "\n", "columns of metadata"),
        ('object\n"in/a.jpg\n', "not CSV"),
        (f"object,{'x' * 200_000}\n", "not CSV"),
        ("object\nin/" + "," * (1 << 20), "not CSV"),
        ("object,cam\nin/a.jpg,a\0b\n", "NUL"),
    ],
)
def test_lists_that_cannot_be_used(text, why):
    with pytest.raises(ListingError, match=why):
        read("list.csv", text.encode(), locate)


def test_other_encodings_are_refused():
    with pytest.raises(ListingError, match="not UTF-8"):
        read("list.csv", "object\nin/ü.jpg".encode("latin-1"), locate)


def test_metadata_of_several_rows():
    text = (
        f"object,class,cam,note\nin/a.jpg,,,{'é' * (MAX_METADATA_CHARACTERS + 1)}\nin/a.jpg,,north,\nin/a.jpg,,south,\n"
    )
    found = parsed(text)
    assert dict(found.items[0].metadata) == {"cam": "north"}
    assert told(found)[:2] == [(2, Code.METADATA), (4, Code.METADATA)]


@given(st.binary(max_size=200), st.sampled_from(list(Kind)))
def test_any_bytes_end_in_a_report_or_a_refusal(tail, kind):
    try:
        listing = read(
            "list.csv", b"object,split,class,xmin,ymin,xmax,ymax\nin/a.jpg,train,x,0,0,1,1\nin/" + tail, locate
        )
    except ListingError:
        return
    found = parse(listing, dict.fromkeys(listing.images, (10, 10)), {}, kind)
    assert {item.path for item in found.items} <= set(listing.images)
