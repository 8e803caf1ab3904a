"""From the domain to the protos."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from splitrail.events.v1 import event_pb2
from splitrail.internal.events.v1 import run_event_pb2
from splitrail.internal.metrics.v1 import watermark_service_pb2
from splitrail.metrics.v1 import metrics_pb2, metrics_service_pb2

from . import domain
from .catalogue import Direction, Metric, normalize
from .history.service import RunMetrics, SignedPlot
from .history.store import EpochNumbers, Summary, Watermark
from .live.watches import Ending, Heartbeat, Update

_DIRECTIONS = {
    Direction.NEITHER: metrics_pb2.DIRECTION_UNSPECIFIED,
    Direction.HIGHER: metrics_pb2.DIRECTION_HIGHER,
    Direction.LOWER: metrics_pb2.DIRECTION_LOWER,
}
_ENDINGS = {
    Ending.ENDED: metrics_service_pb2.CLOSED_REASON_ENDED,
    Ending.DRAINING: metrics_service_pb2.CLOSED_REASON_DRAINING,
}
_PLOT_KINDS = {kind: event_pb2.PlotKind.Value(f"PLOT_KIND_{kind.name}") for kind in domain.PlotKind}


def timestamp(moment: datetime) -> Timestamp:
    """As a proto."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def feed_event(stored: domain.CommittedEvent) -> metrics_pb2.FeedEvent:
    """An event as watchers see it: metrics normalized, keys of objects left out."""
    event = metrics_pb2.FeedEvent(
        seq=stored.seq, run_id=stored.run_id, attempt=stored.attempt, commit_time=timestamp(stored.commit_time)
    )
    if stored.event_time is not None:
        event.event_time.CopyFrom(timestamp(stored.event_time))
    match stored.kind:
        case "epoch":
            done = run_event_pb2.EpochCompleted.FromString(stored.payload)
            _fill(event.epoch, stored, done.values)
            event.epoch.epoch, event.epoch.epochs = done.epoch, done.epochs
        case "final_metrics":
            _fill(event.final_metrics, stored, run_event_pb2.FinalMetrics.FromString(stored.payload).values)
        case "plot":
            plot = run_event_pb2.PlotStored.FromString(stored.payload)
            event.plot.name, event.plot.title, event.plot.kind = plot.name, plot.title, plot.kind
            event.plot.content_type, event.plot.size_bytes, event.plot.sha256 = (
                plot.content_type,
                plot.size_bytes,
                plot.sha256,
            )
            event.plot.run_id = stored.run_id
        case kind:
            payload = getattr(event, kind)
            payload.MergeFromString(stored.payload)
            payload.SetInParent()
    return event


def _fill(epoch: metrics_pb2.EpochMetrics, stored: domain.CommittedEvent, raw: Mapping[str, float]) -> None:
    epoch.metrics.update(normalize(raw))
    epoch.raw.update(raw)
    epoch.attempt, epoch.seq = stored.attempt, stored.seq


def watched_event(stored: domain.CommittedEvent, incarnation: str) -> metrics_service_pb2.WatchRunResponse:
    """An event as a message of a watch."""
    return metrics_service_pb2.WatchRunResponse(cursor=stored.seq, incarnation=incarnation, event=feed_event(stored))


def watch_response(update: Update[metrics_service_pb2.WatchRunResponse]) -> metrics_service_pb2.WatchRunResponse:
    """A message of a watch; events are ready, for they are the same for all watchers."""
    match update.what:
        case domain.BatchProgress() as progress:
            return metrics_service_pb2.WatchRunResponse(
                cursor=update.cursor, incarnation=update.incarnation, progress=event_pb2.BatchProgress(**vars(progress))
            )
        case Heartbeat():
            return metrics_service_pb2.WatchRunResponse(
                cursor=update.cursor, incarnation=update.incarnation, heartbeat=metrics_service_pb2.Heartbeat()
            )
        case Ending() as ending:
            closed = metrics_service_pb2.Closed(reason=_ENDINGS[ending])
            return metrics_service_pb2.WatchRunResponse(
                cursor=update.cursor, incarnation=update.incarnation, closed=closed
            )
        case response:
            return response


def epoch(numbers: EpochNumbers) -> metrics_pb2.EpochMetrics:
    """An epoch of the history."""
    return metrics_pb2.EpochMetrics(
        epoch=numbers.epoch,
        epochs=numbers.epochs,
        metrics=normalize(numbers.raw),
        raw=numbers.raw,
        attempt=numbers.attempt,
        seq=numbers.seq,
    )


def run_metrics(found: RunMetrics) -> metrics_service_pb2.GetRunMetricsResponse:
    """A run's whole history, with its summary, plots and split."""
    final = found.history.final
    return metrics_service_pb2.GetRunMetricsResponse(
        epochs=[epoch(item) for item in found.history.epochs],
        summary=summary(found.history.summary()),
        final_metrics=feed_event(final).final_metrics if final else None,
        plots=[plot(item) for item in found.plots],
        split=metrics_pb2.RunSplit(**vars(found.split)),
    )


def summary(item: Summary) -> metrics_pb2.RunSummary:
    """A run in a few numbers."""
    return metrics_pb2.RunSummary(
        epochs_done=item.last_epoch,
        epochs=item.last.epochs if item.last else 0,
        best=epoch(item.best) if item.best else None,
        last=epoch(item.last) if item.last else None,
        state=event_pb2.JobState.ValueType(item.state),
        seq=item.last_seq,
    )


def summaries(found: Iterable[Summary]) -> metrics_service_pb2.BatchGetSummariesResponse:
    """By run_id."""
    return metrics_service_pb2.BatchGetSummariesResponse(summaries={item.run_id: summary(item) for item in found})


def plot(signed: SignedPlot) -> metrics_pb2.Plot:
    """A plot of a list."""
    found = signed.plot
    return metrics_pb2.Plot(
        name=found.name,
        title=found.title,
        kind=_PLOT_KINDS[found.kind],
        content_type=found.content_type,
        size_bytes=found.size_bytes,
        sha256=found.sha256,
        url=signed.url,
        url_expire_time=timestamp(signed.expires),
        run_id=found.run_id,
    )


def watermark(found: Watermark) -> watermark_service_pb2.GetWatermarkResponse:
    """As publishers read it."""
    return watermark_service_pb2.GetWatermarkResponse(
        number=found.number, current_attempt=found.current_attempt, last_epoch=found.last_epoch, closed=found.closed
    )


def schema(metrics: Sequence[Metric]) -> metrics_service_pb2.GetMetricSchemaResponse:
    """What each canonical metric means."""
    return metrics_service_pb2.GetMetricSchemaResponse(
        metrics=[
            metrics_pb2.MetricDescriptor(
                key=item.key,
                title=item.title,
                unit=item.unit,
                direction=_DIRECTIONS[item.direction],
                family=item.family,
                family_title=item.family_title,
                headline=item.headline,
            )
            for item in metrics
        ]
    )
