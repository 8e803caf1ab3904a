"""Differences in the order of pages, their counts, and those of classes."""

from types import SimpleNamespace

import numpy as np
from splitrail_split.versions.differences import (
    ABSENT,
    AssetField,
    ClassDifference,
    DifferenceKind,
    fields,
    of_classes,
    ordered,
)


def test_order_and_counts():
    rows = np.array(
        [[3, 5, 0b10001], [ABSENT, 7, 0], [-2, ABSENT, 0], [1, ABSENT, 0], [-1, 4, 0b10], [-1 - 2, ABSENT, 0]],
        dtype=np.int32,
    )
    found = ordered(rows)
    assert found.rows[:, :2].tolist() == [[1, ABSENT], [-2, ABSENT], [-3, ABSENT], [ABSENT, 7], [3, 5], [-1, 4]]
    counts = found.counts
    assert (counts.added, counts.removed, counts.changed) == (3, 1, 2)
    assert counts.fields == {AssetField.CONTENT: 1, AssetField.PATH: 1, AssetField.ANNOTATIONS: 1}
    assert found.of_kind(DifferenceKind.REMOVED).tolist() == [[ABSENT, 7, 0]]
    assert fields(0b100001) == [AssetField.CONTENT, AssetField.METADATA]
    assert ordered(np.empty((0, 3), dtype=np.int32)).counts.changed == 0


def test_classes_are_compared_by_id():
    ours = SimpleNamespace(class_ids=[0, 2, 5], class_names=["feline", "cow", "pig"])
    theirs = SimpleNamespace(class_ids=[0, 1, 2], class_names=["cat", "dog", "cow"])
    renamed, removed = (
        ClassDifference(DifferenceKind.CHANGED, 0, "feline", "cat"),
        ClassDifference(DifferenceKind.REMOVED, 1, None, "dog"),
    )
    assert of_classes(ours, theirs) == [renamed, removed, ClassDifference(DifferenceKind.ADDED, 5, "pig", None)]
    assert of_classes(ours, None, targets=[0, 0, 2]) == [
        ClassDifference(DifferenceKind.ADDED, 0, "feline", None),
        ClassDifference(DifferenceKind.ADDED, 5, "pig", None),
    ]
