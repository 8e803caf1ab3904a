"""Proto <-> domain: jobs and the events that tell of them."""

from collections.abc import Mapping
from datetime import datetime

from google.protobuf import timestamp_pb2
from splitrail.events.v1 import event_pb2
from splitrail.internal.events.v1 import run_event_pb2
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail.trainer.v1 import job_pb2

from splitrail_trainer.jobs.domain import FailureCause, Job, JobInfo, JobKind, JobState

STATES: Mapping[JobState, event_pb2.JobState.ValueType] = {
    JobState.QUEUED: event_pb2.JOB_STATE_QUEUED,
    JobState.RUNNING: event_pb2.JOB_STATE_RUNNING,
    JobState.SUCCEEDED: event_pb2.JOB_STATE_SUCCEEDED,
    JobState.FAILED: event_pb2.JOB_STATE_FAILED,
    JobState.CANCELLED: event_pb2.JOB_STATE_CANCELLED,
}
STATES_BACK: Mapping[int, JobState] = {number: state for state, number in STATES.items()}

CAUSES: Mapping[FailureCause, event_pb2.FailureCause.ValueType] = {
    FailureCause.NONE: event_pb2.FAILURE_CAUSE_UNSPECIFIED,
    FailureCause.DATA: event_pb2.FAILURE_CAUSE_DATA,
    FailureCause.NAN: event_pb2.FAILURE_CAUSE_NAN,
    FailureCause.ACCELERATOR_MEMORY: event_pb2.FAILURE_CAUSE_ACCELERATOR_MEMORY,
    FailureCause.HOST_MEMORY: event_pb2.FAILURE_CAUSE_HOST_MEMORY,
    FailureCause.LOST_POD: event_pb2.FAILURE_CAUSE_LOST_POD,
    FailureCause.PROCESS: event_pb2.FAILURE_CAUSE_PROCESS,
    FailureCause.DEPENDENCY: event_pb2.FAILURE_CAUSE_DEPENDENCY,
    FailureCause.ARGUMENTS: event_pb2.FAILURE_CAUSE_ARGUMENTS,
}
CAUSES_BACK: Mapping[int, FailureCause] = {number: cause for cause, number in CAUSES.items()}

KINDS_BACK: Mapping[int, JobKind] = {
    job_service_pb2.JOB_KIND_TRAIN: JobKind.TRAIN,
    job_service_pb2.JOB_KIND_EVALUATE: JobKind.EVALUATE,
}


def timestamp(value: datetime | None) -> timestamp_pb2.Timestamp | None:
    """A time, or absent."""
    if value is None:
        return None
    made = timestamp_pb2.Timestamp()
    made.FromDatetime(value)
    return made


def state_event(job: Job, number: int, at: datetime) -> bytes:
    """The state that a job has come to, as a serialized event of origin 0."""
    explained = job.state is not JobState.RUNNING
    event = run_event_pb2.RunEvent(
        job_id=job.job_id,
        project_id=job.project_id,
        attempt=0,
        number=number,
        event_time=timestamp(at),
        state=event_pb2.StateChanged(
            state=STATES[job.state],
            cause=CAUSES[job.cause] if explained else event_pb2.FAILURE_CAUSE_UNSPECIFIED,
            message=job.message if explained else "",
            attempt=job.attempt,
        ),
    )
    return event.SerializeToString()


def job(info: JobInfo) -> job_pb2.Job:
    """Where a job stands."""
    value = info.job
    return job_pb2.Job(
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
