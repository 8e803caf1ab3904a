"""Named queries of one wing over the pool of connections."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from splitrail_common.database import Connection, Pool, Queries

Row = dict[str, Any]
Parameters = dict[str, Any]

_UUID_OID = 2950


class Tables:
    """The queries.sql of a package, run. Rows are dicts; UUIDs come as text, as everywhere else in the service."""

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

    async def run(self, name: str, parameters: Parameters) -> int:
        """Runs a statement in a transaction of its own; the number of rows it touched."""
        async with self.pool.connection() as connection:
            return await self.run_in(connection, name, parameters)

    async def rows_in(self, connection: Connection, name: str, parameters: Parameters) -> list[Row]:
        """All rows of a query within a transaction."""
        # Binary: hashes and vectors would double as hexadecimal text.
        cursor = await connection.execute(self.sql[name], parameters, binary=True)
        if not cursor.description:
            return []
        rows = await cursor.fetchall()
        identifiers = [column.name for column in cursor.description if column.type_code == _UUID_OID]
        return _as_text(rows, identifiers) if identifiers else rows

    async def one_in(self, connection: Connection, name: str, parameters: Parameters) -> Row | None:
        """The first row of a query within a transaction, or None."""
        rows = await self.rows_in(connection, name, parameters)
        return rows[0] if rows else None

    async def run_in(self, connection: Connection, name: str, parameters: Parameters) -> int:
        """Runs a statement within a transaction; the number of rows it touched."""
        return (await connection.execute(self.sql[name], parameters)).rowcount


def _as_text(rows: list[Row], identifiers: Iterable[str]) -> list[Row]:
    for row in rows:
        for name in identifiers:
            value: UUID | None = row[name]
            row[name] = None if value is None else str(value)
    return rows
