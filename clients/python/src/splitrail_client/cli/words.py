"""What people read instead of the contracts' enums and numbers."""

from typing import Any

from splitrail.events.v1 import run_event_pb2
from splitrail.split.v1 import dataset_pb2, version_pb2
from splitrail.trainer.v1 import run_pb2

from ..references import split_name


def word(enum: Any, value: int, prefix: str) -> str:
    """An enum's value in lower case without its prefix; empty for the unspecified one."""
    return str(enum.Name(value)).removeprefix(prefix).lower() if value else ""


def state_name(job: run_pb2.Job) -> str:
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    return word(run_event_pb2.JobState, job.state, "JOB_STATE_")


def part_name(value: dataset_pb2.Split.ValueType) -> str:
    """`train`, `val` or `test`; a dash for an image in no part, or not there."""
    return split_name(value) if value else "–"


def difference_name(kind: version_pb2.DifferenceKind.ValueType) -> str:
    """`added`, `removed` or `changed`."""
    return word(version_pb2.DifferenceKind, kind, "DIFFERENCE_KIND_")


def field_name(field: version_pb2.AssetField.ValueType) -> str:
    """`annotations`, `label state` and the like."""
    return word(version_pb2.AssetField, field, "ASSET_FIELD_").replace("_", " ")


def level_name(level: run_event_pb2.LogLevel.ValueType) -> str:
    """`info`, `warning` or `error`."""
    return word(run_event_pb2.LogLevel, level, "LOG_LEVEL_")


def artifact_name(kind: run_pb2.ArtifactKind.ValueType) -> str:
    """`best weights` and the like."""
    return word(run_pb2.ArtifactKind, kind, "ARTIFACT_KIND_").replace("_", " ")


def evaluation_reference(item: run_pb2.Evaluation) -> str:
    """`cells/17/eval/2`."""
    return f"{item.run_reference}/eval/{item.number}"
