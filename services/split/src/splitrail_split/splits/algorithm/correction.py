"""Local search after the batched placement: exact sizes first, then exchanges that bring classes back within one image
of their share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitrail_split.splits.algorithm.shares import ONE

_MAX_MOVABLE = 65_536
_MAX_PARTNERS = 2_048
_TOP = 64
_BARRED = np.int64(1) << np.int64(58)


@dataclass(slots=True)
class Placed:
    """A placement in canonical order: ranks[indptr[i]:indptr[i + 1]] are the class ranks of unit i, split (n,) its
    split.

    need (C, k): share minus what each split holds of each class, times ONE. sizes: units that each of the k splits must
    have.
    """

    indptr: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int32]
    split: npt.NDArray[np.uint8]
    need: npt.NDArray[np.int64]
    sizes: list[int]

    def classes_of(self, unit: int) -> npt.NDArray[np.int32]:
        return self.ranks[self.indptr[unit] : self.indptr[unit + 1]]

    def move(self, unit: int, to: int) -> None:
        """Put one unit into another split and keep need true."""
        classes = self.classes_of(unit)
        self.need[classes, self.split[unit]] += ONE
        self.need[classes, to] -= ONE
        self.split[unit] = to


@dataclass(frozen=True, slots=True)
class _Sample:
    """Some units, with their class ranks side by side."""

    units: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]

    def scores(self, cost: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Sum of cost[class] over each unit's classes. Sums may wrap around on the way; their differences do not."""
        running: npt.NDArray[np.int64] = np.concatenate([np.zeros(1, np.int64), np.cumsum(cost[self.ranks])])
        return running[self.bounds[1:]] - running[self.bounds[:-1]]


def correct(placed: Placed) -> None:
    """Make sizes exact, then exchange units until every class is within one unit of its share or nothing helps.

    Exchanges lower the sum of squared deviations; where that is stuck, the sum of their fourth powers, which weighs the
    worst classes more. Deterministic: candidates are taken by score and canonical position.
    """
    _fix_sizes(placed)
    if placed.need.size and int(np.abs(placed.need).max()) >= ONE:
        exchange = _Exchange(placed)
        exchange.run(_square_cost)
        for cost, limit in ((_quartic_cost, 8 * ONE), (_octic_cost, 4 * ONE)):
            if int(np.abs(placed.need).max()) < limit:
                exchange.run(cost)


def _sample(placed: Placed, units: npt.NDArray[np.int64]) -> _Sample:
    starts = placed.indptr[units]
    lengths = placed.indptr[units + 1] - starts
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return _Sample(units, bounds, placed.ranks[np.repeat(starts - bounds[:-1], lengths) + np.arange(bounds[-1])])


def _every(units: npt.NDArray[np.int64], at_most: int) -> npt.NDArray[np.int64]:
    """At most so many of the units, evenly along their order."""
    return units[:: -(-len(units) // at_most)] if len(units) > at_most else units


def _lowest(scores: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Positions of the lowest scores, lowest first, equal ones by position."""
    among = np.arange(len(scores))
    if len(scores) > count:
        among = np.flatnonzero(scores <= np.partition(scores, count - 1)[count - 1])
    return among[np.argsort(scores[among], kind="stable")][:count]


Cost = Callable[[Placed, int, int], npt.NDArray[np.int64]]
"""(C,): by how much a sum of deviations changes when one unit with the class goes from split a to split b."""


def _square_cost(placed: Placed, a: int, b: int) -> npt.NDArray[np.int64]:
    """Half the change of the sum of squared deviations, times ONE."""
    return placed.need[:, a] - placed.need[:, b] + ONE


def _quartic_cost(placed: Placed, a: int, b: int) -> npt.NDArray[np.int64]:
    """The change of the sum of fourth powers of deviations in thousandths; fits for deviations below 8 units."""
    return _power_cost(placed.need[:, a], placed.need[:, b], 4, 1000)


def _octic_cost(placed: Placed, a: int, b: int) -> npt.NDArray[np.int64]:
    """The change of the sum of eighth powers of deviations in twentieths; fits for deviations below 4 units."""
    return _power_cost(placed.need[:, a], placed.need[:, b], 8, 20)


def _power_cost(
    need_a: npt.NDArray[np.int64], need_b: npt.NDArray[np.int64], power: int, step: int
) -> npt.NDArray[np.int64]:
    short_a, short_b = need_a // (ONE // step), need_b // (ONE // step)
    change: npt.NDArray[np.int64] = (
        (short_a + step) ** power - short_a**power + (short_b - step) ** power - short_b**power
    )
    return change


def _fix_sizes(placed: Placed) -> None:
    k = len(placed.sizes)
    surplus = np.bincount(placed.split, minlength=k) - np.array(placed.sizes)
    while surplus.any():
        a, b = int(np.argmax(surplus)), int(np.argmin(surplus))
        count = int(min(surplus[a], -surplus[b]))
        units = np.flatnonzero(placed.split == a)
        sample = _sample(placed, _every(units, max(_MAX_MOVABLE, 4 * count)))
        # A few at a time: each move changes what the next one costs.
        batch = max(1, count // 4)
        for position in _lowest(sample.scores(_square_cost(placed, a, b)), batch):
            placed.move(int(sample.units[position]), b)
        surplus[a] -= batch
        surplus[b] += batch


class _Exchange:
    """Exchanges of two units between splits: sizes stay, the cost falls with every exchange, so it ends."""

    def __init__(self, placed: Placed) -> None:
        self.placed = placed
        n, classes = len(placed.split), len(placed.need)
        self.partners = _sample(placed, _every(np.arange(n), _MAX_PARTNERS))
        by_class = np.argsort(placed.ranks, kind="stable")
        self.units_by_class = np.repeat(np.arange(n), np.diff(placed.indptr))[by_class]
        self.class_bounds = np.concatenate([[0], np.cumsum(np.bincount(placed.ranks, minlength=classes))])
        self.steps_left = 1000 + 20 * classes

    def run(self, cost: Cost) -> None:
        need = self.placed.need
        stuck = np.zeros(need.shape, dtype=bool)
        while self.steps_left:
            off = np.where(stuck, 0, np.abs(need))
            cell = int(np.argmax(off))
            if off.flat[cell] < ONE:
                return
            self.steps_left -= 1
            c, s = divmod(cell, need.shape[1])
            if self._relieve(c, s, cost):
                stuck[:] = False
            else:
                stuck[c, s] = True

    def _relieve(self, c: int, s: int, cost: Cost) -> bool:
        """One exchange that brings class c in split s closer to its share, if there is one."""
        row = self.placed.need[c]
        others = [int(other) for other in np.argsort(row, kind="stable") if other != s and self.placed.sizes[other]]
        if row[s] > 0:
            return any(self._exchange(c, other, s, cost) for other in others)
        return any(self._exchange(c, s, other, cost) for other in reversed(others))

    def _exchange(self, c: int, a: int, b: int, cost: Cost) -> bool:
        """Exchange the best pair of a unit of a with class c and a unit of b without it; False when none lowers the
        cost.
        """
        placed = self.placed
        with_class = self.units_by_class[self.class_bounds[c] : self.class_bounds[c + 1]]
        leaving = _sample(placed, _every(with_class[placed.split[with_class] == a], _MAX_PARTNERS))
        there, back = cost(placed, a, b), cost(placed, b, a)
        both = there + back
        back[c] = _BARRED
        scores_back = np.where(placed.split[self.partners.units] == b, self.partners.scores(back), _BARRED)
        scores = leaving.scores(there)
        first, second = _lowest(scores, _TOP), _lowest(scores_back, _TOP)
        second = second[scores_back[second] < _BARRED // 2]
        if not (len(first) and len(second)):
            return False
        # A class of both units stays where it is, but was counted as leaving and as coming.
        gone, come = self._holds(leaving.units[first]), self._holds(self.partners.units[second])
        common = np.flatnonzero(gone.any(axis=0) & come.any(axis=0))
        shared = (gone[:, common] * both[common]) @ come[:, common].T
        change = scores[first][:, None] + scores_back[second] - shared
        best = int(np.argmin(change))
        if change.flat[best] >= 0:
            return False
        i, j = divmod(best, len(second))
        placed.move(int(leaving.units[first[i]]), b)
        placed.move(int(self.partners.units[second[j]]), a)
        return True

    def _holds(self, units: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """(units, C): whether the unit has the class."""
        chosen = _sample(self.placed, units)
        holds = np.zeros((len(units), len(self.placed.need)), dtype=np.bool_)
        holds[np.repeat(np.arange(len(units)), np.diff(chosen.bounds)), chosen.ranks] = True
        return holds
