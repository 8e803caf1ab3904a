"""What the training process has left so far, gathered from its spool."""

from collections import deque
from dataclasses import dataclass, field

from splitrail_pod.exchange.messages import (
    ArtifactRecord,
    CancelledRecord,
    CompletedRecord,
    EndRecord,
    EvaluationRecord,
    FailedRecord,
    LogRecord,
    PlotRecord,
    Record,
    StartedRecord,
)
from splitrail_pod.supervisor.failures import AttemptFailedError, FailureCause, cause_of
from splitrail_pod.supervisor.process import TrainingProcess

_LAST_LINES = 30


class StoppedError(Exception):
    """The training process has stopped as ordered; its unfinished work is discarded."""


@dataclass
class ProcessReport:
    """The records that are needed when the process has ended."""

    artifacts: list[ArtifactRecord] = field(default_factory=list)
    plots: list[PlotRecord] = field(default_factory=list)
    evaluation: EvaluationRecord | None = None
    versions: dict[str, str] = field(default_factory=dict)
    end: EndRecord | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))

    def take(self, record: Record) -> None:
        """Keeps what is needed of a record."""
        match record:
            case ArtifactRecord():
                self.artifacts.append(record)
            case PlotRecord():
                self.plots.append(record)
            case EvaluationRecord():
                self.evaluation = record
            case StartedRecord():
                self.versions = record.versions
            case LogRecord():
                self.lines.append(record.text)
            case CompletedRecord() | CancelledRecord() | FailedRecord():
                self.end = record

    def last_lines(self, process: TrainingProcess | None) -> str:
        """The end of the log, and of standard error, where traces and native libraries write."""
        errors = process.last_lines if process else ""
        return "\n".join([*self.lines, *errors.splitlines()])

    def judge(self, process: TrainingProcess, status: int) -> None:
        """Returns when the process has completed its work. Raises StoppedError, AttemptFailedError."""
        match self.end:
            case CompletedRecord():
                return
            case CancelledRecord():
                raise StoppedError
            case FailedRecord():
                raise AttemptFailedError(cause_of(self.end.cause), self.end.message)
        if process.killed:
            raise StoppedError
        if status == -9:
            if process.likely_out_of_memory():
                raise AttemptFailedError(
                    FailureCause.FAILURE_CAUSE_HOST_MEMORY,
                    "the kernel killed the training process for its use of main memory; use a smaller batch or imgsz, or a larger pod",
                )
            raise AttemptFailedError(FailureCause.FAILURE_CAUSE_PROCESS, "the training process was killed (signal 9)")
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        raise AttemptFailedError(
            FailureCause.FAILURE_CAUSE_PROCESS, f"the training process ended {how} and without a record of why"
        )
