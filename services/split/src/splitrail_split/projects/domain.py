"""Projects: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from splitrail_common.repeats import RequestKey


@dataclass(frozen=True, slots=True)
class Project:
    """What owns datasets; archived when it has an archive_time."""

    project_id: str
    external_id: str
    labels: dict[str, str]
    create_time: datetime
    archive_time: datetime | None


@dataclass(frozen=True, slots=True)
class NewProject:
    """A project to be made."""

    project_id: str
    external_id: str
    labels: Mapping[str, str]
    creator: str
    """Subject of the caller's token: request_ids are each caller's own."""
    key: RequestKey
