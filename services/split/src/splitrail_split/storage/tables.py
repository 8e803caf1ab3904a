"""Named queries of one wing over the pool of connections."""

from collections.abc import Iterable
from uuid import UUID

from splitrail_common import database
from splitrail_common.database import Connection, Parameters, Row

_UUID_OID = 2950


class Tables(database.Tables):
    """As those of all services; UUIDs come as text, as everywhere else in this one."""

    async def run(self, name: str, parameters: Parameters) -> int:
        """Runs a statement in a transaction of its own; the number of rows that it touched."""
        async with self.pool.connection() as connection:
            return await self.run_in(connection, name, parameters)

    async def rows_in(self, connection: Connection, name: str, parameters: Parameters) -> list[Row]:
        """All rows of a query; none for a statement that gives no rows."""
        # Binary: hashes and vectors would double as hexadecimal text.
        cursor = await connection.execute(self.sql[name], parameters, binary=True)
        if not cursor.description:
            return []
        rows = await cursor.fetchall()
        identifiers = [column.name for column in cursor.description if column.type_code == _UUID_OID]
        return _as_text(rows, identifiers) if identifiers else rows


def _as_text(rows: list[Row], identifiers: Iterable[str]) -> list[Row]:
    for row in rows:
        for name in identifiers:
            value: UUID | None = row[name]
            row[name] = None if value is None else str(value)
    return rows
