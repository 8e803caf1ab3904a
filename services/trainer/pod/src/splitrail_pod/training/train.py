"""One training, from scratch or resumed: from the specification to the results."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from splitrail_pod.exchange import checkpoint
from splitrail_pod.exchange.messages import (
    CompletedRecord,
    JobFailureCause,
    Resume,
    StageRecord,
    TrainingSummary,
    TrainSpec,
)
from splitrail_pod.exchange.spool import SpoolWriter
from splitrail_pod.training import outputs
from splitrail_pod.training.data import write_data_yaml
from splitrail_pod.training.failures import JobFailedError
from splitrail_pod.training.history import best_epoch, write_csv
from splitrail_pod.training.orders import Orders
from splitrail_pod.training.platform_arguments import platform_arguments
from splitrail_pod.training.progress import ProgressWriter
from splitrail_pod.training.trainer import SpooledTrainer
from splitrail_pod.training.untrusted import check_arguments, check_weights, whole_numbers


def train(spec: TrainSpec, spool: SpoolWriter, progress: ProgressWriter, orders: Orders) -> None:
    """Train to the end and append every record but `failed`. Raises JobFailedError, CancelOrderedError, and what
    Ultralytics raises.
    """
    start = time.monotonic()
    spec = spec.model_copy(update={"arguments": whole_numbers(spec.arguments)})
    spool.append(StageRecord(name="preparing"))
    run = spec.directory / "run"
    shutil.rmtree(run, ignore_errors=True)  # of an earlier process only the checkpoint counts
    (run / "weights").mkdir(parents=True)
    (spec.directory / "checkpoints").mkdir(exist_ok=True)
    restored = _restore(spec.resume, run) if spec.resume else None
    platform = platform_arguments(spec, write_data_yaml(spec, {"train": "train", "val": "val"}), run)
    if restored:
        last = str(run / "weights" / "last.pt")
        overrides = {"resume": last, "model": last} | {name: platform[name] for name in ("data", "save_dir", "device")}
        platform = {name: value for name, value in platform.items() if name not in {"model", "resume"}}
    else:
        overrides = spec.arguments | platform
        check_arguments(overrides)
    trainer = SpooledTrainer(
        spec, overrides, platform=platform, restored=restored, spool=spool, progress=progress, orders=orders
    )
    trainer.train()
    outputs.join_plot_threads()
    outputs.record_plots(spool, run)
    outputs.record_artifacts(spool, run)
    best = best_epoch(trainer.history)
    summary = TrainingSummary(
        epochs=len(trainer.history),
        best_epoch=best,
        best_fitness=trainer.history[best - 1].fitness if best else None,
        stopped_early=len(trainer.history) < trainer.epochs,
    )
    spool.append(CompletedRecord(seconds=time.monotonic() - start, training=summary))


def _restore(resume: Resume, run: Path) -> checkpoint.CheckpointManifest:
    """Put the checkpoint's weights and results.csv into `run`, checked. Raises JobFailedError."""
    try:
        manifest = checkpoint.unpack(resume.checkpoint, run / "weights")
    except (checkpoint.CheckpointError, OSError) as error:
        raise JobFailedError(JobFailureCause.CHECKPOINT, str(error)) from error
    if manifest.epoch != resume.epoch:
        raise JobFailedError(
            JobFailureCause.CHECKPOINT, f"{resume.checkpoint.name} is of epoch {manifest.epoch}, not {resume.epoch}"
        )
    last = check_weights(run / "weights" / "last.pt")
    if last.get("epoch") != manifest.epoch - 1 or not last.get("optimizer"):
        raise JobFailedError(
            JobFailureCause.CHECKPOINT,
            f"{resume.checkpoint.name}: last.pt is not a resumable one of epoch {manifest.epoch}",
        )
    if manifest.best == "best.pt":
        check_weights(run / "weights" / "best.pt")
    write_csv(run / "results.csv", manifest.history)
    return manifest
