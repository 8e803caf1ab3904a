"""Deletes that may be repeated."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from splitrail_common.errors import PlatformError


@contextmanager
def missing(*, allowed: bool) -> Iterator[None]:
    """Ignores, if allowed, that what the block deletes does not exist (or was deleted before)."""
    try:
        yield
    except PlatformError as error:
        if not allowed or error.code is not grpc.StatusCode.NOT_FOUND:
            raise
