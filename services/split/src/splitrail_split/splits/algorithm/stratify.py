"""Which images train, validate and test: pure functions over arrays.

`assign` depends on what the images are (their SHA-256), their labels, their groups, the parameters, the seed and
`ALGORITHM_VERSION`, and on nothing else: not on row order, machine or Python's hash seed. Images that share content or
a group are one *unit*, which never straddles parts. Where every image is a unit of its own, `placement.place` divides
them, in whole numbers (billionths of an image) all the way; otherwise `groups.divide` does, or, where most images are
alone, divides the others first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from splitrail_split.splits.algorithm import csr, groups
from splitrail_split.splits.algorithm.placement import ONE, ImageRows, apportion, canonical_order, place

ALGORITHM_VERSION = 5
"""Raise it with every change that can give another assignment for the same input."""

TRAIN, VAL, TEST = 1, 2, 3
"""Values of a split vector; 0 is free for "in no split"."""

SPLITS = 3
TOLERANCE = 1e-6 * (1 + 1e-9)
"""How far from 1 ratios may add up to: 1e-6, and what adding 0.333333 three times is beyond that."""

Mode = Literal["stratified", "random", "hash"]


def ratio_shares(ratios: Sequence[float]) -> list[int]:
    """Ratios (train, val, test) as whole billionths that add up to one; what rounding leaves goes to the largest (the
    first of equals).

    Raises ValueError unless there are three finite ratios >= 0 that add up to 1 (within 1e-6).
    """
    if len(ratios) != SPLITS:
        raise ValueError(f"ratios must be three numbers (train, val, test), not {len(ratios)}")
    if not all(math.isfinite(ratio) and ratio >= 0 for ratio in ratios):
        raise ValueError(f"ratios must be finite and not negative: {', '.join(map(str, ratios))}")
    if abs(math.fsum(ratios) - 1) > TOLERANCE:
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

    content: (N, 32) uint8, the SHA-256 of each. indptr (N + 1,), class_ids (nnz,): the class of each object, image i
    has class_ids[indptr[i]:indptr[i + 1]]. groups: columns (N,) of whole numbers; images with an equal number >= 0 in
    one of them stay together. Raises ValueError when the arrays do not fit together.
    """

    content: npt.NDArray[np.uint8]
    indptr: npt.NDArray[np.integer]
    class_ids: npt.NDArray[np.integer]
    n_classes: int
    groups: Sequence[npt.NDArray[np.integer]] = ()

    def __post_init__(self) -> None:
        n = len(self.content)
        if self.content.dtype != np.uint8 or self.content.shape != (n, 32):
            raise ValueError(
                f"content must be uint8 of shape (N, 32), not {self.content.dtype} of shape {self.content.shape}"
            )
        total = len(self.class_ids)
        if (
            self.indptr.shape != (n + 1,)
            or int(self.indptr[0]) != 0
            or int(self.indptr[-1]) != total
            or np.any(np.diff(self.indptr) < 0)
        ):
            raise ValueError(f"indptr must rise from 0 to {total} over {n + 1} entries")
        if total and not (int(self.class_ids.min()) >= 0 and int(self.class_ids.max()) < self.n_classes):
            raise ValueError(
                f"class ids must lie in 0..{self.n_classes - 1}: found {int(self.class_ids.min())}..{int(self.class_ids.max())}"
            )
        if any(column.shape != (n,) for column in self.groups):
            raise ValueError(f"each column of groups must have {n} entries")


def assign(
    images: Images,
    *,
    ratios: Sequence[float],
    seed: int,
    mode: Mode = "stratified",
    fixed: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Divide N images into train, val and test. Returns (N,) uint8 of TRAIN, VAL, TEST.

    seed: any integer, taken modulo 2**64. fixed (N,): images whose split is given (0: free). The others of a unit go
    with them, to the last split if they are in several, and the rest makes sizes and classes of the whole come near the
    ratios. Sizes are those of `split_sizes`, as exactly as whole units and fixed images allow. `stratified` brings each
    class' number of images in each split next to its share, rarest classes first; among images with equal classes the
    numbers of objects are spread too. `random` draws by a seeded hash of the content. `hash` looks at each image alone,
    so that none ever moves because others come or go, and meets the ratios on average only. Raises ValueError on bad
    ratios.
    """
    given = None if fixed is None else fixed.astype(np.uint8)
    shares = ratio_shares(ratios)
    sizes = apportion([share * len(images.content) for share in shares], len(images.content))
    return _divide(images, shares, sizes, seed=seed, mode=mode, fixed=given) + np.uint8(TRAIN)


def folds(
    images: Images, *, count: int, index: int, test_ratio: float, seed: int, mode: Mode = "stratified"
) -> npt.NDArray[np.uint8]:
    """Fold `index` (0 .. count - 1) of a cross-validation: (N,) uint8 of TRAIN, VAL, TEST, as `assign`.

    The same test images are held out of every fold; of the others each is in val once, in fold `index` those of the
    part `index`.
    """
    ratios = [1 - test_ratio, 0, test_ratio]
    held_out, test = ratio_shares(ratios)[2], split_sizes(len(images.content), ratios)[2]
    each, over = divmod(ONE - held_out, count)
    shares = [each + (fold < over) for fold in range(count)]
    sizes = apportion([share * len(images.content) for share in shares], len(images.content) - test)
    part = _divide(images, [*shares, held_out], [*sizes, test], seed=seed, mode=mode)
    vector = np.full(len(part), TRAIN, dtype=np.uint8)
    vector[part == index] = VAL
    vector[part == count] = TEST
    return vector


def fold_ratios(count: int, test_ratio: float) -> tuple[float, float, float]:
    """The shares of train, val and test in each fold."""
    rest = 1 - test_ratio
    return rest * (count - 1) / count, rest / count, test_ratio


def _divide(
    images: Images,
    shares: Sequence[int],
    sizes: Sequence[int],
    *,
    seed: int,
    mode: Mode,
    fixed: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """The part of each image: (n,) uint8 of 0..k - 1.

    shares: k billionths that add up to one. sizes: k images that add up to n. fixed (n,): 1 + part, 0 for free.
    """
    rows = _rows(images, seed)
    unit_of = _units(rows.words, images.groups)
    part = np.full(len(rows.keys), -1, dtype=np.int64)
    if fixed is not None:
        part[:] = fixed if unit_of is None else groups.follow(unit_of, fixed)[0]
        part -= 1
    free = np.flatnonzero(part < 0)
    if mode == "hash":
        part[free] = _by_hash(rows.keys[free], shares)
        return part.astype(np.uint8)
    need = _counts(rows, None, 1) * np.array(shares, dtype=np.int64)
    target = _Target(rows, need, sizes, [index for index, share in enumerate(shares) if share], mode)
    if unit_of is not None:
        together = free[np.bincount(unit_of[free])[unit_of[free]] > 1]
        if 2 * len(together) <= len(free):
            # Those first: images that stand alone then make up for what whole groups cannot.
            part[together] = target.divided(part, together, unit_of, len(free))
            free, unit_of = np.flatnonzero(part < 0), None
    part[free] = target.placed(part, free) if unit_of is None else target.divided(part, free, unit_of, len(free))
    return part.astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _Target:
    """What a split of all rows should be. need (n_classes, k): images of each class that each part should get, times
    ONE.

    sizes: images that each of the k parts should get. active: parts with a share above 0, which alone get what is not
    fixed.
    """

    rows: ImageRows
    need: npt.NDArray[np.int64]
    sizes: Sequence[int]
    active: Sequence[int]
    mode: Mode

    def placed(self, part: npt.NDArray[np.int64], free: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The parts of images (positions) that stand alone and are all that `part` (n,) leaves at -1."""
        rows, need, sizes, _ = self._left(part, free)
        if self.mode == "stratified":
            placed = place(rows, need, sizes)
        else:
            placed = np.empty(len(free), dtype=np.uint8)
            placed[canonical_order(rows.keys, rows)] = np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes)
        return np.array(self.active)[placed]

    def divided(
        self, part: npt.NDArray[np.int64], some: npt.NDArray[np.int64], unit_of: npt.NDArray[np.int64], n_free: int
    ) -> npt.NDArray[np.int64]:
        """The parts of images (positions) that whole units hold, out of n_free that `part` (n,) leaves at -1; they get
        as much as is theirs of it.
        """
        rows, left, sizes, held = self._left(part, some)
        unit_of = np.unique(unit_of[some], return_inverse=True)[1]
        units = _grouped(rows, unit_of, by_class=self.mode == "stratified")
        if self.mode == "stratified":
            need = left / ONE
            if len(some) < n_free:
                need *= _counts(rows, None, 1) / np.maximum(
                    1, _counts(self.rows.take(np.flatnonzero(part < 0)), None, 1)
                )
            placed = groups.divide(units, need, _counts(rows, None, 1).ravel(), sizes)[unit_of]
        else:
            placed = groups.draw(units, sizes)[unit_of]
        if len(some) == n_free:
            groups.fill_empty(placed, unit_of, rows.keys, wanted=sizes, held=held)
        return np.array(self.active)[placed]

    def _left(
        self, part: npt.NDArray[np.int64], some: npt.NDArray[np.int64]
    ) -> tuple[ImageRows, npt.NDArray[np.int64], list[int], npt.NDArray[np.int64]]:
        """These images, what the active parts still need of classes, the sizes that they are to get of these images,
        and what they hold already.
        """
        k, rows, need = len(self.sizes), self.rows, self.need
        held = np.bincount(part[part >= 0], minlength=k)
        if len(some) < len(part):
            rows = self.rows.take(some)
            need = need - _counts(self.rows, part, k) * ONE
        wanted = apportion([(self.sizes[index] - int(held[index])) * ONE for index in self.active], len(some))
        return rows, np.ascontiguousarray(need[:, self.active]), wanted, held[self.active]


def seeded_keys(content: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint64]:
    """(N,) what a seed draws by: a number for each content (N, 32), evenly spread and independent of row order."""
    words = np.ascontiguousarray(content).view("<u8").astype(np.uint64, copy=False)
    return _mix(words[:, 0] ^ _mix(np.array([seed % 2**64], dtype=np.uint64)))


def _rows(images: Images, seed: int) -> ImageRows:
    """Every image with its distinct classes and its seeded key."""
    words = np.ascontiguousarray(images.content).view("<u8").astype(np.uint64, copy=False)
    keys = seeded_keys(images.content, seed)
    boxes = np.diff(images.indptr)
    indptr, classes = csr.distinct(images.indptr.astype(np.int64, copy=False), images.class_ids)
    return ImageRows(images.n_classes, indptr, classes, boxes, keys, words)


def _by_hash(keys: npt.NDArray[np.uint64], shares: Sequence[int]) -> npt.NDArray[np.int64]:
    """Each image by its own key: the part in whose stretch of 0 .. 2**64 it lies."""
    active = [part for part, share in enumerate(shares) if share]
    ends = np.array([sum(shares[: part + 1]) * 2**64 // ONE for part in active[:-1]], dtype=np.uint64)
    return np.array(active)[np.searchsorted(ends, keys, side="right")]


def _counts(rows: ImageRows, part: npt.NDArray[np.int64] | None, k: int) -> npt.NDArray[np.int64]:
    """(n_classes, k): images with each class in each part; those in none (-1) do not count. Without parts: of all, k =
    1.
    """
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


def _grouped(rows: ImageRows, unit_of: npt.NDArray[np.int64], *, by_class: bool) -> groups.UnitRows:
    """Units of several images; one is told from another by its image with the smallest key, mixed again: the smallest
    of many is small.
    """
    n = int(unit_of.max(initial=-1)) + 1
    order = np.lexsort((rows.keys, unit_of))
    first = order[np.concatenate([[True], unit_of[order[1:]] != unit_of[order[:-1]]])] if len(order) else order
    n_classes = rows.n_classes if by_class else 0
    pairs = (
        np.repeat(unit_of, np.diff(rows.indptr)) * n_classes + rows.classes if by_class else np.zeros(0, dtype=np.int64)
    )
    pairs, counts = np.unique(pairs, return_counts=True)
    return groups.UnitRows(
        n_classes,
        *_rows_of(pairs, n, n_classes),
        counts,
        np.bincount(unit_of, minlength=n),
        _mix(rows.keys[first]),
        rows.words[first],
    )


def _rows_of(
    pairs: npt.NDArray[np.integer], n: int, n_classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
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
