"""Imports: what is announced, who works on it, and what is found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from splitrail_common.repeats import RequestKey

from splitrail_split.domain.datasets import Version
from splitrail_split.formats import Format, spot


class ImportState(StrEnum):
    """Life of an import; stored by name."""

    OPEN = "OPEN"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """True when it will not change again."""
        return self in (ImportState.SUCCEEDED, ImportState.FAILED, ImportState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Import:
    """One transfer of a source into a new version of a dataset. `format` None: not known yet."""

    import_id: str
    project_id: str
    dataset_name: str
    task: int
    state: ImportState
    format: Format | None
    strict: bool
    dry_run: bool
    file_count: int
    image_count: int
    processed_count: int
    excluded_count: int
    problem_count: int
    note_count: int
    failure: str
    version_id: str | None
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    requested_format: Format | None
    """What the start asked for; None: to be detected."""

    @property
    def started_with(self) -> "StartOptions":
        """The options of its start."""
        return StartOptions(self.requested_format, self.strict, self.dry_run)


@dataclass(frozen=True, slots=True)
class NewImport:
    """An import to be opened."""

    project_id: str
    dataset_name: str
    task: int
    key: RequestKey


@dataclass(frozen=True, slots=True)
class StartOptions:
    """How an import is to be worked on. `format` None: to be detected."""

    format: Format | None
    strict: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a source, as announced."""

    path: str
    sha256: bytes
    size_bytes: int
    is_image: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """An import that this process works on until its lease ends. `format` None: the source is to be looked into first."""

    import_id: str
    project_id: str
    dataset_name: str
    task: int
    format: Format | None
    strict: bool
    dry_run: bool
    image_count: int
    claims: int
    owner: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, or a note, of an import's report; `line` and `object` as in `formats.Problem`."""

    path: str
    line: int | None
    code: str
    message: str
    image_excluded: bool
    note: bool
    object: int | None = None

    def __str__(self) -> str:
        return f"{spot(self.path, self.line, self.object)}: {self.message}" if self.path else self.message


@dataclass(frozen=True, slots=True)
class Report:
    """What an import found: as many findings as are kept, and the complete numbers."""

    findings: Sequence[Finding] = field(default_factory=tuple)
    problem_count: int = 0
    note_count: int = 0
    excluded_count: int = 0


@dataclass(frozen=True, slots=True)
class ImportView:
    """An import with the version it made and the beginning of its report."""

    found: Import
    version: Version | None
    findings: Sequence[Finding]
