"""From a message of the stream to an event whose sender is known."""

from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.message import DecodeError
from splitrail.events.v1 import run_event_pb2 as events
from splitrail_common import log
from splitrail_common.errors import PlatformError
from splitrail_common.ids import is_project_id, is_uuid
from splitrail_common.messaging import event_subject
from splitrail_common.tokens import TRAINER, Kind, Verifier

from .check import MAX_EVENT_BYTES, PoisonError
from .feed import Quarantined, SignedEvent

_log = log.get(__name__)
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Message:
    """What came over the stream."""

    subject: str
    data: bytes
    token: str
    """The header Splitrail-Token; empty when there is none."""
    stored: datetime
    """When the broker stored it."""


def examine(message: Message, verifier: Verifier) -> SignedEvent | Quarantined:
    """The event, if the message is one and its token belongs to the origin that it names. What is refused here moves no watermark: anybody may have
    sent it."""
    try:
        return _signed(message, verifier)
    except PoisonError as poison:
        return refuse(message, poison)
    except Exception as error:  # anybody may send anything: a defect of ours must not let one message stop every feed
        _log.exception("defect", subject=message.subject[:200])
        return refuse(message, PoisonError("defect", type(error).__name__))


def refuse(message: Message, poison: PoisonError) -> Quarantined:
    """The message as one for the quarantine."""
    return Quarantined(message.stored, message.subject, poison.reason, str(poison), message.data)


def _signed(message: Message, verifier: Verifier) -> SignedEvent:
    if len(message.data) > MAX_EVENT_BYTES:
        raise PoisonError("size", f"{len(message.data)} bytes, more than {MAX_EVENT_BYTES}")
    try:
        event = events.RunEvent.FromString(message.data)
    except DecodeError as error:
        raise PoisonError("encoding", "it is not a RunEvent") from error
    if not is_uuid(event.job_id) or not 1 <= event.number <= _LARGEST:
        raise PoisonError("identity", f"job {event.job_id[:100]!r}, number {event.number}: not a UUID and a number from 1")
    if message.subject != event_subject(event.job_id, event.WhichOneof("payload") or "unknown"):
        raise PoisonError("subject", f"its subject does not fit its content, a {event.WhichOneof('payload')} of job {event.job_id}")
    return SignedEvent(event, _project(message, event, verifier), _event_time(event), message.subject, message.data)


def _project(message: Message, event: events.RunEvent, verifier: Verifier) -> str:
    """The project on which the sender may report. Raises PoisonError when it is not the origin that the event names."""
    try:
        caller = verifier.verify(message.token, at=message.stored.timestamp())
    except PlatformError as error:
        raise PoisonError("token", error.message) from error
    if event.attempt == 0:
        if caller.kind is not Kind.SERVICE or caller.subject != TRAINER:
            raise PoisonError("token", f"only {TRAINER} reports as origin 0, not {caller.kind.value} {caller.subject[:100]!r}")
        if not is_project_id(event.project_id):
            raise PoisonError("project", f"{event.project_id[:100]!r} is no project's id")
        return event.project_id
    if caller.kind is not Kind.ATTEMPT or (caller.job_id, caller.attempt) != (event.job_id, event.attempt):
        raise PoisonError("token", f"the token is not that of attempt {event.attempt} of job {event.job_id}")
    return caller.project_id


def _event_time(event: events.RunEvent) -> datetime | None:
    if not event.HasField("event_time"):
        return None
    try:
        return event.event_time.ToDatetime(UTC)
    except (ValueError, OverflowError):  # out of the calendar's range: it is for display only, so the event stands
        return None
