"""Runs as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitrail_common.training.arguments import Value

from splitrail_trainer.data.domain import PinnedData
from splitrail_trainer.jobs.domain import Job, JobInfo
from splitrail_trainer.models.domain import Artifact, Checkpoint


@dataclass(frozen=True)
class RunRequest:
    """A run as requested, with defaults."""

    project_id: str
    data: str
    """For example `cells@v3#2`; without effect beside a split_id."""
    split_id: str
    """Empty: what `data` refers to."""
    model: str
    arguments: Mapping[str, object]
    request_id: str
    queue: str
    external_id: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class NewRun:
    """A run to be queued."""

    job: Job
    data: PinnedData
    model: str
    arguments: Mapping[str, object]
    """As requested."""
    resolved: Mapping[str, Value]
    external_id: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """A stored run."""

    info: JobInfo
    number: int
    data: PinnedData
    model: str
    arguments: Mapping[str, Value]
    resolved: Mapping[str, Value]
    epochs: int
    checkpoint: Checkpoint | None
    external_id: str
    labels: Mapping[str, str]
    versions: Mapping[str, str]
    artifacts: Sequence[Artifact] = ()

    @property
    def run_id(self) -> str:
        """Also the id of its job."""
        return self.info.job.job_id

    @property
    def reference(self) -> str:
        """`cells/17`."""
        return f"{self.data.dataset_name}/{self.number}"


@dataclass(frozen=True)
class RunFilter:
    """Which runs to list; None: any."""

    project_id: str | None = None
    dataset_id: str | None = None
    state: str | None = None
    external_id: str | None = None
