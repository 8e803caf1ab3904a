"""Keyset paging: a page token is the last row's key, opaque to clients."""

import base64
import binascii
import json
from collections.abc import Sequence

from google.protobuf.message import Message

from .errors import Violation, invalid

DEFAULT_PAGE = 100
MAXIMUM_PAGE = 1000
PAGE_BYTES = 3 * 1024 * 1024
"""Pages stay below gRPC's default limit of 4 MiB a message, whatever their rows hold."""


def page_size(requested: int) -> int:
    """The size to use; raises INVALID_ARGUMENT beyond the maximum."""
    if requested > MAXIMUM_PAGE:
        raise invalid(Violation("page_size", f"at most {MAXIMUM_PAGE}, not {requested}"))
    return requested or DEFAULT_PAGE


def encode(key: list[str | int]) -> str:
    """The token that continues after `key`."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode(token: str, kinds: tuple[type, ...]) -> list[str | int] | None:
    """The key in a token, of exactly these types, or None for the first page; raises INVALID_ARGUMENT for anything else."""
    if not token:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    if not isinstance(key, list) or len(key) != len(kinds) or any(type(part) is not kind for part, kind in zip(key, kinds, strict=True)):
        raise invalid(Violation("page_token", "not a token of an earlier response"))
    return key


def fitting(rows: Sequence[Message]) -> int:
    """How many of the rows fit into one page; at least one, if there is one."""
    total = 0
    for count, row in enumerate(rows):
        total += row.ByteSize()
        if total > PAGE_BYTES:
            return max(1, count)
    return len(rows)
