"""Every message between the supervisor and the training process; both import this module.

===========  ===========================
======================================================================================== message      how it travels
lost when ===========  ===========================
======================================================================================== `Spec`       SPEC.json, read at
start     never `Order`      JSON lines, standard input   never; end of file means that the supervisor is gone, and the
process exits at once `Progress`   JSON lines, standard output  nobody reads: at most about five a second, dropped
rather than waited for `Record`     the spool (see `spool`)      never: a record that was synced survives a power cut,
any other survives a kill ===========  ===========================
========================================================================================

Messages are told apart by `kind`. An unknown kind, an unknown field and a value of the wrong type are refused by name
(`MessageError`). Floats keep all their digits; NaN and infinities are written as `NaN`, `Infinity` and `-Infinity`.

What native libraries print goes to standard error, unstructured; its last lines tell why a process died without a last
record.
"""

from __future__ import annotations

import enum
import time
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from splitrail_common.training.arguments import EVALUATION_NAMES, REFUSED, TRAINING_NAMES
from splitrail_common.training.models import DETECT_MODELS

EXIT_COMPLETED = 0
EXIT_FAILED = 1
EXIT_CANCELLED = 3
EXIT_ORPHANED = 4
"""Exit statuses of the training process; any other means that it died: out of memory, or killed."""

Part = Literal["train", "val", "test"]
Scalar = bool | int | float | str | None
ArgumentValue = Scalar | list[Scalar]
Metric = Literal["precision", "recall", "f1", "mAP50", "mAP50_95"]


class MessageError(Exception):
    """The other process sent something that is not a valid message; the text names the kind or field. A defect of the
    pod, not of the user.
    """


class Message(BaseModel):
    """A value that travels between the two processes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants", protected_namespaces=()
    )

    def encode(self) -> bytes:
        """One line of JSON, without its newline."""
        return self.model_dump_json().encode()


# SPEC.json: what is to be done. Written by the supervisor, never by a user.


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"must be an absolute path, not {str(path)!r}")
    return path


def _known_model(model: str) -> str:
    if model not in DETECT_MODELS:
        raise ValueError(f"must be one of {', '.join(DETECT_MODELS)}")
    return model


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class Resume(Message):
    """Where to go on."""

    checkpoint: AbsolutePath
    """A packed checkpoint (see `checkpoint`)."""
    epoch: int
    """Its last complete epoch, 1-based."""


class JobSpec(Message):
    """The fields that a training and an evaluation share."""

    directory: AbsolutePath
    """The job's work directory, laid out by the supervisor before the start:
    data/images/<part>/NAME.(jpg|png|...) and data/labels/<part>/NAME.txt.
    The training process writes data.yaml, run/ (Ultralytics' own folder) and checkpoints/ into it."""
    spool: AbsolutePath
    """The spool file; created when absent, continued when present."""
    cache_directory: AbsolutePath
    """Private to this pod and kept between jobs: Ultralytics' settings, fonts, matplotlib's cache."""
    class_names: Annotated[tuple[str, ...], Field(min_length=1)]
    """Index = class id in the label files."""
    device: Literal["cpu", "0"]
    """`0`: the first GPU."""
    expected: dict[Part, int]
    """Number of images by part; compared with what Ultralytics really loaded."""
    arguments: dict[str, ArgumentValue]
    """Ultralytics' arguments, already validated against the hyperparameter schema; 20.0 is taken as 20 where an integer
    is due.
    """


class TrainSpec(JobSpec):
    """Train on the part train, validating on val."""

    kind: Literal["train"] = "train"
    model: Annotated[str, AfterValidator(_known_model)]
    """One of splitrail_common.training.models.DETECT_MODELS."""
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    """Apart from `arguments`: it is set when a training is resumed too."""
    resume: Resume | None = None
    """None: from scratch."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if set(self.expected) != {"train", "val"}:
            raise ValueError("expected must count exactly train and val")
        if refused := sorted(set(self.arguments) - TRAINING_NAMES | set(self.arguments) & {"seed"}):
            raise ValueError(
                "arguments: "
                + "; ".join(f"{name} {REFUSED.get(name, 'is not an argument of a training')}" for name in refused)
            )
        return self


class EvaluateSpec(JobSpec):
    """Score weights on the only part in `expected`."""

    kind: Literal["evaluate"] = "evaluate"
    weights: AbsolutePath
    """A `.pt` file."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.expected) != 1:
            raise ValueError("expected must count exactly the part that is evaluated")
        if unknown := sorted(set(self.arguments) - EVALUATION_NAMES):
            raise ValueError(f"arguments: {', '.join(unknown)} cannot be set for an evaluation")
        return self

    @property
    def part(self) -> Part:
        """The part that is scored."""
        return next(iter(self.expected))


Spec = TrainSpec | EvaluateSpec


# Orders: what the supervisor wants while the process works.


class CancelOrder(Message):
    """Stop between two batches and discard the work."""

    kind: Literal["cancel"] = "cancel"


class FinishOrder(Message):
    """End after the present epoch as if it were the last."""

    kind: Literal["finish"] = "finish"


Order = CancelOrder | FinishOrder


# Progress: how far the present epoch is. Only the newest counts.


class BatchProgress(Message):
    """A batch is done."""

    kind: Literal["batch"] = "batch"
    phase: Literal["train", "val"]
    epoch: int | None
    """1-based; None in an evaluation."""
    epochs: int | None
    batch: int
    """Number of finished batches of this phase."""
    batches: int
    losses: dict[str, float]
    seconds: float
    """Since the phase began."""
    eta_seconds: float | None
    """To the end of the job; None while a training validates."""


Progress = BatchProgress


# Records: what has happened, in order. The last record is `completed`, `cancelled` or `failed`; a process that leaves
# none of them died.


class JobFailureCause(enum.StrEnum):
    """Why a job failed, as far as the training process can tell."""

    DATA = "data"
    """The data cannot be trained on or evaluated: images missing, unreadable or refused. Trying again does not help."""
    ARGUMENTS = "arguments"
    """Ultralytics refuses an argument. Trying again does not help."""
    CHECKPOINT = "checkpoint"
    """The checkpoint or weights file is damaged, hostile, or of another run, or this machine could not read it: another
    pod may.
    """
    NAN = "nan"
    """The loss became NaN or infinite and did not recover."""
    ACCELERATOR_MEMORY = "accelerator_memory"
    """The GPU's memory is too small, also after halving the batch three times."""
    HOST_MEMORY = "host_memory"
    """The machine's memory is too small."""
    PROCESS = "process"
    """A defect of the training process or of Ultralytics."""


class SpoolMessage(Message):
    """What all records carry."""

    time: float = Field(default_factory=time.time)
    """When it happened, Unix seconds."""


StageName = Literal["preparing", "training", "finalizing", "evaluating"]


class StageRecord(SpoolMessage):
    """Another stage of the work begins."""

    kind: Literal["stage"] = "stage"
    name: StageName
    """`finalizing`: best weights and plots."""


class DeviceInfo(Message):
    """What the job computes on."""

    type: str
    """torch's name for it: `cpu`, `cuda`, `mps`."""
    name: str
    """For people: `NVIDIA H200`."""
    memory_bytes: int | None = None
    """Of an accelerator."""
    threads: int


class StartedRecord(SpoolMessage):
    """Preparation is over and the first batch comes. Records of epochs >= `start_epoch` that stand before it in the
    spool are void.
    """

    kind: Literal["started"] = "started"
    effective: dict[str, ArgumentValue]
    """The arguments that Ultralytics uses."""
    versions: dict[str, str]
    """Of ultralytics, torch, python, splitrail and, where it is used, cuda."""
    device: DeviceInfo
    images: dict[Part, int]
    """Number of images by part, as loaded."""
    start_epoch: int | None = None
    """1-based; None in an evaluation. When only the final validation was left to do, it is one more than the epochs in
    the checkpoint, and no epoch follows.
    """
    epochs: int | None = None
    """How many are asked for; None in an evaluation."""
    parameters: int | None = None
    """Number of the model's parameters; None in an evaluation."""


class ArgumentsRecord(SpoolMessage):
    """Ultralytics has changed arguments during training, such as a batch halved when memory ran out."""

    kind: Literal["arguments"] = "arguments"
    effective: dict[str, ArgumentValue]
    changed: dict[str, tuple[ArgumentValue, ArgumentValue]]
    """Before and after."""


class EpochRecord(SpoolMessage):
    """An epoch is complete. Written and synced before the epoch's checkpoint."""

    kind: Literal["epoch"] = "epoch"
    epoch: int
    """1-based."""
    epochs: int
    values: dict[str, float]
    """Ultralytics' raw keys: what results.csv holds for the epoch, but with all digits: train/*, val/*, metrics/*,
    lr/pg*.
    """
    fitness: float
    best_fitness: float
    epoch_seconds: float
    elapsed_seconds: float
    """Column `time` of results.csv: since the training began, in whichever process."""
    last: bool
    """The training is complete with this epoch."""


class StoredFile(Message):
    """A complete file on the disk."""

    path: AbsolutePath
    size_bytes: int
    sha256: str
    """Hexadecimal."""


class CheckpointRecord(SpoolMessage):
    """A packed checkpoint (see `checkpoint`) is synced and has its final name."""

    kind: Literal["checkpoint"] = "checkpoint"
    file: StoredFile
    epoch: int
    last: bool
    """Training was complete: only the final validation is missing."""


class ClassMetrics(Message):
    """How one class was validated."""

    class_id: int
    class_name: str
    images: int
    """Number of images with an object of the class."""
    instances: int
    """Number of its objects."""
    metrics: dict[Metric, float]
    """Empty for a class that does not occur."""


class FinalRecord(SpoolMessage):
    """The best weights have been validated: not an epoch."""

    kind: Literal["final"] = "final"
    values: dict[str, float]
    """Ultralytics' raw keys, metrics/*."""
    best_epoch: int | None
    """None when no epoch had a finite fitness."""
    per_class: tuple[ClassMetrics, ...]
    """In the order of the class ids."""


PlotKind = Literal["labels", "train_batch", "val_batch", "confusion_matrix", "curve", "results"]
ImageType = Literal["image/png", "image/jpeg"]
ArtifactRole = Literal["weights_best", "weights_last", "results_csv", "args"]


class PlotRecord(SpoolMessage):
    """A plot, recorded at the end, when its file is complete."""

    kind: Literal["plot"] = "plot"
    file: StoredFile
    title: str
    plot: PlotKind
    content_type: ImageType


class ArtifactRecord(SpoolMessage):
    """A result file of a training."""

    kind: Literal["artifact"] = "artifact"
    file: StoredFile
    role: ArtifactRole


class ConfusionMatrix(Message):
    """How often each class was predicted for each true class."""

    class_names: tuple[str, ...]
    """The background is last."""
    counts: tuple[float, ...]
    """Row by row: rows are predicted classes, columns true ones."""
    confidence: float
    """Predictions from this confidence count."""
    iou: float
    """From this overlap with a true box a prediction counts as a match."""


class ClassCurve(Message):
    """The curve of one class."""

    class_id: int
    class_name: str
    y: tuple[float, ...]


CurveName = Literal["precision_recall", "f1_confidence", "precision_confidence", "recall_confidence"]


class Curve(Message):
    """One value over another, for the classes that occur."""

    name: CurveName
    x_title: str
    y_title: str
    x: tuple[float, ...]
    """At most 101 points, the same for all classes."""
    classes: tuple[ClassCurve, ...]


class EvaluationRecord(SpoolMessage):
    """All results of validating the weights on one part."""

    kind: Literal["evaluation"] = "evaluation"
    part: Part
    images: int
    instances: int
    values: dict[str, float]
    """Ultralytics' raw keys."""
    overall: dict[Metric, float]
    per_class: tuple[ClassMetrics, ...]
    """In the order of the class ids."""
    confusion_matrix: ConfusionMatrix
    curves: tuple[Curve, ...]
    speed: dict[str, float]
    """Milliseconds an image for preprocess, inference, postprocess."""


LogLevel = Literal["info", "warning", "error"]


class LogRecord(SpoolMessage):
    """A line of the log; not synced by itself."""

    kind: Literal["log"] = "log"
    level: LogLevel
    text: str
    """No control characters but newlines, at most 4 KiB of UTF-8."""


class TrainingSummary(Message):
    """How a training ended."""

    epochs: int
    best_epoch: int | None
    """None when no epoch had a finite fitness."""
    best_fitness: float | None
    stopped_early: bool


class CompletedRecord(SpoolMessage):
    """The work is done, and all its files are recorded."""

    kind: Literal["completed"] = "completed"
    seconds: float
    training: TrainingSummary | None = None
    """None in an evaluation."""


class CancelledRecord(SpoolMessage):
    """The work was stopped by an order; what was unfinished is discarded."""

    kind: Literal["cancelled"] = "cancelled"


class FailedRecord(SpoolMessage):
    """The work cannot be done."""

    kind: Literal["failed"] = "failed"
    cause: JobFailureCause
    message: str
    """For people: what, where, what to do."""


EndRecord = CompletedRecord | CancelledRecord | FailedRecord
Record = (
    StageRecord
    | StartedRecord
    | ArgumentsRecord
    | EpochRecord
    | CheckpointRecord
    | FinalRecord
    | PlotRecord
    | ArtifactRecord
    | EvaluationRecord
    | LogRecord
    | EndRecord
)


# Reading


def _by_kind(union: Any) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[union, Field(discriminator="kind")])


_SPEC = _by_kind(Spec)
_ORDER = _by_kind(Order)
_PROGRESS = TypeAdapter(Progress)
_RECORD = _by_kind(Record)


def refusal(error: ValidationError) -> str:
    """What is wrong with a message, by field."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'message'}: {one['msg']}" for one in found)


def _decode(adapter: TypeAdapter[Any], data: bytes) -> Any:
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        raise MessageError(refusal(error)) from error


def read_spec(path: Path) -> Spec:
    """SPEC.json. Raises MessageError naming the field, OSError."""
    try:
        spec: Spec = _decode(_SPEC, path.read_bytes())
    except MessageError as error:
        raise MessageError(f"{path}: {error}") from error
    return spec


def decode_order(line: bytes) -> Order:
    """An order from a line of standard input. Raises MessageError."""
    order: Order = _decode(_ORDER, line)
    return order


def decode_progress(line: bytes) -> Progress:
    """Progress from a line of standard output. Raises MessageError."""
    progress: Progress = _decode(_PROGRESS, line)
    return progress


def decode_record(body: bytes) -> Record:
    """A record from a line of the spool, without its checksum. Raises MessageError."""
    record: Record = _decode(_RECORD, body)
    return record
