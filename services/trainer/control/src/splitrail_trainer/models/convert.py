"""Proto <-> domain: files."""

from collections.abc import Mapping

from splitrail.trainer.v1 import job_pb2

from splitrail_trainer.models.domain import Artifact, ArtifactKind, SignedArtifact

KINDS: Mapping[ArtifactKind, job_pb2.ArtifactKind.ValueType] = {
    ArtifactKind.CHECKPOINT: job_pb2.ARTIFACT_KIND_CHECKPOINT,
    ArtifactKind.BEST_WEIGHTS: job_pb2.ARTIFACT_KIND_BEST_WEIGHTS,
    ArtifactKind.LAST_WEIGHTS: job_pb2.ARTIFACT_KIND_LAST_WEIGHTS,
    ArtifactKind.RESULTS: job_pb2.ARTIFACT_KIND_RESULTS,
    ArtifactKind.ARGUMENTS: job_pb2.ARTIFACT_KIND_ARGUMENTS,
}
KINDS_BACK: Mapping[int, ArtifactKind] = {number: kind for kind, number in KINDS.items()}
KIND_NAMES = tuple(job_pb2.ArtifactKind.keys()[1:])
"""What a request may say."""


def artifact(value: Artifact, url: str = "") -> job_pb2.Artifact:
    """A file, with its URL if one is given."""
    return job_pb2.Artifact(
        name=value.name,
        kind=KINDS[value.kind],
        attempt=value.attempt,
        size_bytes=value.file.size_bytes,
        sha256=value.file.sha256,
        url=url,
    )


def signed_artifact(value: SignedArtifact) -> job_pb2.Artifact:
    """A file with its URL."""
    return artifact(value.artifact, value.url)
