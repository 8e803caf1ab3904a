"""Whole numbers from shares: exact integer arithmetic, so that every machine rounds alike."""

from __future__ import annotations

from collections.abc import Sequence

ONE = 1_000_000_000
"""One unit (image) in the fixed-point numbers of the split algorithms."""


def apportion(need: Sequence[int], total: int, lean: Sequence[int] | None = None) -> list[int]:
    """Whole numbers >= 0 that add up to total and are close to need (in units of ONE, which may be negative or add up
    to something else).

    First the nearest point with the right sum and nothing negative, then largest remainders; `lean` is added to the
    remainders, and equal ones go to the earlier entry. What needs nothing exactly gets nothing while another has a
    remainder.
    """
    if total == 0:
        return [0] * len(need)
    shares = list(need)
    open_ = [index for index, share in enumerate(shares) if share > 0] or list(range(len(shares)))
    for index in range(len(shares)):
        if index not in open_:
            shares[index] = 0
    while True:
        excess, rest = divmod(sum(shares[index] for index in open_) - total * ONE, len(open_))
        for position, index in enumerate(open_):
            shares[index] -= excess + (position < rest)
        negative = [index for index in open_ if shares[index] < 0]
        if not negative:
            break
        for index in negative:
            shares[index] = 0
        open_ = [index for index in open_ if index not in negative]
    whole = [share // ONE for share in shares]
    by_remainder = sorted(
        (index for index in range(len(shares)) if shares[index] % ONE),
        key=lambda index: (-(shares[index] % ONE + (lean[index] if lean else 0)), index),
    )
    for index in by_remainder[: total - sum(whole)]:
        whole[index] += 1
    return whole
