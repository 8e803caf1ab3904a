"""Near-duplicates: which 64-bit perceptual hashes differ in few bits, without comparing all with all.

Two hashes that differ in at most six bits differ in at most one within one of their four 16-bit blocks (pigeonhole). So
each hash looks into seventeen buckets of each block: its own value there, and those one bit away (multi-index hashing:
Norouzi, Punjani, Fleet 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

MAX_DISTANCE = 6
"""Bits. Re-encoded, resized and brightened copies of an image differ in 0 to 4, different images in about 32."""

_BLOCKS = 4
_BITS = 16
_LINKS_PER_IMAGE = 4

Ordinals = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Links:
    """Pairs of images that look alike: first (L,) < second (L,), by distance (L,), then first and second."""

    first: Ordinals
    second: Ordinals
    distance: npt.NDArray[np.uint8]

    def within(self, distance: int) -> Links:
        """Those of at most this distance."""
        end = int(np.searchsorted(self.distance, distance, side="right"))
        return Links(self.first[:end], self.second[:end], self.distance[:end])


def links(hashes: npt.NDArray[np.uint64], placed: npt.NDArray[np.bool_] | None = None) -> Links:
    """Pairs at most MAX_DISTANCE apart: all, up to four an image; beyond that number only those that join what closer
    ones do not.

    Equal hashes are linked in a chain, and the first of them to others. So whatever the distance, links up to it join
    what all pairs up to it would, and a cluster that lies in several parts of a split has a link between them. placed
    (N,): the images that a split can place, when not all of them: both is then true of them alone too, since the others
    must not hide what lies beyond them.
    """
    whole = _links(hashes)
    if placed is None or placed.all():
        return whole
    where = np.flatnonzero(placed)
    among = _links(hashes[where])
    n = len(hashes)
    pairs = np.concatenate([whole.first * n + whole.second, where[among.first] * n + where[among.second]])
    # One number for each link, in the order of links.
    keys = np.unique(np.concatenate([whole.distance, among.distance]).astype(np.int64) * n**2 + pairs)
    distance, pair = np.divmod(keys, n**2)
    return Links(pair // n, pair % n, distance.astype(np.uint8))


def _links(hashes: npt.NDArray[np.uint64]) -> Links:
    """See `links`, of all images alike."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(
        np.concatenate([np.ones(min(1, len(ordered)), dtype=np.bool_), ordered[1:] != ordered[:-1]])
    )
    chained = np.setdiff1d(np.arange(len(order)), starts)
    one, other = order[chained - 1], order[chained]
    first, second, distance = _search(ordered[starts], _LINKS_PER_IMAGE * max(1, len(starts)))
    representative = order[starts]
    a = np.concatenate([one, representative[first]])
    b = np.concatenate([other, representative[second]])
    bits = np.concatenate([np.zeros(len(one), dtype=np.uint8), distance])
    low, high = np.minimum(a, b), np.maximum(a, b)
    by_distance = np.lexsort((high, low, bits))
    return Links(low[by_distance], high[by_distance], bits[by_distance])


def _search(hashes: npt.NDArray[np.uint64], complete: int) -> tuple[Ordinals, Ordinals, npt.NDArray[np.uint8]]:
    """Pairs of distinct hashes by position; `complete`: how many are all kept before only joining ones are."""
    blocks = np.stack([(hashes >> np.uint64(_BITS * block)) & np.uint64(0xFFFF) for block in range(_BLOCKS)]).astype(
        np.int64
    )
    members = np.argsort(blocks, axis=1, kind="stable")
    bounds = np.stack([np.concatenate([[0], np.cumsum(np.bincount(block, minlength=1 << _BITS))]) for block in blocks])
    found: npt.NDArray[np.int64] = _pairs(hashes, blocks, members, bounds, complete)
    return found[:, 0], found[:, 1], found[:, 2].astype(np.uint8)


@numba.njit(cache=True)
def _ones(value: np.uint64) -> int:
    """Bits that are set."""
    count = 0
    while value:
        value &= value - np.uint64(1)
        count += 1
    return count


@numba.njit(cache=True)
def _root(parent: npt.NDArray[np.int32], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@numba.njit(cache=True, nogil=True)
def _pairs(
    hashes: npt.NDArray[np.uint64], blocks: Ordinals, members: Ordinals, bounds: Ordinals, complete: int
) -> Ordinals:
    """Rows (first, second, distance). A pair that several blocks find is taken from the first of them.

    parent[d] joins what links up to the distance d do: each level has all clusters that all pairs up to it would make,
    for a pair is left out only if its own level has joined it.
    """
    n = len(hashes)
    parent = np.empty((MAX_DISTANCE + 1, n), dtype=np.int32)
    parent[:] = np.arange(n)
    rows = np.empty((1024, 3), dtype=np.int64)
    count = 0
    for i in range(n):
        for block in range(_BLOCKS):
            value = blocks[block, i]
            for probe in range(_BITS + 1):
                bucket = value if probe == _BITS else value ^ (1 << probe)
                for place in range(bounds[block, bucket], bounds[block, bucket + 1]):
                    j = members[block, place]
                    if j <= i:
                        continue
                    distance = _ones(hashes[i] ^ hashes[j])
                    if distance > MAX_DISTANCE:
                        continue
                    earlier = False
                    for before in range(block):
                        differing = blocks[before, i] ^ blocks[before, j]
                        if differing & (differing - 1) == 0:
                            earlier = True
                    if earlier:
                        continue
                    if count >= complete and _root(parent[distance], i) == _root(parent[distance], j):
                        continue
                    for level in range(distance, MAX_DISTANCE + 1):
                        parent[level, _root(parent[level], j)] = _root(parent[level], i)
                    if count == len(rows):
                        grown = np.empty((2 * count, 3), dtype=np.int64)
                        grown[:count] = rows
                        rows = grown
                    rows[count, 0], rows[count, 1], rows[count, 2] = i, j, distance
                    count += 1
    return rows[:count]
