"""From a message of the stream to an event whose sender is known."""

from dataclasses import dataclass
from datetime import datetime

from splitrail_common import log
from splitrail_common.errors import PlatformError
from splitrail_common.ids import is_project_id, is_uuid
from splitrail_common.messaging import event_subject
from splitrail_common.tokens import TRAINER, CallerKind, Verifier

from . import convert
from .feed import Quarantined, SignedEvent
from .reports import MAX_EVENT_BYTES, PoisonError, Report

_log = log.get(__name__)


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
    """The event, if the message is one and its token belongs to the origin that it names. What is refused here moves no
    watermark: anybody may have sent it."""
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
    report = convert.report(message.data)
    if not is_uuid(report.job_id) or report.number < 1 or report.attempt < 0:
        identity = f"job {report.job_id[:100]!r}, attempt {report.attempt}, number {report.number}"
        raise PoisonError("identity", f"{identity}: not a UUID, an attempt from 0 and a number from 1")
    if message.subject != event_subject(report.job_id, report.kind or "unknown"):
        raise PoisonError(
            "subject", f"its subject does not fit its content, a {report.kind or 'unknown'} of job {report.job_id}"
        )
    return SignedEvent(report, _project(message, report, verifier), message.subject, message.data)


def _project(message: Message, report: Report, verifier: Verifier) -> str:
    """The project on which the sender may report. Raises PoisonError when it is not the origin that the event names."""
    try:
        caller = verifier.verify(message.token, at=message.stored.timestamp())
    except PlatformError as error:
        raise PoisonError("token", error.message) from error
    if report.attempt == 0:
        if caller.kind is not CallerKind.SERVICE or caller.subject != TRAINER:
            raise PoisonError(
                "token", f"only {TRAINER} reports as origin 0, not {caller.kind.value} {caller.subject[:100]!r}"
            )
        if not is_project_id(report.project_id):
            raise PoisonError("project", f"{report.project_id[:100]!r} is not a project id")
        return report.project_id
    if caller.kind is not CallerKind.ATTEMPT or (caller.job_id, caller.attempt) != (report.job_id, report.attempt):
        raise PoisonError("token", f"the token is not that of attempt {report.attempt} of job {report.job_id}")
    return caller.project_id
