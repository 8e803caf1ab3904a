"""Pages of lists, as requests ask for them and as responses hold them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message
from splitrail_common import ids, paging
from splitrail_common.errors import PlatformError, Violation, invalid

from splitrail_split.domain.pages import Page

M = TypeVar("M", bound=Message)
T = TypeVar("T")


def number_after(asked: paging.Page, first: int) -> int:
    """Where a page of numbered things begins; `first`: the first page."""
    if asked.after is None:
        return first
    number = int(asked.after[-1])
    if not -1 <= number < 2**31:
        raise _bad_token()
    return number


def number_before(asked: paging.Page) -> int | None:
    """Below which number a page of numbered things begins, newest first; None: the first page."""
    return None if asked.after is None else number_after(asked, 0)


def id_before(asked: paging.Page) -> str | None:
    """Before which id a page begins, newest first; None: the first page."""
    if asked.after is None:
        return None
    if not ids.is_uuid(asked.after[0]):
        raise _bad_token()
    return str(asked.after[0])


def fit(asked: paging.Page, found: Page[T], convert: Callable[[T], M], key: Callable[[T], paging.Key]) -> tuple[Sequence[M], str]:
    """What of a page fits into one response, and the token of the next one (empty at the end). key: where the page
    after an entry begins.
    """
    messages = [convert(one) for one in found.items]
    count = paging.fitting(messages)
    more = found.more or count < len(messages)
    return messages[:count], asked.token(key(found.items[count - 1])) if messages and more else ""


def _bad_token() -> PlatformError:
    return invalid(Violation("page_token", "not a token of an earlier response"))
