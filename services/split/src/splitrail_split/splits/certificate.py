"""The certificate of a split: its balance, what it lets leak, and in words what could not be reconciled. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from splitrail_common.annotations import LabelState
from splitrail_common.text import counted

from splitrail_split.domain.arrays import Array
from splitrail_split.domain.parts import PARTS
from splitrail_split.splits.balance import Balance, half_width
from splitrail_split.splits.domain import Certificate, ClassBalance, ClassPart, PartSummary
from splitrail_split.splits.leaks import Leaks

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Placement:
    """A split vector (N,) and what it came of.

    units (N,): the group of each image. fixed (N,): the part that the base or a pin gave, 0 for none; None when there
    was neither. findings: what collecting all this has shown, in words.
    """

    vector: npt.NDArray[np.uint8]
    label_state: Array
    units: npt.NDArray[np.int64]
    fixed: npt.NDArray[np.uint8] | None
    findings: Sequence[str]


def certificate(
    made: Balance, class_names: Sequence[str], ratios: Sequence[float], leaks: Leaks, placement: Placement
) -> Certificate:
    """What a split achieves."""
    objects = made.boxes.sum(axis=0)
    grouped, parted = parted_units(placement.units, placement.vector)
    fixed = placement.fixed
    return Certificate(
        parts=tuple(
            PartSummary(
                part, made.sizes[column], int(objects[column]), made.background[column], made.wanted_sizes[column]
            )
            for column, part in enumerate(PARTS.values())
        ),
        classes=tuple(ClassBalance(name, _class_parts(made, row, ratios)) for row, name in enumerate(class_names)),
        worst_class=class_names[made.worst.class_id] if made.worst else "",
        max_deviation=made.max_deviation_fraction,
        random_max_deviation=made.random_max_deviation_fraction,
        max_deviation_images=made.max_deviation_images,
        empty_cells=len(made.empty_cells),
        random_empty_cells=made.random_empty_cells,
        duplicate_pairs=leaks.duplicate_pairs,
        near_duplicate_pairs=tuple(leaks.near_pairs),
        neighbour_frame_pairs=leaks.parted_frame_pairs,
        frame_pairs=leaks.frame_pairs,
        group_count=grouped,
        parted_groups=len(parted),
        kept_images=0 if fixed is None else int(np.count_nonzero(fixed[placement.vector > 0])),
        findings=(*made.unmet, *_findings(placement, parted, leaks)),
    )


def _class_parts(made: Balance, row: int, ratios: Sequence[float]) -> tuple[ClassPart, ...]:
    total = int(made.images[row].sum())
    return tuple(
        ClassPart(
            part=part,
            images=int(made.images[row, column]),
            objects=int(made.boxes[row, column]),
            ideal_images=float(made.ideal[row, column]),
            deviation=abs(int(made.images[row, column]) / total - ratios[column]) if total else 0.0,
            expected_half_width=half_width(int(made.boxes[row, column])),
        )
        for column, part in enumerate(PARTS.values())
    )


def parted_units(units: npt.NDArray[np.int64], vector: npt.NDArray[np.uint8]) -> tuple[int, npt.NDArray[np.int64]]:
    """How many units have two images or more in parts, and those of them that lie in several parts."""
    placed = vector > 0
    n = int(units.max(initial=-1)) + 1
    images = np.bincount(units[placed], minlength=n)
    low, high = np.full(n, 255, dtype=np.uint8), np.zeros(n, dtype=np.uint8)
    np.minimum.at(low, units[placed], vector[placed])
    np.maximum.at(high, units[placed], vector[placed])
    return int(np.count_nonzero(images > 1)), np.flatnonzero((images > 1) & (low != high))


def _findings(placement: Placement, parted: npt.NDArray[np.int64], leaks: Leaks) -> list[str]:
    """What could not be reconciled, and what a reader of the certificate should know, in words."""
    found = list(placement.findings)
    vector, fixed = placement.vector, placement.fixed
    if unlabelled := int(np.count_nonzero(placement.label_state == LabelState.UNLABELLED)):
        found.append(f"in no part of the split, because they have not been annotated: {counted(unlabelled, 'image')}")
    if fixed is not None and (lost := int(np.count_nonzero((fixed > 0) & (vector == 0)))):
        found.append(f"of these, the base or a pin gave a part that they do not have now: {counted(lost, 'image')}")
    for unit in parted[:_NAMED]:
        ordinals = np.flatnonzero(placement.units == unit)
        found.append(
            f"a group of {len(ordinals)} images (ordinal {ordinals[0]} among them) is in several parts, because its fixed images are"
        )
    if len(parted) > _NAMED:
        found.append(f"in several parts too: {counted(len(parted) - _NAMED, 'group')} more")
    sizes = np.bincount(vector, minlength=len(PARTS) + 1)[1:]
    smallest = min((int(size) for size in sizes if size), default=0)
    if leaks.largest_cluster > smallest:
        found.append(
            f"a cluster of near-duplicates holds {leaks.largest_cluster} images, more than the smallest part ({smallest}): single links chain"
            " what need not be alike, so look at it before grouping by near-duplicates"
        )
    if leaks.duplicate_pairs:
        found.append(
            f"in different parts, because they were fixed there: {counted(leaks.duplicate_pairs, 'pair')} of equal images"
        )
    return found
