"""Which images train, validate and test: pure functions over arrays.

`assign` depends on what the images are (their SHA-256), their labels, the parameters, the seed and `ALGORITHM_VERSION`, and on nothing else:
not on row order, machine, Python's hash seed or floating-point rounding (shares are counted in whole billionths of an image).
Equal content is one *unit*, which never straddles splits. Units of equal weight (number of images) form a level;
`placement.place` divides one level, and what a heavier level missed is owed to the lighter ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, permutations, product
from typing import Literal

import numpy as np
import numpy.typing as npt

from splitrail_split.placement import ONE, Units, apportion, canonical_order, place, row_bases

ALGORITHM_VERSION = 1
"""Raise it with every change that can give another assignment for the same input."""

TRAIN, VAL, TEST = 1, 2, 3
"""Values of a split vector; 0 is free for "in no split"."""

SPLITS = 3
Mode = Literal["stratified", "random"]

_MAX_EXCHANGED_LEVELS = 12


def ratio_shares(ratios: Sequence[float]) -> list[int]:
    """Ratios (train, val, test) as whole billionths that add up to one; what rounding leaves goes to the largest (the first of equals).

    Raises ValueError unless there are three finite ratios >= 0 that add up to 1 (within 1e-6).
    """
    if len(ratios) != SPLITS:
        raise ValueError(f"ratios must be three numbers (train, val, test), not {len(ratios)}")
    if not all(math.isfinite(ratio) and ratio >= 0 for ratio in ratios):
        raise ValueError(f"ratios must be finite and not negative: {', '.join(map(str, ratios))}")
    if abs(math.fsum(ratios) - 1) > 1e-6:
        raise ValueError(f"ratios must add up to 1, these add up to {math.fsum(ratios):g}")
    shares = [round(ratio * ONE) for ratio in ratios]
    shares[shares.index(max(shares))] += ONE - sum(shares)
    return shares


def split_sizes(n: int, ratios: Sequence[float]) -> list[int]:
    """Sizes of train, val and test that add up to n: largest remainder, equal remainders in the order train, val, test.

    A ratio of 0 gives 0. Raises ValueError as `ratio_shares` does.
    """
    shares = ratio_shares(ratios)
    return apportion([share * n for share in shares], n)


def assign(
    content: npt.NDArray[np.uint8],
    indptr: npt.NDArray[np.integer],
    class_ids: npt.NDArray[np.integer],
    *,
    n_classes: int,
    ratios: Sequence[float],
    seed: int,
    mode: Mode = "stratified",
) -> npt.NDArray[np.uint8]:
    """Divide N images into train, val and test. Returns (N,) uint8 of TRAIN, VAL, TEST.

    content: (N, 32) uint8, the SHA-256 of each image. indptr (N + 1,), class_ids (nnz,): the class of each object, image i has
    class_ids[indptr[i]:indptr[i + 1]]. seed: any integer, taken modulo 2**64.
    Sizes are those of `split_sizes`, as exactly as whole units allow. `stratified` brings each class' number of images in each split next to its
    share, rarest classes first; among images with equal classes the numbers of objects are spread too. `random` draws by a seeded hash of the
    content.
    Raises ValueError on arrays that do not fit together and on bad ratios.
    """
    _check(content, indptr, class_ids, n_classes)
    n = len(content)
    shares = ratio_shares(ratios)
    active = [split for split in range(SPLITS) if shares[split]]
    sizes = split_sizes(n, ratios)
    words = np.ascontiguousarray(content).view("<u8").astype(np.uint64, copy=False)
    keys = _mix(words[:, 0] ^ _mix(np.array([seed % 2**64], dtype=np.uint64)))
    units, unit_of = _units(words, keys, indptr, class_ids, n_classes)
    active_shares = np.array([shares[split] for split in active], dtype=np.int64)
    active_sizes = [sizes[split] for split in active]
    if unit_of is None:
        chosen = _level(units, _targets(units, active_shares), active_sizes, mode)
    else:
        chosen = _levels(units, np.bincount(unit_of), active_shares, active_sizes, mode)[unit_of]
    return (np.array(active, dtype=np.uint8) + np.uint8(TRAIN))[chosen]


def _level(units: Units, need: npt.NDArray[np.int64], sizes: Sequence[int], mode: Mode) -> npt.NDArray[np.uint8]:
    """One level's splits: (n,) uint8 of indices into sizes."""
    if mode == "stratified":
        return place(units, need, sizes)
    chosen = np.empty(len(units.keys), dtype=np.uint8)
    chosen[canonical_order(units.keys, units)] = np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes)
    return chosen


def _levels(units: Units, weights: npt.NDArray[np.int64], shares: npt.NDArray[np.int64], sizes: Sequence[int], mode: Mode) -> npt.NDArray[np.uint8]:
    """Splits of units of several weights (in images), heaviest first, so that single images can make up for what heavy ones missed."""
    chosen = np.empty(len(weights), dtype=np.uint8)
    distinct, counts = np.unique(weights, return_counts=True)
    distinct, counts = distinct[::-1], counts[::-1]
    quotas = _level_sizes([int(weight) for weight in distinct], [int(count) for count in counts], sizes)
    k, n_classes = len(sizes), units.n_classes
    owed = np.zeros((n_classes, k), dtype=np.int64)  # images x ONE that the levels so far left short, per class and split
    for weight, quota in zip(distinct, quotas, strict=True):
        where = np.flatnonzero(weights == weight)
        level = units.take(where)
        need = _targets(level, shares) + owed // int(weight)
        chosen[where] = _level(level, need, quota, mode)
        given = np.zeros(n_classes * k, dtype=np.int64)
        np.add.at(given, level.classes * k + np.repeat(chosen[where], np.diff(level.indptr)), level.images)
        images = given.reshape(n_classes, k)
        owed += images.sum(axis=1, keepdims=True) * shares - images * ONE
    return chosen


def _targets(units: Units, shares: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n_classes, k): each split's share of the units that hold a class, times ONE."""
    held: npt.NDArray[np.int64] = np.bincount(units.classes, minlength=units.n_classes)
    return held[:, None] * shares


def _level_sizes(weights: Sequence[int], counts: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """How many units of each level (weights descending) go to each split, so that images add up to `sizes` as nearly as they can.

    Each level is divided in proportion to what the splits still lack, equal remainders to the one that lacks most; then a few units change places
    while that brings the sizes closer.
    """
    lacking = list(sizes)
    left = sum(weight * count for weight, count in zip(weights, counts, strict=True))
    quotas = []
    for weight, count in zip(weights, counts, strict=True):
        quota = apportion([lack * ONE * count // left for lack in lacking], count, lacking)
        lacking = [lack - weight * units for lack, units in zip(lacking, quota, strict=True)]
        left -= weight * count
        quotas.append(quota)
    while any(lacking) and (exchange := _best_exchange(weights, quotas, lacking)) is not None:
        a, b, going, coming = exchange
        for level, start, end in [*((level, a, b) for level in going), *((level, b, a) for level in coming)]:
            quotas[level][start] -= 1
            quotas[level][end] += 1
            lacking[start] += weights[level]
            lacking[end] -= weights[level]
    return quotas


def _best_exchange(
    weights: Sequence[int], quotas: Sequence[Sequence[int]], lacking: Sequence[int]
) -> tuple[int, int, tuple[int, ...], tuple[int, ...]] | None:
    """Up to two units of split a against up to two of split b, given by their levels, that bring the sizes closest; None when none helps."""
    levels = range(max(0, len(weights) - _MAX_EXCHANGED_LEVELS), len(weights))

    def bundles(split: int) -> dict[int, tuple[int, ...]]:
        """Total weight -> levels of up to two units that the split has."""
        found: dict[int, tuple[int, ...]] = {0: ()}
        for size in (1, 2):
            for chosen in combinations_with_replacement(levels, size):
                if all(quotas[level][split] >= chosen.count(level) for level in chosen):
                    found.setdefault(sum(weights[level] for level in chosen), chosen)
        return found

    best: tuple[int, int, int, tuple[int, ...], tuple[int, ...]] | None = None
    for a, b in permutations(range(len(lacking)), 2):
        if not lacking[a] < 0 < lacking[b]:
            continue
        for (gone, going), (come, coming) in product(bundles(a).items(), bundles(b).items()):
            net = gone - come
            change = abs(lacking[a] + net) + abs(lacking[b] - net) - abs(lacking[a]) - abs(lacking[b])
            if change < 0 and (best is None or (change, a, b, going, coming) < best):
                best = (change, a, b, going, coming)
    return None if best is None else best[1:]


@dataclass(frozen=True, slots=True)
class _Groups:
    unit_of: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]


def _equal_content(words: npt.NDArray[np.uint64]) -> _Groups | None:
    """Which rows of (N, 4) words are equal; None when all differ, found by sorting one word a row."""
    ordered = np.sort(words[:, 0])
    if not np.any(ordered[1:] == ordered[:-1]):
        return None
    order = np.lexsort(words.T[::-1])
    starts = np.concatenate([[True], np.any(words[order[1:]] != words[order[:-1]], axis=1)])
    if starts.all():
        return None
    unit_of = np.empty(len(words), dtype=np.int64)
    unit_of[order] = np.cumsum(starts) - 1
    return _Groups(unit_of, order[starts])


def _units(
    words: npt.NDArray[np.uint64],
    keys: npt.NDArray[np.uint64],
    indptr: npt.NDArray[np.integer],
    class_ids: npt.NDArray[np.integer],
    n_classes: int,
) -> tuple[Units, npt.NDArray[np.int64] | None]:
    """Units of equal content, and each image's unit; None for the latter when every image is its own unit."""
    n = len(words)
    boxes = np.diff(indptr)
    # One sortable number for each (image, class): sorting and comparing plain words is what makes this fast.
    base = row_bases(boxes, n_classes)
    given = base + class_ids.astype(base.dtype, copy=False)
    pairs = _distinct(given)
    groups = _equal_content(words)
    if groups is None:
        as_given = pairs is given  # sorted and distinct already, so the rows are those of the caller
        rows = (indptr.astype(np.int64), class_ids.astype(np.int64)) if as_given else _csr(pairs, n, n_classes)
        return Units(n_classes, *rows, boxes, keys, words), None
    image, classes = np.divmod(pairs.astype(np.int64), max(1, n_classes))
    unit_pairs, images = np.unique(groups.unit_of[image] * n_classes + classes, return_counts=True)
    units = Units(
        n_classes,
        *_csr(unit_pairs, len(groups.first), n_classes),
        np.bincount(groups.unit_of, weights=boxes).astype(np.int64),
        keys[groups.first],
        words[groups.first],
        images,
    )
    return units, groups.unit_of


def _distinct(values: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
    """Sorted distinct values; packed annotations come sorted, so that is looked at first."""
    if values.size < 2:
        return values
    if np.any(values[1:] < values[:-1]):
        values = np.sort(values)
    new = values[1:] != values[:-1]
    return values if new.all() else np.concatenate([values[:1], values[1:][new]])


def _csr(pairs: npt.NDArray[np.integer], n: int, n_classes: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(indptr, classes) of ascending row * n_classes + class."""
    row = pairs // pairs.dtype.type(max(1, n_classes))
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(row, minlength=n))])
    return indptr, (pairs - row * pairs.dtype.type(n_classes)).astype(np.int64)


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """splitmix64's finalizer (Steele, Lea, Flood 2014): a bijection that scatters its input."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _check(content: npt.NDArray[np.uint8], indptr: npt.NDArray[np.integer], class_ids: npt.NDArray[np.integer], n_classes: int) -> None:
    n = len(content)
    if content.dtype != np.uint8 or content.shape != (n, 32):
        raise ValueError(f"content must be uint8 of shape (N, 32), not {content.dtype} of shape {content.shape}")
    if indptr.shape != (n + 1,) or int(indptr[0]) != 0 or int(indptr[-1]) != len(class_ids) or np.any(np.diff(indptr) < 0):
        raise ValueError(f"indptr must rise from 0 to {len(class_ids)} over {n + 1} entries")
    if class_ids.size and not (int(class_ids.min()) >= 0 and int(class_ids.max()) < n_classes):
        raise ValueError(f"class ids must lie in 0..{n_classes - 1}: found {int(class_ids.min())}..{int(class_ids.max())}")
