"""Groups: which images may not be parted, and how units of many sizes are divided.

A unit is what must stay together: images of equal content, and images that share a group. `join` finds the units;
`divide` places them: heaviest first, each where it is missed most, then passes that move whatever brings all classes
nearer to their share, then exact sizes. The greedy step is that of scikit-learn's StratifiedGroupKFold, generalized to
several classes an image and to unequal shares; the passes are what it lacks.

Sums are floating-point, in an order that the content alone decides, and of operations that IEEE 754 defines to the bit:
every machine gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, permutations, product

import numba
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from splitrail_split.splits.algorithm.shares import ONE, apportion

_PASSES = 8
_MAX_EXCHANGED_WEIGHTS = 12
_MOST_PAIRS = 20_000_000  # of units, times classes: a second, all orders together
_MOST_ORDERS = 32

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class UnitRows:
    """n units. classes[indptr[i]:indptr[i + 1]] are the distinct classes of unit i, images the number of its images
    with each.

    weights (n,): images. keys (n,) uint64: seeded hashes of the content. words (n, 4) uint64: content of one image,
    which tells equal keys apart.
    """

    n_classes: int
    indptr: Ints
    classes: Ints
    images: Ints
    weights: Ints
    keys: npt.NDArray[np.uint64]
    words: npt.NDArray[np.uint64]


def equal_content(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64] | None:
    """(N,) a number for each content, given as four words; None when all differ, which sorting one word a row usually
    tells.
    """
    ordered = np.sort(words[:, 0])
    if not np.any(ordered[1:] == ordered[:-1]):
        return None
    order = np.lexsort(words.T[::-1])
    starts = np.concatenate([[True], np.any(words[order[1:]] != words[order[:-1]], axis=1)])
    number = np.empty(len(words), dtype=np.int64)
    number[order] = np.cumsum(starts) - 1
    return number


def join(n: int, columns: Sequence[npt.NDArray[np.integer]]) -> Ints:
    """(n,) the unit of each image, dense from 0: images that share a value >= 0 in any of the columns (n,) are in one
    unit.
    """
    if not columns:
        return np.arange(n, dtype=np.int64)
    rows, nodes, first = [], [], n
    for column in columns:
        labelled = np.flatnonzero(column >= 0)
        _, dense = np.unique(column[labelled], return_inverse=True)
        rows.append(labelled)
        nodes.append(first + dense)
        first += int(dense.max(initial=-1)) + 1
    component = components(first, np.concatenate(rows), np.concatenate(nodes))
    _, unit_of = np.unique(component[:n], return_inverse=True)
    return unit_of.astype(np.int64)


def first_of_unit(unit_of: Ints) -> Ints:
    """(n,) the lowest index among the images of each one's unit."""
    _, first, dense = np.unique(unit_of, return_index=True, return_inverse=True)
    return first[dense].astype(np.int64)


def components(n: int, first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> Ints:
    """(n,) the connected component of each node of a graph with the edges (first, second)."""
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    found: Ints = component.astype(np.int64)
    return found


def follow(unit_of: Ints, fixed: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], Ints]:
    """What fixed images (0: free) make of the others: a unit goes where its fixed images are, and to the last part
    (test) if they are in several, for what is linked to a test image must not be trained on.

    Returns `fixed` (n,) completed, and the units whose fixed images lie in several parts, which cannot be kept whole.
    """
    n_units = int(unit_of.max(initial=-1)) + 1
    last = np.zeros(n_units, dtype=np.uint8)
    np.maximum.at(last, unit_of, fixed)
    held = fixed > 0
    straddling = np.unique(unit_of[held & (fixed != last[unit_of])])
    return np.where(held, fixed, last[unit_of]), straddling


def divide(units: UnitRows, need: Floats, totals: Ints, sizes: Sequence[int]) -> npt.NDArray[np.uint8]:
    """The part of each unit: (n,) uint8 of 0..k - 1.

    need: (n_classes, k), images of each class that each part should get. totals: (n_classes,), images with each class
    in the whole set: a deviation counts as a fraction of it. sizes: k image counts that add up to the units' weights;
    met as nearly as whole units allow. Few units leave little choice, and the greedy step can miss the best of it: then
    pairs are exchanged too, from several orders, and the best stays.
    """
    n, total = len(units.weights), max(1, int(units.weights.sum()))
    of_class = 1.0 / np.maximum(totals, 1).astype(np.float64) ** 2
    # Sizes count like an eighth of the classes together: enough that little is left to correct, little enough that
    # classes decide.
    of_size = max(1.0, units.n_classes / 8) / total**2
    images, weights = units.images.astype(np.float64), units.weights.astype(np.float64)
    owner = np.repeat(np.arange(n), np.diff(units.indptr))
    mass = (
        np.bincount(owner, weights=images * images * of_class[units.classes], minlength=n) + of_size * weights * weights
    )
    heaviest_first = np.lexsort((*units.words.T[::-1], units.keys, -mass))

    def placed(order: Ints) -> _Division:
        made = _Division(
            np.full(n, -1, dtype=np.int64),
            np.array(need, dtype=np.float64, order="C"),
            np.array(sizes, dtype=np.float64),
        )
        _place(
            units.indptr, units.classes, images, weights, order, of_class, of_size, made.need, made.lacking, made.part
        )
        return made

    pairs = n * n * (units.n_classes + 1)
    if pairs > _MOST_PAIRS:
        made = placed(heaviest_first)
        _exact_sizes(units, heaviest_first, of_class, made)
        return made.part.astype(np.uint8)
    dense = np.zeros((n, units.n_classes))
    dense[owner, units.classes] = images
    found = []
    for turn in range(min(_MOST_ORDERS, max(1, _MOST_PAIRS // max(1, pairs)))):
        order = np.lexsort((*units.words.T[::-1], units.keys * np.uint64(2 * turn + 1))) if turn else heaviest_first
        made = placed(order)
        _exchange(dense, weights, order, of_class, of_size, made.need, made.lacking, made.part, False)
        found.append(made.copy())
        _exact_sizes(units, order, of_class, made)
        _exchange(dense, weights, order, of_class, of_size, made.need, made.lacking, made.part, True)
        found.append(made)
    return min(found, key=lambda made: made.badness(totals, sizes)).part.astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _Division:
    """part (n,): of each unit. need (C, k) and lacking (k,): what parts lack of classes and of images then, in images."""

    part: Ints
    need: Floats
    lacking: Floats

    def copy(self) -> _Division:
        return _Division(self.part.copy(), self.need.copy(), self.lacking.copy())

    def badness(self, totals: Ints, sizes: Sequence[int]) -> float:
        """The largest deviation of a class as a fraction of it, and what sizes are off as a fraction of all; an empty
        part is worse than any.
        """
        empty = sum(size > 0 and lack >= size for size, lack in zip(sizes, self.lacking.tolist(), strict=True))
        of_classes = float((np.abs(self.need) / np.maximum(totals, 1)[:, None]).max(initial=0))
        of_sizes = float(np.abs(self.lacking).sum()) / max(1, sum(sizes))
        return float(round(2 * empty + of_classes + of_sizes, 12))


def draw(units: UnitRows, sizes: Sequence[int]) -> npt.NDArray[np.uint8]:
    """As `divide`, by chance: units in the order of their keys, cut where sizes end, so that heavy ones are in a part
    as often as light ones.

    Those that the smallest part could not hold are no matter of chance: heaviest first, each goes where most is
    lacking.
    """
    lacking = np.array(sizes, dtype=np.int64)
    part = np.empty(len(units.weights), dtype=np.int64)
    order = np.lexsort((*units.words.T[::-1], units.keys))
    fits = units.weights[order] <= min((size for size in sizes if size), default=0)
    for unit in order[~fits][np.argsort(-units.weights[order[~fits]], kind="stable")]:
        part[unit] = np.argmax(lacking)
        lacking[part[unit]] -= units.weights[unit]
    drawn = order[fits]
    weights = units.weights[drawn]
    ends = np.cumsum(apportion((lacking * ONE).tolist(), int(weights.sum())))
    part[drawn] = np.searchsorted(ends[:-1], np.cumsum(weights) - weights / 2, side="right")
    left: Floats = lacking.astype(np.float64) - np.bincount(part[drawn], weights=weights, minlength=len(sizes))
    made = _Division(part, np.zeros((units.n_classes, len(sizes))), left)
    _exact_sizes(units, order, np.zeros(units.n_classes), made)
    return made.part.astype(np.uint8)


def fill_empty(
    part: npt.NDArray[np.uint8],
    unit_of: Ints,
    keys: npt.NDArray[np.uint64],
    *,
    wanted: Sequence[int],
    held: npt.NDArray[np.integer],
) -> None:
    """Gives each part that is wanted and has no image the unit whose size comes nearest to what is wanted, if another
    part can spare one; in place.

    Sizes and classes alone would leave it empty when there are few units: a set of no images tests nothing. part,
    unit_of, keys (n,): of images; held (k,): images that each part has besides.
    """
    weights = np.bincount(unit_of)
    first_key = np.full(len(weights), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(first_key, unit_of, keys)
    of_unit = np.zeros(len(weights), dtype=np.uint8)
    of_unit[unit_of] = part
    images = np.bincount(part, minlength=len(wanted)) + held
    sizes = np.array(wanted, dtype=np.int64)
    for empty in np.flatnonzero((images == 0) & (sizes > 0)):
        spare = np.flatnonzero(images[of_unit] > weights)
        if not spare.size:
            return
        chosen = spare[np.lexsort((first_key[spare], weights[spare], np.abs(weights[spare] - sizes[empty])))[0]]
        images[of_unit[chosen]] -= weights[chosen]
        images[empty] += weights[chosen]
        of_unit[chosen] = empty
    part[:] = of_unit[unit_of]


@numba.njit(cache=True, nogil=True)
def _place(  # noqa: PLR0917 - numba takes no keywords
    indptr: Ints,
    classes: Ints,
    images: Floats,
    weights: Floats,
    order: Ints,
    of_class: Floats,
    of_size: float,
    need: Floats,
    lacking: Floats,
    part: Ints,
) -> None:
    """Fills `part`, and keeps need (C, k) and lacking (k,) true. First greedily in the order given, then in passes
    until nothing moves.

    Moving a unit from a to b changes the sum of squared weighted deviations by 2 (gain[a] - gain[b] + own).
    """
    k = len(lacking)
    gain = np.empty(k)
    for turn in range(1 + _PASSES):
        moved = False
        for unit in order:
            weight = weights[unit]
            own = of_size * weight * weight
            for s in range(k):
                gain[s] = of_size * weight * lacking[s]
            for entry in range(indptr[unit], indptr[unit + 1]):
                c = classes[entry]
                factor = of_class[c] * images[entry]
                own += factor * images[entry]
                for s in range(k):
                    gain[s] += factor * need[c, s]
            a = part[unit]
            b = a if turn else 0
            best = gain[b] + own * (1.0 + 1e-9) if turn else gain[b]
            for s in range(k):
                if gain[s] > best:
                    best, b = gain[s], s
            if b == a:
                continue
            moved = True
            part[unit] = b
            lacking[b] -= weight
            if turn:
                lacking[a] += weight
            for entry in range(indptr[unit], indptr[unit + 1]):
                need[classes[entry], b] -= images[entry]
                if turn:
                    need[classes[entry], a] += images[entry]
        if not moved:
            return


@numba.njit(cache=True, nogil=True)
def _exchange(  # noqa: PLR0917 - numba takes no keywords
    dense: Floats,
    weights: Floats,
    order: Ints,
    of_class: Floats,
    of_size: float,
    need: Floats,
    lacking: Floats,
    part: Ints,
    keep_sizes: bool,
) -> None:
    """Moves units, or exchanges two of different parts, as long as that brings classes nearer; dense (n, C): images of
    each class.

    keep_sizes: only where sizes do not get worse by it. Everything is in the order given, so that equal choices do not
    depend on rows.
    """
    n_classes, k = need.shape
    for _ in range(_PASSES):
        moved = False
        for unit in order:
            a = part[unit]
            best, with_unit, to = -1e-12, -1, a
            for choice in range(len(order) + k):
                other = order[choice - k] if choice >= k else -1
                b = part[other] if choice >= k else choice
                if b == a:
                    continue
                weight = weights[unit] - (weights[other] if choice >= k else 0.0)
                if keep_sizes and abs(lacking[a] + weight) + abs(lacking[b] - weight) > abs(lacking[a]) + abs(
                    lacking[b]
                ):
                    continue
                change = of_size * weight * (lacking[a] - lacking[b] + weight)
                for c in range(n_classes):
                    images = dense[unit, c] - (dense[other, c] if choice >= k else 0.0)
                    change += of_class[c] * images * (need[c, a] - need[c, b] + images)
                if change < best:
                    best, with_unit, to = change, other, b
            if to == a:
                continue
            moved = True
            part[unit] = to
            if with_unit >= 0:
                part[with_unit] = a
            weight = weights[unit] - (weights[with_unit] if with_unit >= 0 else 0.0)
            lacking[a] += weight
            lacking[to] -= weight
            for c in range(n_classes):
                images = dense[unit, c] - (dense[with_unit, c] if with_unit >= 0 else 0.0)
                need[c, a] += images
                need[c, to] -= images
        if not moved:
            return


def _exact_sizes(units: UnitRows, order: Ints, of_class: Floats, made: _Division) -> None:
    """Exchanges up to two units against up to two while that brings sizes nearer, each time the units that cost the
    classes least; in place.
    """
    part, need, lacking = made.part, made.need, made.lacking.astype(np.int64)
    if not lacking.any():
        return
    weights, kind = np.unique(units.weights, return_inverse=True)
    weights, kind = weights[:_MAX_EXCHANGED_WEIGHTS], np.where(kind < _MAX_EXCHANGED_WEIGHTS, kind, -1)
    k = len(lacking)
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    counts = np.zeros((len(weights), k), dtype=np.int64)
    light = kind >= 0
    np.add.at(counts, (kind[light], part[light]), 1)
    owner = np.repeat(np.arange(len(part)), np.diff(units.indptr))
    while (
        lacking.any() and (exchange := _best_exchange(weights.tolist(), counts.tolist(), lacking.tolist())) is not None
    ):
        a, b, going, coming = exchange
        # What an exchange does many times over is done in few steps: a quarter of the way at a time, for each move
        # changes what the next one costs.
        net = int(weights[list(going)].sum() - weights[list(coming)].sum())
        times = max(1, min(-int(lacking[a]), int(lacking[b])) // abs(net) // 4) if net else 1
        times = min(
            [times, *(counts[one, s] // which.count(one) for which, s in ((going, a), (coming, b)) for one in which)]
        )
        change = units.images * of_class[units.classes]
        cost = 2 * change * (need[units.classes, a] - need[units.classes, b] + units.images)
        leave = np.bincount(owner, weights=cost, minlength=len(part))
        cost = 2 * change * (need[units.classes, b] - need[units.classes, a] + units.images)
        enter = np.bincount(owner, weights=cost, minlength=len(part))
        for which, start, end, price in ((going, a, b, leave), (coming, b, a, enter)):
            for one in set(which):
                among = np.flatnonzero((kind == one) & (part == start))
                chosen = among[np.lexsort((position[among], price[among]))[: times * which.count(one)]]
                part[chosen] = end
                counts[one, start] -= len(chosen)
                counts[one, end] += len(chosen)
                lacking[start] += len(chosen) * weights[one]
                lacking[end] -= len(chosen) * weights[one]
                entries = np.isin(owner, chosen)
                np.add.at(need[:, start], units.classes[entries], units.images[entries])
                np.subtract.at(need[:, end], units.classes[entries], units.images[entries])
    made.lacking[:] = lacking


def _best_exchange(
    weights: Sequence[int], counts: Sequence[Sequence[int]], lacking: Sequence[int]
) -> tuple[int, int, tuple[int, ...], tuple[int, ...]] | None:
    """Up to two units of part a against up to two of part b, given by their weights' positions, that bring the sizes
    closest; None if none helps.
    """

    def bundles(part: int) -> dict[int, tuple[int, ...]]:
        """Total weight -> positions of up to two weights of which the part has a unit each."""
        found: dict[int, tuple[int, ...]] = {0: ()}
        for size in (1, 2):
            for chosen in combinations_with_replacement(range(len(weights)), size):
                if all(counts[one][part] >= chosen.count(one) for one in chosen):
                    found.setdefault(sum(weights[one] for one in chosen), chosen)
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
