"""Deletes that may be repeated."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from splitrail_common.errors import PlatformError


@contextmanager
def missing(*, allowed: bool) -> Iterator[None]:
    """Ends the block without an error when what it deletes is not there (any more), if that is allowed."""
    try:
        yield
    except PlatformError as error:
        if not allowed or error.code is not grpc.StatusCode.NOT_FOUND:
            raise
