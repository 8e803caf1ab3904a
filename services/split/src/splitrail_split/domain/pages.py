"""A page of a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some entries of a list; `more` when others follow."""

    items: Sequence[T]
    more: bool

    @classmethod
    def of(cls, found: Sequence[T], limit: int) -> "Page[T]":
        """The first `limit` of what was looked up with one entry more than that."""
        return cls(found[:limit], len(found) > limit)
