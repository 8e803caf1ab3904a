"""Requests that are sent twice with one request_id must ask for the same."""

from collections.abc import Mapping

from splitrail_common.errors import Violation, invalid


def require_same(made: str, same: Mapping[str, bool]) -> None:
    """Raises INVALID_ARGUMENT about request_id when a field, by name, differs from that of the request that has made
    `made`.
    """
    differing = [name for name, is_same in same.items() if not is_same]
    if differing:
        raise invalid(Violation("request_id", f"was used for {made} with other {', '.join(differing)}: use a new one"))
