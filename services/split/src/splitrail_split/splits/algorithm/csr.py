"""Passes over the classes of images in CSR form: image i has classes[indptr[i]:indptr[i + 1]].

Compiled, for at ten million images numpy's temporary arrays cost more than its arithmetic: here each pass reads once
and writes once. Nothing checks bounds: that indptr rises and classes lie below n_classes, `stratify.Images` has seen.
Numpy allocates what they write: it asks for huge pages, as numba does not, and a walk in another order than memory's
depends on them.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

BOX_BITS = 4
_FEW = 32

Ints = npt.NDArray[np.int64]
Classes = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]


@numba.njit(cache=True, nogil=True)
def _sort(values: Classes, start: int, end: int) -> None:
    """Sorts values[start:end] in place: rows are short nearly always."""
    if end - start > _FEW:
        values[start:end].sort()
        return
    for at in range(start + 1, end):
        value = values[at]
        free = at
        while free > start and values[free - 1] > value:
            values[free] = values[free - 1]
            free -= 1
        values[free] = value


def distinct(indptr: Ints, class_ids: npt.NDArray[np.integer]) -> tuple[Ints, Classes]:
    """(indptr, classes) of the distinct classes of each row, ascending."""
    bounds, classes = np.empty(len(indptr), dtype=np.int64), np.empty(len(class_ids), dtype=np.int32)
    end = _distinct(indptr, class_ids, bounds, classes)
    return bounds, classes[:end]


@numba.njit(cache=True, nogil=True)
def _distinct(indptr: Ints, class_ids: npt.NDArray[np.integer], bounds: Ints, classes: Classes) -> int:
    bounds[0] = end = 0
    for row in range(len(indptr) - 1):
        start = end
        for at in range(indptr[row], indptr[row + 1]):
            classes[end] = class_ids[at]
            end += 1
        _sort(classes, start, end)
        last, end = end, start
        for at in range(start, last):
            if at == start or classes[at] != classes[end - 1]:
                classes[end] = classes[at]
                end += 1
        bounds[row + 1] = end
    return end


def take(indptr: Ints, classes: Classes, where: npt.NDArray[np.integer]) -> tuple[Ints, Classes]:
    """(indptr, classes) of the rows `where`, in that order."""
    bounds, starts = np.empty(len(where) + 1, dtype=np.int64), np.empty(len(where), dtype=np.int64)
    taken = np.empty(_bound(indptr, where, bounds, starts), dtype=np.int32)
    _take(classes, starts, bounds, taken)
    return bounds, taken


@numba.njit(cache=True, nogil=True)
def _bound(indptr: Ints, where: npt.NDArray[np.integer], bounds: Ints, starts: Ints) -> int:
    """Fills the row pointers of the rows `where`, and where they begin; returns how many entries they have. Each row is
    looked up once.
    """
    bounds[0] = end = 0
    for row in range(len(where)):
        starts[row] = indptr[where[row]]
        end += indptr[where[row] + 1] - starts[row]
        bounds[row + 1] = end
    return end


@numba.njit(cache=True, nogil=True)
def _take(classes: Classes, starts: Ints, bounds: Ints, taken: Classes) -> None:
    for row in range(len(starts)):
        for at in range(bounds[row + 1] - bounds[row]):
            taken[bounds[row] + at] = classes[starts[row] + at]


def renamed(indptr: Ints, classes: Classes, names: Ints) -> Classes:
    """names[classes], ascending within each row."""
    made = np.empty(len(classes), dtype=np.int32)
    _rename(indptr, classes, names, made)
    return made


@numba.njit(cache=True, nogil=True)
def _rename(indptr: Ints, classes: Classes, names: Ints, made: Classes) -> None:
    for row in range(len(indptr) - 1):
        for at in range(indptr[row], indptr[row + 1]):
            made[at] = names[classes[at]]
        _sort(made, indptr[row], indptr[row + 1])


@numba.njit(cache=True, nogil=True)
def add(indptr: Ints, classes: Classes, part: npt.NDArray[np.integer], amount: int, sums: Ints) -> None:
    """Adds the amount to sums (n_classes, k) for each class of each row, in the row's part; none where that is
    negative.
    """
    for row in range(len(indptr) - 1):
        if part[row] >= 0:
            for at in range(indptr[row], indptr[row + 1]):
                sums[classes[at], part[row]] += amount


def signatures(
    indptr: Ints, ranks: Classes, boxes: npt.NDArray[np.integer], keys: Words, *, bits: int, slots: int
) -> Words:
    """One word a row that sorts by its first `slots` ranks (of so many bits each), number of objects, key; rows without
    classes last.
    """
    words = np.empty(len(keys), dtype=np.uint64)
    _sign(indptr, ranks, boxes, keys, bits, slots, words)
    return words


@numba.njit(cache=True, nogil=True)
def _sign(  # noqa: PLR0917 - numba takes no keywords
    indptr: Ints, ranks: Classes, boxes: npt.NDArray[np.integer], keys: Words, bits: int, slots: int, words: Words
) -> None:
    low = 64 - bits * slots - BOX_BITS
    for row in range(len(keys)):
        start, end = indptr[row], indptr[row + 1]
        word = keys[row] >> np.uint64(64 - low)
        word |= np.uint64(min(boxes[row], (1 << BOX_BITS) - 1)) << np.uint64(low)
        if start == end:
            word |= np.uint64((1 << bits) - 1) << np.uint64(64 - bits)
        for slot in range(min(slots, end - start)):
            word |= np.uint64(ranks[start + slot] + 1) << np.uint64(64 - bits * (slot + 1))
        words[row] = word
