"""Stable ids of classes: the same class has the same id in every version of a dataset."""

from collections.abc import Mapping, Sequence


def stable_ids(
    names: Sequence[str], earlier: Mapping[str, int], next_id: int, taken: Sequence[int] = ()
) -> tuple[list[int], int]:
    """The stable id of each class, and the next free one.

    earlier: the id that a name last had in the dataset. Such a class keeps it, unless two names of one renamed class
    meet: then the later one is new. taken: ids of classes that are there already.
    """
    found: list[int] = []
    used = set(taken)
    for name in names:
        class_id = earlier.get(name)
        if class_id is None or class_id in used:
            class_id, next_id = next_id, next_id + 1
        used.add(class_id)
        found.append(class_id)
    return found, next_id
