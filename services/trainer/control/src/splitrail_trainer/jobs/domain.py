"""The states of a job as pure functions: each takes a job and returns it in its next state, or raises why it cannot.

    queued -> running -> succeeded | failed | cancelled
       ^________|  released, failed and retried, or its lease ran out

The attempt number is the fencing token: it grows with each claim, and only the latest attempt may write.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

DEFAULT_QUEUE = "default"


class JobKind(StrEnum):
    """What a job does."""

    TRAIN = "train"
    EVALUATE = "evaluate"


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FailureCause(StrEnum):
    """Why an attempt failed."""

    NONE = "none"
    DATA = "data"
    NAN = "nan"
    ACCELERATOR_MEMORY = "accelerator_memory"
    HOST_MEMORY = "host_memory"
    LOST_POD = "lost_pod"
    PROCESS = "process"
    DEPENDENCY = "dependency"
    ARGUMENTS = "arguments"


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
NEVER_RETRIED = frozenset({FailureCause.DATA, FailureCause.NAN, FailureCause.ARGUMENTS})
"""Causes that are not retried: the same data, arguments and seed would fail in the same way again."""


class FencedError(Exception):
    """The caller's attempt no longer holds the job."""

    def __init__(self, attempt: int, current: int) -> None:
        super().__init__(f"attempt {attempt} does not hold the job; the latest is {current}")
        self.attempt = attempt
        self.current = current


class JobEndedError(Exception):
    """The job cannot be cancelled: it has succeeded or failed."""

    def __init__(self, state: JobState) -> None:
        super().__init__(
            f"the job has {state.value} already" if state is not JobState.CANCELLED else "the job was cancelled already"
        )
        self.state = state


@dataclass(frozen=True)
class Job:
    """A job, as far as the transitions need it."""

    job_id: str
    project_id: str
    kind: JobKind
    queue: str
    state: JobState = JobState.QUEUED
    attempt: int = 0
    """The latest attempt; 0: never claimed."""
    worker: str = ""
    """The pod that holds it, or held it last."""
    lapsed: bool = False
    """Queued because the lease of `attempt` ran out: that attempt may take the job back until another one claims it."""
    cancel_requested: bool = False
    failures: int = 0
    """Failed attempts since the last stored checkpoint."""
    max_attempts: int = 3
    cause: FailureCause = FailureCause.NONE
    message: str = ""

    @property
    def ended(self) -> bool:
        """True in a terminal state."""
        return self.state in ENDED


@dataclass(frozen=True)
class JobInfo:
    """A job with its place in the queue and its times, for display."""

    job: Job
    queue_position: int | None
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None


def claim(job: Job, worker: str) -> Job:
    """A new attempt of a queued job by `worker`."""
    if job.state is not JobState.QUEUED:
        raise ValueError(f"only a queued job can be claimed, this one is {job.state.value}")
    return replace(job, state=JobState.RUNNING, attempt=job.attempt + 1, worker=worker, lapsed=False)


def hold(job: Job, attempt: int) -> Job:
    """The job, running under the caller's attempt. An attempt whose lease ran out takes the job back unless another one
    has claimed it.

    Raises FencedError when a later attempt exists, the job was given back, or has ended.
    """
    if job.attempt == attempt and job.state is JobState.RUNNING:
        return job
    if job.attempt == attempt and job.state is JobState.QUEUED and job.lapsed:
        return replace(
            job, state=JobState.RUNNING, lapsed=False, failures=job.failures - 1, cause=FailureCause.NONE, message=""
        )
    raise FencedError(attempt, job.attempt)


def lapse(job: Job) -> Job:
    """The lease of a running job has run out: a failure, retried while fewer than `max_attempts` have failed."""
    after = _failed(job, FailureCause.LOST_POD, f"the pod {job.worker!r} was lost: its lease ran out")
    return replace(after, lapsed=after.state is JobState.QUEUED)


def fail(job: Job, cause: FailureCause, message: str) -> Job:
    """The holder reports a failure: retried, unless its cause makes that useless or `max_attempts` have failed."""
    return _failed(job, cause, message)


def _failed(job: Job, cause: FailureCause, message: str) -> Job:
    if job.state is not JobState.RUNNING:
        raise ValueError(f"only a running job can fail, this one is {job.state.value}")
    failures = job.failures + 1
    if job.cancel_requested:
        state = JobState.CANCELLED
    elif cause in NEVER_RETRIED or failures >= job.max_attempts:
        state = JobState.FAILED
    else:
        state = JobState.QUEUED
    return replace(job, state=state, failures=failures, cause=cause, message=message)


def release(job: Job) -> Job:
    """The holder gives the job back, which is not a failure. A job whose cancellation was requested ends as cancelled."""
    if job.state is not JobState.RUNNING:
        raise ValueError(f"only a running job can be released, this one is {job.state.value}")
    if job.cancel_requested:
        return replace(job, state=JobState.CANCELLED, cause=FailureCause.NONE, message="cancelled on request")
    return replace(job, state=JobState.QUEUED, cause=FailureCause.NONE, message=f"given back by the pod {job.worker!r}")


def complete(job: Job) -> Job:
    """The holder has done the work. A cancellation that was requested too late has no effect."""
    if job.state is not JobState.RUNNING:
        raise ValueError(f"only a running job can be completed, this one is {job.state.value}")
    return replace(job, state=JobState.SUCCEEDED, cause=FailureCause.NONE, message="")


def progress(job: Job) -> Job:
    """A checkpoint was stored: earlier failures no longer count."""
    return replace(job, failures=0)


def cancel(job: Job) -> Job:
    """A user requests the cancellation: a queued job ends at once, a running one when its pod hears of it; a cancelled
    one stays as it is.

    Raises JobEndedError when the job has succeeded or failed.
    """
    if job.state is JobState.QUEUED:
        return replace(
            job,
            state=JobState.CANCELLED,
            cancel_requested=True,
            lapsed=False,
            cause=FailureCause.NONE,
            message="cancelled before it ran",
        )
    if job.state is JobState.RUNNING:
        return replace(job, cancel_requested=True)
    if job.state is JobState.CANCELLED:
        return job
    raise JobEndedError(job.state)
