"""Keyset paging: a page token is the key of the last row that was seen, opaque to clients, and good for the same
request only."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from .errors import Violation, invalid

DEFAULT_PAGE = 100
MAXIMUM_PAGE = 1000
PAGE_BYTES = 3 * 1024 * 1024
"""Pages stay below gRPC's default limit of 4 MiB a message, whatever their rows hold."""
Key = Sequence[str | int]
R = TypeVar("R")


@dataclass(frozen=True)
class Page:
    """Which rows a request asks for."""

    size: int
    """How many rows at most: the store reads one more, to know whether there are more."""
    after: tuple[Any, ...] | None
    """The key of the last row of the page before; None: from the start."""
    binding: str
    """Of tokens to their request."""

    def token(self, key: Key) -> str:
        """The token that continues after `key`."""
        return base64.urlsafe_b64encode(json.dumps([self.binding, *key]).encode()).decode().rstrip("=")

    def cut(self, rows: Sequence[R], messages: Sequence[Message], key: Callable[[R], Key]) -> tuple[int, str]:
        """How many of the rows the page holds, bounded by its size and by bytes (at least one, if there is one), and
        the token of the next page.

        `rows` are at most `size` + 1, `messages` what is sent of the first `size` of them; the token is empty when there are no more.

        """
        count = min(self.size, fitting(messages))
        return count, self.token(key(rows[count - 1])) if count < len(rows) else ""


def page(request: Any, *kinds: type) -> Page:
    """What the fields page_size and page_token of a request ask for; `kinds` are the types (str, int) of the parts of
    its rows' key.

    A size of 0 means the default; more than the maximum is the maximum. A token is bound to the request, other than its
    page_size: its RPC and its filters. Raises INVALID_ARGUMENT for a size below 0, and a token that is none of this
    request's.
    """
    if request.page_size < 0:
        raise invalid(Violation("page_size", f"must not be negative, not {request.page_size}"))
    binding = _binding(request)
    size = min(request.page_size or DEFAULT_PAGE, MAXIMUM_PAGE)
    return Page(size, _decode(request.page_token, binding, kinds) if request.page_token else None, binding)


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
        raise invalid(Violation("page_token", "comes from another request: send the same fields as for the first page, or start without a token"))
    return tuple(found[1:])


def _is_text(part: str | int) -> bool:
    """False for half of a surrogate pair, which JSON can hold and no store takes."""
    return isinstance(part, int) or not any("\ud800" <= character <= "\udfff" for character in part)


def fitting(rows: Sequence[Message]) -> int:
    """How many of the rows fit into one page; at least one, if there is one."""
    total = 0
    for count, row in enumerate(rows):
        total += row.ByteSize()
        if total > PAGE_BYTES:
            return max(1, count)
    return len(rows)
