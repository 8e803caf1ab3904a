"""Classes of drafts: stable ids, changes in order, positions at the commit, and annotations written anew."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_common.annotations import Annotation, Kind, pack, unpack
from splitrail_split.versions.classes import (
    Add,
    ChangeError,
    DraftClasses,
    Merge,
    Rename,
    changed,
    committed_positions,
    differing,
    moved_positions,
    recoded,
    stable_ids,
)

THREE = DraftClasses(["cat", "dog", "cow"], [0, 1, 7], [0, 1, 2])

small = st.integers(0, 3)
boxes = st.builds(lambda c, v: Annotation(c, Kind.BOX, v), st.integers(0, 4), st.tuples(small, small, small, small))
polygons = st.builds(
    lambda c, v: Annotation(c, Kind.POLYGON, tuple(v)), st.integers(0, 4), st.lists(small, min_size=6, max_size=8)
)
whole = st.builds(lambda c: Annotation(c, Kind.CLASS, ()), st.integers(0, 4))
kinds = st.sampled_from([boxes, polygons, whole, boxes | polygons])
images = kinds.flatmap(lambda kind: st.lists(st.sets(kind, max_size=6), max_size=6))


def test_names_keep_their_ids_and_others_get_new_ones():
    assert stable_ids(["a", "b"], {}, 0) == ([0, 1], 2)
    assert stable_ids(["c", "b", "d"], {"b": 1}, 2) == ([2, 1, 3], 4)
    # "feline" is what "cat" was called later: a version with both has two classes.
    assert stable_ids(["cat", "feline"], {"cat": 0, "feline": 0}, 5) == ([0, 5], 6)


def test_changes_are_made_in_order_and_can_be_repeated():
    changes = [Add("pig"), Rename(1, "hound"), Merge(0, 1), Merge(1, 7), Rename(7, "animal")]
    made, next_id = changed(THREE, changes, {"pig": 4}, 8)
    assert (made.names, made.ids, made.targets, next_id) == (
        ["cat", "hound", "animal", "pig"],
        [0, 1, 7, 4],
        [2, 2, 2, 3],
        8,
    )
    assert committed_positions(made).tolist() == [0, 0, 0, 1]
    repeatable = [Add("pig"), Merge(1, 7), Rename(7, "animal")]
    assert changed(made, repeatable, {"pig": 4}, 8) == (made, 8)
    assert changed(THREE, [Add("pig"), Add("hen")], {}, 8)[0].ids == [0, 1, 7, 8, 9]
    assert THREE.names == ["cat", "dog", "cow"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ([Rename(3, "x")], "rename.class_id"),
        ([Rename(0, "dog")], "rename.name"),
        ([Merge(0, 3)], "merge.into_class_id"),
        ([Merge(3, 0)], "merge.class_id"),
        ([Merge(0, 0)], "merge.into_class_id"),
        ([Merge(0, 1), Merge(1, 0)], "merge.into_class_id"),
        ([Merge(0, 1), Merge(0, 7)], "merge.class_id"),
        ([Merge(0, 1), Rename(0, "x")], "rename.class_id"),
        ([Merge(0, 1), Add("cat")], "add.name"),
    ],
)
def test_changes_that_cannot_be_made(changes, field):
    with pytest.raises(ChangeError) as raised:
        changed(THREE, changes, {}, 8)
    assert (raised.value.index, raised.value.field) == (len(changes) - 1, field)


def test_there_is_an_end_to_classes():
    full = DraftClasses([str(n) for n in range(65536)], list(range(65536)), list(range(65536)))
    with pytest.raises(ChangeError, match="at most 65536"):
        changed(full, [Add("one more")], {}, 65536)


@given(images, st.lists(st.integers(0, 4), min_size=5, max_size=5))
def test_recoding_equals_recoding_one_by_one(sets, positions):
    packed = [pack(one) for one in sets]
    made = recoded(packed, np.array(positions, dtype=np.uint16))
    wanted = [pack({one._replace(class_id=positions[one.class_id]) for one in image}) for image in sets]
    assert made == wanted
    assert all(len(set(unpack(one))) == len(unpack(one)) for one in made)


class_lists = st.lists(st.integers(0, 7), min_size=5, max_size=7, unique=True)


@given(
    st.lists(
        st.tuples(st.sets(boxes | polygons, max_size=4), st.sets(boxes | polygons, max_size=4) | st.none()), max_size=6
    ),
    class_lists,
    class_lists,
)
def test_images_differ_when_their_objects_do_by_stable_class(pairs, our_ids, their_ids):
    # None: what the first version has, said in the positions of the second, as far as it has the classes.
    said = [
        (
            ours,
            {
                one._replace(class_id=their_ids.index(our_ids[one.class_id]))
                for one in ours
                if our_ids[one.class_id] in their_ids
            },
        )
        if theirs is None
        else (ours, theirs)
        for ours, theirs in pairs
    ]

    def by_id(objects, ids):
        return {(ids[one.class_id], *one[1:]) for one in objects}

    wanted = [by_id(ours, our_ids) != by_id(theirs, their_ids) for ours, theirs in said]
    packed = [pack(ours) for ours, _ in said], [pack(theirs) for _, theirs in said]
    positions = moved_positions(our_ids, their_ids)
    if positions is None:
        assert wanted == [one != other for one, other in zip(*packed, strict=True)]
    else:
        assert differing(*packed, positions).tolist() == wanted


@given(
    st.lists(st.sets(boxes, max_size=6), max_size=6),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=3),
)
def test_after_a_merge_those_images_differ_that_had_a_merged_class(sets, merges):
    classes = DraftClasses([str(n) for n in range(5)], [3, 9, 4, 0, 7], list(range(5)))
    for one, into in merges:
        if one != into and one in classes.staying and into in classes.staying:
            classes = changed(
                classes,
                [Rename(classes.ids[into], f"{into}, renamed"), Merge(classes.ids[one], classes.ids[into])],
                {},
                10,
            )[0]
    before = [pack(one) for one in sets]
    after = recoded(before, committed_positions(classes))
    positions = moved_positions([classes.ids[position] for position in classes.staying], classes.ids)
    wanted = [any(one.class_id not in classes.staying for one in image) for image in sets]
    assert (
        [one != other for one, other in zip(after, before, strict=True)]
        if positions is None
        else differing(after, before, positions).tolist()
    ) == wanted


def test_positions_have_moved_only_where_both_versions_have_classes():
    assert moved_positions([0, 1], [0, 1, 2]) is None
    assert moved_positions([0, 1, 5], []) is None
    moved = moved_positions([0, 2], [0, 1, 2])
    assert moved is not None
    assert moved.tolist() == [0, -1, 1]
