"""Revisions of images of which some are labelled by nobody, and what leaks."""

import numpy as np
import pytest
from splitrail_common.annotations import LabelState
from splitrail_split.domain import arrays
from splitrail_split.splits.algorithm.stratify import TEST, TRAIN, VAL
from splitrail_split.splits.convert import pack_certificate, unpack_certificate
from splitrail_split.splits.domain import Method, SplitParameters
from splitrail_split.splits.leaks import find_leaks
from splitrail_split.splits.revision import Inputs, assign, make_revision
from splitrail_split.versions.near import Links, links

NONE = np.zeros(0, np.int64)
NO_LINKS = Links(NONE, NONE, np.zeros(0, np.uint8))


def inputs(unlabelled, *, groups=(), fixed=None, alike=NO_LINKS):
    """Images without objects; those at the positions `unlabelled` are labelled by nobody."""
    n = len(groups[0]) if groups else len(fixed)
    state = np.full(n, LabelState.EMPTY, dtype=np.uint8)
    state[unlabelled] = LabelState.UNLABELLED
    rng = np.random.default_rng(0)
    content, annotation = rng.integers(0, 256, (2, n, 32), dtype=np.uint8)
    labels = arrays.Labels(np.zeros(n + 1, np.int64), np.zeros(0, np.uint16))
    frames = np.full(n, -1)
    given = None if fixed is None else np.array(fixed, dtype=np.uint8)
    return Inputs(content, annotation, state, labels, [], alike, frames, [np.array(one) for one in groups], given)


def parameters(seed=0, ratios=(0.5, 0.0, 0.5)):
    return SplitParameters(ratios, seed, Method.STRATIFIED)


def certificate_of(given, wish):
    made = make_revision(given, wish).certificate
    assert unpack_certificate(pack_certificate(made)) == made
    return made


@pytest.mark.parametrize("seed", range(6))
def test_an_image_that_nobody_has_labelled_still_joins_groups(seed):
    given = inputs([1], groups=[[0, 0, -1, 1, 2], [-1, 0, 0, 1, 2]])
    vector = assign(given, parameters(seed))
    assert vector[1] == 0
    assert vector[0] == vector[2] > 0
    certificate = certificate_of(given, parameters(seed))
    assert (certificate.group_count, certificate.parted_groups) == (1, 0)


@pytest.mark.parametrize("seed", range(6))
def test_who_is_linked_to_a_test_image_that_lost_its_labels_goes_to_test(seed):
    given = inputs([1], groups=[[0, 0, 1, 2, 3, 4]], fixed=[0, TEST, 0, 0, 0, 0])
    vector = assign(given, parameters(seed))
    assert (vector[0], vector[1]) == (TEST, 0)
    findings = certificate_of(given, parameters(seed)).findings
    assert "of these, the base or a pin gave a part that they do not have now: 1 image" in findings


def test_what_leaks_is_seen_past_images_in_no_part():
    hashes = np.array([7, 7, 7, 2**40, 2**50], dtype=np.uint64)
    placed = np.array([True, False, True, True, True])
    given = inputs([1], groups=[np.arange(5)], fixed=[TRAIN, 0, TEST, 0, 0], alike=links(hashes, placed))
    assert certificate_of(given, parameters()).near_duplicate_pairs[0] == 1


def test_pairs_of_equal_content_in_different_parts_are_all_counted():
    content = np.zeros((6, 32), dtype=np.uint8)
    content[4:, 0] = [1, 2]
    vector = np.array([TRAIN, TRAIN, TEST, 0, VAL, TEST], dtype=np.uint8)
    found = find_leaks(
        vector,
        content,
        Links(np.array([0, 2, 1]), np.array([1, 3, 5]), np.array([0, 2, 4], dtype=np.uint8)),
        np.array([1, 4, -1, 4, -1, -1]),
    )
    assert found.duplicate_pairs == 2
    assert found.near_pairs == [0, 0, 0, 0, 1, 0, 0]
    assert (found.frame_pairs, found.parted_frame_pairs) == (3, 1)
