"""What a split lets leak: equal images, near-duplicates and neighbouring video frames in different parts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitrail_split.domain.arrays import Array
from splitrail_split.domain.parts import PARTS
from splitrail_split.splits.algorithm import groups
from splitrail_split.versions.near import MAX_DISTANCE, Links


@dataclass(frozen=True, slots=True)
class Leaks:
    """Counts over a whole split."""

    duplicate_pairs: int
    near_pairs: list[int]
    """By distance, 0 to MAX_DISTANCE."""
    largest_cluster: int
    """Images in the largest cluster of near-duplicates; 0 without any."""
    frame_pairs: int
    parted_frame_pairs: int


def crossing(
    vector: npt.NDArray[np.uint8], first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]
) -> npt.NDArray[np.bool_]:
    """Which pairs lie in two different parts; images in no part do not leak."""
    one, other = vector[first], vector[second]
    crosses: npt.NDArray[np.bool_] = (one != other) & (one > 0) & (other > 0)
    return crosses


def find_leaks(vector: npt.NDArray[np.uint8], content: Array, links: Links, next_frame: Array) -> Leaks:
    """Counts what of a split vector (N,) leaks."""
    frame = np.flatnonzero(next_frame >= 0)
    parted = links.distance[crossing(vector, links.first, links.second)]
    return Leaks(
        duplicate_pairs=_duplicates(vector, content),
        near_pairs=np.bincount(parted, minlength=MAX_DISTANCE + 1).tolist(),
        largest_cluster=int(np.bincount(cluster(len(vector), links)).max(initial=0)) if len(links.first) else 0,
        frame_pairs=len(frame),
        parted_frame_pairs=int(np.count_nonzero(crossing(vector, frame, next_frame[frame]))),
    )


def cluster(n: int, links: Links) -> npt.NDArray[np.int64]:
    """(n,) the cluster of near-duplicates that each image is in, dense from 0; an image that looks like no other is one
    of its own.
    """
    return groups.components(n, links.first, links.second)


def _duplicates(vector: npt.NDArray[np.uint8], content: Array) -> int:
    """Pairs of equal contents that lie in different parts. Imports and drafts keep a content once, so any is a defect
    of theirs.
    """
    placed = np.flatnonzero(vector)
    number = groups.equal_content(np.ascontiguousarray(content[placed]).view("<u8"))
    if number is None:
        return 0
    held = np.zeros((int(number.max()) + 1, len(PARTS) + 1), dtype=np.int64)
    np.add.at(held, (number, vector[placed]), 1)
    return int((held.sum(axis=1) ** 2 - (held**2).sum(axis=1)).sum() // 2)
