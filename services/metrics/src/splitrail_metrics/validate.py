"""Rules on requests that need no state."""

from collections.abc import Iterable

from splitrail_common.errors import Violation, invalid
from splitrail_common.ids import is_uuid

from .ingest.check import PLOT_NAME

MAX_SUMMARIES = 1000
_LARGEST = 2**63 - 1


def run_id(text: str, name: str = "run_id") -> str:
    """Returns it; raises INVALID_ARGUMENT when it is no UUID."""
    if not is_uuid(text):
        raise invalid(Violation(name, f"{text[:100]!r} is not a UUID; resolve names like `cells/17` with ResolveRun"))
    return text


def run_ids(texts: Iterable[str]) -> list[str]:
    """Returns them, each once; raises INVALID_ARGUMENT for too many, or one that is no UUID."""
    unique = list(dict.fromkeys(texts))
    if len(unique) > MAX_SUMMARIES:
        raise invalid(Violation("run_ids", f"{len(unique)} runs, more than {MAX_SUMMARIES}"))
    return [run_id(text, f"run_ids[{index}]") for index, text in enumerate(unique)]


def cursor(after_seq: int) -> int:
    """Returns it; raises INVALID_ARGUMENT when no feed can be that long."""
    if after_seq > _LARGEST:
        raise invalid(Violation("after_seq", f"{after_seq} is beyond any feed"))
    return after_seq


def plot_name(text: str) -> str:
    """Returns it; raises INVALID_ARGUMENT when it is no file name of a plot."""
    if not PLOT_NAME.fullmatch(text):
        raise invalid(Violation("name", f"{text[:100]!r} is no plot's name: letters, digits, '.', '_', '-', at most 128"))
    return text
