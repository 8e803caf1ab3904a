"""Rules that the requests of several wings share; a checker names all broken fields of a request at once."""

from collections.abc import Mapping
from typing import TypeVar

from splitrail_common import paging
from splitrail_common.errors import Violation, invalid
from splitrail_common.ids import DEFAULT_PROJECT, is_name, is_project_id, is_uuid

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

    def text(self, value: str, field: str, maximum: int) -> None:
        """A short text without control characters."""
        self.require(len(value) <= maximum, field, f"at most {maximum} characters, not {len(value)}")
        self.require(value.isprintable(), field, "holds control characters")

    def known(self, table: Mapping[int, T], number: int, field: str, description: str) -> T:
        """What an enum's number means. An unknown one is noted, and stands for the table's first value until `done` raises."""
        self.require(number in table, field, description)
        return table.get(number, next(iter(table.values())))

    def queue(self, value: str) -> None:
        """The name of a queue."""
        self.require(is_name(value), "queue", "letters, digits, '.', '_', '-', at most 64")

    def optional_uuid(self, value: str, field: str) -> None:
        """A UUID, or the empty string."""
        self.require(not value or is_uuid(value), field, "is not a UUID")


def identifier(value: str, field: str) -> str:
    """A UUID."""
    if not is_uuid(value):
        raise invalid(Violation(field, f"{value[:100]!r} is not a UUID; resolve names like `cells/17` with ResolveRun"))
    return value


def optional_identifier(value: str, field: str) -> str | None:
    """A UUID, or None for the empty string."""
    return identifier(value, field) if value else None


def project(value: str) -> str:
    """A project's slug; default `default`."""
    slug = value or DEFAULT_PROJECT
    if not is_project_id(slug):
        raise invalid(Violation("project_id", f"{value[:100]!r} is not a project's id: lower-case letters, digits, inner hyphens, at most 40"))
    return slug


def page_key(token: str) -> str | None:
    """The id after which a page begins."""
    key = paging.decode(token, (str,))
    return str(key[0]) if key else None
