"""Divide single images among k splits, so that every class comes near its share: the batched stratification.

Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011) hands out one image at a time, rarest class first. Here
all images whose rarest class is the same are settled at once: what each split still lacks of the class says how many of
them it gets, and systematic sampling along a sort by label set spreads the other classes. What rounding and classes
without images of their own leave is put right by `correction.correct`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from splitrail_split.splits.algorithm import csr
from splitrail_split.splits.algorithm.correction import Placed, correct
from splitrail_split.splits.algorithm.shares import ONE, apportion

__all__ = ["ONE", "ImageRows", "apportion", "canonical_order", "place"]

_SIGNATURE_BITS = 36
_DIGIT_BITS = 11  # so many places fit into the first cache
_LEAN = 8  # so weak that sizes drift by a few images, which costs classes less than keeping them exact all along


@dataclass(frozen=True, slots=True)
class ImageRows:
    """n units to place. classes[indptr[i]:indptr[i + 1]] are the distinct classes of unit i, ascending.

    boxes (n,): objects. keys (n,) uint64: seeded hashes of the content; words (n, 4) uint64: the content itself,
    distinct.
    """

    n_classes: int
    indptr: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.integer]
    keys: npt.NDArray[np.uint64]
    words: npt.NDArray[np.uint64]

    def take(self, where: npt.NDArray[np.integer]) -> ImageRows:
        """The units at these positions, in this order."""
        return ImageRows(
            self.n_classes,
            *csr.take(self.indptr, self.classes, where),
            self.boxes[where],
            self.keys[where],
            self.words[where],
        )


def canonical_order(primary: npt.NDArray[np.uint64], units: ImageRows) -> npt.NDArray[np.int32]:
    """Positions in ascending order of primary, equal ones by key, then by content: independent of the order of rows."""
    ordered, order = _sorted(primary)
    tied = np.flatnonzero(ordered[1:] == ordered[:-1])
    if tied.size:
        where = np.union1d(tied, tied + 1)
        among = order[where]
        columns = (*units.words[among].T[::-1], units.keys[among], primary[among])
        order[where] = among[np.lexsort(columns)]
    return order


def _sorted(words: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """Words in ascending order, and where each was: a radix sort (Knuth, TAOCP 3, 5.2.5), three times as fast as
    argsort at ten million.
    """
    n = len(words)
    ordered, other = words.copy(), np.empty(n, dtype=np.uint64)
    order, other_order = np.arange(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    for digit in range(-(-64 // _DIGIT_BITS)):
        _by_digit(ordered, order, digit * _DIGIT_BITS, other, other_order)
        ordered, other, order, other_order = other, ordered, other_order, order
    return ordered, order


@numba.njit(cache=True, nogil=True)
def _by_digit(
    words: npt.NDArray[np.uint64],
    order: npt.NDArray[np.int32],
    shift: int,
    to: npt.NDArray[np.uint64],
    order_to: npt.NDArray[np.int32],
) -> None:
    """One stable pass: by the digit that begins at bit `shift`."""
    places = np.zeros((1 << _DIGIT_BITS) + 1, dtype=np.int64)
    mask, low = np.uint64((1 << _DIGIT_BITS) - 1), np.uint64(shift)
    for word in words:
        places[np.int64((word >> low) & mask) + 1] += 1
    for digit in range(1 << _DIGIT_BITS):
        places[digit + 1] += places[digit]
    for at in range(len(words)):
        bucket = np.int64((words[at] >> low) & mask)
        to[places[bucket]], order_to[places[bucket]] = words[at], order[at]
        places[bucket] += 1


def place(units: ImageRows, need: npt.NDArray[np.int64], sizes: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Split of each unit: (n,) uint8 of 0..k - 1.

    need: (n_classes, k) int64, how many units with a class each split should get, times ONE. sizes: k unit counts that
    add up to n, met exactly.
    """
    n, n_classes = len(units.keys), units.n_classes
    counts = np.zeros((n_classes, 1), dtype=np.int64)
    csr.add(units.indptr, units.classes, np.zeros(n, dtype=np.uint8), 1, counts)
    by_rarity = np.argsort(counts[:, 0], kind="stable")
    rank_of = np.empty(n_classes, dtype=np.int64)
    rank_of[by_rarity] = np.arange(n_classes)
    ranks = csr.renamed(units.indptr, units.classes, rank_of)
    bits = (n_classes + 1).bit_length()
    order = canonical_order(
        csr.signatures(units.indptr, ranks, units.boxes, units.keys, bits=bits, slots=max(1, _SIGNATURE_BITS // bits)),
        units,
    )
    placed = Placed(
        *csr.take(units.indptr, ranks, order),
        np.zeros(n, dtype=np.uint8),
        np.ascontiguousarray(need[by_rarity]),
        list(sizes),
    )
    _settle(placed, units.keys, order)
    correct(placed)
    chosen = np.empty(n, dtype=np.uint8)
    chosen[order] = placed.split
    return chosen


def _settle(placed: Placed, keys: npt.NDArray[np.uint64], order: npt.NDArray[np.int32]) -> None:
    """Give each unit its split, block by block of units with the same rarest class, rarest first, units without classes
    last.

    keys[order[i]] is the key of the unit i.
    """
    n, k = len(placed.split), len(placed.sizes)
    labelled = int(np.searchsorted(placed.indptr, placed.indptr[-1]))
    owners = placed.ranks[placed.indptr[:labelled]]
    starts = (
        np.concatenate([[0], np.flatnonzero(owners[1:] != owners[:-1]) + 1, [labelled]])
        if labelled
        else np.zeros(1, np.int64)
    )
    given = [0] * k
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        # Rounding leans towards splits that are behind in size, so that little is left to correct at the end.
        lean = [(size * start * ONE // n - got * ONE) // _LEAN for size, got in zip(placed.sizes, given, strict=True)]
        quota = apportion(placed.need[owners[start]].tolist(), end - start, lean)
        spread(placed.split[start:end], quota, int(keys[order[start]]))
        csr.add(placed.indptr[start : end + 1], placed.ranks, placed.split[start:end], -ONE, placed.need)
        given = [got + units for got, units in zip(given, quota, strict=True)]
    if labelled < n:
        quota = apportion([(size - got) * ONE for size, got in zip(placed.sizes, given, strict=True)], n - labelled)
        spread(placed.split[labelled:], quota, int(keys[order[labelled]]))


def spread(split: npt.NDArray[np.uint8], quota: Sequence[int], phase: int) -> None:
    """Fill split (m,) so that value s occurs quota[s] times, evenly along the array (systematic sampling, smallest
    quota first).
    """
    ascending = sorted(range(len(quota)), key=lambda s: (quota[s], -s))
    _spread(
        split,
        np.array(ascending, dtype=np.uint8),
        np.array([quota[s] for s in ascending], dtype=np.int64),
        np.uint64(phase),
    )


@numba.njit(cache=True, nogil=True)
def _spread(
    split: npt.NDArray[np.uint8], values: npt.NDArray[np.uint8], quota: npt.NDArray[np.int64], phase: np.uint64
) -> None:
    """Compiled, since a small set has as many blocks as a large one. The last value, which takes what the others leave,
    marks what is free.
    """
    free = len(split)
    split[:] = values[-1]
    for turn in range(len(values) - 1):
        if quota[turn] == 0:
            continue
        offset, seen, step = np.int64(phase % np.uint64(free)), 0, 0
        for at in range(len(split)):
            if split[at] == values[-1]:
                seen += 1
                if (seen * quota[turn] + offset) // free != step:
                    split[at] = values[turn]
                    step += 1
        free -= quota[turn]
