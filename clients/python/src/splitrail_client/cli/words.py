"""What people read instead of the contracts' enums and numbers."""

from splitrail.events.v1 import event_pb2
from splitrail.split.v1 import import_pb2, version_pb2
from splitrail.trainer.v1 import evaluation_pb2, job_pb2

from ..vocabulary import word


def state_name(job: job_pb2.Job) -> str:
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    return word(event_pb2.JobState, job.state)


def import_state_name(item: import_pb2.Import) -> str:
    """`open`, `queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    return word(import_pb2.ImportState, item.state)


def difference_name(kind: version_pb2.DifferenceKind.ValueType) -> str:
    """`added`, `removed` or `changed`."""
    return word(version_pb2.DifferenceKind, kind)


def field_name(field: version_pb2.AssetField.ValueType) -> str:
    """`annotations`, `label state` and the like."""
    return word(version_pb2.AssetField, field).replace("_", " ")


def level_name(level: event_pb2.LogLevel.ValueType) -> str:
    """`info`, `warning` or `error`."""
    return word(event_pb2.LogLevel, level)


def artifact_name(kind: job_pb2.ArtifactKind.ValueType) -> str:
    """`best weights` and the like."""
    return word(job_pb2.ArtifactKind, kind).replace("_", " ")


def evaluation_reference(item: evaluation_pb2.Evaluation) -> str:
    """`cells/17/eval/2`."""
    return f"{item.run_reference}/eval/{item.number}"
