"""Files that attempts leave, as values: checkpoints, weights and the rest."""

from dataclasses import dataclass
from enum import StrEnum


class ArtifactKind(StrEnum):
    """What a file is."""

    CHECKPOINT = "checkpoint"
    BEST_WEIGHTS = "best_weights"
    LAST_WEIGHTS = "last_weights"
    RESULTS = "results"
    ARGUMENTS = "arguments"


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

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in a list: by kind, then by name."""
        return list(ArtifactKind).index(self.kind), self.name


@dataclass(frozen=True)
class SignedArtifact:
    """A file, and a URL from which it can be downloaded for a while."""

    artifact: Artifact
    url: str
