"""How balanced a split is: counts per class and part, how far from the ideal, and what could not be met."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from splitrail_common.text import counted

from splitrail_split.domain.parts import PART_NAMES
from splitrail_split.splits.algorithm.stratify import SPLITS, TRAIN, ratio_shares, split_sizes


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far one class in one split is from its ideal: images (signed), and the same as a fraction of the class'
    images.
    """

    class_id: int
    split: int
    images: float
    fraction: float


@dataclass(frozen=True, slots=True)
class Balance:
    """Counts and deviations of one split revision. Columns of the (classes, 3) arrays are train, val, test; the arrays
    are read-only.
    """

    sizes: tuple[int, int, int]
    wanted_sizes: tuple[int, int, int]
    images: npt.NDArray[np.int64]
    """(classes, 3): images that hold the class."""
    boxes: npt.NDArray[np.int64]
    """(classes, 3): objects of the class."""
    ideal: npt.NDArray[np.float64]
    """(classes, 3): the class' images times the ratio."""
    background: tuple[int, int, int]
    """Images without any object."""
    max_deviation_images: float
    max_deviation_fraction: float
    worst: Deviation | None
    """The class and split with the largest fraction; None without labelled images."""
    empty_cells: tuple[tuple[int, int], ...]
    """(class, split) where a class that has images has none in a split with a ratio above 0."""
    random_max_deviation_images: float
    """What one random split of the same sizes gives, for comparison."""
    random_max_deviation_fraction: float
    random_empty_cells: int
    unmet: tuple[str, ...]
    """One sentence for each requirement that could not be met; empty when all were."""


def measure(
    splits: npt.NDArray[np.uint8],
    indptr: npt.NDArray[np.integer],
    class_ids: npt.NDArray[np.integer],
    *,
    n_classes: int,
    ratios: Sequence[float],
    keys: npt.NDArray[np.uint64],
    class_names: Sequence[str] | None = None,
) -> Balance:
    """Measure a split vector (N,) of TRAIN, VAL, TEST over images whose objects' classes are
    class_ids[indptr[i]:indptr[i + 1]].

    Other values of the vector (0: in no split) are left out of everything. keys (N,): see `stratify.seeded_keys`; they
    draw the random split to compare with. Names, when given, are used in sentences. Raises ValueError as
    `stratify.ratio_shares` does.
    """
    ratio_shares(ratios)
    ratio = np.array(ratios, dtype=np.float64)
    column = splits.astype(np.int64) - TRAIN
    kept = (column >= 0) & (column < SPLITS)
    lengths = np.diff(indptr)
    image, classes = _distinct_labels(lengths, class_ids, n_classes)
    boxes = _count(np.repeat(column, lengths), class_ids.astype(np.int64), n_classes, np.repeat(kept, lengths))
    images = _count(column[image], classes, n_classes, kept[image])
    sizes = np.bincount(column[kept], minlength=SPLITS)
    ideal = images.sum(axis=1, keepdims=True) * ratio
    background = np.bincount(column[kept & (lengths == 0)], minlength=SPLITS)
    wanted = split_sizes(int(sizes.sum()), ratios)
    drawn = _drawn(keys, kept, sizes)
    drawn_images = _count(drawn[image], classes, n_classes, kept[image])
    empty = _empty_cells(images, ratio)
    worst = _worst(images, ideal)
    random_worst = _worst(drawn_images, ideal)
    for array in (images, boxes, ideal):
        array.flags.writeable = False
    return Balance(
        sizes=_three(sizes),
        wanted_sizes=_three(wanted),
        images=images,
        boxes=boxes,
        ideal=ideal,
        background=_three(background),
        max_deviation_images=float(np.abs(images - ideal).max(initial=0)),
        max_deviation_fraction=abs(worst.fraction) if worst else 0.0,
        worst=worst,
        empty_cells=empty,
        random_max_deviation_images=float(np.abs(drawn_images - ideal).max(initial=0)),
        random_max_deviation_fraction=abs(random_worst.fraction) if random_worst else 0.0,
        random_empty_cells=len(_empty_cells(drawn_images, ratio)),
        unmet=tuple(_unmet(_three(sizes), _three(wanted), images, ratio, class_names)),
    )


def half_width(objects: int) -> float:
    """Half the width of the 95 % interval of a proportion of so many objects at worst, 1.96 * sqrt(1/4 / n) (Wald); 0
    without any.
    """
    return 0.98 / math.sqrt(objects) if objects else 0.0


def _three(values: Sequence[int] | npt.NDArray[np.integer]) -> tuple[int, int, int]:
    train, val, test = (int(value) for value in values)
    return train, val, test


def _drawn(
    keys: npt.NDArray[np.uint64], kept: npt.NDArray[np.bool_], sizes: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """(N,) a column by chance, -1 for what is not kept: those with the smallest keys are in the first, and so on, as
    many as `sizes` says.
    """
    drawn = np.full(len(keys), -1)
    rows = np.flatnonzero(kept)
    ends = np.cumsum(sizes)
    inner = [int(end) for end in ends[:-1] if 0 < end < len(rows)]
    rows = rows[np.argpartition(keys[rows], inner)] if inner else rows
    for part, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        drawn[rows[end - size : end]] = part
    return drawn


def _distinct_labels(
    lengths: npt.NDArray[np.integer], class_ids: npt.NDArray[np.integer], n_classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(image, class) of each class that an image holds, once each."""
    pairs = np.repeat(np.arange(len(lengths)), lengths) * n_classes + class_ids
    if pairs.size and np.any(pairs[1:] < pairs[:-1]):
        pairs = np.sort(pairs)
    pairs = pairs[np.concatenate([np.ones(min(1, pairs.size), bool), pairs[1:] != pairs[:-1]])]
    image = pairs // max(1, n_classes)
    return image, pairs - image * n_classes


def _count(
    column: npt.NDArray[np.int64], classes: npt.NDArray[np.int64], n_classes: int, kept: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    cells = (classes * SPLITS + column)[kept]
    return np.bincount(cells, minlength=n_classes * SPLITS).reshape(n_classes, SPLITS).astype(np.int64, copy=False)


def _empty_cells(images: npt.NDArray[np.int64], ratio: npt.NDArray[np.float64]) -> tuple[tuple[int, int], ...]:
    rows, columns = np.nonzero((images == 0) & (images.sum(axis=1, keepdims=True) > 0) & (ratio > 0))
    return tuple((int(row), int(column) + TRAIN) for row, column in zip(rows, columns, strict=True))


def _worst(images: npt.NDArray[np.int64], ideal: npt.NDArray[np.float64]) -> Deviation | None:
    """The largest deviation as a fraction of the class' images; of equals, the class with the most images."""
    totals = images.sum(axis=1)
    if not totals.any():
        return None
    off = images - ideal
    fraction = off / np.maximum(totals, 1)[:, None]
    size = np.round(np.abs(fraction), 12)
    rows, columns = np.nonzero(size == size.max())
    best = int(np.argmax(totals[rows]))
    row, column = int(rows[best]), int(columns[best])
    return Deviation(row, column + TRAIN, float(off[row, column]), float(fraction[row, column]))


def _unmet(
    sizes: tuple[int, int, int],
    wanted: tuple[int, int, int],
    images: npt.NDArray[np.int64],
    ratio: npt.NDArray[np.float64],
    names: Sequence[str] | None,
) -> list[str]:
    """Requirements that were not met: sizes, classes absent from a part, and classes more than one image away from
    their share.
    """

    def name(class_id: int) -> str:
        return f"class {names[class_id]!r}" if names is not None else f"class {class_id}"

    sentences = [
        f"{PART_NAMES[s]} has {counted(sizes[s], 'image') if sizes[s] else 'NO images'} instead of {wanted[s]}:"
        " groups, pins, the base, folds and the hash come before exact sizes"
        for s in range(SPLITS)
        if sizes[s] != wanted[s]
    ]
    sentences += [
        f"{PART_NAMES[s]} is empty: {ratio[s]:g} of {counted(sum(sizes), 'image')} rounds to none"
        for s in range(SPLITS)
        if ratio[s] > 0 and not wanted[s]
    ]
    totals = images.sum(axis=1)
    absent: dict[int, list[str]] = {}
    for class_id, split in _empty_cells(images, ratio):
        absent.setdefault(class_id, []).append(PART_NAMES[split - TRAIN])
    for class_id, where in absent.items():
        sentences.append(
            f"{name(class_id)} has {counted(int(totals[class_id]), 'image')} in all and none in {' and '.join(where)}"
        )
    ideal = totals[:, None] * ratio
    off = images - ideal
    for class_id, s in zip(*np.nonzero((np.abs(off) > 1 + 1e-9) & (images > 0)), strict=True):
        held = f"{name(class_id)} has {counted(int(images[class_id, s]), 'image')} in {PART_NAMES[s]}"
        sentences.append(f"{held}, {off[class_id, s]:+.1f} from its share of {ideal[class_id, s]:.1f}")
    return sentences
