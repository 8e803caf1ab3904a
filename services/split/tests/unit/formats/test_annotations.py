"""Packing, quantization and exact round trips of annotations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_common.annotations import (
    SCALE,
    Annotation,
    AnnotationError,
    Kind,
    box_from_yolo,
    labels_csr,
    overhang,
    pack,
    to_yolo_rows,
    unpack,
)
from splitrail_split import formats

any_annotation = st.builds(
    Annotation,
    st.integers(0, 0xFFFF),
    st.sampled_from(Kind),
    st.lists(st.integers(0, 0xFFFFFFFF), max_size=12).map(tuple),
)
finite = st.floats(-0.5, 1.5, allow_nan=False)
sizes = st.floats(1e-6, 2.0)


@st.composite
def boxes(draw: st.DrawFn) -> Annotation:
    while True:
        try:
            return box_from_yolo(draw(st.integers(0, 300)), draw(finite), draw(finite), draw(sizes), draw(sizes))
        except AnnotationError:
            continue


@given(st.lists(any_annotation, max_size=20), st.randoms())
def test_equal_sets_pack_to_equal_bytes_and_come_back(annotations, random):
    shuffled = list(annotations)
    random.shuffle(shuffled)
    packed = pack(annotations)
    assert pack(shuffled) == packed
    assert unpack(packed) == sorted(annotations)
    assert labels_csr([packed])[1].tolist() == sorted(one.class_id for one in annotations)


@given(st.lists(st.lists(st.one_of(any_annotation, boxes()), max_size=5), max_size=8))
def test_labels_of_many_images_at_once_are_those_of_each(images):
    packed = [pack(annotations) for annotations in images]
    indptr, ids = labels_csr(packed)
    assert (indptr[0], indptr[-1], ids.dtype) == (0, len(ids), np.uint16)
    for i, annotations in enumerate(images):
        assert ids[indptr[i] : indptr[i + 1]].tolist() == sorted(one.class_id for one in annotations)


@given(st.lists(boxes(), max_size=20))
def test_yolo_text_round_trips_to_identical_bytes(annotations):
    packed = pack(set(annotations))
    text = to_yolo_rows(packed)
    names = "names: [" + ", ".join(f"c{i}" for i in range(301)) + "]"
    parsed = formats.parse(
        formats.Format.YOLO, {"labels/a.txt": text.encode(), "data.yaml": names.encode()}, {"images/a.jpg": (640, 480)}
    )
    assert parsed.problems == []
    assert parsed.items[0].annotations == packed


@given(boxes())
def test_clipping_twice_is_clipping_once(box):
    assert box_from_yolo(box.class_id, *(value / SCALE for value in box.values)) == box


@given(finite, finite, sizes, sizes)
def test_boxes_lie_within_the_image(cx, cy, w, h):
    try:
        x, y, width, height = box_from_yolo(0, cx, cy, w, h).values
    except AnnotationError:
        x1, x2, y1, y2 = max(0, cx - w / 2), min(1, cx + w / 2), max(0, cy - h / 2), min(1, cy + h / 2)
        assert min(x2 - x1, y2 - y1) < 1 / SCALE
        return
    for center, size in ((x, width), (y, height)):
        assert 2 * center - size >= -1
        assert 2 * center + size <= 2 * SCALE + 1
        assert size > 0


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((math.nan, 0.5, 0.1, 0.1), "not_finite"),
        ((0.5, 0.5, math.inf, 0.1), "not_finite"),
        ((0.5, 0.5, 0.0, 0.1), "no_area"),
        ((0.5, 0.5, 0.1, -0.1), "no_area"),
        ((0.5, 0.5, 1e-9, 0.1), "no_area"),
        ((1.5, 0.5, 0.2, 0.2), "outside"),
        ((0.5, -3.0, 0.2, 0.2), "outside"),
        ((1e308, 0.5, 1e308, 0.2), "outside"),
    ],
)
def test_boxes_that_cannot_be_kept_say_why(box, reason):
    with pytest.raises(AnnotationError) as caught:
        box_from_yolo(0, *box)
    assert caught.value.reason == reason


def test_overhang_is_the_part_beyond_the_image():
    assert overhang(0.5, 0.5, 1.0, 1.0) == 0
    assert overhang(0.0, 0.5, 0.2, 0.2) == pytest.approx(0.1)


def test_bytes_of_another_version_or_cut_short_are_refused():
    packed = pack([Annotation(1, Kind.BOX, (1, 2, 3, 4))])
    for wrong in (b"", b"\x02" + packed[1:], packed[:-1]):
        with pytest.raises(ValueError):
            unpack(wrong)
        with pytest.raises(ValueError):
            labels_csr([packed, wrong])


def test_what_does_not_fit_the_encoding_is_refused():
    with pytest.raises(AnnotationError):
        pack([Annotation(0x10000, Kind.CLASS, ())])
    with pytest.raises(AnnotationError):
        pack([Annotation(0, Kind.POLYGON, (-1, 2))])


def test_polygons_are_no_detection_rows():
    with pytest.raises(ValueError, match="POLYGON"):
        to_yolo_rows(pack([Annotation(0, Kind.POLYGON, (0, 0, 1, 0, 1, 1))]))
