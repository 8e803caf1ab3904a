"""What the supervisor gives to the training process, and what it gets back.

**In: SPEC.json**, written by the supervisor, never by a user. All paths are absolute.

Both kinds::

    kind             "train" | "evaluate"
    directory        the job's work directory, laid out by the supervisor before the start:
                     data/images/<split>/NAME.(jpg|png|...)   data/labels/<split>/NAME.txt
                     This process writes data.yaml, run/ (Ultralytics' own folder) and checkpoints/ into it.
    spool            the spool file; created when absent, continued when present
    cache_directory  private to this pod and kept between jobs: Ultralytics' settings, fonts, matplotlib's cache
    class_names      list of str; index = class id in the label files
    device           "cpu" | "0" (first GPU)
    expected         {split: number of images}; compared with what Ultralytics really loaded
    arguments        Ultralytics arguments, already validated against the hyperparameter schema; 20.0 is taken as 20 where an integer is due

kind "train": the splits are train and val. Also::

    model            one of models.DETECT_MODELS
    seed             0 .. 2^31 - 1
    resume           null | {"checkpoint": path of a .ckpt, "epoch": its last complete epoch, 1-based}

kind "evaluate": exactly one split in `expected`; `arguments` may hold imgsz, batch, conf, iou, max_det. Also::

    weights          path of a .pt

**Orders** are lines on standard input: ``cancel`` (stop between two batches, discard) and ``finish`` (end after the present epoch as if it were
the last).
End of file means that the supervisor is gone: the process exits at once.

**Out, transient: one JSON object a line on standard output**, at most about five a second, dropped rather than waited for when nobody reads::

    {"kind": "batch", "phase": "train"|"val", "epoch", "epochs", "batch", "batches", "losses": {name: float}, "seconds", "eta_seconds": float|null}

`epoch` is 1-based (null in an evaluation), `batch` counts finished batches of this phase, `seconds` is since the phase began.
What native libraries print goes to standard error, unstructured; keep its last lines for when the process dies without a record.

**Out, durable: records in the spool** (`splitrail_pod.exchange.spool`), each with `kind` and `time` (Unix seconds)::

    stage       name: "preparing" | "training" | "finalizing" (best weights, plots) | "evaluating"
    started     effective: {argument: value}   versions: {...}   device: {...}   start_epoch   epochs   images: {split: n}   parameters
                After preparation, before the first batch; an evaluation's has no epochs and parameters. When only the final validation was left
                to do, start_epoch is one more than the epochs in the checkpoint and no epoch follows.
                Records of epochs >= start_epoch that stand before it in the spool are void.
    arguments   effective: {...}   changed: {argument: [before, after]}         Ultralytics changed one during training (a batch halved on OOM)
    epoch       epoch (1-based)   epochs   values: {raw key: float}   fitness   best_fitness   epoch_seconds   elapsed_seconds   last: bool
                values holds what results.csv holds for that epoch, unrounded by the CSV: train/*, val/*, metrics/*, lr/pg*.
                Written and synced before the epoch's checkpoint. elapsed_seconds is the CSV's `time`.
    checkpoint  path   epoch   sha256   size_bytes   last: bool         a packed .ckpt (see `checkpoint`), synced, under its final name
    final       values: {metrics/*: float}   best_epoch   per_class: [...]      the validation of the best weights, not an epoch
    plot        path   name   title   content_type   size_bytes   sha256
                plot: "labels" | "train_batch" | "val_batch" | "confusion_matrix" | "curve" | "results"
                After the end, when the files are complete.
    artifact    path   name   role ("weights_best"|"weights_last"|"results_csv"|"args")   sha256   size_bytes
    evaluation  split, images, instances, values, per_class, confusion_matrix, curves, speed: see `evaluate`
    log         level ("info"|"warning"|"error")   text (no control characters but newlines, at most 4 KiB); not synced by itself
    finished    result: "completed" | "cancelled"
                When a training completed also: epochs   best_epoch   best_fitness   stopped_early   seconds
    failed      cause (see `failures.Cause`)   message

The last record is `finished` or `failed`. A process that ends without one died: out of memory, or killed.
Exit status: 0 completed, 1 failed, 3 cancelled, 4 orphaned.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from splitrail_pod.exchange.models import DETECT_MODELS

EXIT_COMPLETED = 0
EXIT_FAILED = 1
EXIT_CANCELLED = 3
EXIT_ORPHANED = 4

EVALUATE_ARGUMENTS = frozenset({"imgsz", "batch", "conf", "iou", "max_det"})

PLATFORM_ARGUMENTS = frozenset(
    {
        *(
            "task",
            "mode",
            "model",
            "data",
            "cfg",
            "project",
            "name",
            "save_dir",
            "exist_ok",
            "resume",
            "pretrained",
            "distill_model",
            "dis",
        ),
        *("device", "workers", "cache", "save", "save_period", "plots", "val", "split", "source", "tracker", "augmentations"),
        *("compile", "quantize", "profile", "verbose", "seed"),
    }
)
"""Arguments that the platform sets: paths, URLs, code, or what would break its promises. The hyperparameter schema refuses them; so does this
process."""


class SpecError(Exception):
    """SPEC.json does not have the form described above: a defect of the supervisor, not of the user."""


@dataclass(frozen=True)
class Resume:
    """Continue after `epoch` (1-based, complete) from the packed checkpoint."""

    checkpoint: Path
    epoch: int


@dataclass(frozen=True)
class Common:
    """The fields that both kinds share; see the module's text."""

    directory: Path
    spool: Path
    cache_directory: Path
    class_names: tuple[str, ...]
    device: Literal["cpu", "0"]
    expected: dict[str, int]
    arguments: dict[str, Any]


@dataclass(frozen=True)
class TrainSpec(Common):
    """Train `model` on train, validating on val."""

    model: str
    seed: int
    resume: Resume | None


@dataclass(frozen=True)
class EvaluateSpec(Common):
    """Score `weights` on the only split in `expected`."""

    weights: Path

    @property
    def split(self) -> str:
        """The split that is scored."""
        return next(iter(self.expected))


Spec = TrainSpec | EvaluateSpec


def load(path: Path) -> Spec:
    """Read SPEC.json. Raises SpecError naming the field, OSError."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f"{path}: {type(error).__name__}: {error}") from error


def parse(raw: dict[str, Any]) -> Spec:
    """The specification in `raw`. Raises SpecError, KeyError for a missing field, TypeError, ValueError."""
    kind = raw["kind"]
    common: dict[str, Any] = {
        "directory": _absolute(raw, "directory"),
        "spool": _absolute(raw, "spool"),
        "cache_directory": _absolute(raw, "cache_directory"),
        "class_names": tuple(str(name) for name in raw["class_names"]),
        "device": raw["device"],
        "expected": {str(split): int(count) for split, count in raw["expected"].items()},
        "arguments": dict(raw["arguments"]),
    }
    _require(bool(common["class_names"]), "class_names", "must name at least one class")
    _require(common["device"] in {"cpu", "0"}, "device", 'must be "cpu" or "0"')
    splits = set(common["expected"])
    if kind == "train":
        _require(splits == {"train", "val"}, "expected", "must count exactly train and val")
        _require(raw["model"] in DETECT_MODELS, "model", f"must be one of {', '.join(DETECT_MODELS)}")
        forbidden = sorted(PLATFORM_ARGUMENTS & set(common["arguments"]))
        _require(not forbidden, "arguments", f"{', '.join(forbidden)} are set by the platform")
        resume = raw.get("resume")
        return TrainSpec(
            **common,
            model=raw["model"],
            seed=int(raw["seed"]),
            resume=Resume(_absolute(resume, "checkpoint"), int(resume["epoch"])) if resume else None,
        )
    _require(kind == "evaluate", "kind", 'must be "train" or "evaluate"')
    _require(len(splits) == 1, "expected", "must count exactly the split that is evaluated")
    _require(next(iter(splits)) in {"train", "val", "test"}, "expected", "knows the splits train, val and test")
    unknown = sorted(set(common["arguments"]) - EVALUATE_ARGUMENTS)
    _require(not unknown, "arguments", f"{', '.join(unknown)} cannot be set for an evaluation")
    return EvaluateSpec(**common, weights=_absolute(raw, "weights"))


def _absolute(raw: dict[str, Any], field: str) -> Path:
    path = Path(raw[field])
    _require(path.is_absolute(), field, f"must be an absolute path, not {raw[field]!r}")
    return path


def _require(holds: bool, field: str, problem: str) -> None:
    if not holds:
        raise SpecError(f"{field} {problem}")
