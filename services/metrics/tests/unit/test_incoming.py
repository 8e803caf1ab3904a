"""Whatever bytes and tokens come, the answer is an event or a reason, never an exception."""

import base64
import uuid
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm
from splitrail.events.v1 import event_pb2 as payloads
from splitrail.internal.events.v1 import run_event_pb2 as events
from splitrail_common.messaging import event_subject
from splitrail_common.tokens import CallerKind, Signer, Verifier
from splitrail_metrics.ingest.feed import Quarantined, SignedEvent
from splitrail_metrics.ingest.incoming import Message, examine
from splitrail_metrics.ingest.reports import MAX_EVENT_BYTES

KEY = ec.generate_private_key(ec.SECP256R1())
TRAINER = Signer("splitrail-trainer", KEY)
VERIFIER = Verifier(
    {"splitrail-trainer": jwt.PyJWK({**ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "alg": "ES256"})}
)
RUN = str(uuid.UUID(int=5))
EVENT = events.RunEvent(job_id=RUN, attempt=1, number=1, project_id="p", attempt_started=payloads.AttemptStarted())
DEEP = base64.urlsafe_b64encode(b'{"kid":' + b"[" * 100_000).decode().rstrip("=")


def token(**changes: object) -> str:
    return TRAINER.sign(
        CallerKind.ATTEMPT,
        "a",
        60,
        **{"project_id": "p", "job_id": RUN, "attempt": 1, "split_id": "", "parts": [], **changes},
    )


def message(event: events.RunEvent = EVENT, **changes: object) -> Message:
    values = {
        "subject": event_subject(event.job_id, event.WhichOneof("payload") or "unknown"), "data": event.SerializeToString(), "token": token(),
        "stored": datetime.now(UTC),
    }  # fmt: skip
    return Message(**{**values, **changes})  # type: ignore[arg-type]


def test_a_proper_event_is_taken() -> None:
    found = examine(message(), VERIFIER)
    assert isinstance(found, SignedEvent)
    assert found.project_id == "p"
    assert found.report.event_time is None


def test_a_token_is_judged_at_the_time_of_sending() -> None:
    """A message may wait for hours in the stream."""
    old = message(
        token=token(exp=int(datetime(2020, 1, 2, tzinfo=UTC).timestamp())), stored=datetime(2020, 1, 1, tzinfo=UTC)
    )
    assert isinstance(examine(old, VERIFIER), SignedEvent)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "\udcff\udcfe", "é" * 100, f"{DEEP}.e30.x", "." * 100_000])
def test_odd_tokens(text: str) -> None:
    found = examine(message(token=text), VERIFIER)
    assert isinstance(found, Quarantined)
    assert found.reason == "token"


def test_too_large() -> None:
    found = examine(message(data=b"x" * (MAX_EVENT_BYTES + 1)), VERIFIER)
    assert isinstance(found, Quarantined)
    assert found.reason == "size"


def test_event_times_out_of_the_calendar_do_not_matter() -> None:
    event = events.RunEvent()
    event.CopyFrom(EVENT)
    event.event_time.seconds = 2**62
    found = examine(message(event), VERIFIER)
    assert isinstance(found, SignedEvent)
    assert found.report.event_time is None


@pytest.mark.parametrize("change", [{"attempt": -1}, {"number": 0}, {"number": -(2**63)}, {"job_id": "x"}])
def test_an_identity_that_cannot_be(change: dict[str, object]) -> None:
    event = events.RunEvent()
    event.CopyFrom(EVENT)
    for name, value in change.items():
        setattr(event, name, value)
    found = examine(message(event), VERIFIER)
    assert isinstance(found, Quarantined)
    assert found.reason == "identity"


@given(st.binary(max_size=300), st.text(max_size=50), st.text(max_size=60))
def test_any_bytes(data: bytes, subject: str, text: str) -> None:
    assert isinstance(examine(Message(subject, data, text, datetime.now(UTC)), VERIFIER), Quarantined)


@given(st.integers(0, len(EVENT.SerializeToString()) - 1), st.integers(0, 255))
def test_a_changed_byte_never_changes_the_origin(position: int, byte: int) -> None:
    data = bytearray(EVENT.SerializeToString())
    data[position] = byte
    found = examine(message(data=bytes(data)), VERIFIER)
    if isinstance(found, SignedEvent):
        assert (found.report.job_id, found.report.attempt, found.project_id) == (RUN, 1, "p")
