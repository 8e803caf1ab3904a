"""The rules of a feed: what a verified event does to it. Pure: state and changes in memory, no I/O.

An event's identity is (run, origin, number). Origins number their events 1, 2, 3, ...; only the next number of an
origin is taken (ARCHITECTURE.md, "Numbered events").
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ..domain import CommittedEvent, Feed, Plot, Verdict
from .reports import (
    EpochReport,
    FinalReport,
    PlotReport,
    PoisonError,
    Report,
    RollbackReport,
    StartReport,
    StateReport,
    check,
)


@dataclass(frozen=True)
class SignedEvent:
    """An event whose sender is known to be the origin that it names."""

    report: Report
    project_id: str
    """The project of the attempt's token; for the trainer service, which may report on any, the event's."""
    subject: str
    message: bytes
    """As it came."""
    poison: PoisonError | None = None
    """Why it cannot be stored, when that is already known."""


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
    plots: dict[tuple[str, str], Plot] = field(default_factory=dict)
    quarantined: list[Quarantined] = field(default_factory=list)


def take(feed: Feed, signed: SignedEvent, now: datetime, changes: Changes) -> Verdict:
    """Applies one event: updates `feed` and adds to `changes`. An event that breaks a rule at its proper position is
    quarantined and counts as seen, so that it cannot block what follows."""
    report = signed.report
    verdict = _position(feed, report)
    if verdict is not None:
        return verdict
    feed.watermarks[report.attempt] = report.number
    changes.watermarks[feed.run_id, report.attempt] = report.number
    try:
        if signed.poison is not None:
            raise signed.poison
        _check_order(feed, report, signed.project_id)
        check(report)
    except PoisonError as poison:
        changes.quarantined.append(Quarantined(now, signed.subject, poison.reason, str(poison), signed.message))
        return Verdict.QUARANTINED
    _apply(feed, report, now, changes)
    return Verdict.COMMITTED


def _position(feed: Feed, report: Report) -> Verdict | None:
    """Why the event's place in the order keeps it out; None when it is the next one."""
    watermark = feed.watermarks.get(report.attempt, 0)
    if report.number <= watermark:
        return Verdict.DUPLICATE
    if feed.closed:
        return Verdict.CLOSED
    if report.attempt and report.attempt < feed.current_attempt:
        return Verdict.FENCED
    return Verdict.AHEAD if report.number > watermark + 1 else None


def _check_order(feed: Feed, report: Report, project_id: str) -> None:
    """Rules that depend on what the feed holds. Raises PoisonError."""
    if report.project_id != project_id or (feed.project_id is not None and report.project_id != feed.project_id):
        raise PoisonError(
            "project", f"it names the project {report.project_id!r}, not {feed.project_id or project_id!r}"
        )
    if (report.attempt == 0) != isinstance(report.payload, StateReport):
        raise PoisonError("origin", f"{report.kind} events do not come from origin {report.attempt}")
    if isinstance(report.payload, StartReport):
        if report.number != 1:
            raise PoisonError("order", f"attempt_started is event 1 of its attempt, not {report.number}")
    elif report.attempt > feed.current_attempt:
        raise PoisonError("order", f"attempt {report.attempt} has not started: its event 1 must be attempt_started")
    match report.payload:
        case EpochReport(epoch=epoch) if epoch != feed.last_epoch + 1:
            raise PoisonError("epoch", f"epoch {epoch} does not follow epoch {feed.last_epoch}")
        case RollbackReport(epoch=epoch) if not 0 <= epoch <= feed.last_epoch:
            raise PoisonError("epoch", f"rollback to epoch {epoch}, which is not among 0 to {feed.last_epoch}")


def _apply(feed: Feed, report: Report, now: datetime, changes: Changes) -> None:
    feed.project_id = report.project_id
    feed.last_seq += 1
    seq = feed.last_seq
    changes.feeds[feed.run_id] = feed
    changes.events.append(
        CommittedEvent(
            feed.run_id, seq, report.attempt, report.number, report.kind, report.data, report.event_time, now
        )
    )
    match report.payload:
        case StateReport(state=state) if state is not None:
            feed.state, feed.closed = state.value, state.is_terminal
        case StartReport():
            feed.current_attempt = report.attempt
        case EpochReport() as done:
            _add_epoch(feed, done, report.attempt, seq, changes)
        case RollbackReport(epoch=epoch):
            _roll_back(feed, epoch, seq, changes)
        case PlotReport() as plot:
            changes.plots[feed.run_id, plot.name] = Plot(
                feed.run_id,
                plot.name,
                seq,
                plot.title,
                plot.kind,
                plot.key,
                plot.content_type,
                plot.size_bytes,
                plot.sha256,
            )
        case FinalReport():
            feed.final_seq = seq


def _add_epoch(feed: Feed, done: EpochReport, attempt: int, seq: int, changes: Changes) -> None:
    values = positions(feed.metric_names, done.values)
    fitness = done.values.get("fitness", math.nan)
    changes.epochs.append(
        EpochRow(
            feed.run_id, seq, done.epoch, done.epochs, attempt, values, fitness if math.isfinite(fitness) else None
        )
    )
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
