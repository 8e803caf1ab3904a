"""Outlines, keypoints, oriented boxes and masks: clipped, quantized once, never an exception of another kind; kinds
survive packing and export.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as pycocotools
from scipy import ndimage
from splitrail_common.annotations import SCALE, Annotation, AnnotationError, Kind, pack, unpack
from splitrail_split.datasets import convert
from splitrail_split.exports import yolo as exported
from splitrail_split.formats import Format, masks, parse, shapes

anything = st.floats(allow_nan=True, allow_infinity=True)
fraction = st.integers(0, SCALE).map(lambda value: value / SCALE)
inside = st.tuples(fraction, fraction)
near = st.tuples(st.floats(-1, 2), st.floats(-1, 2))


def area(values):
    points = list(zip(values[0::2], values[1::2], strict=True))
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(points, [*points[1:], points[0]], strict=True))) / 2


@given(st.lists(st.tuples(anything, anything), max_size=8))
def test_any_numbers_make_a_shape_or_an_annotation_error(points):
    for make in (
        lambda: shapes.polygon(0, points),
        lambda: shapes.polygon(0, shapes.joined([points, points])) if points else None,
        lambda: shapes.oriented(0, (points * 4)[:4]) if points else None,
        lambda: shapes.oriented(0, shapes.smallest_rectangle(points, (64, 48)) or [(0, 0), (1, 0), (1, 1), (0, 1)]),
        lambda: shapes.keypoints(0, shapes.bounds(points), [(x, y, 2) for x, y in points]) if points else None,
    ):
        try:
            made = make()
        except AnnotationError:
            continue
        assert made is None or all(0 <= value <= SCALE for value in made.values)


@given(st.lists(inside, min_size=3, max_size=9))
def test_what_is_quantized_passes_unchanged(points):
    try:
        once = shapes.polygon(3, points)
    except AnnotationError:
        return
    again = shapes.polygon(
        3, [(x / SCALE, y / SCALE) for x, y in zip(once.values[0::2], once.values[1::2], strict=True)]
    )
    assert again == once


@given(st.lists(near, min_size=3, max_size=3))
def test_a_triangle_is_cut_like_a_sum_over_a_grid(points):
    try:
        cut = area(shapes.polygon(0, points).values) / SCALE**2
    except AnnotationError:
        return
    (ax, ay), (bx, by), (cx, cy) = points
    x, y = np.meshgrid((np.arange(200) + 0.5) / 200, (np.arange(200) + 0.5) / 200)
    sides = [
        (bx - ax) * (y - ay) - (by - ay) * (x - ax),
        (cx - bx) * (y - by) - (cy - by) * (x - bx),
        (ax - cx) * (y - cy) - (ay - cy) * (x - cx),
    ]
    covered = (np.all([side >= 0 for side in sides], axis=0) | np.all([side <= 0 for side in sides], axis=0)).mean()
    assert cut == pytest.approx(covered, abs=0.02)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([(0.1, 0.1), (0.2, 0.2)], "no_area"),
        ([(0.1, 0.1), (0.2, 0.2), (0.3, 0.3)], "no_area"),
        ([(0.1, 0.1)] * 5, "no_area"),
        ([(1.1, 0.1), (1.2, 0.1), (1.2, 0.2)], "outside"),
        ([(0.1, 0.1), (math.nan, 0.1), (0.2, 0.2)], "not_finite"),
        ([(0.1, 0.1), (1e300, 0.1), (0.2, 0.2)], "outside"),
        ([(index % 2, index / 40000) for index in range(40000)], "too_many_points"),
    ],
)
def test_outlines_that_cannot_be_kept(points, reason):
    with pytest.raises(AnnotationError) as raised:
        shapes.polygon(0, points)
    assert raised.value.reason == reason


def test_repeated_points_count_once_and_the_order_stays():
    ring = [(0.1, 0.1), (0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.1)]
    assert shapes.polygon(0, ring).values == (100_000, 100_000, 500_000, 100_000, 500_000, 500_000)


def test_pieces_are_joined_where_they_are_nearest():
    left, right = [(0.0, 0.0), (0.2, 0.0), (0.2, 0.2), (0.0, 0.2)], [(0.4, 0.0), (0.6, 0.0), (0.6, 0.2), (0.4, 0.2)]
    made = shapes.polygon(0, shapes.joined([left, right]))
    assert area(made.values) == pytest.approx(0.08 * SCALE**2)
    assert len(made.values) == 2 * 10


@given(st.floats(-180, 180), st.floats(0.05, 0.3), st.floats(0.05, 0.3))
def test_a_turned_box_is_its_own_smallest_rectangle(degrees, width, height):
    size = (200.0, 100.0)
    corners = shapes.turned((0.5, 0.5, width, height), degrees, size)
    pixels = [value * side for point in corners for value, side in zip(point, size, strict=True)]
    assert area(pixels) == pytest.approx(width * 200 * height * 100)
    around = shapes.smallest_rectangle([*corners, (0.5, 0.5)], size)
    assert area([value * side for point in around for value, side in zip(point, size, strict=True)]) == pytest.approx(
        area(pixels)
    )


@given(st.tuples(anything, anything))
def test_any_point_is_within_the_image_or_not(point):
    assert shapes.within(point) == all(-0.5e-6 <= value <= 1 + 0.5e-6 for value in point)


def test_a_keypoint_outside_is_not_labelled():
    made = shapes.keypoints(1, (0.5, 0.5, 0.2, 0.2), [(0.5, 0.5, 2), (1.5, 0.5, 2), (0.3, 0.3, 0), (0.4, 0.4, 1)])
    assert made.values[4:] == (500_000, 500_000, 2, 0, 0, 0, 0, 0, 0, 400_000, 400_000, 1)


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_are_read_as_pycocotools_does(mask):
    encoded = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert np.array_equal(masks.from_coco({"size": list(encoded["size"]), "counts": encoded["counts"].decode()}), mask)
    flat = mask.T.ravel().astype(int).tolist()
    runs, value = [0], 0
    for one in flat:
        if one != value:
            runs.append(0)
            value = one
        runs[-1] += 1
    assert np.array_equal(masks.from_coco({"size": list(mask.shape), "counts": runs}), mask)


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_cover_each_component_with_its_holes(mask):
    if not mask.any():
        with pytest.raises(masks.MaskError, match="empty"):
            masks.outlines(mask)
        return
    found = masks.outlines(mask)
    components, count = ndimage.label(mask, np.ones((3, 3)))
    filled = sum(ndimage.binary_fill_holes(components == number).sum() for number in range(1, count + 1))
    assert len(found) == count
    assert sum(area([value for point in ring for value in point]) for ring in found) == filled


@pytest.mark.parametrize(
    "segmentation",
    [
        {},
        {"size": [10, 10]},
        {"size": [10, 10], "counts": [50]},
        {"size": [10, 10], "counts": [101]},
        {"size": [10, 10], "counts": [-1, 101]},
        {"size": [10, 10], "counts": [True] * 100},
        {"size": [10, 10], "counts": ["50", "50"]},
        {"size": [10, 10], "counts": "00"},
        {"size": [10, 10], "counts": "\ud800\0"},
        {"size": [10, 10], "counts": "o" * 100},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [-1, -1], "counts": [1]},
        {"size": [10.0, 10.0], "counts": [100]},
        {"size": "ab", "counts": [100]},
    ],
)
def test_masks_that_are_none(segmentation):
    with pytest.raises(masks.MaskError):
        masks.outlines(masks.from_coco(segmentation))


def test_noise_is_refused_before_it_is_traced():
    with pytest.raises(masks.MaskError, match="edges"):
        masks.outlines(np.indices((600, 600)).sum(axis=0) % 2 == 0)


corner = st.integers(0, SCALE)
kinds = st.one_of(
    st.builds(
        lambda c, v: Annotation(c, Kind.POLYGON, tuple(v)),
        st.integers(0, 2),
        st.lists(corner, min_size=6, max_size=12).filter(lambda v: len(v) % 2 == 0),
    ),
    st.builds(
        lambda c, v: Annotation(c, Kind.OBB, tuple(v)), st.integers(0, 2), st.lists(corner, min_size=8, max_size=8)
    ),
    st.builds(
        lambda c, v, p: Annotation(c, Kind.KEYPOINTS, (*v, *(x for one in p for x in one))),
        st.integers(0, 2),
        st.lists(st.integers(1, SCALE), min_size=4, max_size=4),
        st.lists(st.tuples(corner, corner, st.integers(0, 2)), max_size=4),
    ),
    st.builds(lambda c: Annotation(c, Kind.CLASS, ()), st.integers(0, 2)),
)


@given(st.lists(kinds, max_size=6))
def test_every_kind_survives_packing_and_has_a_message(annotations):
    packed = pack(annotations)
    assert unpack(packed) == sorted(annotations)
    for one in annotations:
        message = convert._annotation(one)
        shape = {Kind.POLYGON: "polygon", Kind.OBB: "oriented_box", Kind.KEYPOINTS: "keypoints", Kind.CLASS: None}[
            one.kind
        ]
        assert (message.class_id, message.WhichOneof("shape")) == (one.class_id, shape)


@given(st.lists(inside, min_size=3, max_size=8), st.lists(inside, min_size=4, max_size=4))
def test_what_is_exported_reads_back_as_the_same_bytes(ring, corners):
    for kind, make in (
        (Kind.POLYGON, lambda: shapes.polygon(0, ring)),
        (Kind.OBB, lambda: shapes.oriented(0, corners)),
    ):
        try:
            packed = pack([make()])
        except AnnotationError:
            continue
        files = {"data.yaml": b"names: [a]", "labels/a.txt": exported.rows(packed).encode()}
        assert parse(Format.YOLO, files, {"images/a.jpg": (64, 48)}, kind=kind).items[0].annotations == packed
