"""Transactions on Postgres, which the stores of the wings share: one transaction may write to several of them."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from splitrail_common.database import Connection, Pool

Row = Mapping[str, Any]


class Transaction:
    """One transaction. Jobs that were read through it with a lock stay locked until it ends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._after_commit: list[Callable[[], None]] = []

    async def rows(self, query: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """Runs a query; its rows, none for a query that returns nothing."""
        cursor = await self._connection.execute(query, parameters)
        return await cursor.fetchall() if cursor.description else []

    def after_commit(self, action: Callable[[], None]) -> None:
        """`action` is called once the transaction is committed, and not at all when it is rolled back."""
        self._after_commit.append(action)

    def committed(self) -> None:
        """The transaction is committed."""
        for action in self._after_commit:
            action()


class Database:
    """Opens transactions."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Commits at the end, rolls back on an exception."""
        async with self._pool.connection() as connection:
            transaction = Transaction(connection)
            yield transaction
        transaction.committed()
