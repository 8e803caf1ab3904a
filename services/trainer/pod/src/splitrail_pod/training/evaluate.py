"""One evaluation: Ultralytics' own validator on one part, with all its results as a record."""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import metrics as ultralytics_metrics

from splitrail_pod.exchange.messages import (
    BatchProgress,
    CompletedRecord,
    ConfusionMatrix,
    EvaluateSpec,
    EvaluationRecord,
    JobFailureCause,
    StageRecord,
    StartedRecord,
)
from splitrail_pod.exchange.spool import SpoolWriter
from splitrail_pod.training import describe, outputs
from splitrail_pod.training.data import check_loaded, write_data_yaml
from splitrail_pod.training.failures import JobFailedError
from splitrail_pod.training.orders import Orders
from splitrail_pod.training.progress import ProgressWriter
from splitrail_pod.training.untrusted import check_arguments, check_weights, whole_numbers

CONFUSION_CONFIDENCE = 0.25
CONFUSION_IOU = 0.45
_MAX_WORKERS = 8


def evaluate(spec: EvaluateSpec, spool: SpoolWriter, progress: ProgressWriter, orders: Orders) -> None:
    """Score the weights and append every record but `failed`. Raises JobFailedError, CancelOrderedError, and what
    Ultralytics raises.
    """
    start = time.monotonic()
    spool.append(StageRecord(name="evaluating"))
    run = spec.directory / "run"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    _check_classes(spec)
    # Ultralytics scores what the data.yaml calls `val`; `train` is a required key, and points to the same images so
    # that no other can be read.
    data = write_data_yaml(spec, {"train": spec.part, "val": spec.part})
    arguments = _arguments(spec, data, run)
    check_arguments(arguments)
    validator = _Validator(spec, arguments, spool=spool, progress=progress, orders=orders)
    values = validator(model=str(spec.weights))
    metrics = validator.metrics
    names = dict(enumerate(spec.class_names))
    counts = validator.confusion_matrix.matrix
    spool.append(
        EvaluationRecord(
            part=spec.part,
            images=int(validator.seen),
            instances=int(metrics.nt_per_class.sum()),
            values={name: float(value) for name, value in values.items()},
            overall={
                "precision": float(metrics.box.mp),
                "recall": float(metrics.box.mr),
                "f1": float(metrics.box.f1.mean()),
                "mAP50": float(metrics.box.map50),
                "mAP50_95": float(metrics.box.map),
            },
            per_class=describe.per_class(metrics, names),
            confusion_matrix=ConfusionMatrix(
                class_names=(*spec.class_names, "background"),
                counts=tuple(float(count) for row in counts for count in row),
                confidence=CONFUSION_CONFIDENCE,
                iou=CONFUSION_IOU,
            ),
            curves=describe.curves(metrics, names),
            speed={name: float(validator.speed[name]) for name in ("preprocess", "inference", "postprocess")},
        )
    )
    outputs.join_plot_threads()
    outputs.record_plots(spool, run)
    spool.append(CompletedRecord(seconds=time.monotonic() - start))


class _FixedConfidenceMatrix(ultralytics_metrics.ConfusionMatrix):  # type: ignore[misc]  # Ultralytics has no types
    """Counts predictions from a confidence of 0.25, whatever the validator's own threshold: at its 0.001 false
    positives swamp the matrix.

    Non-maximum suppression goes from high to low confidence, so that what it keeps above 0.25 is the same as if it had
    started there.
    """

    def process_batch(
        self,
        detections: dict[str, Any],
        batch: dict[str, Any],
        conf: float = CONFUSION_CONFIDENCE,
        iou_thres: float = CONFUSION_IOU,
    ) -> None:
        super().process_batch(detections, batch, conf=max(conf, CONFUSION_CONFIDENCE), iou_thres=iou_thres)


class _Validator(DetectionValidator):  # type: ignore[misc]  # Ultralytics has no types
    """Ultralytics' validator with our confusion matrix, our check of the data, progress and orders."""

    def __init__(
        self,
        spec: EvaluateSpec,
        arguments: dict[str, Any],
        *,
        spool: SpoolWriter,
        progress: ProgressWriter,
        orders: Orders,
    ) -> None:
        self._spec = spec
        self._spool = spool
        self._progress = progress
        self._orders = orders
        self._start = time.monotonic()
        callbacks: dict[str, list[Any]] = defaultdict(list)
        callbacks["on_val_start"].append(_Validator._on_val_start)
        callbacks["on_val_batch_start"].append(_Validator._on_val_batch_start)
        callbacks["on_val_batch_end"].append(_Validator._on_val_batch_end)
        super().__init__(save_dir=Path(arguments["save_dir"]), args=arguments, _callbacks=callbacks)

    def get_dataloader(self, dataset_path: str, batch_size: int) -> Any:
        """As Ultralytics. Raises JobFailedError when an image of the manifest is missing, or there is no object at all."""
        try:
            loader = super().get_dataloader(dataset_path, batch_size)
        except (FileNotFoundError, ValueError, AssertionError) as error:
            raise JobFailedError(
                JobFailureCause.DATA, f"the part {self._spec.part} cannot be loaded: {error}"
            ) from error
        labels = loader.dataset.labels
        files = [str(path) for path in (self._spec.directory / "data" / "images" / self._spec.part).iterdir()]
        check_loaded(self._spec.part, expected=self._spec.expected[self._spec.part], files=files, labels=labels)
        if not any(len(label["cls"]) for label in labels):
            raise JobFailedError(
                JobFailureCause.DATA,
                f"no image of the part {self._spec.part} has an object, so that there is nothing to score",
            )
        return loader

    def init_metrics(self, model: Any) -> None:
        """As Ultralytics, with a confusion matrix at a usual confidence."""
        super().init_metrics(model)
        self.confusion_matrix = _FixedConfidenceMatrix(names=model.names)

    def _on_val_start(self) -> None:
        self._start = time.monotonic()
        self._spool.append(
            StartedRecord(
                effective=describe.effective_arguments(self.args),
                versions=describe.versions(),
                device=describe.device(self.device),
                images={self._spec.part: len(self.dataloader.dataset)},
            )
        )

    def _on_val_batch_start(self) -> None:
        self._orders.raise_if_cancelled()

    def _on_val_batch_end(self) -> None:
        done, total = self.batch_i + 1, len(self.dataloader)
        seconds = time.monotonic() - self._start
        self._progress.report(
            BatchProgress(
                phase="val",
                epoch=None,
                epochs=None,
                batch=done,
                batches=total,
                losses={},
                seconds=round(seconds, 3),
                eta_seconds=round(seconds / done * (total - done), 1),
            )
        )


def _check_classes(spec: EvaluateSpec) -> None:
    """Check that the model knows the same classes in the same order: Ultralytics would compare ids and score nonsense."""
    loaded = check_weights(spec.weights)
    names = (loaded.get("ema") or loaded["model"]).names
    known = [str(names[index]) for index in sorted(names)]
    if known != list(spec.class_names):
        raise JobFailedError(
            JobFailureCause.DATA,
            f"the model's classes ({', '.join(known)}) are not those of the dataset ({', '.join(spec.class_names)}) in the same order",
        )


def _arguments(spec: EvaluateSpec, data: Path, run: Path) -> dict[str, Any]:
    """What the validator gets; `rect` as in the validation of a training, so that the numbers are comparable."""
    return whole_numbers(spec.arguments) | {
        "task": "detect",
        "mode": "val",
        "model": str(spec.weights),
        "data": str(data),
        "split": "val",
        "save_dir": str(run),
        "device": spec.device,
        "workers": 0 if spec.device == "cpu" else min(_MAX_WORKERS, os.cpu_count() or 1),
        "rect": True,
        "plots": True,
        "verbose": True,
    }
