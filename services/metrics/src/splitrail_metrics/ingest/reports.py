"""Events as their origins report them, before anything is known of their feed, and what each must look like whatever
that is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ..domain import JobState, PlotKind

MAX_EVENT_BYTES = 512 * 1024
MAX_PLOT_BYTES = 32 * 1024 * 1024
PLOT_TYPES = frozenset({"image/png", "image/jpeg"})
_PLOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_KEY = re.compile(r"[A-Za-z0-9._/-]{1,400}")
_METRIC = re.compile(r"[!-~]{1,120}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_METRICS = 1000
_MAX_TITLE = 200
_MAX_LINE = 4096


class PoisonError(Exception):
    """A message that can never be taken. `reason` is one word, for counting; the text is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class StateReport:
    """A job's state changed."""

    state: JobState | None
    """None: one that this version does not know."""


@dataclass(frozen=True)
class StartReport:
    """A pod has taken the job."""


@dataclass(frozen=True)
class EpochReport:
    """An epoch is complete."""

    epoch: int
    epochs: int
    values: Mapping[str, float]
    """By Ultralytics' keys."""


@dataclass(frozen=True)
class RollbackReport:
    """Epochs after this one are void."""

    epoch: int


@dataclass(frozen=True)
class PlotReport:
    """A plot lies in S3."""

    name: str
    title: str
    kind: PlotKind
    key: str
    content_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class LogReport:
    """A line of the log."""

    text: str


@dataclass(frozen=True)
class FinalReport:
    """Metrics of the best checkpoint."""

    values: Mapping[str, float]


@dataclass(frozen=True)
class OtherReport:
    """What is kept and shown as it is."""


Payload = StateReport | StartReport | EpochReport | RollbackReport | PlotReport | LogReport | FinalReport | OtherReport


@dataclass(frozen=True)
class Report:
    """An event as it came. Its identity is (job_id, attempt, number)."""

    job_id: str
    attempt: int
    """0: the trainer service."""
    number: int
    project_id: str
    event_time: datetime | None
    """By the sender's clock; None when it sent none that makes sense."""
    kind: str
    """Name of the payload's field; empty when there is none that this version knows."""
    payload: Payload | None
    data: bytes
    """The payload's message, serialized."""


def check(report: Report) -> None:
    """Raises PoisonError when the payload breaks a rule, whatever the state of its feed."""
    match report.payload:
        case StateReport(state=None):
            raise PoisonError("payload", "it names a job state that this version does not know")
        case EpochReport(epochs=epochs) if epochs < 0:
            raise PoisonError("payload", f"{epochs} epochs")
        case EpochReport(values=values) | FinalReport(values=values):
            _check_metrics(values)
        case PlotReport() as plot:
            _check_plot(report, plot)
        case LogReport(text=text) if len(text) > _MAX_LINE:
            raise PoisonError("payload", f"a log line of {len(text)} characters, more than {_MAX_LINE}")
        case None:
            raise PoisonError("payload", "it has no payload that this version knows")


def _check_metrics(values: Mapping[str, float]) -> None:
    if len(values) > _MAX_METRICS:
        raise PoisonError("payload", f"{len(values)} metrics, more than {_MAX_METRICS}")
    for name in values:
        if not _METRIC.fullmatch(name):
            raise PoisonError(
                "payload", f"{name[:200]!r} is not a metric name: 1 to 120 printable ASCII characters without spaces"
            )


def _check_plot(report: Report, plot: PlotReport) -> None:
    if not _PLOT_NAME.fullmatch(plot.name):
        raise PoisonError(
            "plot", f"{plot.name[:200]!r} is not a plot name: letters, digits, '.', '_', '-', at most 128"
        )
    prefix = f"attempts/{report.project_id}/{report.job_id}/"
    if (
        not plot.key.startswith(prefix)
        or not _KEY.fullmatch(plot.key)
        or any(part in ("", ".", "..") for part in plot.key.split("/"))
    ):
        raise PoisonError("plot", f"the key {plot.key[:200]!r} does not lie under {prefix}")
    if plot.content_type not in PLOT_TYPES:
        raise PoisonError("plot", f"{plot.content_type[:100]!r} is not among {', '.join(sorted(PLOT_TYPES))}")
    if not 0 <= plot.size_bytes <= MAX_PLOT_BYTES:
        raise PoisonError("plot", f"{plot.size_bytes} bytes, not 0 to {MAX_PLOT_BYTES}")
    if not _SHA256.fullmatch(plot.sha256) or len(plot.title) > _MAX_TITLE or "\x00" in plot.title:
        raise PoisonError("plot", "its sha256 or title is malformed")
