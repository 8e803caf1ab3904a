"""Contents in Postgres: which ones are referred to by callers and imports, which are assets, and which are
unreferenced.

A caller takes a reference first (an import's files, a hold) and passes the staging lock; a removal holds that lock
while it looks for references. So no content is removed that a caller was told to be there.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from splitrail_common.database import Connection, Pool, Row, Tables
from splitrail_common.errors import unavailable

HOLD = timedelta(hours=2)
"""How long contents stay for a caller who asked about them, or for the call that works on them."""
_HOLDS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class KnownAsset:
    """Content that the project holds."""

    sha256: bytes
    width: int
    height: int
    size_bytes: int
    format: str
    perceptual_hash: int


@dataclass(frozen=True, slots=True)
class SweepStep:
    """A walk over a project's assets that goes on behind the object of this name."""

    project_id: str
    after: str


class ContentStore:
    """What is stored of contents."""

    def __init__(self, pool: Pool) -> None:
        self._tables = Tables(pool, "splitrail_split.contents")

    async def hold(self, project_id: str, contents: Sequence[bytes]) -> None:
        """From the return on, for the time of a hold, what is staged or an asset of these contents stays."""
        await self._tables.run(
            "hold_contents", {"project_id": project_id, "contents": list(contents), "lifetime": HOLD}
        )
        await self.settled(project_id)

    async def settled(self, project_id: str) -> None:
        """After taking references: returns once every removal of staged bytes that did not see them is over, and what
        is staged now stays.
        """
        await self._tables.one("pass_staging", {"project_id": project_id})

    async def announced(self, project_id: str, contents: Sequence[bytes]) -> set[bytes]:
        """Which of these contents somebody was told to upload before: no others can be staged."""
        return _hashes(await self._tables.rows("announced_before", _named(project_id, contents)))

    async def known(self, project_id: str, contents: Sequence[bytes]) -> dict[bytes, KnownAsset]:
        """Which of these contents the project holds."""
        rows = await self._tables.rows("known_assets", _named(project_id, contents))
        return {row["sha256"]: KnownAsset(**row) for row in rows}

    async def known_in(self, connection: Connection, project_id: str, contents: Sequence[bytes]) -> set[bytes]:
        """Which of these contents the project holds; they stay until the transaction ends."""
        await self._tables.one_in(connection, "pass_staging", {"project_id": project_id})
        return _hashes(await self._tables.rows_in(connection, "known_assets", _named(project_id, contents)))

    async def record(self, project_id: str, assets: Sequence[KnownAsset]) -> None:
        """Records contents that were held, verified and stored. Raises UNAVAILABLE when that took longer than the hold."""
        contents = [asset.sha256 for asset in assets]
        async with self._tables.pool.connection() as connection, connection.transaction():
            await self._tables.one_in(connection, "pass_staging", {"project_id": project_id})
            held = await self._tables.rows_in(connection, "still_held", _named(project_id, contents))
            if len(held) < len(contents):
                raise unavailable("the object store")
            await self.record_in(connection, project_id, assets)

    async def record_in(self, connection: Connection, project_id: str, assets: Sequence[KnownAsset]) -> None:
        """Records, within a transaction, contents that something refers to and that were verified and stored."""
        values = {
            "project_id": project_id,
            "contents": [asset.sha256 for asset in assets],
            "sizes": [asset.size_bytes for asset in assets],
            "widths": [asset.width for asset in assets],
            "heights": [asset.height for asset in assets],
            "formats": [asset.format for asset in assets],
            "perceptual_hashes": [asset.perceptual_hash for asset in assets],
        }
        await self._tables.run_in(connection, "insert_assets", values)

    @asynccontextmanager
    async def superfluous(self, project_id: str, contents: Sequence[bytes]) -> AsyncIterator[list[bytes]]:
        """Of these contents, which are assets, those whose staged bytes no unfinished import refers to; that stays true
        until the block ends.
        """
        async with self._removing(project_id) as connection:
            yield await self._unannounced(connection, project_id, contents)

    @asynccontextmanager
    async def unneeded(self, project_id: str, contents: Sequence[bytes]) -> AsyncIterator[list[bytes]]:
        """Which of these staged contents no unfinished import and no hold refers to; that stays true until the block
        ends.
        """
        async with self._removing(project_id) as connection:
            held = _hashes(await self._tables.rows_in(connection, "still_held", _named(project_id, contents)))
            yield [sha256 for sha256 in await self._unannounced(connection, project_id, contents) if sha256 not in held]

    async def project_of_expired_hold(self) -> str | None:
        """A project with holds that have ended."""
        row = await self._tables.one("project_of_expired_hold", {})
        return str(row["project_id"]) if row else None

    @asynccontextmanager
    async def expired(self, project_id: str) -> AsyncIterator[list[bytes]]:
        """Contents that were held and to whose staged bytes no unfinished import refers; that stays true until the
        block ends. Then the holds are gone.
        """
        async with self._removing(project_id) as connection:
            rows = await self._tables.rows_in(
                connection, "lock_expired_holds", {"project_id": project_id, "limit": _HOLDS_AT_ONCE}
            )
            contents = [row["sha256"] for row in rows]
            yield await self._unannounced(connection, project_id, contents)
            await self._tables.run_in(connection, "delete_holds", _named(project_id, contents))

    async def request_sweep_in(self, connection: Connection, project_id: str) -> None:
        """Within the transaction that deletes something that referred to contents: the project's assets are to be
        walked over.
        """
        await self._tables.run_in(connection, "request_sweep", {"project_id": project_id})

    async def claim_sweep(self) -> SweepStep | None:
        """A project whose assets are to be walked over; not given to anybody else for a minute."""
        row = await self._tables.one("claim_sweep", {})
        return SweepStep(**row) if row else None

    async def advance_sweep(self, project_id: str, after: str | None) -> None:
        """The walk has come past `after`; None: to the end."""
        await self._tables.run("advance_sweep", {"project_id": project_id, "after": after})

    async def unreferenced(self, project_id: str, contents: Sequence[bytes]) -> list[bytes]:
        """Which of these contents nothing refers to, at the moment."""
        rows = await self._tables.rows("unreferenced_contents", _named(project_id, contents))
        return [row["sha256"] for row in rows]

    async def forget(self, project_id: str, contents: Sequence[bytes], grace: timedelta) -> None:
        """Deletes the rows of those of these contents that nothing refers to, if they have been assets for the time of
        grace.
        """
        async with self._removing(project_id) as connection:
            rows = await self._tables.rows_in(connection, "unreferenced_contents", _named(project_id, contents))
            await self._tables.run_in(
                connection, "delete_assets", {**_named(project_id, list(_hashes(rows))), "grace": grace}
            )

    @asynccontextmanager
    async def forgotten(self, project_id: str, contents: Sequence[bytes]) -> AsyncIterator[list[bytes]]:
        """Which of these contents are not assets and cannot become assets until the block ends."""
        async with self._removing(project_id) as connection:
            known = _hashes(await self._tables.rows_in(connection, "known_assets", _named(project_id, contents)))
            rows = await self._tables.rows_in(connection, "unreferenced_contents", _named(project_id, contents))
            yield [row["sha256"] for row in rows if row["sha256"] not in known]

    @asynccontextmanager
    async def _removing(self, project_id: str) -> AsyncIterator[Connection]:
        """A transaction that holds the staging lock."""
        async with self._tables.pool.connection() as connection, connection.transaction():
            await self._tables.one_in(connection, "lock_staging", {"project_id": project_id})
            yield connection

    async def _unannounced(self, connection: Connection, project_id: str, contents: Sequence[bytes]) -> list[bytes]:
        announced = _hashes(await self._tables.rows_in(connection, "still_announced", _named(project_id, contents)))
        return [sha256 for sha256 in contents if sha256 not in announced]


def _named(project_id: str, contents: Sequence[bytes]) -> dict[str, Any]:
    return {"project_id": project_id, "contents": list(contents)}


def _hashes(rows: Sequence[Row]) -> set[bytes]:
    return {row["sha256"] for row in rows}
