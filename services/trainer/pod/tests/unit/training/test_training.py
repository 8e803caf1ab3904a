"""The training process with real Ultralytics, on twelve images of 64 pixels."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from splitrail_common.training.arguments import TRAINING_NAMES
from splitrail_local.testing import until
from splitrail_pod.exchange import checkpoint, messages
from splitrail_pod.exchange.messages import (
    ArtifactRecord,
    CancelledRecord,
    CancelOrder,
    CheckpointRecord,
    CompletedRecord,
    EpochRecord,
    EvaluationRecord,
    FailedRecord,
    FinalRecord,
    FinishOrder,
    JobFailureCause,
    LogRecord,
    PlotRecord,
    StageRecord,
    StartedRecord,
    TrainSpec,
    decode_progress,
)
from splitrail_pod.training.platform_arguments import platform_arguments

pytestmark = pytest.mark.torch


def test_the_platform_overrides_nothing_that_callers_may_set(tmp_path: Path) -> None:
    """The seed is passed on by a field of its own."""
    spec = TrainSpec.model_construct(model="yolo11s", device="cpu", seed=1)
    assert platform_arguments(spec, tmp_path / "data.yaml", tmp_path).keys() & TRAINING_NAMES == {"seed"}


def rows(job: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((job.directory / "run" / "results.csv").read_text())))


def assert_equal_to_csv(records: list[EpochRecord], table: list[dict[str, str]]) -> None:
    """Every value of every epoch equals the CSV's to its printed digits, and neither has an epoch or a column that the
    other lacks.
    """
    assert [str(record.epoch) for record in records] == [row["epoch"] for row in table]
    for record, row in zip(records, table, strict=True):
        printed = {name: f"{value:.6g}" for name, value in record.values.items()}
        assert printed | {"epoch": row["epoch"], "time": f"{record.elapsed_seconds:.6g}"} == row


@pytest.fixture(scope="module")
def trained(make_training: Callable[..., Any]) -> Any:
    """A training of two epochs, from start to end."""
    job = make_training()
    assert job.run() == messages.EXIT_COMPLETED, job.stderr()
    return job


def test_each_epoch_is_recorded_as_in_results_csv(trained: Any) -> None:
    epochs = trained.records(EpochRecord)
    assert [record.epoch for record in epochs] == [1, 2]
    assert_equal_to_csv(epochs, rows(trained))
    assert {"train/box_loss", "val/cls_loss", "metrics/mAP50(B)", "lr/pg0"} <= set(epochs[0].values)
    assert [record.last for record in epochs] == [False, True]


def test_records_come_in_their_order(trained: Any) -> None:
    kinds = [record.kind for record in trained.seen if record.kind not in {"log", "plot", "artifact"}]
    epoch = ["epoch", "checkpoint"]
    assert kinds == ["stage", "started", "stage", *epoch, *epoch, "stage", "final", "completed"]
    assert [record.name for record in trained.records(StageRecord)] == ["preparing", "training", "finalizing"]
    (started,) = trained.records(StartedRecord)
    assert started.start_epoch == 1
    assert started.images == {"train": 12, "val": 4}
    assert started.effective["epochs"] == 2
    assert started.effective["seed"] == 3
    assert set(started.versions) >= {"ultralytics", "torch", "python", "splitrail"}
    assert not any(str(trained.directory) in str(value) for value in started.effective.values())
    (final,) = trained.records(FinalRecord)
    assert "metrics/mAP50(B)" in final.values
    assert [entry.class_name for entry in final.per_class] == ["red", "blue"]
    assert isinstance(trained.seen[-1], CompletedRecord)


def test_checkpoints_are_what_their_records_say(trained: Any) -> None:
    for record in trained.records(CheckpointRecord):
        manifest = checkpoint.read_manifest(record.file.path)
        assert manifest.epoch == record.epoch
        assert manifest.history == tuple(trained.records(EpochRecord)[: record.epoch])
        assert record.file.path.stat().st_size == record.file.size_bytes


def test_plots_and_artifacts_are_complete(trained: Any) -> None:
    plots = {record.file.path.name: record for record in trained.records(PlotRecord)}
    assert {
        "labels.jpg",
        "train_batch0.jpg",
        "val_batch0_pred.jpg",
        "confusion_matrix.png",
        "BoxPR_curve.png",
        "results.png",
    } <= set(plots)
    for record in plots.values():
        with Image.open(record.file.path) as image:
            image.load()
    roles = [record.role for record in trained.records(ArtifactRecord)]
    assert roles == ["weights_best", "weights_last", "results_csv", "args"]


def test_the_network_was_never_touched(trained: Any) -> None:
    touched = trained.hooks / "network"
    assert not touched.exists(), touched.read_text()


def test_it_imports_no_network_client() -> None:
    program = (
        "import sys, pkgutil, importlib, splitrail_pod.training as package\n"
        "for one in pkgutil.iter_modules(package.__path__): importlib.import_module(f'splitrail_pod.training.{one.name}')\n"
        "assert 'torch' in sys.modules\n"
        "sys.exit(', '.join(sorted({'grpc', 'httpx', 'nats', 'splitrail', 'splitrail_pod.supervisor'} & set(sys.modules))) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_logs_are_plain_and_progress_is_transient(trained: Any) -> None:
    logs = trained.records(LogRecord)
    assert any("AdamW" in record.text for record in logs)
    assert not any("\x1b" in record.text for record in logs)
    progress = [decode_progress(line) for line in (trained.directory / "stdout").read_bytes().splitlines()]
    assert progress
    assert all(one.batch <= one.batches for one in progress)
    assert (progress[0].phase, progress[0].epoch, progress[0].epochs) == ("train", 1, 2)
    assert set(progress[0].losses) == {"box_loss", "cls_loss", "dfl_loss"}


def test_killed_after_the_last_epoch_it_is_only_finalized(trained: Any, make_training: Callable[..., Any]) -> None:
    """The last checkpoint is all that such a kill leaves; another pod takes it up."""
    last = trained.records(CheckpointRecord)[-1]
    job = make_training(resume={"checkpoint": str(last.file.path), "epoch": 2})
    assert job.run() == messages.EXIT_COMPLETED, job.stderr()
    assert job.records(EpochRecord) == []
    assert job.records(StartedRecord)[0].start_epoch == 3
    assert job.records(FinalRecord)[0].values == trained.records(FinalRecord)[0].values
    assert_equal_to_csv(trained.records(EpochRecord), rows(job))
    assert {record.file.path.name for record in job.records(PlotRecord)} >= {
        "results.png",
        "confusion_matrix.png",
        "BoxPR_curve.png",
        "labels.jpg",
    }
    assert job.seen[-1].training.epochs == 2


def test_killed_in_the_middle_it_resumes_with_each_epoch_once(make_training: Callable[..., Any]) -> None:
    first = make_training(epochs=3)
    first.start()
    left = first.wait_for(CheckpointRecord, lambda record: record.epoch == 1)
    first.process.send_signal(signal.SIGKILL)
    assert first.end() == -signal.SIGKILL
    second = make_training(
        epochs=3, resume={"checkpoint": str(left.file.path), "epoch": 1}
    )  # in a new directory: another pod
    assert second.run() == messages.EXIT_COMPLETED, second.stderr()
    assert second.records(StartedRecord)[0].start_epoch == 2
    effective = [record for record in first.records(EpochRecord) if record.epoch <= 1] + second.records(EpochRecord)
    assert [record.epoch for record in effective] == [1, 2, 3]
    assert_equal_to_csv(effective, rows(second))
    elapsed = [record.elapsed_seconds for record in effective]
    assert elapsed == sorted(elapsed)
    manifest = checkpoint.read_manifest(second.records(CheckpointRecord)[-1].file.path)
    assert [record.epoch for record in manifest.history] == [1, 2, 3]
    assert (second.directory / "run" / "weights" / "best.pt").exists()


def test_a_hostile_checkpoint_executes_nothing(trained: Any, make_training: Callable[..., Any], tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Exploit:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {canary}",)

    import torch  # noqa: PLC0415

    torch.save({"epoch": 1, "model": None, "ema": Exploit(), "optimizer": {"state": 1}}, tmp_path / "last.pt")
    history = checkpoint.read_manifest(trained.records(CheckpointRecord)[-1].file.path).history
    packed = checkpoint.pack(
        tmp_path / "x.ckpt", last=tmp_path / "last.pt", best=None, best_is_last=True, history=history, final=False
    )
    job = make_training(epochs=4, resume={"checkpoint": str(packed.path), "epoch": 2})
    assert job.run() == messages.EXIT_FAILED
    failed = job.seen[-1]
    assert isinstance(failed, FailedRecord)
    assert failed.cause is JobFailureCause.CHECKPOINT
    assert "last.pt" in failed.message
    assert not canary.exists()
    torch.load(tmp_path / "last.pt", weights_only=False)
    assert canary.exists(), "the file does attack an unrestricted loader"


def test_an_evaluation_scores_the_part_it_was_given(trained: Any, make_job: Callable[..., Any]) -> None:
    weights = next(str(record.file.path) for record in trained.records(ArtifactRecord) if record.role == "weights_best")
    job = make_job({"test": 6}, kind="evaluate", weights=weights, arguments={"imgsz": 64.0, "batch": 4})
    assert job.run() == messages.EXIT_COMPLETED, job.stderr()
    (found,) = job.records(EvaluationRecord)
    assert (found.part, found.images, found.instances) == ("test", 6, 7)
    assert set(found.overall) == {"precision", "recall", "f1", "mAP50", "mAP50_95"}
    assert found.overall["mAP50"] == pytest.approx(found.values["metrics/mAP50(B)"])
    assert [(entry.class_name, entry.instances) for entry in found.per_class] == [("red", 5), ("blue", 2)]
    matrix = found.confusion_matrix
    assert matrix.class_names == ("red", "blue", "background")
    columns = [sum(matrix.counts[row * 3 + column] for row in range(3)) for column in range(3)]
    assert columns[:2] == [5, 2]
    assert [curve.name for curve in found.curves] == [
        "precision_recall",
        "f1_confidence",
        "precision_confidence",
        "recall_confidence",
    ]
    for curve in found.curves:
        assert len(curve.x) == 101
        assert all(len(entry.y) == 101 for entry in curve.classes)
    assert {record.file.path.name for record in job.records(PlotRecord)} >= {
        "confusion_matrix.png",
        "BoxPR_curve.png",
        "val_batch0_pred.jpg",
    }
    assert not (job.hooks / "network").exists()


def test_an_image_that_ultralytics_drops_fails_the_training_by_name(make_training: Callable[..., Any]) -> None:
    job = make_training()
    (job.directory / "data" / "labels" / "train" / "train3.txt").write_text("9 0.5 0.5 0.1 0.1\n")
    assert job.run() == messages.EXIT_FAILED
    failed = job.seen[-1]
    assert failed.cause is JobFailureCause.DATA
    assert "train3.png" in failed.message
    assert "12 images, but 11" in failed.message


def test_cancel_stops_between_batches(make_training: Callable[..., Any]) -> None:
    job = make_training(epochs=1000)
    job.start()
    job.wait_for(StageRecord, lambda record: record.name == "training")
    job.order(CancelOrder())
    assert job.end(30) == messages.EXIT_CANCELLED
    assert isinstance(job.seen[-1], CancelledRecord)


def test_finish_ends_after_the_present_epoch_and_an_unknown_order_changes_nothing(
    make_training: Callable[..., Any],
) -> None:
    job = make_training(epochs=1000)
    job.start()
    job.wait_for(StartedRecord)
    job.process.stdin.write(b'{"kind":"pause"}\n')
    job.order(FinishOrder())
    assert job.end() == messages.EXIT_COMPLETED, job.stderr()
    assert "refused an order" in job.stderr()
    assert "'pause'" in job.stderr()
    last = job.records(EpochRecord)[-1]
    assert last.last
    ended = job.seen[-1]
    assert isinstance(ended, CompletedRecord)
    assert (ended.training.epochs, ended.training.stopped_early) == (last.epoch, True)


def test_it_ends_with_its_supervisor(make_training: Callable[..., Any]) -> None:
    """Once by the end of standard input, once by the death of the parent while somebody else still holds that open."""
    job = make_training(epochs=1000)
    job.start()
    job.wait_for(StageRecord)
    job.process.stdin.close()
    assert job.process.wait(30) == messages.EXIT_ORPHANED
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'splitrail_pod.training', sys.argv[1]], stdin=0)\n"
        "print(child.pid, flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(job.directory / "spec.json")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        spool, stat = job.directory / "spool", Path(f"/proc/{pid}/stat")
        size = spool.stat().st_size
        until(lambda: spool.stat().st_size != size, "it has begun, so it has asked the kernel", 60)
        parent.kill()
        until(lambda: not stat.exists() or stat.read_text().split()[2] == "Z", "it dies with its parent", 60)
