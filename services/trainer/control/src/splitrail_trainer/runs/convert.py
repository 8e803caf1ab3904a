"""Proto <-> domain: every mapping in one place."""

from collections.abc import Callable, Mapping
from datetime import datetime

from google.protobuf import struct_pb2, timestamp_pb2
from google.protobuf.internal.containers import MessageMap
from google.protobuf.json_format import MessageToDict
from splitrail.events.v1 import run_event_pb2
from splitrail.split.v1 import dataset_pb2
from splitrail.trainer.v1 import job_service_pb2, run_pb2, run_service_pb2
from splitrail_common.training import arguments as knobs

from splitrail_trainer.jobs.domain import Cause, Job, Kind, State
from splitrail_trainer.runs.domain import Artifact, ArtifactKind, Evaluation, JobInfo, Part, Run

SignUrl = Callable[[str], str]
"""A key's signed download URL."""

STATES: Mapping[State, run_event_pb2.JobState.ValueType] = {
    State.QUEUED: run_event_pb2.JOB_STATE_QUEUED,
    State.RUNNING: run_event_pb2.JOB_STATE_RUNNING,
    State.SUCCEEDED: run_event_pb2.JOB_STATE_SUCCEEDED,
    State.FAILED: run_event_pb2.JOB_STATE_FAILED,
    State.CANCELLED: run_event_pb2.JOB_STATE_CANCELLED,
}
STATES_BACK = {number: state for state, number in STATES.items()}

CAUSES: Mapping[Cause, run_event_pb2.FailureCause.ValueType] = {
    Cause.NONE: run_event_pb2.FAILURE_CAUSE_UNSPECIFIED,
    Cause.DATA: run_event_pb2.FAILURE_CAUSE_DATA,
    Cause.NAN: run_event_pb2.FAILURE_CAUSE_NAN,
    Cause.ACCELERATOR_MEMORY: run_event_pb2.FAILURE_CAUSE_ACCELERATOR_MEMORY,
    Cause.HOST_MEMORY: run_event_pb2.FAILURE_CAUSE_HOST_MEMORY,
    Cause.LOST_POD: run_event_pb2.FAILURE_CAUSE_LOST_POD,
    Cause.PROCESS: run_event_pb2.FAILURE_CAUSE_PROCESS,
    Cause.DEPENDENCY: run_event_pb2.FAILURE_CAUSE_DEPENDENCY,
    Cause.ARGUMENTS: run_event_pb2.FAILURE_CAUSE_ARGUMENTS,
}
CAUSES_BACK = {number: cause for cause, number in CAUSES.items()}

ARTIFACT_KINDS: Mapping[ArtifactKind, run_pb2.ArtifactKind.ValueType] = {
    ArtifactKind.CHECKPOINT: run_pb2.ARTIFACT_KIND_CHECKPOINT,
    ArtifactKind.BEST_WEIGHTS: run_pb2.ARTIFACT_KIND_BEST_WEIGHTS,
    ArtifactKind.LAST_WEIGHTS: run_pb2.ARTIFACT_KIND_LAST_WEIGHTS,
    ArtifactKind.RESULTS: run_pb2.ARTIFACT_KIND_RESULTS,
    ArtifactKind.ARGUMENTS: run_pb2.ARTIFACT_KIND_ARGUMENTS,
}
ARTIFACT_KINDS_BACK = {number: kind for kind, number in ARTIFACT_KINDS.items()}

PARTS: Mapping[Part, dataset_pb2.Split.ValueType] = {
    Part.TRAIN: dataset_pb2.SPLIT_TRAIN,
    Part.VAL: dataset_pb2.SPLIT_VAL,
    Part.TEST: dataset_pb2.SPLIT_TEST,
}
PARTS_BACK = {number: part for part, number in PARTS.items()}

JOB_KINDS_BACK: Mapping[int, Kind] = {job_service_pb2.JOB_KIND_TRAIN: Kind.TRAIN, job_service_pb2.JOB_KIND_EVALUATE: Kind.EVALUATE}

_TYPES: Mapping[knobs.Type, run_service_pb2.ArgumentType.ValueType] = {
    knobs.Type.INTEGER: run_service_pb2.ARGUMENT_TYPE_INTEGER,
    knobs.Type.NUMBER: run_service_pb2.ARGUMENT_TYPE_NUMBER,
    knobs.Type.BOOLEAN: run_service_pb2.ARGUMENT_TYPE_BOOLEAN,
    knobs.Type.ENUM: run_service_pb2.ARGUMENT_TYPE_ENUM,
}


def timestamp(value: datetime | None) -> timestamp_pb2.Timestamp | None:
    """A time, or absent."""
    if value is None:
        return None
    made = timestamp_pb2.Timestamp()
    made.FromDatetime(value)
    return made


def arguments(values: Mapping[str, struct_pb2.Value]) -> dict[str, object]:
    """A request's arguments as bool, float, str, None, dict or list."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: struct_pb2.Value) -> object:
    kind = value.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    if kind == "struct_value":
        return MessageToDict(value.struct_value)
    return list(value.list_value.values) if kind == "list_value" else getattr(value, kind)


def _fill(target: MessageMap[str, struct_pb2.Value], values: Mapping[str, knobs.Value]) -> None:
    for name, value in values.items():
        target[name].CopyFrom(_value(value))


def _value(value: knobs.Value) -> struct_pb2.Value:
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    return struct_pb2.Value(string_value=value) if isinstance(value, str) else struct_pb2.Value(number_value=value)


def state_event(job: Job, number: int, at: datetime) -> bytes:
    """The state that a job has come to, as a serialized event of origin 0."""
    explained = job.state is not State.RUNNING
    event = run_event_pb2.RunEvent(
        job_id=job.job_id,
        project_id=job.project_id,
        attempt=0,
        number=number,
        event_time=timestamp(at),
        state=run_event_pb2.StateChanged(
            state=STATES[job.state],
            cause=CAUSES[job.cause] if explained else run_event_pb2.FAILURE_CAUSE_UNSPECIFIED,
            message=job.message if explained else "",
            attempt=job.attempt,
        ),
    )
    return event.SerializeToString()


def job(info: JobInfo) -> run_pb2.Job:
    """Where a job stands."""
    value = info.job
    return run_pb2.Job(
        job_id=value.job_id,
        state=STATES[value.state],
        attempt=value.attempt,
        cancel_requested=value.cancel_requested,
        cause=CAUSES[value.cause],
        message=value.message,
        queue=value.queue,
        queue_position=info.queue_position,
        worker=value.worker,
        create_time=timestamp(info.create_time),
        start_time=timestamp(info.start_time),
        end_time=timestamp(info.end_time),
        failures=value.failures,
        max_attempts=value.max_attempts,
    )


def artifact(value: Artifact, sign: SignUrl | None = None) -> run_pb2.Artifact:
    """A file; with a URL when `sign` is given."""
    return run_pb2.Artifact(
        name=value.name,
        kind=ARTIFACT_KINDS[value.kind],
        attempt=value.attempt,
        size_bytes=value.file.size_bytes,
        sha256=value.file.sha256,
        url=sign(value.file.key) if sign else "",
    )


def run(value: Run) -> run_pb2.Run:
    """A run with its files, without URLs."""
    made = run_pb2.Run(
        run_id=value.run_id,
        project_id=value.data.project_id,
        number=value.number,
        reference=value.reference,
        job=job(value.info),
        dataset_id=value.data.dataset_id,
        version_id=value.data.version_id,
        split_id=value.data.split_id,
        split_reference=value.data.split_reference,
        split_digest=value.data.split_digest,
        model=value.model,
        epochs=value.epochs,
        checkpoint_epoch=value.checkpoint.epoch if value.checkpoint else 0,
        artifacts=[artifact(item) for item in value.artifacts],
        external_id=value.external_id,
        labels=value.labels,
        class_names=value.data.class_names,
        versions=value.versions,
    )
    _fill(made.arguments, value.arguments)
    _fill(made.resolved_arguments, value.resolved)
    return made


def evaluation(value: Evaluation) -> run_pb2.Evaluation:
    """An evaluation, with its result when it has one."""
    made = run_pb2.Evaluation(
        evaluation_id=value.evaluation_id,
        project_id=value.info.job.project_id,
        run_id=value.run_id,
        run_reference=value.run_reference,
        job=job(value.info),
        weights=ARTIFACT_KINDS[value.weights],
        split_id=value.split_id,
        split_reference=value.split_reference,
        split=PARTS[value.part],
        contaminated_images=value.contaminated_images,
        number=value.number,
    )
    _fill(made.arguments, value.arguments)
    if value.result is not None:
        made.result.ParseFromString(value.result)
    return made


def train_work(value: Run, sign: SignUrl) -> job_service_pb2.TrainWork:
    """What a pod needs to train."""
    made = job_service_pb2.TrainWork(split_id=value.data.split_id, model=value.model)
    _fill(made.arguments, value.resolved)
    if value.checkpoint:
        file = value.checkpoint.file
        made.resume.CopyFrom(
            job_service_pb2.ResumePoint(epoch=value.checkpoint.epoch, url=sign(file.key), sha256=file.sha256, size_bytes=file.size_bytes)
        )
    return made


def evaluate_work(value: Evaluation, sign: SignUrl) -> job_service_pb2.EvaluateWork:
    """What a pod needs to evaluate."""
    made = job_service_pb2.EvaluateWork(
        split_id=value.split_id,
        split=PARTS[value.part],
        weights_url=sign(value.weights_file.key),
        weights_sha256=value.weights_file.sha256,
        weights_size_bytes=value.weights_file.size_bytes,
    )
    _fill(made.arguments, value.arguments)
    return made


def descriptor(knob: knobs.Knob) -> run_service_pb2.ArgumentDescriptor:
    """A knob as clients see it."""
    return run_service_pb2.ArgumentDescriptor(
        name=knob.name,
        group=knob.group,
        type=_TYPES[knob.type],
        default_value=_value(knob.default),
        minimum=knob.minimum,
        maximum=knob.maximum,
        choices=knob.choices,
        help=knob.help,
        multiple_of=knob.multiple_of,
    )
