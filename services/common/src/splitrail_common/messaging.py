"""NATS: the connection, the stream that carries events, and the subjects."""

import asyncio
from datetime import timedelta
from typing import Any

import nats.errors
import stamina
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from . import log

_log = log.get(__name__)
STREAM = "SPLITRAIL_RUNS"
TOKEN_HEADER = "Splitrail-Token"  # noqa: S105 - a header's name, no secret
_SUBJECTS = ["splitrail.runs.>"]


def event_subject(job_id: str, kind: str) -> str:
    """Where an event of a job is published; `kind` is the name of its payload."""
    return f"splitrail.runs.{job_id}.{kind}"


def progress_subject(job_id: str) -> str:
    """Where the transient progress of a job is published."""
    return f"splitrail.progress.{job_id}"


class _Client(Client):
    """nats-py's client stops reading for good at a subject or headers that it cannot parse: any publisher could silence
    us. Not this one."""

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Any:
        return super()._build_message(sid, subject.decode("utf-8", "replace").encode(), reply, data, headers)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (ValueError, IndexError) as error:
            _log.warning("message with malformed headers", error=str(error))
            return None


async def connect(url: str, *, name: str, deadline_seconds: float, inbox_prefix: str = "_INBOX") -> Client:
    """A connection that waits for the server at start and then reconnects for ever. Raises TimeoutError after the
    deadline."""

    async def on_error(error: Exception) -> None:
        _log.warning("nats", error=str(error) or type(error).__name__)

    client = _Client()
    async with asyncio.timeout(deadline_seconds):  # by itself the client would try for ever
        await client.connect(
            url,
            name=name,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=5,
            ping_interval=10,
            max_outstanding_pings=2,
            allow_reconnect=True,
            inbox_prefix=inbox_prefix.encode(),
            error_cb=on_error,
        )
    return client


async def wait_for_stream(jetstream: JetStreamContext, deadline_seconds: float) -> None:
    """Makes the stream as soon as JetStream is ready, which its server is before it; raises what NATS last said after
    the deadline."""
    async for attempt in stamina.retry_context(
        on=(nats.errors.Error, TimeoutError, OSError), attempts=None, timeout=deadline_seconds, wait_max=2.0
    ):
        with attempt:
            await ensure_stream(jetstream)


async def ensure_stream(jetstream: JetStreamContext) -> None:
    """Makes the stream, or leaves the one that is there. Events are kept three days: what is older has long been
    committed, or is sent again."""
    try:
        await jetstream.stream_info(STREAM)
    except NotFoundError:
        await jetstream.add_stream(
            StreamConfig(
                name=STREAM,
                subjects=_SUBJECTS,
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                max_age=timedelta(days=3).total_seconds(),
                max_bytes=8 * 1024**3,
                max_msg_size=512 * 1024,
            )
        )
