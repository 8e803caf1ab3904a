"""Numbering, translation, and bringing a feed and a checkpoint together."""

import math
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitrail.events.v1 import event_pb2
from splitrail.internal.trainer.v1 import job_service_pb2
from splitrail_pod.exchange.messages import (
    ArtifactRecord,
    BatchProgress,
    CancelledRecord,
    CheckpointRecord,
    CompletedRecord,
    DeviceInfo,
    EpochRecord,
    FailedRecord,
    FinalRecord,
    JobFailureCause,
    LogRecord,
    PlotRecord,
    Record,
    StageName,
    StageRecord,
    StartedRecord,
    StoredFile,
)
from splitrail_pod.supervisor.feed import EventLog
from splitrail_pod.supervisor.results import events
from splitrail_pod.supervisor.results.events import RunEvent

JOB = job_service_pb2.ClaimedJob(job_id="job", project_id="default", attempt=3)


def epoch(number: int, total: int = 9) -> EpochRecord:
    return EpochRecord(
        time=1000.0 + number,
        epoch=number,
        epochs=total,
        values={"train/box_loss": float(number), "lr/pg0": math.nan},
        fitness=0.5,
        best_fitness=0.5,
        epoch_seconds=2.5,
        elapsed_seconds=5.0,
        last=False,
    )


async def test_events_are_numbered_from_one_and_carry_the_attempt() -> None:
    log = EventLog(JOB)
    numbers = [log.append(events.stage_event(events.Stage.STAGE_STAGING), 12.5) for _ in range(5)]
    assert numbers == [1, 2, 3, 4, 5]
    read = await log.read(2, 2)
    assert [event.number for event in read] == [3, 4]
    assert (read[0].job_id, read[0].project_id, read[0].attempt) == ("job", "default", 3)
    assert read[0].event_time.ToNanoseconds() == 12_500_000_000
    assert await log.read(5, 10) == []


def test_an_epoch_keeps_every_value_and_adds_fitness_and_seconds() -> None:
    event = events.translate(epoch(4))
    assert event is not None
    values = dict(event.epoch.values)
    assert math.isnan(values.pop("lr/pg0"))
    assert values == {"train/box_loss": 4.0, "fitness": 0.5, "epoch_seconds": 2.5}
    assert (event.epoch.epoch, event.epoch.epochs) == (4, 9)


def test_other_records() -> None:
    started = events.translate(
        StartedRecord(
            effective={"batch": 8, "amp": "fp32", "rect": False, "lr0": 0.01},
            versions={},
            device=DeviceInfo(type="cpu", name="cpu", threads=1),
            images={"train": 1, "val": 1},
        )
    )
    assert started is not None
    assert started.effective_arguments.arguments["batch"].number_value == 8
    assert started.effective_arguments.arguments["rect"].WhichOneof("kind") == "bool_value"
    log = events.translate(LogRecord(level="warning", text="careful"))
    assert log is not None
    assert log.log == event_pb2.LogLine(level=event_pb2.LOG_LEVEL_WARNING, text="careful")
    final = events.translate(FinalRecord(values={"metrics/mAP50(B)": 0.25}, best_epoch=1, per_class=()))
    assert final is not None
    assert dict(final.final_metrics.values) == {"metrics/mAP50(B)": 0.25}


@pytest.mark.parametrize("name", get_args(StageName))
def test_every_stage_of_the_training_process_is_known(name: StageName) -> None:
    event = events.translate(StageRecord(name=name))
    assert event is not None
    assert event.stage.stage != events.Stage.STAGE_UNSPECIFIED


FILE = StoredFile(path=Path("/job/file"), size_bytes=1, sha256="a" * 64)


@pytest.mark.parametrize(
    "record",
    [
        CheckpointRecord(file=FILE, epoch=1, last=False),
        PlotRecord(file=FILE, title="Results", plot="results", content_type="image/png"),
        ArtifactRecord(file=FILE, role="args"),
        CompletedRecord(seconds=1.0),
        CancelledRecord(),
        FailedRecord(cause=JobFailureCause.NAN, message="NaN"),
    ],
)
def test_records_that_are_no_events_by_themselves(record: Record) -> None:
    assert events.translate(record) is None


def apply(timeline: list[int], event: RunEvent) -> list[int]:
    """The effective timeline after an event, as the metrics service keeps it."""
    if event.WhichOneof("payload") == "rolled_back":
        return [number for number in timeline if number <= event.rolled_back.epoch]
    assert event.epoch.epoch == (timeline[-1] if timeline else 0) + 1, "an epoch is missing or doubled"
    return [*timeline, event.epoch.epoch]


@given(feed=st.integers(0, 12), resume=st.integers(0, 12))
@settings(deadline=None)
def test_after_reconciling_the_feed_ends_where_the_checkpoint_does(feed: int, resume: int) -> None:
    timeline = list(range(1, feed + 1))
    for event in events.reconcile(feed, resume, [epoch(number) for number in range(1, resume + 1)]):
        timeline = apply(timeline, event)
    assert timeline == list(range(1, resume + 1))


def test_progress_of_an_evaluation_has_no_epoch_and_no_invented_end() -> None:
    progress = BatchProgress(
        phase="val", epoch=None, epochs=None, batch=2, batches=5, losses={}, seconds=1.0, eta_seconds=None
    )
    message = events.progress_event(3, progress)
    assert (message.epoch, message.batch, message.batches, message.HasField("remaining_seconds")) == (0, 2, 5, False)
