"""The parts of a split, by the names that people use and by the numbers that split vectors hold."""

PART_NAMES = ("train", "val", "test")
"""Value of a split vector - 1 -> name of the part; 0 in a vector is "in no part"."""
PARTS = {name: number for number, name in enumerate(PART_NAMES, start=1)}
