"""The rules of a feed: what a verified event does to it. Pure: state and changes in memory, no I/O.

An event's identity is (run, origin, number). Origins number their events 1, 2, 3, ...; only the next number of an origin is taken (ARCHITECTURE.md,
"Numbered events").
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from splitrail.events.v1 import run_event_pb2 as events

from .check import PoisonError, check_payload

TERMINAL = frozenset({events.JOB_STATE_SUCCEEDED, events.JOB_STATE_FAILED, events.JOB_STATE_CANCELLED})


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
class Feed:
    """What decides over the next event of a run."""

    run_id: str
    project_id: str | None = None
    """None: no event was accepted yet."""
    state: int = 0
    current_attempt: int = 0
    last_seq: int = 0
    last_epoch: int = 0
    final_seq: int | None = None
    closed: bool = False
    metric_names: list[str] = field(default_factory=list)
    watermarks: dict[int, int] = field(default_factory=dict)
    """Last number by origin."""


@dataclass(frozen=True)
class SignedEvent:
    """An event whose sender is known to be the origin that it names."""

    event: events.RunEvent
    project_id: str
    """The project of the attempt's token; for the trainer service, which may report on any, the event's."""
    event_time: datetime | None
    subject: str
    data: bytes
    poison: PoisonError | None = None
    """Why it cannot be stored, when that is already known."""


@dataclass(frozen=True)
class CommittedEvent:
    """An event of a feed; the fields are the columns of the table `event`, in order."""

    run_id: str
    seq: int
    attempt: int
    number: int
    kind: str
    payload: bytes
    """The message of RunEvent's field `kind`, serialized."""
    event_time: datetime | None
    commit_time: datetime


@dataclass
class EpochRow:
    """An epoch's numbers; the fields are the columns of the table `epoch`, in order."""

    run_id: str
    seq: int
    epoch: int
    epochs: int
    attempt: int
    metric_values: list[float | None]
    """By position in the feed's metric_names."""
    fitness: float | None
    superseded_by: int | None = None


@dataclass(frozen=True)
class PlotRow:
    """A plot of a feed."""

    run_id: str
    name: str
    seq: int
    title: str
    kind: str
    key: str
    content_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Quarantined:
    """A message that is not taken."""

    received: datetime
    subject: str
    reason: str
    detail: str
    payload: bytes


@dataclass
class Changes:
    """What a batch of messages changes, to be written in one transaction."""

    feeds: dict[str, Feed] = field(default_factory=dict)
    watermarks: dict[tuple[str, int], int] = field(default_factory=dict)
    events: list[CommittedEvent] = field(default_factory=list)
    epochs: list[EpochRow] = field(default_factory=list)
    rollbacks: list[tuple[str, int, int]] = field(default_factory=list)
    """(run_id, last epoch that remains, seq of the rollback), for rows that were stored before this batch."""
    plots: dict[tuple[str, str], PlotRow] = field(default_factory=dict)
    quarantined: list[Quarantined] = field(default_factory=list)


def take(feed: Feed, signed: SignedEvent, now: datetime, changes: Changes) -> Verdict:
    """Applies one event: updates `feed` and adds to `changes`. An event that breaks a rule at its proper position is quarantined and counts as seen,
    so that it cannot block what follows."""
    event = signed.event
    verdict = _position(feed, event)
    if verdict is not None:
        return verdict
    feed.watermarks[event.attempt] = event.number
    changes.watermarks[feed.run_id, event.attempt] = event.number
    try:
        if signed.poison is not None:
            raise signed.poison
        _check_state(feed, signed)
        check_payload(event)
    except PoisonError as poison:
        changes.quarantined.append(Quarantined(now, signed.subject, poison.reason, str(poison), signed.data))
        return Verdict.QUARANTINED
    _apply(feed, signed, now, changes)
    return Verdict.COMMITTED


def _position(feed: Feed, event: events.RunEvent) -> Verdict | None:
    """Why the event's place in the order keeps it out; None when it is the next one."""
    watermark = feed.watermarks.get(event.attempt, 0)
    if event.number <= watermark:
        return Verdict.DUPLICATE
    if feed.closed:
        return Verdict.CLOSED
    if event.attempt and event.attempt < feed.current_attempt:
        return Verdict.FENCED
    return Verdict.AHEAD if event.number > watermark + 1 else None


def _check_state(feed: Feed, signed: SignedEvent) -> None:
    """Rules that depend on what the feed holds. Raises PoisonError."""
    event, kind = signed.event, signed.event.WhichOneof("payload")
    if event.project_id != signed.project_id or (feed.project_id is not None and event.project_id != feed.project_id):
        raise PoisonError("project", f"it names the project {event.project_id!r}, not {feed.project_id or signed.project_id!r}")
    if (event.attempt == 0) != (kind == "state"):
        raise PoisonError("origin", f"{kind} events do not come from origin {event.attempt}")
    if kind == "attempt_started":
        if event.number != 1:
            raise PoisonError("order", f"attempt_started is event 1 of its attempt, not {event.number}")
    elif event.attempt > feed.current_attempt:
        raise PoisonError("order", f"attempt {event.attempt} has not started: its event 1 must be attempt_started")
    if kind == "epoch" and event.epoch.epoch != feed.last_epoch + 1:
        raise PoisonError("epoch", f"epoch {event.epoch.epoch} does not follow epoch {feed.last_epoch}")
    if kind == "rolled_back" and event.rolled_back.epoch > feed.last_epoch:
        raise PoisonError("epoch", f"rollback to epoch {event.rolled_back.epoch}, which lies after the last one, {feed.last_epoch}")


def _apply(feed: Feed, signed: SignedEvent, now: datetime, changes: Changes) -> None:
    event = signed.event
    kind = event.WhichOneof("payload") or ""
    feed.project_id = event.project_id
    feed.last_seq += 1
    seq = feed.last_seq
    changes.feeds[feed.run_id] = feed
    payload = getattr(event, kind).SerializeToString()
    changes.events.append(CommittedEvent(feed.run_id, seq, event.attempt, event.number, kind, payload, signed.event_time, now))
    match kind:
        case "state":
            feed.state = event.state.state
            feed.closed = event.state.state in TERMINAL
        case "attempt_started":
            feed.current_attempt = event.attempt
        case "epoch":
            _add_epoch(feed, event, seq, changes)
        case "rolled_back":
            _roll_back(feed, event.rolled_back.epoch, seq, changes)
        case "plot":
            plot = event.plot
            changes.plots[feed.run_id, plot.name] = PlotRow(
                feed.run_id, plot.name, seq, plot.title, plot.kind, plot.key, plot.content_type, plot.size_bytes, plot.sha256
            )
        case "final":
            feed.final_seq = seq


def _add_epoch(feed: Feed, event: events.RunEvent, seq: int, changes: Changes) -> None:
    done = event.epoch
    values = positions(feed.metric_names, done.values)
    fitness = done.values.get("fitness", math.nan)
    changes.epochs.append(EpochRow(feed.run_id, seq, done.epoch, done.epochs, event.attempt, values, fitness if math.isfinite(fitness) else None))
    feed.last_epoch = done.epoch
    feed.final_seq = None


def _roll_back(feed: Feed, epoch: int, seq: int, changes: Changes) -> None:
    for row in changes.epochs:
        if row.run_id == feed.run_id and row.epoch > epoch and row.superseded_by is None:
            row.superseded_by = seq
    changes.rollbacks.append((feed.run_id, epoch, seq))
    if epoch < feed.last_epoch:
        feed.final_seq = None
    feed.last_epoch = epoch


def positions(names: list[str], values: Mapping[str, float]) -> list[float | None]:
    """The values by position in `names`, which grows by the names that it lacks. None: not reported."""
    known = set(names)
    names.extend(sorted(name for name in values if name not in known))
    return [values.get(name) for name in names]
