"""Where a page of numbered things, or of things by id, begins."""

from splitrail_common import ids
from splitrail_common.errors import PlatformError, Violation, invalid
from splitrail_common.paging import PageRequest


def number_after(asked: PageRequest, first: int) -> int:
    """Where a page of numbered things begins; `first`: the first page."""
    if asked.after is None:
        return first
    number = int(asked.after[-1])
    if not -1 <= number < 2**31:
        raise _bad_token()
    return number


def number_before(asked: PageRequest) -> int | None:
    """Below which number a page of numbered things begins, newest first; None: the first page."""
    return None if asked.after is None else number_after(asked, 0)


def id_before(asked: PageRequest) -> str | None:
    """Before which id a page begins, newest first; None: the first page."""
    if asked.after is None:
        return None
    if not ids.is_uuid(asked.after[0]):
        raise _bad_token()
    return str(asked.after[0])


def _bad_token() -> PlatformError:
    return invalid(Violation("page_token", "not a token of an earlier response"))
