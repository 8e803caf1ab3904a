"""The write side: batches of messages, each committed in one transaction by the one replica that holds the lock."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Self

import psycopg
from psycopg.rows import DictRow, dict_row
from splitrail_common import log
from splitrail_common.database import Connection, Queries
from splitrail_common.tokens import Verifier

from ..domain import CommittedBatch, Feed, Verdict
from . import incarnation
from .feed import Changes, Quarantined, SignedEvent, take
from .incoming import Message, examine, refuse
from .reports import PoisonError

_log = log.get(__name__)
QUERIES = Queries(__package__)
_LOCK = 5_701_101
_STANDBY_SECONDS = 1.0
_COMMIT_SECONDS = 20.0
_CACHED_FEEDS = 2000
_QUARANTINE_ROWS = 2_000
_QUARANTINE_BYTES = 32 * 1024
# The server notices within seconds that an ingesting replica has vanished, and ends what hangs: the lock must not
# outlive its holder.
_SESSION = (
    "-c statement_timeout=15000 -c idle_in_transaction_session_timeout=15000"
    " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000"
)
_Taken = SignedEvent | Quarantined


class Journal:
    """Commits batches over the connection that holds the lock: when the connection is lost, so is the lock, and nothing
    can be committed without it.

    What it remembers of feeds is true while the connection lives, because nobody else writes.
    """

    def __init__(self, connection: Connection, verifier: Verifier) -> None:
        self._connection = connection
        self._verifier = verifier
        self._feeds: dict[str, Feed] = {}

    @classmethod
    @asynccontextmanager
    async def lead(cls, dsn: str, verifier: Verifier) -> AsyncIterator[Self]:
        """Waits until no other replica ingests, then holds the lock. Raises psycopg.OperationalError when the database
        does not answer."""
        connection: Connection = await psycopg.AsyncConnection.connect(
            dsn,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=5,
            options=_SESSION,
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
        )
        async with connection:
            waited = False
            while not await _try_lock(connection):
                if not waited:
                    _log.info("standing by: another replica ingests")
                waited = True
                await asyncio.sleep(_STANDBY_SECONDS)
            name = await incarnation.settle(connection)
            _log.info("ingesting", incarnation=name)
            yield cls(connection, verifier)

    async def probe(self) -> None:
        """Raises psycopg.OperationalError or TimeoutError when the connection, and with it the lock, is lost."""
        async with asyncio.timeout(_COMMIT_SECONDS):
            await self._connection.execute(QUERIES["probe"])

    async def commit(self, messages: Sequence[Message]) -> CommittedBatch:
        """Takes, refuses or quarantines each message; everything is on disk when this returns.

        A message that the database refuses goes to the quarantine alone. Raises psycopg.OperationalError,
        psycopg.InterfaceError or TimeoutError when the connection is lost: then the batch is not committed, or it is
        and its messages are duplicates from now on.
        """
        examined = [examine(message, self._verifier) for message in messages]
        try:
            return await self._commit(examined)
        except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError):
            raise
        except psycopg.Error as error:
            _log.warning("a message cannot be stored: committing one by one", error=str(error))
        whole = CommittedBatch()
        for message, item in zip(messages, examined, strict=True):
            part = await self._commit_alone(message, item)
            whole.incarnation = part.incarnation
            whole.events += part.events
            whole.feeds |= part.feeds
            whole.verdicts += part.verdicts
        return whole

    async def _commit_alone(self, message: Message, item: _Taken) -> CommittedBatch:
        try:
            return await self._commit([item])
        except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError):
            raise
        except psycopg.Error as error:
            _log.exception("quarantined: the database refuses it", subject=message.subject)
            poison = PoisonError("database", type(error).__name__)
            return await self._commit(
                [replace(item, poison=poison) if isinstance(item, SignedEvent) else refuse(message, poison)]
            )

    async def _commit(self, items: Sequence[_Taken]) -> CommittedBatch:
        changes, batch, now = Changes(), CommittedBatch(), datetime.now(UTC)
        try:
            async with asyncio.timeout(_COMMIT_SECONDS), self._connection.transaction():
                await self._load({item.report.job_id for item in items if isinstance(item, SignedEvent)})
                for item in items:
                    batch.verdicts[self._take(item, now, changes)] += 1
                await self._write(changes)
                batch.incarnation = await incarnation.current(self._connection)
        except BaseException:
            self._feeds.clear()  # they are ahead of the database
            raise
        batch.events, batch.feeds = changes.events, changes.feeds
        _report(batch.verdicts, changes.quarantined)
        return batch

    def _take(self, item: _Taken, now: datetime, changes: Changes) -> Verdict:
        if isinstance(item, Quarantined):
            changes.quarantined.append(item)
            return Verdict.QUARANTINED
        feed = self._feeds[item.report.job_id]
        verdict = take(feed, item, now, changes)
        if verdict in (Verdict.FENCED, Verdict.CLOSED):
            _log.info(
                "event refused",
                verdict=verdict.value,
                run_id=feed.run_id,
                attempt=item.report.attempt,
                number=item.report.number,
            )
        return verdict

    async def _load(self, run_ids: Collection[str]) -> None:
        missing = [run_id for run_id in run_ids if run_id not in self._feeds]
        if not missing:
            return
        if len(self._feeds) + len(missing) > _CACHED_FEEDS:
            self._feeds = {run_id: self._feeds[run_id] for run_id in run_ids if run_id in self._feeds}
        rows = await (await self._connection.execute(QUERIES["load_feeds"], {"run_ids": missing})).fetchall()
        found = {run_id: Feed(run_id) for run_id in missing} | {row["run_id"]: Feed(**row) for row in rows}
        marks = await (await self._connection.execute(QUERIES["load_watermarks"], {"run_ids": missing})).fetchall()
        for mark in marks:
            found[mark["run_id"]].watermarks[mark["origin"]] = mark["number"]
        self._feeds |= found

    async def _write(self, changes: Changes) -> None:
        async with self._connection.cursor() as cursor:
            await _many(cursor, "save_feed", [vars(feed) for feed in changes.feeds.values()])
            await _many(
                cursor,
                "save_watermark",
                [
                    {"run_id": run_id, "origin": origin, "number": number}
                    for (run_id, origin), number in changes.watermarks.items()
                ],
            )
            await _many(
                cursor,
                "void_epochs",
                [{"run_id": run_id, "epoch": epoch, "seq": seq} for run_id, epoch, seq in changes.rollbacks],
            )
            if changes.events:
                async with cursor.copy(QUERIES["copy_events"]) as copy:
                    for event in changes.events:
                        await copy.write_row(tuple(vars(event).values()))
            if changes.epochs:
                async with cursor.copy(QUERIES["copy_epochs"]) as copy:
                    for row in changes.epochs:
                        await copy.write_row(tuple(vars(row).values()))
            await _many(
                cursor, "save_plot", [{**vars(plot), "kind": plot.kind.value} for plot in changes.plots.values()]
            )
            if changes.quarantined:
                await _many(cursor, "save_quarantined", [_storable(item) for item in changes.quarantined])
                totals = Counter(item.reason for item in changes.quarantined)
                await _many(
                    cursor,
                    "count_quarantined",
                    [{"reason": reason, "total": total} for reason, total in totals.items()],
                )
                await cursor.execute(QUERIES["trim_quarantine"], {"kept": _QUARANTINE_ROWS})


async def _try_lock(connection: Connection) -> bool:
    row = await (await connection.execute(QUERIES["try_lock"], {"key": _LOCK})).fetchone()
    return row is not None and bool(row["held"])


async def _many(cursor: psycopg.AsyncCursor[DictRow], name: str, rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        await cursor.executemany(QUERIES[name], rows)


def _storable(item: Quarantined) -> dict[str, object]:
    return {
        "received": item.received,
        "subject": item.subject.replace("\x00", "?")[:500],
        "reason": item.reason,
        "detail": item.detail.replace("\x00", "?")[:1000],
        "payload": item.payload[:_QUARANTINE_BYTES],
    }


def _report(verdicts: Counter[Verdict], quarantined: Iterable[Quarantined]) -> None:
    for item in quarantined:
        _log.warning("quarantined", subject=item.subject[:200], reason=item.reason, detail=item.detail[:500])
    if verdicts[Verdict.AHEAD]:
        _log.debug("events with a gap before them: their senders will send again", events=verdicts[Verdict.AHEAD])
