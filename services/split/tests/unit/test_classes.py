"""Classes of drafts: stable ids, changes in order, positions at the commit, and annotations written anew."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_common.annotations import Annotation, Kind, pack, unpack
from splitrail_split.versions.classes import Add, ChangeError, DraftClasses, Merge, Rename, changed, committed_positions, recoded, stable_ids

THREE = DraftClasses(["cat", "dog", "cow"], [0, 1, 7], [0, 1, 2])

small = st.integers(0, 3)
boxes = st.builds(lambda c, v: Annotation(c, Kind.BOX, v), st.integers(0, 4), st.tuples(small, small, small, small))
polygons = st.builds(lambda c, v: Annotation(c, Kind.POLYGON, tuple(v)), st.integers(0, 4), st.lists(small, min_size=6, max_size=8))
images = st.lists(st.sets(boxes, max_size=6), max_size=6) | st.lists(st.sets(boxes | polygons, max_size=6), max_size=6)


def test_names_keep_their_ids_and_others_get_new_ones():
    assert stable_ids(["a", "b"], {}, 0) == ([0, 1], 2)
    assert stable_ids(["c", "b", "d"], {"b": 1}, 2) == ([2, 1, 3], 4)
    # "feline" is what "cat" was called later: a version with both has two classes.
    assert stable_ids(["cat", "feline"], {"cat": 0, "feline": 0}, 5) == ([0, 5], 6)


def test_changes_are_made_in_order_and_can_be_repeated():
    changes = [Add("pig"), Rename(1, "hound"), Merge(0, 1), Merge(1, 7), Rename(7, "animal")]
    made, next_id = changed(THREE, changes, {"pig": 4}, 8)
    assert (made.names, made.ids, made.targets, next_id) == (["cat", "hound", "animal", "pig"], [0, 1, 7, 4], [2, 2, 2, 3], 8)
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
