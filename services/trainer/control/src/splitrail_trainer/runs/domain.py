"""What the store keeps besides the state of jobs: runs, evaluations and files, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from splitrail_common.training.arguments import Value

from splitrail_trainer.jobs.domain import Job


class ArtifactKind(StrEnum):
    """What a file is."""

    CHECKPOINT = "checkpoint"
    BEST_WEIGHTS = "best_weights"
    LAST_WEIGHTS = "last_weights"
    RESULTS = "results"
    ARGUMENTS = "arguments"


class Part(StrEnum):
    """A part of a split revision, as attempt tokens name it."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True)
class JobInfo:
    """A job with what is only shown."""

    job: Job
    queue_position: int | None
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None


@dataclass(frozen=True)
class StoredFile:
    """Bytes in S3."""

    key: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A run's resume point."""

    epoch: int
    """Epochs complete in it, from 1."""
    attempt: int
    file: StoredFile


@dataclass(frozen=True)
class Artifact:
    """A file that an attempt left."""

    job_id: str
    attempt: int
    name: str
    kind: ArtifactKind
    file: StoredFile
    epoch: int = 0
    """For checkpoints."""


@dataclass(frozen=True)
class DataPin:
    """What a run trains on, for ever."""

    project_id: str
    dataset_id: str
    dataset_name: str
    version_id: str
    version_number: int
    split_id: str
    split_reference: str
    split_digest: str
    class_names: Sequence[str]

    def may_be(self, reference: str) -> bool:
        """Whether a reference names this revision: `cells@v3#2` itself, or one of `cells`, `cells@v3` and the version's id, which leave more open."""
        return reference in (self.version_id, self.split_reference) or self.split_reference.startswith((f"{reference}@", f"{reference}#"))


@dataclass(frozen=True)
class NewRun:
    """A run to be queued."""

    job: Job
    data: DataPin
    model: str
    arguments: Mapping[str, object]
    """As requested."""
    resolved: Mapping[str, Value]
    request_id: str
    external_id: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """A stored run."""

    info: JobInfo
    number: int
    data: DataPin
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
class NewEvaluation:
    """An evaluation to be queued."""

    job: Job
    run_id: str
    weights: ArtifactKind
    weights_file: StoredFile
    split_id: str
    split_reference: str
    part: Part
    contaminated_images: int
    arguments: Mapping[str, Value]
    request_id: str


@dataclass(frozen=True)
class Evaluation:
    """A stored evaluation."""

    info: JobInfo
    run_id: str
    run_reference: str
    number: int
    weights: ArtifactKind
    weights_file: StoredFile
    split_id: str
    split_reference: str
    part: Part
    contaminated_images: int
    arguments: Mapping[str, Value]
    result: bytes | None
    """splitrail.trainer.v1.EvaluationResult, serialized."""

    @property
    def evaluation_id(self) -> str:
        """Also the id of its job."""
        return self.info.job.job_id


@dataclass(frozen=True)
class RunFilter:
    """Which runs to list; None: any."""

    project_id: str | None = None
    dataset_id: str | None = None
    state: str | None = None
    external_id: str | None = None
