"""What a payload must look like, whatever the state of its feed."""

import re
from collections.abc import Mapping

from splitrail.events.v1 import run_event_pb2 as events

MAX_EVENT_BYTES = 512 * 1024
MAX_PLOT_BYTES = 32 * 1024 * 1024
PLOT_TYPES = frozenset({"image/png", "image/jpeg"})
PLOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_KEY = re.compile(r"[A-Za-z0-9._/-]{1,400}")
_WORD = re.compile(r"[a-z0-9_]{1,40}")
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


def check_payload(event: events.RunEvent) -> None:
    """Raises PoisonError when the payload breaks a rule."""
    match event.WhichOneof("payload"):
        case "state":
            if event.state.state not in events.JobState.values() or event.state.state == events.JOB_STATE_UNSPECIFIED:
                raise PoisonError("payload", f"there is no job state {event.state.state}")
        case "epoch":
            _check_metrics(event.epoch.values)
        case "final":
            _check_metrics(event.final.values)
        case "plot":
            _check_plot(event)
        case "log":
            if len(event.log.text) > _MAX_LINE:
                raise PoisonError("payload", f"a log line of {len(event.log.text)} characters, more than {_MAX_LINE}")
        case None:
            raise PoisonError("payload", "it has no payload that this version knows")


def _check_metrics(values: Mapping[str, float]) -> None:
    if len(values) > _MAX_METRICS:
        raise PoisonError("payload", f"{len(values)} metrics, more than {_MAX_METRICS}")
    for name in values:
        if not _METRIC.fullmatch(name):
            raise PoisonError("payload", f"{name[:200]!r} is no metric's name: 1 to 120 printable ASCII characters without spaces")


def _check_plot(event: events.RunEvent) -> None:
    plot = event.plot
    if not PLOT_NAME.fullmatch(plot.name):
        raise PoisonError("plot", f"{plot.name[:200]!r} is no plot's name")
    prefix = f"attempts/{event.project_id}/{event.job_id}/"
    if not plot.key.startswith(prefix) or not _KEY.fullmatch(plot.key) or any(part in ("", ".", "..") for part in plot.key.split("/")):
        raise PoisonError("plot", f"the key {plot.key[:200]!r} does not lie under {prefix}")
    if plot.content_type not in PLOT_TYPES:
        raise PoisonError("plot", f"{plot.content_type[:100]!r} is not among {', '.join(sorted(PLOT_TYPES))}")
    if plot.size_bytes > MAX_PLOT_BYTES:
        raise PoisonError("plot", f"{plot.size_bytes} bytes, more than {MAX_PLOT_BYTES}")
    if not _SHA256.fullmatch(plot.sha256) or not _WORD.fullmatch(plot.kind) or len(plot.title) > _MAX_TITLE or "\x00" in plot.title:
        raise PoisonError("plot", "its sha256, kind or title is malformed")
