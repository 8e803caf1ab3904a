"""Postgres: a pool that waits for the server, named queries from .sql files, migrations as plain SQL files.

Migrations are our own forty lines: yoyo and similar tools lock with a table row, which stays behind when the process is
killed; an advisory lock ends with its connection.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any
from uuid import UUID

import aiosql
import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from . import log

_log = log.get(__name__)
_MIGRATION = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_LOCK = 5_701_001
_UUID_OID = 2950
# A server that vanishes without a word (its machine lost power, a route went away) ends a call after about 20 s, not
# after a quarter of an hour.
_LOST = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}

Connection = psycopg.AsyncConnection[DictRow]
Pool = AsyncConnectionPool[Connection]


Row = dict[str, Any]
Parameters = Mapping[str, Any]


class Queries:
    """The named queries of a package's queries.sql: `queries["get_run"]` is SQL with %(name)s parameters."""

    def __init__(self, package: str) -> None:
        """`package` holds the file: a service's own, or one of its wings (`splitrail_split.datasets`)."""
        text = (files(package) / "queries.sql").read_text()
        parsed: Any = aiosql.from_str(text, "psycopg", mandatory_parameters=False)
        self._sql: dict[str, str] = {
            name: getattr(parsed, name).sql for name in parsed.available_queries if not name.endswith("_cursor")
        }

    def __getitem__(self, name: str) -> str:
        return self._sql[name]


class Tables:
    """The named queries of a package over a pool: what stores are built on. Methods with `_in` run within the caller's
    transaction. UUIDs come as text.

    All raise psycopg.OperationalError or psycopg_pool.PoolTimeout when the database does not answer.
    """

    def __init__(self, pool: Pool, package: str) -> None:
        self.pool = pool
        self.sql = Queries(package)

    async def rows(self, name: str, parameters: Parameters) -> list[Row]:
        """All rows of a query, in a connection of its own."""
        async with self.pool.connection() as connection:
            return await self.rows_in(connection, name, parameters)

    async def one(self, name: str, parameters: Parameters) -> Row | None:
        """The first row of a query, or None, in a connection of its own."""
        rows = await self.rows(name, parameters)
        return rows[0] if rows else None

    async def rows_in(self, connection: Connection, name: str, parameters: Parameters) -> list[Row]:
        """All rows of a query; none for a statement that gives no rows."""
        # Binary: hashes and vectors would double as hexadecimal text.
        cursor = await connection.execute(self.sql[name], parameters, binary=True)
        if not cursor.description:
            return []
        rows = await cursor.fetchall()
        identifiers = [column.name for column in cursor.description if column.type_code == _UUID_OID]
        return _as_text(rows, identifiers) if identifiers else rows

    async def one_in(self, connection: Connection, name: str, parameters: Parameters) -> Row | None:
        """The first row of a query, or None."""
        rows = await self.rows_in(connection, name, parameters)
        return rows[0] if rows else None

    async def run(self, name: str, parameters: Parameters) -> int:
        """Runs a statement in a transaction of its own; the number of rows that it touched."""
        async with self.pool.connection() as connection:
            return await self.run_in(connection, name, parameters)

    async def run_in(self, connection: Connection, name: str, parameters: Parameters) -> int:
        """Runs a statement; the number of rows that it touched."""
        return (await connection.execute(self.sql[name], parameters)).rowcount

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """A read-only transaction whose statements all see the same state."""
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection


def _as_text(rows: list[Row], identifiers: Iterable[str]) -> list[Row]:
    for row in rows:
        for name in identifiers:
            value: UUID | None = row[name]
            row[name] = None if value is None else str(value)
    return rows


@asynccontextmanager
async def open_pool(dsn: str, *, size: int, deadline_seconds: float, package: str) -> AsyncIterator[Pool]:
    """A pool of at most `size` connections with rows as dicts, after the package's migrations have been applied.

    Waits until the server answers; raises psycopg_pool.PoolTimeout after the deadline.
    """
    pool: Pool = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=size,
        open=False,
        timeout=10.0,
        reconnect_timeout=deadline_seconds,
        check=AsyncConnectionPool.check_connection,
        kwargs={"row_factory": dict_row, "connect_timeout": 5, **_LOST},
        connection_class=psycopg.AsyncConnection[DictRow],
    )
    await pool.open()
    try:
        await pool.wait(deadline_seconds)
        async with pool.connection() as connection:
            await migrate(connection, files(package) / "migrations")
        yield pool
    finally:
        await pool.close()


async def migrate(connection: Connection, folder: Traversable) -> None:
    """Applies the files `NNNN_name.sql` of `folder` that the database lacks, in order, in one transaction, under an
    advisory lock.

    Raises RuntimeError when the database has a migration that `folder` lacks: an older program must not touch a newer
    schema.
    """
    found = {int(match[1]): item for item in folder.iterdir() if (match := _MIGRATION.fullmatch(item.name))}
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (number int PRIMARY KEY, name text NOT NULL, applied timestamptz NOT NULL DEFAULT now())"
        )
        cursor = await connection.execute("SELECT number FROM schema_migration")
        applied = {row["number"] for row in await cursor.fetchall()}
        if unknown := applied - found.keys():
            raise RuntimeError(
                f"the database has migrations {sorted(unknown)} that this version does not know: start a newer version"
            )
        for number in sorted(found.keys() - applied):
            await connection.execute(found[number].read_bytes())
            await connection.execute(
                "INSERT INTO schema_migration (number, name) VALUES (%s, %s)", (number, found[number].name)
            )
            _log.info("migration applied", name=found[number].name)
