"""The durable consumer of the event stream.

It asks for messages itself instead of through nats-py's `fetch`, which takes any message with a header `Status` for one
of the server's own: a sender could make it fail. Here a message is an event when its reply subject is an
acknowledgement's.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from splitrail_common import log
from splitrail_common.messaging import STREAM, TOKEN_HEADER, ensure_stream

from .incoming import Message

_log = log.get(__name__)
BATCH = 256
DURABLE = "metrics"
_BATCH_BYTES = 8 * 1024 * 1024
_EXPIRY_SECONDS = 2.0
_SLACK_SECONDS = 1.0
_REQUEST = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}"
_COMPLETE = "complete"


class StreamInterruptedError(Exception):
    """The stream or its consumer does not answer; `ensure` repairs what can be repaired."""


class EventStream:
    """Messages of the stream, in the order in which they are delivered."""

    def __init__(self, nats: Client) -> None:
        self._nats = nats
        self._jetstream = nats.jetstream(timeout=5)
        self._inbox = nats.new_inbox()
        self._arrived: deque[Msg] = deque()
        self._ended: str | None = _COMPLETE
        """How the current request for messages ended; None while it runs."""
        self._asked = 0
        """Messages that the current request may still bring."""
        self._until = 0.0
        self._news = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, nats: Client) -> AsyncIterator[Self]:
        """Listens for what the consumer delivers to this process."""
        stream = cls(nats)
        subscription = await nats.subscribe(stream._inbox, cb=stream._on_message)
        try:
            yield stream
        finally:
            await subscription.unsubscribe()

    async def ensure(self) -> None:
        """Makes the stream and the consumer, should either be missing: NATS may lose both.

        Raises nats.errors.Error or OSError when it does not answer.
        """
        await ensure_stream(self._jetstream)
        try:
            await self._jetstream.consumer_info(STREAM, DURABLE)
        except NotFoundError:
            _log.info("making the consumer", stream=STREAM, durable=DURABLE)
            await self._jetstream.add_consumer(
                STREAM,
                ConsumerConfig(
                    durable_name=DURABLE,
                    deliver_policy=DeliverPolicy.ALL,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=30,
                    # What this process could not even receive must not come back for ever; its sender repeats what it
                    # needs committed.
                    max_deliver=10,
                    max_ack_pending=4 * BATCH,
                ),
            )

    async def fetch(self) -> list[Msg]:
        """The next messages, at most 256, as soon as there is one; empty after two quiet seconds. Raises
        StreamInterruptedError."""
        loop = asyncio.get_running_loop()
        if not self._arrived and (self._asked <= 0 or self._ended is not None or loop.time() > self._until):
            await self._ask()
        while not self._arrived:
            self._news.clear()
            if self._ended is not None:
                if self._ended == _COMPLETE:
                    return []
                raise StreamInterruptedError(f"the request for messages ended with {self._ended}")
            try:
                async with asyncio.timeout_at(self._until):
                    await self._news.wait()
            except TimeoutError:
                raise StreamInterruptedError("no answer to the request for messages") from None
        return [self._arrived.popleft() for _ in range(min(BATCH, len(self._arrived)))]

    async def acknowledge(self, messages: Sequence[Msg]) -> None:
        """Tells the broker that these need not come again. A lost acknowledgement only makes it send duplicates."""
        for message in messages:
            await self._nats.publish(message.reply)

    async def _ask(self) -> None:
        self._ended, self._asked = None, BATCH
        self._until = asyncio.get_running_loop().time() + _EXPIRY_SECONDS + _SLACK_SECONDS
        request = {"batch": BATCH, "max_bytes": _BATCH_BYTES, "expires": int(_EXPIRY_SECONDS * 1e9)}
        await self._nats.publish(_REQUEST, json.dumps(request).encode(), reply=self._inbox)

    async def _on_message(self, message: Msg) -> None:
        if message.reply.startswith("$JS.ACK."):
            self._arrived.append(message)
            self._asked -= 1
        else:
            self._ended = _end(message.headers or {})
        self._news.set()


def to_message(message: Msg) -> Message:
    """The parts that matter."""
    return Message(
        message.subject, message.data, (message.headers or {}).get(TOKEN_HEADER, ""), message.metadata.timestamp
    )


def _end(headers: Mapping[str, str]) -> str:
    """What the server's status means for a request: complete (none there, time is up, as many bytes as asked for), or
    what went wrong."""
    status, description = headers.get("Status", ""), headers.get("Description", "")
    if status in ("404", "408") or (status == "409" and "MaxBytes" in description):
        return _COMPLETE
    return f"status {status} {description}".strip()
