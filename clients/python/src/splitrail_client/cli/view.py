"""The state of a job, computed from the events of its feed. Pure."""

import math
from dataclasses import dataclass, field

from splitrail.events.v1 import event_pb2
from splitrail.metrics.v1 import metrics_pb2

from ..text import human_seconds
from ..vocabulary import word
from .metrics import MetricNames, named


@dataclass
class View:
    """One job on screen."""

    title: str
    """`cells/17`."""
    epochs: int = 0
    """Total number of epochs; 0: unknown, or the job has none."""
    state: str = "queued"
    attempt: int = 0
    worker: str = ""
    device: str = ""
    stage: str = ""
    rows: dict[int, metrics_pb2.EpochMetrics] = field(default_factory=dict)
    """Epochs of the effective timeline."""
    final: metrics_pb2.EpochMetrics | None = None
    """Metrics of the best checkpoint on val."""
    progress: event_pb2.BatchProgress | None = None
    note: str = ""
    """The last unusual event."""
    names: MetricNames = field(default_factory=MetricNames)

    def apply(self, event: metrics_pb2.FeedEvent) -> str | None:
        """Applies the next event; returns a line for a plain log, or None."""
        kind = event.WhichOneof("payload")
        if kind == "state":
            return self._state(event.state)
        if kind == "attempt_started":
            return self._attempt(event.attempt, event.attempt_started)
        if kind == "stage":
            self.stage = word(event_pb2.Stage, event.stage.stage)
            self.progress = None
            return self.stage
        if kind == "epoch":
            self.rows[event.epoch.epoch] = event.epoch
            self.epochs = event.epoch.epochs or self.epochs
            self.progress = None
            return epoch_line(event.epoch, self.names)
        if kind == "rolled_back":
            return self._rolled_back(event.rolled_back.epoch)
        if kind == "final_metrics":
            self.final = event.final_metrics
        elif kind == "log" and event.log.level == event_pb2.LOG_LEVEL_ERROR:
            return event.log.text
        return None

    def restarted(self) -> str:
        """The feed starts again from its first event: forgets what it said."""
        self.rows.clear()
        self.state, self.stage, self.attempt, self.final, self.progress = "queued", "", 0, None, None
        self.note = "the platform was restored from a backup: the feed is shown again from its first event"
        return self.note

    def interrupted(self, message: str, seconds: float) -> str:
        """Notes a lost connection."""
        self.note = f"connection lost ({message}); next attempt in {seconds:.1f} s"
        return self.note

    def heard(self) -> None:
        """A message arrived: clears the note of a lost connection."""
        if self.note.startswith("connection lost"):
            self.note = ""

    @property
    def epochs_done(self) -> int:
        """Epochs that are complete."""
        return len(self.rows)

    @property
    def best(self) -> metrics_pb2.EpochMetrics | None:
        """The epoch with the highest finite fitness so far, the latest of equal ones, as RunSummary.best is defined."""
        rated = [row for row in self.rows.values() if math.isfinite(row.metrics.get("fitness", math.nan))]
        return max(rated, key=lambda row: (row.metrics["fitness"], row.epoch), default=None)

    @property
    def remaining_seconds(self) -> float | None:
        """Until the last epoch: the pod's estimate, else from the mean of the last epochs; None when unknown."""
        if self.progress is not None and self.progress.HasField("remaining_seconds"):
            return self.progress.remaining_seconds
        seconds = [
            row.metrics["epoch_seconds"] for row in list(self.rows.values())[-5:] if "epoch_seconds" in row.metrics
        ]
        if not seconds or not self.epochs:
            return None
        return sum(seconds) / len(seconds) * (self.epochs - self.epochs_done)

    def _state(self, change: event_pb2.StateChanged) -> str:
        self.state = word(event_pb2.JobState, change.state)
        self.progress = None
        if change.state in (event_pb2.JOB_STATE_SUCCEEDED, event_pb2.JOB_STATE_FAILED, event_pb2.JOB_STATE_CANCELLED):
            self.stage = self.note = ""
        elif change.state == event_pb2.JOB_STATE_QUEUED:
            self.stage = ""
        cause = word(event_pb2.FailureCause, change.cause).replace("_", " ")
        reason = ": ".join(part for part in (cause, change.message) if part)
        if reason:
            self.note = reason
        return f"{self.state} ({reason})" if reason else self.state

    def _attempt(self, attempt: int, started: event_pb2.AttemptStarted) -> str:
        self.attempt, self.worker, self.device = attempt, started.worker, started.device
        self.state, self.stage, self.progress = "running", "", None
        resumed = f", resumes after epoch {started.resume_epoch}" if started.resume_epoch else ""
        if attempt > 1:
            self.note = f"attempt {attempt}{resumed or ', from the start'}"
        return f"attempt {attempt} on {started.worker} ({started.device}){resumed}"

    def _rolled_back(self, last: int) -> str | None:
        void = sorted(epoch for epoch in self.rows if epoch > last)
        for epoch in void:
            del self.rows[epoch]
        self.progress = None
        if not void:
            return None
        which = f"epoch {void[0]} is" if len(void) == 1 else f"epochs {void[0]} to {void[-1]} are"
        self.note = f"rolled back to epoch {last}: {which} discarded and trained again"
        return self.note


def epoch_line(row: metrics_pb2.EpochMetrics, names: MetricNames) -> str:
    """`epoch 3/20: box 1.234, cls 2.1, dfl 1.3, val mAP50 0.812, val mAP50-95 0.514, 3.2 s`."""
    parts = [f"{title} {row.metrics[key]:.3f}" for title, key in names.losses(row.metrics).items()]
    if headlines := names.headlines(row.metrics):
        parts.append(named(row.metrics, headlines, "val"))
    if "epoch_seconds" in row.metrics:
        parts.append(f"{row.metrics['epoch_seconds']:.1f} s")
    return f"epoch {row.epoch}/{row.epochs}: {', '.join(parts)}"


def result_line(view: View, seconds: float | None) -> str:
    """`cells/17 succeeded: 20 epochs in 3m 20s; best checkpoint: val mAP50 0.873, val mAP50-95 0.601`."""
    took = f" in {human_seconds(seconds)}" if seconds is not None else ""
    best = view.final or view.best
    shown = named(best.metrics, view.names.headlines(best.metrics), "val") if best else ""
    epochs = f"{view.epochs_done} epoch{'' if view.epochs_done == 1 else 's'}"
    return f"{view.title} {view.state}: {epochs}{took}" + (f"; best checkpoint: {shown}" if shown else "")
