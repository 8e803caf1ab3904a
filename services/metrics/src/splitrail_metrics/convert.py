"""Between the domain and the protos."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from splitrail.events.v1 import run_event_pb2 as events
from splitrail.metrics.v1 import metrics_pb2, metrics_service_pb2

from .catalogue import Descriptor, Direction, normalize
from .history.service import RunMetrics, SignedPlot
from .history.store import EpochNumbers, Summary, Watermark
from .ingest.feed import CommittedEvent

_DIRECTIONS = {
    Direction.NEITHER: metrics_pb2.DIRECTION_UNSPECIFIED,
    Direction.HIGHER: metrics_pb2.DIRECTION_HIGHER,
    Direction.LOWER: metrics_pb2.DIRECTION_LOWER,
}


def timestamp(moment: datetime) -> Timestamp:
    """As a proto."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def feed_event(stored: CommittedEvent) -> metrics_pb2.FeedEvent:
    """An event as watchers see it: metrics normalized, keys of objects left out."""
    event = metrics_pb2.FeedEvent(seq=stored.seq, run_id=stored.run_id, attempt=stored.attempt, commit_time=timestamp(stored.commit_time))
    if stored.event_time is not None:
        event.event_time.CopyFrom(timestamp(stored.event_time))
    match stored.kind:
        case "epoch":
            done = events.EpochCompleted.FromString(stored.payload)
            _fill(event.epoch, stored, done.values)
            event.epoch.epoch, event.epoch.epochs = done.epoch, done.epochs
        case "final":
            _fill(event.final, stored, events.FinalMetrics.FromString(stored.payload).values)
        case "plot":
            plot = events.PlotStored.FromString(stored.payload)
            event.plot.CopyFrom(
                metrics_pb2.Plot(
                    name=plot.name,
                    title=plot.title,
                    kind=plot.kind,
                    content_type=plot.content_type,
                    size_bytes=plot.size_bytes,
                    sha256=plot.sha256,
                    run_id=stored.run_id,
                )
            )
        case kind:
            payload = getattr(event, kind)
            payload.MergeFromString(stored.payload)
            payload.SetInParent()
    return event


def _fill(epoch: metrics_pb2.Epoch, stored: CommittedEvent, raw: Mapping[str, float]) -> None:
    epoch.metrics.update(normalize(raw))
    epoch.raw.update(raw)
    epoch.attempt, epoch.seq = stored.attempt, stored.seq


def watch_event(stored: CommittedEvent) -> metrics_service_pb2.WatchRunResponse:
    """An event as a message of a watch."""
    return metrics_service_pb2.WatchRunResponse(cursor=stored.seq, event=feed_event(stored))


def epoch(numbers: EpochNumbers) -> metrics_pb2.Epoch:
    """An epoch of the history."""
    return metrics_pb2.Epoch(
        epoch=numbers.epoch, epochs=numbers.epochs, metrics=normalize(numbers.raw), raw=numbers.raw, attempt=numbers.attempt, seq=numbers.seq
    )


def run_metrics(found: RunMetrics) -> metrics_service_pb2.GetRunMetricsResponse:
    """A run's whole history, with its summary, plots and split."""
    epochs, feed = found.history.epochs, found.history.feed
    judged = [item for item in epochs if item.fitness is not None]
    best = max(judged, key=lambda item: (item.fitness or 0.0, item.epoch), default=None)
    last = epochs[-1] if epochs else None
    return metrics_service_pb2.GetRunMetricsResponse(
        epochs=[epoch(item) for item in epochs],
        summary=summary(Summary(feed.run_id, feed.state, feed.last_seq, feed.last_epoch, best, last)),
        final=feed_event(found.history.final).final if found.history.final else None,
        plots=[plot(item) for item in found.plots],
        split=metrics_pb2.JobSplit(**vars(found.split)),
    )


def summary(item: Summary) -> metrics_pb2.RunSummary:
    """A run in a few numbers."""
    return metrics_pb2.RunSummary(
        epochs_done=item.last_epoch,
        epochs=item.last.epochs if item.last else 0,
        best=epoch(item.best) if item.best else None,
        last=epoch(item.last) if item.last else None,
        state=events.JobState.ValueType(item.state),
        seq=item.last_seq,
    )


def plot(signed: SignedPlot) -> metrics_pb2.Plot:
    """A plot of a list."""
    row = signed.row
    return metrics_pb2.Plot(
        name=row.name,
        title=row.title,
        kind=row.kind,
        content_type=row.content_type,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        url=signed.url,
        url_expire_time=timestamp(signed.expires),
        run_id=row.run_id,
    )


def watermark(found: Watermark) -> metrics_service_pb2.GetWatermarkResponse:
    """As publishers read it."""
    return metrics_service_pb2.GetWatermarkResponse(
        number=found.number, current_attempt=found.current_attempt, last_epoch=found.last_epoch, closed=found.closed
    )


def schema(descriptors: Sequence[Descriptor]) -> metrics_service_pb2.GetMetricSchemaResponse:
    """What each canonical metric means."""
    return metrics_service_pb2.GetMetricSchemaResponse(
        metrics=[
            metrics_pb2.MetricDescriptor(key=item.key, title=item.title, unit=item.unit, direction=_DIRECTIONS[item.direction], family=item.family)
            for item in descriptors
        ]
    )
