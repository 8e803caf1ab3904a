"""Ultralytics' detection trainer, extended to record each epoch and to resume from a packed checkpoint.

The order within an epoch is Ultralytics': row of results.csv, last.pt, `on_model_save`, `on_fit_epoch_end`. Everything
of an epoch is recorded in `on_model_save`, record first and checkpoint second, so that a kill at any point loses no
epoch that a checkpoint holds.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import strip_optimizer

from splitrail_pod.exchange import checkpoint
from splitrail_pod.exchange.messages import (
    ArgumentsRecord,
    ArgumentValue,
    BatchProgress,
    CheckpointRecord,
    EpochRecord,
    FinalRecord,
    JobFailureCause,
    Part,
    StageRecord,
    StartedRecord,
    TrainSpec,
)
from splitrail_pod.exchange.spool import SpoolWriter
from splitrail_pod.training import describe
from splitrail_pod.training.data import check_loaded
from splitrail_pod.training.failures import JobFailedError
from splitrail_pod.training.history import best_epoch, csv_row
from splitrail_pod.training.orders import Orders
from splitrail_pod.training.progress import ProgressWriter

_KEPT_CHECKPOINTS = 3  # the supervisor uploads the newest; older ones only cover an upload in progress


class SpooledTrainer(DetectionTrainer):  # type: ignore[misc]  # Ultralytics has no types
    """Trains one run. Callbacks append to the spool and leave checkpoints; what they raise ends the training."""

    def __init__(
        self,
        spec: TrainSpec,
        overrides: dict[str, Any],
        *,
        platform: dict[str, Any],
        restored: checkpoint.CheckpointManifest | None,
        spool: SpoolWriter,
        progress: ProgressWriter,
        orders: Orders,
    ) -> None:
        """`overrides` is what Ultralytics parses; `platform` is forced over what a resumed checkpoint says; `restored`
        is that checkpoint's manifest.
        """
        self._spec = spec
        self._platform = platform
        self._spool = spool
        self._progress = progress
        self._orders = orders
        self.history: list[EpochRecord] = list(restored.history) if restored else []
        self._finalize_only = bool(restored and restored.last)
        self._row: dict[str, float] = {}
        self._effective: dict[str, ArgumentValue] = {}
        self._stripped_best: Path | None = None
        self._batch = 0
        self._phase_start = time.monotonic()
        callbacks: dict[str, list[Any]] = defaultdict(list)
        for event in (
            "on_pretrain_routine_end",
            "on_train_start",
            "on_train_epoch_start",
            "on_train_batch_start",
            "on_train_batch_end",
            "on_model_save",
        ):
            callbacks[event].append(getattr(type(self), f"_{event}"))
        callbacks["on_val_start"].append(self._on_val_start)
        callbacks["on_val_batch_start"].append(self._on_val_batch_start)
        callbacks["on_val_batch_end"].append(self._on_val_batch_end)
        super().__init__(overrides=overrides, _callbacks=callbacks)

    # Methods of Ultralytics' trainer that are overridden

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Take the arguments from the checkpoint, then put the platform's own over them: its paths mean nothing here."""
        try:
            super().check_resume(overrides)
        except (FileNotFoundError, SyntaxError, TypeError, ValueError) as error:
            raise JobFailedError(
                JobFailureCause.CHECKPOINT, f"the checkpoint's arguments are refused: {error}"
            ) from error
        if self.resume:
            self._refuse_other_arguments()
            for name, value in self._platform.items():
                setattr(self.args, name, value)

    def get_dataset(self) -> dict[str, Any]:
        """As Ultralytics, but with the class names as given: it replaces names that look like ImageNet codes."""
        try:
            data: dict[str, Any] = super().get_dataset()
        except RuntimeError as error:
            raise JobFailedError(JobFailureCause.DATA, str(error)) from error
        data["names"] = dict(enumerate(self._spec.class_names))
        return data

    def _build_train_pipeline(self) -> None:
        """Build the loaders. Raises JobFailedError when the data cannot be read or an image was dropped."""
        try:
            super()._build_train_pipeline()
        except (FileNotFoundError, ValueError, AssertionError) as error:
            raise JobFailedError(JobFailureCause.DATA, f"the data cannot be loaded: {error}") from error
        loaders: tuple[tuple[Part, Any, float], ...] = (
            ("train", self.train_loader, float(self.args.fraction)),
            ("val", self.test_loader, 1.0),
        )
        for part, loader, fraction in loaders:
            check_loaded(
                part,
                expected=self._spec.expected[part],
                files=self._files(part),
                labels=loader.dataset.labels,
                fraction=fraction,
            )

    def resume_training(self, ckpt: dict[str, Any] | None) -> None:
        """As Ultralytics, which refuses a checkpoint after the last epoch; that one needs only the final validation."""
        if self._finalize_only:
            self.start_epoch = len(self.history)
            return
        super().resume_training(ckpt)

    def _do_train(self) -> None:
        """Train; after a kill between the last epoch and the end, only do what comes after the last epoch."""
        if not self._finalize_only:
            super()._do_train()
            return
        self._setup_train()
        self.epoch = len(self.history) - 1
        self.final_eval()
        self.plot_metrics()
        for loader in (self.train_loader, self.test_loader):
            loader.close()

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """Write the row of results.csv, and keep what is in it for the epoch's record."""
        super().save_metrics(metrics)
        self._row = {name: float(value) for name, value in metrics.items()}

    def final_eval(self) -> None:
        """Validate the best weights: a `final` record, never an epoch. Raises JobFailedError when there are none."""
        self._spool.append(StageRecord(name="finalizing"))
        if not self.best.exists():
            raise JobFailedError(
                JobFailureCause.NAN,
                "no epoch had a finite fitness, so there are no best weights; lower lr0, or set amp=False",
            )
        super().final_eval()
        self._spool.append(
            FinalRecord(
                values={name: float(value) for name, value in self.metrics.items()},
                best_epoch=best_epoch(self.history),
                per_class=describe.per_class(self.validator.metrics, self.data["names"]),
            )
        )

    # Callbacks

    def _on_pretrain_routine_end(self) -> None:
        self._orders.raise_if_cancelled()
        self._effective = describe.effective_arguments(self.args)
        self._spool.append(
            StartedRecord(
                effective=self._effective,
                versions=describe.versions(),
                device=describe.device(self.device),
                start_epoch=self.start_epoch + 1,
                epochs=self.epochs,
                images={"train": len(self.train_loader.dataset), "val": len(self.test_loader.dataset)},
                parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            )
        )

    def _on_train_start(self) -> None:
        self._spool.append(StageRecord(name="training"))
        if self.start_epoch:
            self.train_time_start -= self.history[-1].elapsed_seconds  # so that results.csv's `time` goes on
            first = self.start_epoch * len(self.train_loader)
            self.plot_idx = [
                first,
                first + 1,
                first + 2,
            ]  # the batches to draw; a resumed run never sees those of epoch 1

    def _on_train_epoch_start(self) -> None:
        self._batch = 0
        self._phase_start = time.monotonic()
        effective = describe.effective_arguments(self.args)
        changed = {
            name: (self._effective.get(name), value)
            for name, value in effective.items()
            if self._effective.get(name) != value
        }
        if changed:
            self._effective = effective
            self._spool.append(ArgumentsRecord(effective=effective, changed=changed))

    def _on_train_batch_start(self) -> None:
        self._orders.raise_if_cancelled()

    def _on_train_batch_end(self) -> None:
        self._batch += 1
        self._report(
            "train", self._batch, len(self.train_loader), {name: float(value) for name, value in self.tloss.items()}
        )

    def _on_val_start(self, validator: Any) -> None:
        del validator
        self._phase_start = time.monotonic()

    def _on_val_batch_start(self, validator: Any) -> None:
        del validator
        self._orders.raise_if_cancelled()

    def _on_val_batch_end(self, validator: Any) -> None:
        self._report("val", validator.batch_i + 1, len(validator.dataloader), {})

    def _on_model_save(self) -> None:
        """Record the epoch, then leave its checkpoint. Whether to stop is already decided here, except by an order to
        finish.
        """
        self.stop |= self._orders.finish
        epoch, elapsed = csv_row(self.csv)
        record = EpochRecord(
            epoch=self.epoch + 1,
            epochs=self.epochs,
            values=self._row,
            fitness=float(self.fitness),
            best_fitness=float(self.best_fitness),
            epoch_seconds=time.time() - self.epoch_time_start,
            elapsed_seconds=elapsed,
            last=bool(self.stop),
        )
        if epoch != record.epoch or epoch != len(self.history) + 1:
            raise RuntimeError(
                f"epoch {record.epoch} follows epoch {len(self.history)}, and the last row of results.csv is of epoch {epoch}"
            )
        self._spool.append(record)
        self.history.append(record)
        self._leave_checkpoint(record)

    # Steps of the above

    def _leave_checkpoint(self, record: EpochRecord) -> None:
        """Pack last.pt, the best weights and the history; remove those that newer ones replace."""
        best_is_last = record.fitness == record.best_fitness
        if best_is_last:
            self._stripped_best = None
        elif self._stripped_best is None and self.best.exists():
            self._stripped_best = (
                self.wdir / "best-stripped.pt"
            )  # 6 MB instead of 30 for a nano model, once for each new best
            strip_optimizer(self.best, s=str(self._stripped_best))
        folder = self._spec.directory / "checkpoints"
        packed = checkpoint.pack(
            folder / f"epoch-{record.epoch:06d}.ckpt",
            last=self.last,
            best=self._stripped_best,
            best_is_last=best_is_last,
            history=self.history,
            final=record.last,
        )
        self._spool.append(CheckpointRecord(file=packed, epoch=record.epoch, last=record.last))
        for old in sorted(folder.glob("epoch-*.ckpt"))[:-_KEPT_CHECKPOINTS]:
            old.unlink()

    def _report(self, phase: Literal["train", "val"], batch: int, batches: int, losses: dict[str, float]) -> None:
        seconds = time.monotonic() - self._phase_start
        self._progress.report(
            BatchProgress(
                phase=phase,
                epoch=min(self.epoch + 1, self.epochs),
                epochs=self.epochs,
                batch=batch,
                batches=batches,
                losses=losses,
                seconds=round(seconds, 3),
                eta_seconds=self._eta(seconds, batch, batches) if phase == "train" else None,
            )
        )

    def _eta(self, seconds: float, batch: int, batches: int) -> float:
        """Seconds to the end of the last epoch: this epoch at its own pace, the others at the mean of those of this
        process, early stopping aside.
        """
        rest = seconds / batch * (batches - batch)
        done = [record.epoch_seconds for record in self.history[self.start_epoch :]]
        per_epoch = sum(done) / len(done) if done else seconds + rest
        remaining: float = rest + per_epoch * (self.epochs - self.epoch - 1)
        return round(remaining, 1)

    def _files(self, part: Part) -> list[str]:
        return [str(path) for path in sorted((self._spec.directory / "data" / "images" / part).iterdir())]

    def _refuse_other_arguments(self) -> None:
        """A checkpoint of other arguments is one of another run. What Ultralytics itself changes while training may
        differ.
        """
        adjusted = {"batch", "max_det", "imgsz", "amp"}
        if self._spec.arguments.get("optimizer", "auto") == "auto":
            adjusted |= {"optimizer", "lr0", "warmup_bias_lr"}
        differing = {
            name: (getattr(self.args, name, None), value)
            for name, value in self._spec.arguments.items()
            if name not in adjusted and getattr(self.args, name, None) != value
        }
        if differing:
            listed = ", ".join(
                f"{name} is {there!r}, not {wanted!r}" for name, (there, wanted) in sorted(differing.items())
            )
            raise JobFailedError(
                JobFailureCause.CHECKPOINT, f"the checkpoint is of a run with other arguments: {listed}"
            )
