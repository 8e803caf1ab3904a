"""What must be true of a version before something is done with it."""

from splitrail_common.errors import PlatformError, Reason, precondition

from splitrail_split.domain.datasets import Version, VersionState
from splitrail_split.domain.parts import PART_NAMES


def require_committed(version: Version, field: str = "version_id") -> None:
    """Raises FAILED_PRECONDITION (VERSION_STATE) for a draft."""
    if version.state != VersionState.COMMITTED:
        raise precondition(
            Reason.ERROR_REASON_VERSION_STATE, f"{version.reference} is a draft: commit it first", field=field
        )


def split_missing(version: Version) -> PlatformError:
    """FAILED_PRECONDITION (SPLIT_MISSING): the version has no split revision."""
    how = f"create one with ratios for {', '.join(PART_NAMES)}"
    return precondition(
        Reason.ERROR_REASON_SPLIT_MISSING, f"{version.reference} has no split: {how}", field="version_id"
    )
