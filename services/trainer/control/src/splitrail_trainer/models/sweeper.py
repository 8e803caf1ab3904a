"""Removes the bytes of checkpoints that no resume needs."""

import asyncio

from minio.error import S3Error
from splitrail_common import log
from splitrail_common.background import keep_going
from splitrail_common.objects import ObjectStore

from splitrail_trainer.models.store import ArtifactStore
from splitrail_trainer.transactions import Database

_log = log.get(__name__)


class Sweeper:
    """Removes the bytes first, then the row, so that a failed removal is tried again. A run's resume point is never
    removed.
    """

    def __init__(self, database: Database, store: ArtifactStore, objects: ObjectStore) -> None:
        self._database = database
        self._store = store
        self._objects = objects

    async def run(self) -> None:
        """Until it is cancelled."""
        await keep_going(self.step, name="sweeper", seconds=30.0, wake=self._store.bytes_superseded)

    async def step(self) -> None:
        """Removes at most 100 checkpoints."""
        async with self._database.transaction() as transaction:
            keys = await self._store.superseded_keys(transaction)
        if not keys:
            return
        try:
            await asyncio.to_thread(self._objects.remove, keys)
        except (RuntimeError, S3Error) as error:
            _log.error("old checkpoints stay in S3 for now", keys=keys, error=str(error))
            return
        async with self._database.transaction() as transaction:
            await self._store.forget_superseded(transaction, keys)
        if len(keys) == 100:
            self._store.bytes_superseded.set()
