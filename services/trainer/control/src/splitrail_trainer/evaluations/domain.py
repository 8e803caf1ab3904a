"""Evaluations as values."""

from collections.abc import Mapping
from dataclasses import dataclass

from splitrail_common.training.arguments import Value

from splitrail_trainer.data.domain import Part
from splitrail_trainer.jobs.domain import Job, JobInfo
from splitrail_trainer.models.domain import ArtifactKind, StoredFile


@dataclass(frozen=True)
class EvaluationRequest:
    """An evaluation as requested, with defaults."""

    run_id: str
    weights: ArtifactKind
    split_id: str
    """Empty: the run's own."""
    part: Part
    arguments: Mapping[str, object]
    force: bool
    request_id: str


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
class EvaluationFilter:
    """Which evaluations to list; None: any."""

    project_id: str | None = None
    run_id: str | None = None
