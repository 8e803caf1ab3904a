"""What pods get and report, as values."""

from dataclasses import dataclass

from splitrail_trainer.data.domain import Part
from splitrail_trainer.evaluations.domain import Evaluation
from splitrail_trainer.jobs.domain import Job
from splitrail_trainer.models.domain import ArtifactKind
from splitrail_trainer.runs.domain import Run


@dataclass(frozen=True)
class ClaimedJob:
    """A job that the caller now holds."""

    job: Job
    token: str
    work: Run | Evaluation
    url: str
    """A download URL of the checkpoint that a training resumes from or of the weights to evaluate; empty for a training
    from the start.
    """


@dataclass(frozen=True)
class HeartbeatReply:
    """What a heartbeat brings back."""

    cancel: bool
    token: str
    """Replaces the caller's; empty while that one is good for long enough."""


@dataclass(frozen=True)
class EvaluationReport:
    """What an evaluation found."""

    part: Part | None
    result: bytes


@dataclass(frozen=True)
class UploadedFile:
    """A file that an attempt says it has uploaded."""

    name: str
    kind: ArtifactKind
    size_bytes: int
    sha256: str
    epoch: int = 0
    """For checkpoints: epochs complete in it."""
