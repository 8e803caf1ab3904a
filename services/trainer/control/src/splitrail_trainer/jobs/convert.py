"""Proto <-> domain: jobs and the events that tell of them."""

from collections.abc import Mapping
from datetime import datetime

from google.protobuf import timestamp_pb2
from splitrail.events.v1 import run_event_pb2
from splitrail.trainer.v1 import job_service_pb2, run_pb2

from splitrail_trainer.jobs.domain import Cause, Job, JobInfo, Kind, State

STATES: Mapping[State, run_event_pb2.JobState.ValueType] = {
    State.QUEUED: run_event_pb2.JOB_STATE_QUEUED,
    State.RUNNING: run_event_pb2.JOB_STATE_RUNNING,
    State.SUCCEEDED: run_event_pb2.JOB_STATE_SUCCEEDED,
    State.FAILED: run_event_pb2.JOB_STATE_FAILED,
    State.CANCELLED: run_event_pb2.JOB_STATE_CANCELLED,
}
STATES_BACK: Mapping[int, State] = {number: state for state, number in STATES.items()}

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
CAUSES_BACK: Mapping[int, Cause] = {number: cause for cause, number in CAUSES.items()}

KINDS_BACK: Mapping[int, Kind] = {job_service_pb2.JOB_KIND_TRAIN: Kind.TRAIN, job_service_pb2.JOB_KIND_EVALUATE: Kind.EVALUATE}


def timestamp(value: datetime | None) -> timestamp_pb2.Timestamp | None:
    """A time, or absent."""
    if value is None:
        return None
    made = timestamp_pb2.Timestamp()
    made.FromDatetime(value)
    return made


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
