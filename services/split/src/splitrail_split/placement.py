"""Divide single images among k splits, so that every class comes near its share: the batched stratification.

Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011) hands out one image at a time, rarest class first. Here all images whose rarest class is
the same are settled at once: what each split still lacks of the class says how many of them it gets, and systematic sampling along a
sort by label set spreads the other classes. What rounding and classes without images of their own leave is put right by `correction.correct`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitrail_split.correction import Placed, correct
from splitrail_split.shares import ONE, apportion

__all__ = ["ONE", "Units", "apportion", "canonical_order", "place", "row_bases"]

_BOX_BITS = 4
_SIGNATURE_BITS = 36
_LEAN = 8  # so weak that sizes drift by a few images, which costs classes less than keeping them exact all along


@dataclass(frozen=True, slots=True)
class Units:
    """n units to place. classes[indptr[i]:indptr[i + 1]] are the distinct classes of unit i, ascending.

    boxes (n,): objects. keys (n,) uint64: seeded hashes of the content; words (n, 4) uint64: the content itself, distinct.
    """

    n_classes: int
    indptr: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.integer]
    keys: npt.NDArray[np.uint64]
    words: npt.NDArray[np.uint64]

    def take(self, where: npt.NDArray[np.int64]) -> Units:
        """The units at these positions, in this order."""
        indptr, entries = take_rows(self.indptr, where)
        return Units(self.n_classes, indptr, self.classes[entries], self.boxes[where], self.keys[where], self.words[where])


def take_rows(indptr: npt.NDArray[np.int64], where: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row pointers of the chosen rows of a CSR array, and the positions of their entries in the old one."""
    starts = indptr[where]
    lengths = indptr[where + 1] - starts
    taken = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    # In place, here and below: at ten million images each new array of pairs costs as much in pages as in arithmetic.
    entries = np.repeat(starts - taken[:-1], lengths)
    entries += np.arange(taken[-1])
    return taken, entries


def canonical_order(primary: npt.NDArray[np.uint64], units: Units) -> npt.NDArray[np.int64]:
    """Positions in ascending order of primary, equal ones by key, then by content: independent of the order of rows."""
    order = np.argsort(primary)
    ordered = primary[order]
    tied = np.flatnonzero(ordered[1:] == ordered[:-1])
    if tied.size:
        where = np.union1d(tied, tied + 1)
        among = order[where]
        columns = (*units.words[among].T[::-1], units.keys[among], primary[among])
        order[where] = among[np.lexsort(columns)]
    return order


def place(units: Units, need: npt.NDArray[np.int64], sizes: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Split of each unit: (n,) uint8 of 0..k - 1.

    need: (n_classes, k) int64, how many units with a class each split should get, times ONE. sizes: k unit counts that add up to n, met exactly.
    """
    n, n_classes = len(units.keys), units.n_classes
    counts = np.bincount(units.classes, minlength=n_classes)
    by_rarity = np.argsort(counts, kind="stable")
    rank_of = np.empty(n_classes, dtype=np.int64)
    rank_of[by_rarity] = np.arange(n_classes)
    lengths = np.diff(units.indptr)
    ranks = _ranks_ascending(rank_of[units.classes], lengths, n_classes)
    order = canonical_order(_signatures(ranks, units, lengths), units)
    indptr, pairs = take_rows(units.indptr, order)
    ranks = ranks[pairs]
    placed = Placed(indptr, ranks, np.zeros(n, dtype=np.uint8), np.ascontiguousarray(need[by_rarity]), list(sizes))
    _settle(placed, units.keys[order], n_classes)
    correct(placed)
    chosen = np.empty(n, dtype=np.uint8)
    chosen[order] = placed.split
    return chosen


def row_bases(lengths: npt.NDArray[np.integer], n_classes: int) -> npt.NDArray[np.unsignedinteger]:
    """row * n_classes for each entry of rows of these lengths, in the narrowest type that holds a class added to it: narrow words sort fast."""
    n = len(lengths)
    rows: npt.NDArray[np.unsignedinteger] = np.arange(n, dtype=np.uint32 if n * n_classes < 2**32 else np.uint64)
    rows *= rows.dtype.type(n_classes)
    return np.repeat(rows, lengths)


def _ranks_ascending(ranks: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], n_classes: int) -> npt.NDArray[np.int64]:
    """Ranks sorted within each unit."""
    base = row_bases(lengths, n_classes)
    pairs = ranks.astype(base.dtype)
    pairs += base
    pairs.sort()
    pairs -= base
    return pairs.astype(np.int64)


def _signatures(ranks: npt.NDArray[np.int64], units: Units, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """One word a unit that sorts by rarest class, next rarest classes, number of objects, seeded hash; units without classes last."""
    bits = (units.n_classes + 1).bit_length()
    slots = max(1, _SIGNATURE_BITS // bits)
    places = np.array([1 << (64 - bits * (slot + 1)) for slot in range(slots)] + [0], dtype=np.uint64)
    slot = np.arange(len(ranks))
    slot -= np.repeat(units.indptr[:-1], lengths)
    np.minimum(slot, slots, out=slot)
    # Ranks of one unit have places of their own, so they can be summed; sums wrap around on the way, their differences do not.
    weighted = places[slot]
    weighted *= (ranks + 1).view(np.uint64)
    running = np.zeros(len(ranks) + 1, dtype=np.uint64)
    np.cumsum(weighted, out=running[1:])
    words = running[units.indptr[1:]] - running[units.indptr[:-1]]
    words[lengths == 0] = np.uint64(units.n_classes + 1) * places[0]
    shift = 64 - bits * slots - _BOX_BITS
    words |= np.minimum(units.boxes, 2**_BOX_BITS - 1).astype(np.uint64) << np.uint64(shift)
    words |= units.keys >> np.uint64(64 - shift)
    return words


def _settle(placed: Placed, keys: npt.NDArray[np.uint64], n_classes: int) -> None:
    """Give each unit its split, block by block of units with the same rarest class, rarest first, units without classes last."""
    n, k = len(placed.split), len(placed.sizes)
    lengths = np.diff(placed.indptr)
    labelled = int(np.count_nonzero(lengths))
    owners = placed.ranks[placed.indptr[:labelled]]
    starts = np.concatenate([[0], np.flatnonzero(owners[1:] != owners[:-1]) + 1, [labelled]]) if labelled else np.zeros(1, np.int64)
    flat_need = placed.need.reshape(-1)
    given = [0] * k
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        # Rounding leans towards splits that are behind in size, so that little is left to correct at the end.
        lean = [(size * start * ONE // n - got * ONE) // _LEAN for size, got in zip(placed.sizes, given, strict=True)]
        quota = apportion(placed.need[owners[start]].tolist(), end - start, lean)
        spread(placed.split[start:end], quota, int(keys[start]))
        first, last = int(placed.indptr[start]), int(placed.indptr[end])
        cells = placed.ranks[first:last] * k + np.repeat(placed.split[start:end], lengths[start:end])
        if len(cells) * 4 > n_classes * k:
            flat_need -= np.bincount(cells, minlength=n_classes * k) * ONE
        else:
            np.subtract.at(flat_need, cells, ONE)
        given = [got + units for got, units in zip(given, quota, strict=True)]
    if labelled < n:
        quota = apportion([(size - got) * ONE for size, got in zip(placed.sizes, given, strict=True)], n - labelled)
        spread(placed.split[labelled:], quota, int(keys[labelled]))


def spread(split: npt.NDArray[np.uint8], quota: Sequence[int], phase: int) -> None:
    """Fill split (m,) so that value s occurs quota[s] times, evenly along the array (systematic sampling, smallest quota first)."""
    ascending = sorted(range(len(quota)), key=lambda s: (quota[s], -s))
    split[:] = ascending[-1]
    free: npt.NDArray[np.int64] | None = None
    for s in ascending[:-1]:
        m = len(split) if free is None else len(free)
        if quota[s] == 0:
            continue
        steps = (np.arange(m + 1) * quota[s] + phase % m) // m
        hit = steps[1:] != steps[:-1]
        where = np.flatnonzero(hit)
        split[where if free is None else free[where]] = s
        free = np.flatnonzero(~hit) if free is None else free[~hit]
