"""Ingest: from the stream into the journal, one batch after the other, through any outage."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import nats.errors
import nats.js.errors
import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg
from splitrail_common import log
from splitrail_common.tokens import Verifier

from ..domain import CommittedBatch
from .journal import Journal
from .stream import EventStream, StreamInterruptedError, to_message

_log = log.get(__name__)
_DATABASE_ERRORS = (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError)
_NATS_ERRORS = (nats.errors.Error, nats.js.errors.Error, StreamInterruptedError, OSError)
_PAUSE_SECONDS = 0.5


class Ingest:
    """Runs in every replica; only the one that holds the lock takes messages."""

    def __init__(
        self, dsn: str, connection: Client, verifier: Verifier, committed: Callable[[CommittedBatch], Awaitable[None]]
    ) -> None:
        """`committed` is called after each commit that changed a feed, before its messages are acknowledged."""
        self._dsn = dsn
        self._nats = connection
        self._verifier = verifier
        self._committed = committed
        self._away: str | None = None
        """The outage that was last logged and goes on."""
        self._batch: list[Msg] = []
        """Messages that are not acknowledged. They outlive the loss of the database, so that their order is kept."""

    async def run(self) -> None:
        """For ever. Outages of NATS and Postgres are waited for: what they took is sent again by the publishers."""
        async with EventStream.open(self._nats) as stream:
            while True:
                try:
                    async with Journal.lead(self._dsn, self._verifier) as journal:
                        await self._lead(journal, stream)
                except _DATABASE_ERRORS as error:
                    self._warn("the database is away: not ingesting", error)
                    await _pause()

    async def _lead(self, journal: Journal, stream: EventStream) -> None:
        """Takes messages until the lock is lost, which the database's error says."""
        ready = False
        while True:
            try:
                if not ready:
                    await stream.ensure()
                    ready, self._away = True, None
                if not self._batch:
                    self._batch = await stream.fetch()
            except _NATS_ERRORS as error:
                self._warn("the event stream is away", error)
                ready = False
                await journal.probe()
                await _pause()
                continue
            if self._batch:
                await self._take(journal, stream)
            else:
                await journal.probe()

    def _warn(self, outage: str, error: Exception) -> None:
        """Logs an outage when it begins, not at each attempt to end it."""
        if outage != self._away:
            _log.warning(outage, error=str(error) or type(error).__name__)
        self._away = outage

    async def _take(self, journal: Journal, stream: EventStream) -> None:
        committed = await journal.commit([to_message(message) for message in self._batch])
        messages, self._batch = self._batch, []
        if committed.feeds:
            await self._committed(committed)
        try:
            await stream.acknowledge(messages)
        except _NATS_ERRORS as error:
            _log.warning(
                "acknowledgements lost: these messages will come again",
                messages=len(messages),
                error=str(error) or type(error).__name__,
            )


async def _pause() -> None:
    """Half a second, more or less: replicas and connections must not come back in step."""
    await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
