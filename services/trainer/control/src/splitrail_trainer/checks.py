"""Collects what is wrong with a request, so that all of it is named at once. Before that, the boundary has checked what
the protos declare beside their fields.
"""

from collections.abc import Mapping
from typing import TypeVar

from splitrail_common.errors import Violation, invalid
from splitrail_common.ids import is_name

T = TypeVar("T")
MAXIMUM_ID = 128
MAXIMUM_LABELS = 64
MAXIMUM_LABEL = 256


class Checker:
    """Collects violations."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def require(self, holds: bool, field: str, description: str) -> None:
        """Notes that `field` is wrong unless `holds`."""
        if not holds:
            self.note(Violation(field, description))

    def note(self, *violations: Violation) -> None:
        """Notes what somebody else has found."""
        self._violations.extend(violations)

    def done(self) -> None:
        """Raises INVALID_ARGUMENT when anything was noted."""
        if self._violations:
            raise invalid(*self._violations)

    def printable(self, value: str, field: str) -> None:
        """A text without control characters."""
        self.require(value.isprintable(), field, "holds control characters")

    def text(self, value: str, field: str, maximum: int) -> None:
        """A short text without control characters."""
        self.require(len(value) <= maximum, field, f"at most {maximum} characters, not {len(value)}")
        self.printable(value, field)

    def queue(self, value: str) -> None:
        """The name of a queue."""
        self.require(is_name(value), "queue", "letters, digits, '.', '_', '-', at most 64")

    def known(self, table: Mapping[int, T], number: int, field: str, description: str) -> T:
        """What an enum's number means. An unknown one is noted, and stands for the table's first value until `done`
        raises.
        """
        self.require(number in table, field, description)
        return table.get(number, next(iter(table.values())))
