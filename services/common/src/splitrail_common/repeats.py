"""Requests that are sent twice: a create with the same request_id answers with what the first one made, and is refused
when it asks for something else.
"""

import hashlib
from dataclasses import dataclass
from typing import Self

from google.protobuf.message import Message

from .errors import Violation, invalid

_FIELD = "request_id"


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What tells a request that is sent again from another one; stored beside what it made."""

    request_id: str
    """Empty: the caller does not want to repeat it."""
    digest: bytes
    """SHA-256 (32 bytes) of the request as it came, without its request_id."""

    @classmethod
    def of(cls, request: Message) -> Self:
        """The key of a request, which has a field request_id."""
        rest = type(request)()
        rest.CopyFrom(request)
        rest.ClearField(_FIELD)
        digest = hashlib.sha256(request.DESCRIPTOR.full_name.encode() + b"\0")
        digest.update(rest.SerializeToString(deterministic=True))
        return cls(str(getattr(request, _FIELD)), digest.digest())

    def require_same(self, made_by: bytes) -> None:
        """Raises INVALID_ARGUMENT about request_id when `made_by`, the digest of the request that used it first, is of
        another request. Empty: that one was not kept, and passes for the same.
        """
        if made_by and made_by != self.digest:
            raise invalid(Violation(_FIELD, "was used for another request: use a new one"))
