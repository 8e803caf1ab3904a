"""Contents in Postgres, apart from imports: which of them callers count on, which are assets, and which nothing names any more.

Whoever counts on contents says so first (an import's files, a hold) and passes the staging lock; whoever removes bytes holds that lock while it
looks at who counts on them. So nothing is removed that somebody was told to be there.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from splitrail_common.database import Connection
from splitrail_common.errors import unavailable

from splitrail_split.datasets.store import Tables
from splitrail_split.imports.store import KnownAsset, asset_values

HOLD = timedelta(hours=2)
"""How long contents stay for a caller who asked about them, or for the call that works on them."""
_HOLDS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Step:
    """A walk over a project's assets that goes on behind the object of this name."""

    project_id: str
    after: str


class ContentStore:
    """What is stored of contents."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def hold(self, project_id: str, contents: Sequence[bytes]) -> None:
        """From the return on, for the time of a hold, what is staged or an asset of these contents stays."""
        values = {"project_id": project_id, "contents": list(contents), "lifetime": HOLD}
        async with self._tables.pool.connection() as connection:
            await self._tables.run_in(connection, "hold_contents", values)
        # Waits for removals that may not have seen the hold.
        await self._tables.one("pass_staging", {"project_id": project_id})

    async def announced(self, project_id: str, contents: Sequence[bytes]) -> set[bytes]:
        """Which of these contents somebody was told to upload before: no others can be staged."""
        return {row["sha256"] for row in await self._tables.rows("announced_before", {"project_id": project_id, "contents": list(contents)})}

    async def known(self, project_id: str, contents: Sequence[bytes]) -> dict[bytes, KnownAsset]:
        """Which of these contents the project holds."""
        rows = await self._tables.rows("known_assets", {"project_id": project_id, "contents": list(contents)})
        return {row["sha256"]: KnownAsset(**row) for row in rows}

    async def known_in(self, connection: Connection, project_id: str, contents: Sequence[bytes]) -> set[bytes]:
        """Which of these contents the project holds; they stay until the transaction ends."""
        await self._tables.one_in(connection, "pass_staging", {"project_id": project_id})
        rows = await self._tables.rows_in(connection, "known_assets", {"project_id": project_id, "contents": list(contents)})
        return {row["sha256"] for row in rows}

    async def record(self, project_id: str, assets: Sequence[KnownAsset]) -> None:
        """Records contents that were held, verified and stored. Raises UNAVAILABLE when that took longer than the hold."""
        contents = [asset.sha256 for asset in assets]
        async with self._tables.pool.connection() as connection, connection.transaction():
            await self._tables.one_in(connection, "pass_staging", {"project_id": project_id})
            held = await self._tables.rows_in(connection, "still_held", {"project_id": project_id, "contents": contents})
            if len(held) < len(contents):
                raise unavailable("the object store")
            await self._tables.run_in(connection, "insert_assets", {"project_id": project_id, **asset_values(assets)})

    @asynccontextmanager
    async def superfluous(self, project_id: str, contents: Sequence[bytes]) -> AsyncIterator[list[bytes]]:
        """Of these contents, which are assets, those whose staged bytes no unfinished import counts on; that stays true until the block ends."""
        async with self._tables.pool.connection() as connection, connection.transaction():
            await self._tables.one_in(connection, "lock_staging", {"project_id": project_id})
            values = {"project_id": project_id, "contents": list(contents)}
            needed = {row["sha256"] for row in await self._tables.rows_in(connection, "still_announced", values)}
            yield [sha256 for sha256 in contents if sha256 not in needed]

    async def project_of_expired_hold(self) -> str | None:
        """A project with holds that have ended."""
        row = await self._tables.one("project_of_expired_hold", {})
        return str(row["project_id"]) if row else None

    @asynccontextmanager
    async def expired(self, project_id: str) -> AsyncIterator[list[bytes]]:
        """Contents that were held, as far as no unfinished import counts on what is staged of them; that stays true until the block ends.
        Then the holds are gone.
        """
        async with self._tables.pool.connection() as connection, connection.transaction():
            await self._tables.one_in(connection, "lock_staging", {"project_id": project_id})
            rows = await self._tables.rows_in(connection, "lock_expired_holds", {"project_id": project_id, "limit": _HOLDS_AT_ONCE})
            values = {"project_id": project_id, "contents": [row["sha256"] for row in rows]}
            needed = {row["sha256"] for row in await self._tables.rows_in(connection, "still_announced", values)}
            yield [row["sha256"] for row in rows if row["sha256"] not in needed]
            await self._tables.run_in(connection, "delete_holds", values)

    async def claim_sweep(self) -> Step | None:
        """A project whose assets are to be walked over; not given to anybody else for a minute."""
        row = await self._tables.one("claim_sweep", {})
        return Step(**row) if row else None

    async def advance_sweep(self, project_id: str, after: str | None) -> None:
        """The walk has come past `after`; None: to the end."""
        async with self._tables.pool.connection() as connection:
            await self._tables.run_in(connection, "advance_sweep", {"project_id": project_id, "after": after})

    async def unnamed(self, project_id: str, contents: Sequence[bytes]) -> list[bytes]:
        """Which of these contents nothing names, at the moment."""
        rows = await self._tables.rows("unnamed_contents", {"project_id": project_id, "contents": list(contents)})
        return [row["sha256"] for row in rows]

    async def forget(self, project_id: str, contents: Sequence[bytes], grace: timedelta) -> None:
        """Makes those of these contents that nothing names no assets any more, if they have been assets for the time of grace."""
        values = {"project_id": project_id, "contents": list(contents)}
        async with self._tables.pool.connection() as connection, connection.transaction():
            await self._tables.one_in(connection, "lock_staging", {"project_id": project_id})
            rows = await self._tables.rows_in(connection, "unnamed_contents", values)
            unnamed = {"project_id": project_id, "contents": [row["sha256"] for row in rows], "grace": grace}
            await self._tables.run_in(connection, "delete_assets", unnamed)

    @asynccontextmanager
    async def forgotten(self, project_id: str, contents: Sequence[bytes]) -> AsyncIterator[list[bytes]]:
        """Which of these contents are no assets, and nobody is about to make them some; that stays true until the block ends."""
        values = {"project_id": project_id, "contents": list(contents)}
        async with self._tables.pool.connection() as connection, connection.transaction():
            await self._tables.one_in(connection, "lock_staging", {"project_id": project_id})
            known = {row["sha256"] for row in await self._tables.rows_in(connection, "known_assets", values)}
            rows = await self._tables.rows_in(connection, "unnamed_contents", values)
            yield [row["sha256"] for row in rows if row["sha256"] not in known]
