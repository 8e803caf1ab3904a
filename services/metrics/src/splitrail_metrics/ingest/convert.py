"""From the envelope of an event, as it travels, to a report."""

from datetime import UTC, datetime

from google.protobuf.message import DecodeError
from splitrail.events.v1 import event_pb2
from splitrail.internal.events.v1 import run_event_pb2

from ..domain import JobState, PlotKind
from .reports import (
    EpochReport,
    FinalReport,
    LogReport,
    OtherReport,
    Payload,
    PlotReport,
    PoisonError,
    Report,
    RollbackReport,
    StartReport,
    StateReport,
)

_STATES = {event_pb2.JobState.Value(f"JOB_STATE_{state.name}"): state for state in JobState}
_PLOT_KINDS = {event_pb2.PlotKind.Value(f"PLOT_KIND_{kind.name}"): kind for kind in PlotKind}


def report(data: bytes) -> Report:
    """The event in these bytes. Raises PoisonError (encoding) when there is none."""
    try:
        event = run_event_pb2.RunEvent.FromString(data)
    except DecodeError as error:
        raise PoisonError("encoding", "it is not a RunEvent") from error
    kind = event.WhichOneof("payload")
    return Report(
        event.job_id,
        event.attempt,
        event.number,
        event.project_id,
        _event_time(event),
        kind or "",
        _payload(event),
        getattr(event, kind).SerializeToString() if kind else b"",
    )


def _event_time(event: run_event_pb2.RunEvent) -> datetime | None:
    if not event.HasField("event_time"):
        return None
    try:
        return event.event_time.ToDatetime(UTC)
    except (ValueError, OverflowError):  # out of the calendar's range: it is for display only, so the event stands
        return None


def _payload(event: run_event_pb2.RunEvent) -> Payload | None:
    match event.WhichOneof("payload"):
        case "state":
            return StateReport(_STATES.get(event.state.state))
        case "attempt_started":
            return StartReport()
        case "epoch":
            return EpochReport(event.epoch.epoch, event.epoch.epochs, dict(event.epoch.values))
        case "rolled_back":
            return RollbackReport(event.rolled_back.epoch)
        case "plot":
            plot = event.plot
            kind = _PLOT_KINDS.get(plot.kind, PlotKind.UNSPECIFIED)
            return PlotReport(plot.name, plot.title, kind, plot.key, plot.content_type, plot.size_bytes, plot.sha256)
        case "log":
            return LogReport(event.log.text)
        case "final_metrics":
            return FinalReport(dict(event.final_metrics.values))
        case None:
            return None
        case _:
            return OtherReport()
