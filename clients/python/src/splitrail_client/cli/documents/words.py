"""What all documents share: enums as words and times as text."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

Document = dict[str, Any]


def word(enum: Any, value: int, prefix: str) -> str:
    """An enum's value in lower case without its prefix; empty for the unspecified one."""
    return str(enum.Name(value)).removeprefix(prefix).lower() if value else ""


def time_text(value: Timestamp) -> str | None:
    """RFC 3339, or None when it has not been set."""
    return value.ToJsonString() if value.seconds else None
