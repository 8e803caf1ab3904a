"""Invariants of groups, fixed images, folds and the hash, on drawn sets."""

from collections import defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitrail_split.splits.algorithm.groups import first_of_unit, follow, join
from splitrail_split.splits.algorithm.shares import ONE
from splitrail_split.splits.algorithm.stratify import (
    TEST,
    TRAIN,
    VAL,
    Images,
    _by_hash,
    assign,
    fold_ratios,
    folds,
    split_sizes,
)

ALL_RATIOS = [(0.8, 0.1, 0.1), (0.7, 0.15, 0.15), (1, 0, 0), (0, 0, 1), (0.5, 0, 0.5), (0.98, 0.01, 0.01)]


@st.composite
def sets(draw, columns=2):
    """Images of different content, with labels and up to two columns of groups."""
    n = draw(st.integers(1, 60))
    classes = draw(st.integers(1, 6))
    labels = draw(st.lists(st.lists(st.integers(0, classes - 1), max_size=4), min_size=n, max_size=n))
    groups = [
        np.array(draw(st.lists(st.integers(-1, 8), min_size=n, max_size=n)))
        for _ in range(draw(st.integers(0, columns)))
    ]
    content = np.random.default_rng(draw(st.integers(0, 1000))).integers(0, 256, (n, 32), dtype=np.uint8)
    indptr = np.cumsum([0, *map(len, labels)])
    return Images(content, indptr, np.array([one for row in labels for one in row], dtype=np.int64), classes, groups)


modes = st.sampled_from(["stratified", "random"])
ratios_drawn = st.sampled_from(ALL_RATIOS)


def naive_units(n, columns):
    """Connected components by repeated merging."""
    unit = list(range(n))
    for _ in range(n):
        before = list(unit)
        for column in columns:
            members = defaultdict(list)
            for image, value in enumerate(column.tolist()):
                if value >= 0:
                    members[value].append(image)
            for group in members.values():
                lowest = min(unit[image] for image in group)
                for image in group:
                    unit[image] = lowest
        if unit == before:
            break
    return unit


@given(sets())
def test_joined_units_are_the_connected_components(images):
    found = join(len(images.content), images.groups).tolist()
    expected = naive_units(len(found), images.groups)
    assert len(set(zip(found, expected, strict=True))) == len(set(found)) == len(set(expected))


@given(sets(), ratios_drawn, st.integers(0, 9), modes)
def test_groups_are_whole_and_zero_stays_empty(images, ratios, seed, mode):
    splits = assign(images, ratios=ratios, seed=seed, mode=mode)
    for column in images.groups:
        for group in set(column[column >= 0].tolist()):
            assert len(set(splits[column == group].tolist())) == 1
    for split, ratio in zip((TRAIN, VAL, TEST), ratios, strict=True):
        assert ratio or split not in splits


@given(sets(), ratios_drawn, st.integers(0, 9), modes, st.randoms())
def test_order_does_not_matter(images, ratios, seed, mode, random):
    first = assign(images, ratios=ratios, seed=seed, mode=mode)
    order = list(range(len(first)))
    random.shuffle(order)
    renamed = {value: random.randint(0, 10**6) * 10 + index for index, value in enumerate(range(9))}
    rows = [images.class_ids[images.indptr[i] : images.indptr[i + 1]] for i in order]
    mixed = Images(
        images.content[order],
        np.cumsum([0, *map(len, rows)]),
        np.concatenate(rows) if rows else images.class_ids,
        images.n_classes,
        [np.array([renamed.get(value, -1) for value in column[order].tolist()]) for column in images.groups],
    )
    assert assign(mixed, ratios=ratios, seed=seed, mode=mode).tolist() == first[order].tolist()


@given(sets(), ratios_drawn, st.integers(0, 9), modes, st.data())
def test_fixed_images_keep_their_split_and_newcomers_linked_to_test_are_test(images, ratios, seed, mode, data):
    n = len(images.content)
    fixed = np.array(
        data.draw(st.lists(st.sampled_from([0, 0, TRAIN, VAL, TEST]), min_size=n, max_size=n)), dtype=np.uint8
    )
    splits = assign(images, ratios=ratios, seed=seed, mode=mode, fixed=fixed)
    assert splits[fixed > 0].tolist() == fixed[fixed > 0].tolist()
    unit_of = join(n, images.groups)
    for unit in set(unit_of.tolist()):
        members = unit_of == unit
        given_splits = set(fixed[members].tolist()) - {0}
        free = set(splits[members & (fixed == 0)].tolist())
        if given_splits:
            assert free <= {max(given_splits)}
        else:
            assert len(free) == 1
    for split, ratio in zip((TRAIN, VAL, TEST), ratios, strict=True):
        held = np.isin(unit_of, unit_of[fixed == split])
        assert ratio or not np.any(splits[~held] == split)


@given(sets(columns=0), ratios_drawn, st.integers(0, 9), st.data())
def test_new_images_bring_the_total_to_the_ratios(images, ratios, seed, data):
    """Without groups, sizes of the whole are exact wherever what is fixed leaves room."""
    n = len(images.content)
    fixed = np.array(
        data.draw(st.lists(st.sampled_from([0, 0, 0, TRAIN, VAL, TEST]), min_size=n, max_size=n)), dtype=np.uint8
    )
    sizes = np.bincount(assign(images, ratios=ratios, seed=seed, fixed=fixed), minlength=4)[1:]
    held = np.bincount(fixed, minlength=4)[1:]
    wanted = np.array(split_sizes(n, ratios))
    if np.all(held <= wanted):
        assert sizes.tolist() == wanted.tolist()
    assert np.all(sizes[held > wanted] == held[held > wanted])


def test_whom_a_unit_follows():
    fixed, straddling = follow(np.array([0, 0, 1, 1, 1, 2]), np.array([TRAIN, 0, TRAIN, TEST, 0, 0], dtype=np.uint8))
    assert fixed.tolist() == [TRAIN, TRAIN, TRAIN, TEST, TEST, 0]
    assert straddling.tolist() == [1]


@given(sets(columns=1), ratios_drawn, st.integers(0, 9), modes)
def test_no_part_is_empty_while_another_has_several_groups(images, ratios, seed, mode):
    part = assign(images, ratios=ratios, seed=seed, mode=mode)
    wanted = split_sizes(len(part), ratios)
    _, content = np.unique(images.content, axis=0, return_inverse=True)
    unit_of = join(len(part), [*images.groups, content.ravel()])
    groups_in = [len(np.unique(unit_of[part == split])) for split in (TRAIN, VAL, TEST)]
    if any(size and not count for size, count in zip(wanted, groups_in, strict=True)):
        assert max(groups_in) <= 1


def test_drawn_groups_of_any_weight_are_in_any_part():
    weights = np.random.default_rng(0).integers(20, 200, 100)
    group = np.repeat(np.arange(100), weights)
    content = np.random.default_rng(1).integers(0, 256, (len(group), 32), dtype=np.uint8)
    images = Images(content, np.zeros(len(group) + 1, np.int64), np.empty(0, np.int64), 0, [group])
    first = np.searchsorted(group, np.arange(100))
    drawn = np.array([assign(images, ratios=(0.7, 0.15, 0.15), seed=seed, mode="random")[first] for seed in range(60)])
    shares = [(drawn == part).mean(axis=0) for part in (TRAIN, VAL, TEST)]
    heavy = weights > 150
    for share, ratio in zip(shares, (0.7, 0.15, 0.15), strict=True):
        assert abs(share[heavy].mean() - ratio) < 0.05
        assert abs(share[~heavy].mean() - ratio) < 0.05


@pytest.mark.parametrize("seed", range(4))
def test_few_groups_are_divided_as_well_as_any_division(seed):
    """Compared with all divisions, by what sizes are off as a fraction of all and the worst class as a fraction of it."""
    rng = np.random.default_rng(seed)
    n_groups, n_classes, ratios = 7, 3, np.array([0.7, 0.15, 0.15])
    group = np.repeat(np.arange(n_groups), rng.integers(2, 9, n_groups))
    has = rng.random((len(group), n_classes)) < 0.8 * rng.random((n_groups, n_classes))[group]
    content = rng.integers(0, 256, (len(group), 32), dtype=np.uint8)
    images = Images(content, np.concatenate([[0], np.cumsum(has.sum(1))]), np.nonzero(has)[1], n_classes, [group])
    wanted = split_sizes(len(group), ratios)
    of_group, weights = np.stack([has[group == one].sum(0) for one in range(n_groups)]), np.bincount(group)

    def badness(parts):
        held = np.eye(3)[list(parts)]
        off = np.abs(of_group.T @ held / np.maximum(1, has.sum(0))[:, None] - ratios)[has.any(0)]
        return off.max(initial=0) + np.abs(weights @ held - wanted).sum() / len(group)

    best = min(badness(parts) for parts in product(range(3), repeat=n_groups) if len(set(parts)) == 3)
    splits = assign(images, ratios=ratios, seed=seed)
    assert badness(splits[np.searchsorted(group, np.arange(n_groups))] - TRAIN) <= best + 0.05


def test_three_clips_are_a_clip_for_each_part():
    content = np.random.default_rng(0).integers(0, 256, (60, 32), dtype=np.uint8)
    images = Images(content, np.arange(61), np.arange(60) % 3, 3, [np.arange(60) // 20])
    assert np.bincount(assign(images, ratios=(0.7, 0.15, 0.15), seed=1)).tolist() == [0, 20, 20, 20]


@given(sets(columns=1), st.integers(2, 5), st.sampled_from([0.0, 0.2]), st.integers(0, 9), modes)
def test_folds_judge_every_image_once_on_one_test_set(images, count, test_ratio, seed, mode):
    made = [
        folds(images, count=count, index=index, test_ratio=test_ratio, seed=seed, mode=mode) for index in range(count)
    ]
    held_out = made[0] == TEST
    assert all((one == TEST).tolist() == held_out.tolist() for one in made)
    judged = sum((one == VAL).astype(int) for one in made)
    assert judged[~held_out].tolist() == [1] * int((~held_out).sum())
    if not images.groups:
        assert int(held_out.sum()) == split_sizes(len(held_out), [1 - test_ratio, 0, test_ratio])[2]
        sizes = [int((one == VAL).sum()) for one in made]
        assert max(sizes) - min(sizes) <= 1
    assert sum(fold_ratios(count, test_ratio)) == pytest.approx(1)


@given(sets(columns=0), ratios_drawn, st.integers(0, 9))
def test_the_hash_looks_at_each_image_alone(images, ratios, seed):
    whole = assign(images, ratios=ratios, seed=seed, mode="hash")
    for image in range(len(whole)):
        alone = Images(images.content[image : image + 1], np.array([0, 0]), np.empty(0, np.int64), images.n_classes)
        assert assign(alone, ratios=ratios, seed=seed, mode="hash").tolist() == [whole[image]]
    for split, ratio in zip((TRAIN, VAL, TEST), ratios, strict=True):
        assert ratio or split not in whole


def test_the_hash_gives_nothing_to_a_part_without_a_share():
    keys = np.array([0, 2**63, 2**64 - 1], dtype=np.uint64)
    assert _by_hash(keys, [ONE, 0, 0]).tolist() == [0, 0, 0]
    assert _by_hash(keys, [0, ONE, 0]).tolist() == [1, 1, 1]
    assert _by_hash(keys, [ONE // 2, 0, ONE // 2]).tolist() == [0, 2, 2]


def test_the_hash_meets_the_ratios_on_average():
    content = np.random.default_rng(0).integers(0, 256, (20_000, 32), dtype=np.uint8)
    images = Images(content, np.zeros(20_001, np.int64), np.empty(0, np.int64), 0)
    shares = np.bincount(assign(images, ratios=(0.7, 0.1, 0.2), seed=1, mode="hash"), minlength=4)[1:] / 20_000
    assert np.abs(shares - (0.7, 0.1, 0.2)).max() < 0.02


def test_known_answer_with_groups():
    """The answer is part of the contract of ALGORITHM_VERSION: raise the version when this changes."""
    content = (
        np.arange(24 * 32, dtype=np.uint32).astype(np.uint8).reshape(24, 32) ^ np.arange(24, dtype=np.uint8)[:, None]
    )
    images = Images(content, np.arange(25), np.arange(24) % 4, 4, [np.arange(24) // 3])
    assert "".join(map(str, assign(images, ratios=(0.5, 0.25, 0.25), seed=42))) == "111222111222333111333111"


@given(sets())
def test_a_group_is_called_after_its_first_image(images):
    unit_of = join(len(images.content), images.groups)
    first = first_of_unit(unit_of)
    assert first.tolist() == [int(np.flatnonzero(unit_of == unit)[0]) for unit in unit_of]
