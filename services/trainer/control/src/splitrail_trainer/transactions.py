"""Transactions that span wings: each wing's store takes the one that its caller has opened."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from splitrail_common.database import Connection, Pool


class Transaction:
    """One transaction. Jobs that were read through it with a lock stay locked until it ends."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._after_commit: list[Callable[[], None]] = []

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
