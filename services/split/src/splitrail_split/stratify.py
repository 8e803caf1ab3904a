"""Which images train, validate and test: pure functions over arrays.

`assign` depends on what the images are (their SHA-256), their labels, their groups, the parameters, the seed and `ALGORITHM_VERSION`, and on nothing
else: not on row order, machine or Python's hash seed. Images that share content or a group are one *unit*, which never straddles parts.
Where every image is a unit of its own, `placement.place` divides them, in whole numbers (billionths of an image) all the way; otherwise
`groups.divide` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from splitrail_split import csr, groups
from splitrail_split.correction import Placed, correct
from splitrail_split.placement import ONE, Units, apportion, canonical_order, place

ALGORITHM_VERSION = 4
"""Raise it with every change that can give another assignment for the same input."""

TRAIN, VAL, TEST = 1, 2, 3
"""Values of a split vector; 0 is free for "in no split"."""

SPLITS = 3
Mode = Literal["stratified", "random", "hash"]


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


@dataclass(frozen=True, slots=True)
class Images:
    """What assigning needs to know of N images.

    content: (N, 32) uint8, the SHA-256 of each. indptr (N + 1,), class_ids (nnz,): the class of each object, image i has
    class_ids[indptr[i]:indptr[i + 1]]. groups: columns (N,) of whole numbers; images with an equal number >= 0 in one of them stay together.
    Raises ValueError when the arrays do not fit together.
    """

    content: npt.NDArray[np.uint8]
    indptr: npt.NDArray[np.integer]
    class_ids: npt.NDArray[np.integer]
    n_classes: int
    groups: Sequence[npt.NDArray[np.integer]] = ()

    def __post_init__(self) -> None:
        n = len(self.content)
        if self.content.dtype != np.uint8 or self.content.shape != (n, 32):
            raise ValueError(f"content must be uint8 of shape (N, 32), not {self.content.dtype} of shape {self.content.shape}")
        total = len(self.class_ids)
        if self.indptr.shape != (n + 1,) or int(self.indptr[0]) != 0 or int(self.indptr[-1]) != total or np.any(np.diff(self.indptr) < 0):
            raise ValueError(f"indptr must rise from 0 to {total} over {n + 1} entries")
        if total and not (int(self.class_ids.min()) >= 0 and int(self.class_ids.max()) < self.n_classes):
            raise ValueError(f"class ids must lie in 0..{self.n_classes - 1}: found {int(self.class_ids.min())}..{int(self.class_ids.max())}")
        if any(column.shape != (n,) for column in self.groups):
            raise ValueError(f"each column of groups must have {n} entries")


def assign(
    images: Images, *, ratios: Sequence[float], seed: int, mode: Mode = "stratified", fixed: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8]:
    """Divide N images into train, val and test. Returns (N,) uint8 of TRAIN, VAL, TEST.

    seed: any integer, taken modulo 2**64. fixed (N,): images whose split is given (0: free). The others of a unit go with them, to the last split if
    they are in several, and the rest makes sizes and classes of the whole come near the ratios.
    Sizes are those of `split_sizes`, as exactly as whole units and fixed images allow. `stratified` brings each class' number of images in each split
    next to its share, rarest classes first; among images with equal classes the numbers of objects are spread too. `random` draws by a seeded hash of
    the content. `hash` looks at each image alone, so that none ever moves because others come or go, and meets the ratios on average only.
    Raises ValueError on bad ratios.
    """
    given = None if fixed is None else fixed.astype(np.uint8)
    return _divide(images, ratio_shares(ratios), seed=seed, mode=mode, fixed=given) + np.uint8(TRAIN)


def folds(images: Images, *, count: int, index: int, test_ratio: float, seed: int, mode: Mode = "stratified") -> npt.NDArray[np.uint8]:
    """Fold `index` (0 .. count - 1) of a cross-validation: (N,) uint8 of TRAIN, VAL, TEST, as `assign`.

    The same test images are held out of every fold; of the others each is in val once, in fold `index` those of the part `index`.
    """
    held_out = ratio_shares([1 - test_ratio, 0, test_ratio])[2]
    each, over = divmod(ONE - held_out, count)
    part = _divide(images, [*(each + (fold < over) for fold in range(count)), held_out], seed=seed, mode=mode)
    vector = np.full(len(part), TRAIN, dtype=np.uint8)
    vector[part == index] = VAL
    vector[part == count] = TEST
    return vector


def fold_ratios(count: int, test_ratio: float) -> tuple[float, float, float]:
    """The shares of train, val and test in each fold."""
    rest = 1 - test_ratio
    return rest * (count - 1) / count, rest / count, test_ratio


def _divide(images: Images, shares: Sequence[int], *, seed: int, mode: Mode, fixed: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
    """The part of each image: (N,) uint8 of 0..k - 1. shares: k billionths that add up to one; fixed (N,): 1 + part, 0 for free."""
    rows = _rows(images, seed)
    n, k = len(rows.keys), len(shares)
    unit_of = _units(rows.words, images.groups)
    part = np.full(n, -1, dtype=np.int64)
    if fixed is not None:
        part[:] = fixed if unit_of is None else groups.follow(unit_of, fixed)[0]
        part -= 1
    free = np.flatnonzero(part < 0)
    if mode == "hash":
        part[free] = _by_hash(rows.keys[free], shares)
        return part.astype(np.uint8)
    sizes = apportion([share * n for share in shares], n)
    need = _counts(rows, None, 1) * np.array(shares, dtype=np.int64)
    if len(free) < n:
        sizes = (np.array(sizes) - np.bincount(part[part >= 0], minlength=k)).tolist()
        need -= _counts(rows, part, k) * ONE
        rows = rows.take(free)
        unit_of = None if unit_of is None else np.unique(unit_of[free], return_inverse=True)[1]
    active = [index for index in range(k) if shares[index]]
    wanted = apportion([sizes[index] * ONE for index in active], len(free))
    held = np.bincount(part[part >= 0], minlength=k)[active]
    placed = _place(rows, np.ascontiguousarray(need[:, active]), wanted, unit_of, mode)
    if unit_of is not None:
        groups.fill_empty(placed, unit_of, rows.keys, wanted=wanted, held=held)
    part[free] = np.array(active)[placed]
    return part.astype(np.uint8)


def _rows(images: Images, seed: int) -> Units:
    """Every image with its distinct classes and its seeded key."""
    words = np.ascontiguousarray(images.content).view("<u8").astype(np.uint64, copy=False)
    keys = _mix(words[:, 0] ^ _mix(np.array([seed % 2**64], dtype=np.uint64)))
    boxes = np.diff(images.indptr)
    indptr, classes = csr.distinct(images.indptr.astype(np.int64, copy=False), images.class_ids)
    return Units(images.n_classes, indptr, classes, boxes, keys, words)


def _place(
    rows: Units, need: npt.NDArray[np.int64], sizes: Sequence[int], unit_of: npt.NDArray[np.int64] | None, mode: Mode
) -> npt.NDArray[np.uint8]:
    """The part of each image. need (n_classes, k): images wanted of each class, times ONE; sizes: images wanted, which add up to all."""
    if unit_of is not None:
        units = _grouped(rows, unit_of, by_class=mode == "stratified")
        totals = _counts(rows, None, 1).ravel()
        divided = groups.divide(units, need[: units.n_classes] / ONE, totals, sizes)
        return (_exchange_singles(units, need, totals, divided) if mode == "stratified" else divided)[unit_of]
    if mode == "stratified":
        return place(rows, need, sizes)
    chosen = np.empty(len(rows.keys), dtype=np.uint8)
    chosen[canonical_order(rows.keys, rows)] = np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes)
    return chosen


def _exchange_singles(
    units: groups.Units, need: npt.NDArray[np.int64], totals: npt.NDArray[np.int64], part: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """`part` with images that stand alone exchanged, where they are most: one by one, as groups are moved, exact sizes leave classes no way back."""
    single = np.flatnonzero(units.weights == 1)
    if 2 * len(single) < int(units.weights.sum()):
        return part
    order = single[np.lexsort((*units.words[single].T[::-1], units.keys[single]))]
    owner = np.repeat(np.arange(len(part)), np.diff(units.indptr))
    left = need.copy()
    np.subtract.at(left, (units.classes, part[owner]), units.images * ONE)
    indptr, classes = csr.take(units.indptr, units.classes.astype(np.int32), order)
    sizes = np.bincount(part[order], minlength=need.shape[1])
    placed = Placed(indptr, classes, part[order], left.copy(), sizes.tolist())
    correct(placed)
    scale = np.maximum(totals, 1)[:, None]
    if (np.abs(placed.need) / scale).max(initial=0) > (np.abs(left) / scale).max(initial=0):
        return part  # nearer in images, but further off as a fraction of some rare class
    mended = part.copy()
    mended[order] = placed.split
    return mended


def _by_hash(keys: npt.NDArray[np.uint64], shares: Sequence[int]) -> npt.NDArray[np.int64]:
    """Each image by its own key: the part in whose stretch of 0 .. 2**64 it lies."""
    ends = np.array([min(2**64 - 1, sum(shares[: part + 1]) * 2**64 // ONE) for part in range(len(shares) - 1)], dtype=np.uint64)
    return np.searchsorted(ends, keys, side="right").astype(np.int64)


def _counts(rows: Units, part: npt.NDArray[np.int64] | None, k: int) -> npt.NDArray[np.int64]:
    """(n_classes, k): images with each class in each part; those in none (-1) do not count. Without parts: of all, k = 1."""
    counts = np.zeros((rows.n_classes, k), dtype=np.int64)
    csr.add(rows.indptr, rows.classes, np.zeros(len(rows.keys), dtype=np.uint8) if part is None else part, 1, counts)
    return counts


def _units(words: npt.NDArray[np.uint64], columns: Sequence[npt.NDArray[np.integer]]) -> npt.NDArray[np.int64] | None:
    """(N,) the unit of each image; None when every image is its own."""
    equal = groups.equal_content(words)
    joined = [*columns] if equal is None else [equal, *columns]
    if not joined:
        return None
    unit_of = groups.join(len(words), joined)
    return None if int(unit_of.max(initial=-1)) + 1 == len(words) else unit_of


def _grouped(rows: Units, unit_of: npt.NDArray[np.int64], *, by_class: bool) -> groups.Units:
    """Units of several images; one is told from another by its image with the smallest key."""
    n = int(unit_of.max(initial=-1)) + 1
    order = np.lexsort((rows.keys, unit_of))
    first = order[np.concatenate([[True], unit_of[order[1:]] != unit_of[order[:-1]]])] if len(order) else order
    n_classes = rows.n_classes if by_class else 0
    pairs = np.repeat(unit_of, np.diff(rows.indptr)) * n_classes + rows.classes if by_class else np.zeros(0, dtype=np.int64)
    pairs, counts = np.unique(pairs, return_counts=True)
    return groups.Units(n_classes, *_rows_of(pairs, n, n_classes), counts, np.bincount(unit_of, minlength=n), rows.keys[first], rows.words[first])


def _rows_of(pairs: npt.NDArray[np.integer], n: int, n_classes: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(indptr, classes) of ascending row * n_classes + class."""
    row = pairs // pairs.dtype.type(max(1, n_classes))
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(row, minlength=n))])
    return indptr, (pairs - row * pairs.dtype.type(n_classes)).astype(np.int64)


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """splitmix64's finalizer (Steele, Lea, Flood 2014): a bijection that scatters its input."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    shifted = np.empty_like(mixed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed ^= np.right_shift(mixed, np.uint64(shift), out=shifted)
        mixed *= np.uint64(factor)
    return mixed
