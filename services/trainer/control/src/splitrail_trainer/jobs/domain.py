"""The life of a job as pure functions: each takes a job and returns its successor, or says why it cannot.

    queued -> running -> succeeded | failed | cancelled
       ^________|  released, failed and tried again, or its lease ran out

The attempt number is the fencing token: it grows with each claim, and only the latest attempt may write.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

DEFAULT_QUEUE = "default"


class Kind(StrEnum):
    """What a job does."""

    TRAIN = "train"
    EVALUATE = "evaluate"


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Cause(StrEnum):
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


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
HOPELESS = frozenset({Cause.DATA, Cause.NAN, Cause.ARGUMENTS})
"""The same data, arguments and seed would fail in the same way again."""


class Fenced(Exception):  # noqa: N818 - the word of the contract
    """The caller's attempt no longer holds the job."""

    def __init__(self, attempt: int, current: int) -> None:
        super().__init__(f"attempt {attempt} does not hold the job; the latest is {current}")
        self.attempt = attempt
        self.current = current


class Ended(Exception):  # noqa: N818 - a state, not a defect
    """The job has ended in another way than asked for."""

    def __init__(self, state: State) -> None:
        super().__init__(f"the job has {state.value} already" if state is not State.CANCELLED else "the job was cancelled already")
        self.state = state


@dataclass(frozen=True)
class Job:
    """What the transitions need of a job."""

    job_id: str
    project_id: str
    kind: Kind
    queue: str
    state: State = State.QUEUED
    attempt: int = 0
    """The latest attempt; 0: never claimed."""
    worker: str = ""
    """Who holds it, or held it last."""
    lapsed: bool = False
    """Queued only because the lease of `attempt` ran out: that attempt may take it back until another is made."""
    cancel_requested: bool = False
    failures: int = 0
    """Failed attempts since the last stored checkpoint."""
    max_attempts: int = 3
    cause: Cause = Cause.NONE
    message: str = ""

    @property
    def ended(self) -> bool:
        """True in a terminal state."""
        return self.state in ENDED


@dataclass(frozen=True)
class JobInfo:
    """A job with what is only shown."""

    job: Job
    queue_position: int | None
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None


def claim(job: Job, worker: str) -> Job:
    """A new attempt of a queued job by `worker`."""
    if job.state is not State.QUEUED:
        raise ValueError(f"only a queued job can be claimed, this one is {job.state.value}")
    return replace(job, state=State.RUNNING, attempt=job.attempt + 1, worker=worker, lapsed=False)


def hold(job: Job, attempt: int) -> Job:
    """The job as the caller's attempt may change it: running. An attempt whose lease ran out takes the job back while nobody else has.

    Raises Fenced when a later attempt exists, the job was given back, or has ended.
    """
    if job.attempt == attempt and job.state is State.RUNNING:
        return job
    if job.attempt == attempt and job.state is State.QUEUED and job.lapsed:
        return replace(job, state=State.RUNNING, lapsed=False, failures=job.failures - 1, cause=Cause.NONE, message="")
    raise Fenced(attempt, job.attempt)


def lapse(job: Job) -> Job:
    """The lease of a running job has run out: counted as a failure, tried again while the number of failures allows it."""
    after = _failed(job, Cause.LOST_POD, f"the pod {job.worker!r} was lost: its lease ran out")
    return replace(after, lapsed=after.state is State.QUEUED)


def fail(job: Job, cause: Cause, message: str) -> Job:
    """The holder reports a failure: tried again, unless that cannot help or there were too many."""
    return _failed(job, cause, message)


def _failed(job: Job, cause: Cause, message: str) -> Job:
    if job.state is not State.RUNNING:
        raise ValueError(f"only a running job can fail, this one is {job.state.value}")
    failures = job.failures + 1
    if job.cancel_requested:
        state = State.CANCELLED
    elif cause in HOPELESS or failures >= job.max_attempts:
        state = State.FAILED
    else:
        state = State.QUEUED
    return replace(job, state=state, failures=failures, cause=cause, message=message)


def release(job: Job) -> Job:
    """The holder gives the job back: not a failure. Ends as cancelled when that was asked for."""
    if job.state is not State.RUNNING:
        raise ValueError(f"only a running job can be released, this one is {job.state.value}")
    if job.cancel_requested:
        return replace(job, state=State.CANCELLED, cause=Cause.NONE, message="cancelled as asked for")
    return replace(job, state=State.QUEUED, cause=Cause.NONE, message=f"given back by the pod {job.worker!r}")


def complete(job: Job) -> Job:
    """The holder has done the work; a cancel that came too late is without effect."""
    if job.state is not State.RUNNING:
        raise ValueError(f"only a running job can be completed, this one is {job.state.value}")
    return replace(job, state=State.SUCCEEDED, cause=Cause.NONE, message="")


def progress(job: Job) -> Job:
    """A checkpoint was stored: what failed before it no longer counts."""
    return replace(job, failures=0)


def cancel(job: Job) -> Job:
    """Somebody asks for the end: at once while queued, through the pod when running; harmless when cancelled already.

    Raises Ended when the job has ended in another way.
    """
    if job.state is State.QUEUED:
        return replace(job, state=State.CANCELLED, cancel_requested=True, lapsed=False, cause=Cause.NONE, message="cancelled before it ran")
    if job.state is State.RUNNING:
        return replace(job, cancel_requested=True)
    if job.state is State.CANCELLED:
        return job
    raise Ended(job.state)
