"""Spool records and progress as the events that are published."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from splitrail.events.v1 import event_pb2
from splitrail.internal.events.v1 import run_event_pb2

from splitrail_pod.exchange.messages import (
    ArgumentsRecord,
    BatchProgress,
    EpochRecord,
    FinalRecord,
    LogLevel,
    LogRecord,
    PlotKind,
    Record,
    StageName,
    StageRecord,
    StartedRecord,
)

RunEvent = run_event_pb2.RunEvent
Stage = event_pb2.Stage
_STAGES: dict[StageName, Stage.ValueType] = {
    "preparing": Stage.STAGE_PREPARING,
    "training": Stage.STAGE_TRAINING,
    "finalizing": Stage.STAGE_FINALIZING,
    "evaluating": Stage.STAGE_EVALUATING,
}
PLOT_KINDS: dict[PlotKind, event_pb2.PlotKind.ValueType] = {
    "labels": event_pb2.PLOT_KIND_LABELS,
    "train_batch": event_pb2.PLOT_KIND_TRAIN_BATCH,
    "val_batch": event_pb2.PLOT_KIND_VAL_BATCH,
    "confusion_matrix": event_pb2.PLOT_KIND_CONFUSION_MATRIX,
    "curve": event_pb2.PLOT_KIND_CURVE,
    "results": event_pb2.PLOT_KIND_RESULTS,
}
_LEVELS: dict[LogLevel, event_pb2.LogLevel.ValueType] = {
    "info": event_pb2.LOG_LEVEL_INFO,
    "warning": event_pb2.LOG_LEVEL_WARNING,
    "error": event_pb2.LOG_LEVEL_ERROR,
}


def stage_event(value: event_pb2.Stage.ValueType) -> RunEvent:
    """The attempt's work has reached another stage."""
    return RunEvent(stage=event_pb2.StageChanged(stage=value))


def translate(record: Record) -> RunEvent | None:
    """The event for a spool record, or None when there is none; plots become events when they are stored."""
    match record:
        case StageRecord():
            return stage_event(_STAGES[record.name])
        case StartedRecord() | ArgumentsRecord():
            return RunEvent(effective_arguments=event_pb2.EffectiveArguments(arguments=as_values(record.effective)))
        case EpochRecord():
            return epoch_event(record)
        case FinalRecord():
            return RunEvent(final_metrics=run_event_pb2.FinalMetrics(values=record.values))
        case LogRecord():
            return RunEvent(log=event_pb2.LogLine(level=_LEVELS[record.level], text=record.text))
        case _:
            return None


def epoch_event(record: EpochRecord) -> RunEvent:
    """A completed epoch, with its fitness and duration among the values."""
    values = record.values | {"fitness": record.fitness, "epoch_seconds": record.epoch_seconds}
    return RunEvent(epoch=run_event_pb2.EpochCompleted(epoch=record.epoch, epochs=record.epochs, values=values))


def reconcile(feed_epoch: int, resume_epoch: int, history: Sequence[EpochRecord]) -> list[RunEvent]:
    """The events after which a feed ends at the checkpoint's `resume_epoch`; so far its effective timeline ends at
    `feed_epoch`.

    Epochs beyond the checkpoint are void; epochs that the feed lacks come from `history`, the checkpoint's epochs.
    """
    if feed_epoch > resume_epoch:
        return [RunEvent(rolled_back=event_pb2.RolledBack(epoch=resume_epoch))]
    return [epoch_event(record) for record in history[feed_epoch:resume_epoch]]


def progress_event(attempt: int, progress: BatchProgress) -> event_pb2.BatchProgress:
    """Progress as watchers get it; in an evaluation, which has no epochs, epoch and epochs are 0."""
    message = event_pb2.BatchProgress(
        attempt=attempt,
        epoch=progress.epoch or 0,
        epochs=progress.epochs or 0,
        batch=progress.batch,
        batches=progress.batches,
        losses=progress.losses,
    )
    if progress.eta_seconds is not None:
        message.remaining_seconds = progress.eta_seconds
    return message


def as_values(arguments: Mapping[str, Any]) -> dict[str, Value]:
    """Plain values as protobuf ones."""
    return {name: ParseDict(value, Value()) for name, value in arguments.items()}
