"""The enums of the contracts as words: `detect` for TASK_DETECT. What can be named is read from the contracts, so that
nothing stands twice.
"""

from collections.abc import Mapping
from typing import Any

from splitrail.events.v1 import event_pb2
from splitrail.split.v1 import dataset_pb2, export_service_pb2, import_pb2, split_pb2


def word(enum: Any, value: int) -> str:
    """An enum's value in lower case without its prefix; empty for the unspecified one."""
    return str(enum.Name(value)).removeprefix(_prefix(enum)).lower() if value else ""


def words(enum: Any) -> dict[str, Any]:
    """Word -> value for every value of an enum but the unspecified one."""
    return {word(enum, value): value for _, value in enum.items() if value}


def _prefix(enum: Any) -> str:
    return str(enum.Name(0)).removesuffix("UNSPECIFIED")


TASKS: Mapping[str, dataset_pb2.Task.ValueType] = words(dataset_pb2.Task)
PARTS: Mapping[str, dataset_pb2.Part.ValueType] = words(dataset_pb2.Part)
METHODS: Mapping[str, split_pb2.SplitMethod.ValueType] = {
    name: value for name, value in words(split_pb2.SplitMethod).items() if value != split_pb2.SPLIT_METHOD_IMPORTED
}
"""Methods that can be asked for."""
EXPORT_FORMATS: Mapping[str, export_service_pb2.ExportFormat.ValueType] = words(export_service_pb2.ExportFormat)
IMPORT_STATES: Mapping[str, import_pb2.ImportState.ValueType] = words(import_pb2.ImportState)
JOB_STATES: Mapping[str, event_pb2.JobState.ValueType] = words(event_pb2.JobState)
