"""Keyset paging: a page token is the key of the last row that was seen, opaque to clients, and good for the same
request only."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from .errors import Violation, invalid

DEFAULT_PAGE = 100
MAXIMUM_PAGE = 1000
PAGE_BYTES = 3 * 1024 * 1024
"""Pages stay below gRPC's default limit of 4 MiB a message, whatever their rows hold."""
Key = Sequence[str | int]
T = TypeVar("T")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some entries of a list, as a use case returns them; `more` when others follow."""

    items: Sequence[T]
    more: bool

    @classmethod
    def of(cls, found: Sequence[T], limit: int) -> "Page[T]":
        """The first `limit` of what was looked up with one entry more than that."""
        return cls(found[:limit], len(found) > limit)


@dataclass(frozen=True)
class PageRequest:
    """Which entries a request asks for."""

    size: int
    """How many entries at most."""
    after: tuple[Any, ...] | None
    """The key of the last row of the page before; None: from the start."""
    binding: str
    """Of tokens to their request."""

    def token(self, key: Key) -> str:
        """The token that continues after `key`."""
        return base64.urlsafe_b64encode(json.dumps([self.binding, *key]).encode()).decode().rstrip("=")


def page(request: Any, *kinds: type) -> PageRequest:
    """What the fields page_size and page_token of a request ask for; `kinds` are the types (str, int) of the parts of
    its rows' key.

    A size of 0 means the default; more than the maximum is the maximum. A token is bound to the request, other than its
    page_size: its RPC and its filters. Raises INVALID_ARGUMENT for a size below 0, and a token that is not of this
    request's.
    """
    if request.page_size < 0:
        raise invalid(Violation("page_size", f"must not be negative, not {request.page_size}"))
    binding = _binding(request)
    size = min(request.page_size or DEFAULT_PAGE, MAXIMUM_PAGE)
    return PageRequest(size, _decode(request.page_token, binding, kinds) if request.page_token else None, binding)


def _binding(request: Message) -> str:
    asked = type(request)()
    asked.CopyFrom(request)
    asked.ClearField("page_size")
    asked.ClearField("page_token")
    name = request.DESCRIPTOR.full_name
    return hashlib.sha256(name.encode() + b"\0" + asked.SerializeToString(deterministic=True)).hexdigest()[:16]


def _decode(token: str, binding: str, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or [type(part) for part in found] != [str, *kinds] or not all(map(_is_text, found)):
        raise invalid(Violation("page_token", "not a token of an earlier response"))
    if found[0] != binding:
        raise invalid(
            Violation(
                "page_token",
                "comes from another request: send the same fields as for the first page, or start without a token",
            )
        )
    return tuple(found[1:])


def _is_text(part: str | int) -> bool:
    """False for half of a surrogate pair, which JSON can hold and no store takes."""
    return isinstance(part, int) or not any("\ud800" <= character <= "\udfff" for character in part)


def fit(
    asked: PageRequest, found: Page[T], convert: Callable[[T], M], key: Callable[[T], Key]
) -> tuple[Sequence[M], str]:
    """What of a page fits into one response (at least one entry, if there is one), and the token of the next page,
    empty at the end. `key`: of an entry, after which the next page begins.
    """
    messages = [convert(one) for one in found.items]
    count = fitting(messages)
    more = found.more or count < len(messages)
    return messages[:count], asked.token(key(found.items[count - 1])) if messages and more else ""


def fitting(rows: Sequence[Message]) -> int:
    """How many of the rows fit into one page; at least one, if there is one."""
    total = 0
    for count, row in enumerate(rows):
        total += row.ByteSize()
        if total > PAGE_BYTES:
            return max(1, count)
    return len(rows)
