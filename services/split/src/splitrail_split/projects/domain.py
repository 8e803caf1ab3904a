"""Projects: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Project:
    """What owns datasets; archived when it has an archive_time."""

    project_id: str
    external_id: str
    labels: dict[str, str]
    create_time: datetime
    archive_time: datetime | None
    request_id: str


@dataclass(frozen=True, slots=True)
class NewProject:
    """A project to be made."""

    project_id: str
    external_id: str
    labels: Mapping[str, str]
    request_id: str
