"""Sizes and cursors of pages."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from google.protobuf.message import Message
from splitrail_common import ids, paging
from splitrail_common.errors import PlatformError, Violation, invalid

M = TypeVar("M", bound=Message)
Key = list[str | int]
"""What a page token holds: where the next page begins."""


class Paged(Protocol):
    """A request for a page."""

    page_size: int
    page_token: str


def page_before(request: Paged) -> tuple[int, int | None]:
    """Size and cursor of a page of numbered things, newest first."""
    key = cursor(request, (int,))
    return paging.page_size(request.page_size), int(key[0]) if key else None


def page_after(request: Paged, first: int) -> tuple[int, int]:
    """Size and cursor of a page of numbered things, in ascending order."""
    key = cursor(request, (int,))
    return paging.page_size(request.page_size), int(key[0]) if key else first


def page_before_id(request: Paged) -> tuple[int, str | None]:
    """Size and cursor of a page of things with ids, newest first."""
    key = cursor(request, (str,))
    if key and not ids.is_uuid(str(key[0])):
        raise bad_token()
    return paging.page_size(request.page_size), str(key[0]) if key else None


def cursor(request: Paged, kinds: tuple[type, ...]) -> Key | None:
    """What a page token says, one value of each of these types; None for the first page."""
    key = paging.decode(request.page_token, kinds)
    if key and any(isinstance(one, int) and not -1 <= one < 2**31 for one in key):
        raise bad_token()
    return key


def bad_token() -> PlatformError:
    """INVALID_ARGUMENT for a token of another request, or of none."""
    return invalid(Violation("page_token", "not a token of an earlier response"))


def fit(messages: Sequence[M], keys: Sequence[Key], *, more: bool) -> tuple[Sequence[M], str]:
    """What of a page fits into one response, and the token of the next one (empty at the end). keys: of each message; more: others follow."""
    count = paging.fitting(messages)
    return messages[:count], paging.encode(keys[count - 1]) if messages and (more or count < len(messages)) else ""
