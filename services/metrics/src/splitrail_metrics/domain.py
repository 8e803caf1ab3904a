"""What the wings have in common: feeds, their events, and the plots of a run. No I/O, no protos."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum


class JobState(IntEnum):
    """Where a job stands. The numbers are stored, and are those of splitrail.events.v1.JobState: never renumber."""

    QUEUED = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELLED = 5

    @property
    def is_terminal(self) -> bool:
        """True when nothing follows: the feed is closed."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class PlotKind(Enum):
    """What a plot shows. The words are stored."""

    UNSPECIFIED = ""
    LABELS = "labels"
    TRAIN_BATCH = "train_batch"
    VAL_BATCH = "val_batch"
    CONFUSION_MATRIX = "confusion_matrix"
    CURVE = "curve"
    RESULTS = "results"


@dataclass
class Feed:
    """The state of a run's feed: what decides over the next event."""

    run_id: str
    project_id: str | None = None
    """None: no event was accepted yet."""
    state: int = 0
    """A JobState; 0: none was reported yet."""
    current_attempt: int = 0
    last_seq: int = 0
    last_epoch: int = 0
    final_seq: int | None = None
    """Of the metrics of the best checkpoint, while no later epoch or rollback voids them."""
    closed: bool = False
    metric_names: list[str] = field(default_factory=list)
    watermarks: dict[int, int] = field(default_factory=dict)
    """Number of the last event by origin."""


@dataclass(frozen=True)
class CommittedEvent:
    """An event of a feed; the fields are the columns of the table `event`, in order."""

    run_id: str
    seq: int
    attempt: int
    number: int
    kind: str
    """Name of the payload's field in RunEvent."""
    payload: bytes
    """That field's message, serialized."""
    event_time: datetime | None
    commit_time: datetime


class Verdict(Enum):
    """What became of a message."""

    COMMITTED = "committed"
    DUPLICATE = "duplicate"
    """Committed before."""
    AHEAD = "ahead"
    """An earlier number is missing: the sender will send both again."""
    FENCED = "fenced"
    """From an attempt that a later one has replaced."""
    CLOSED = "closed"
    """After the end of the feed."""
    QUARANTINED = "quarantined"


@dataclass
class CommittedBatch:
    """What one transaction of the ingest has done."""

    incarnation: str = ""
    """Of the feeds, at the time of the commit."""
    events: list[CommittedEvent] = field(default_factory=list)
    """By run in the order of seq."""
    feeds: dict[str, Feed] = field(default_factory=dict)
    """Those that changed, by run_id, as they are now."""
    verdicts: Counter[Verdict] = field(default_factory=Counter)


@dataclass(frozen=True)
class Plot:
    """A plot of a run; the fields are the columns of the table `plot`, in order."""

    run_id: str
    name: str
    seq: int
    title: str
    kind: PlotKind
    key: str
    """Of the object in S3."""
    content_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class RunSplit:
    """The split revision that a run trains on, or an evaluation is made on; of an evaluation's, only the first two are
    known."""

    split_id: str
    reference: str
    digest: str = ""
    dataset_id: str = ""
    version_id: str = ""


@dataclass(frozen=True)
class BatchProgress:
    """Where the training process is within an epoch. Transient."""

    attempt: int
    epoch: int
    epochs: int
    batch: int
    batches: int
    losses: Mapping[str, float]
    """Means of this epoch so far, by Ultralytics' names."""
    remaining_seconds: float | None
    """Until the last epoch is complete; None: no estimate yet."""
