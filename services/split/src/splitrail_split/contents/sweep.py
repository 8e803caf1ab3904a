"""Removes unreferenced objects, in the background: staged ones when the hold on them has ended, and assets project by
project.

Each step can be killed anywhere: first the row of an asset goes, so that nothing can refer to it any more, and after
that its bytes. What is left between the two is found by the next walk, which goes by the bytes.
"""

import asyncio
import re
from datetime import timedelta
from itertools import islice

from splitrail_common import log
from splitrail_common.background import keep_going
from splitrail_common.objects import ObjectStore
from splitrail_common.server import Draining

from splitrail_split.contents.failures import STORES_FAILED
from splitrail_split.contents.keys import asset_key, assets_folder, staging_key
from splitrail_split.contents.store import ContentStore, SweepStep

_log = log.get(__name__)

_POLL_SECONDS = 2.0
_AT_ONCE = 1000
_CONTENT = re.compile(r"[0-9a-f]{64}")


class Sweeper:
    """Walks over what is stored."""

    def __init__(self, store: ContentStore, objects: ObjectStore, draining: Draining, *, grace_seconds: float) -> None:
        self._store = store
        self._objects = objects
        self._draining = draining
        self._grace = timedelta(seconds=grace_seconds)

    async def run(self) -> None:
        """Works until the process ends or this is cancelled."""
        # RuntimeError: objects that the object store does not remove.
        retried = (*STORES_FAILED, RuntimeError)
        await keep_going(self._step, name="sweeper", seconds=_POLL_SECONDS, draining=self._draining, retried=retried)

    async def _step(self) -> bool:
        """False when there is nothing to do."""
        return await self._unstage() or await self._sweep()

    async def _unstage(self) -> bool:
        project_id = await self._store.project_of_expired_hold()
        if project_id is None:
            return False
        async with self._store.expired(project_id) as contents:
            await asyncio.to_thread(self._objects.remove, [staging_key(project_id, sha256) for sha256 in contents])
        return True

    async def _sweep(self) -> bool:
        step = await self._store.claim_sweep()
        if step is None:
            return False
        names = await asyncio.to_thread(self._names, step)
        # Objects of other names are left alone.
        stored = [bytes.fromhex(name) for name in names if _CONTENT.fullmatch(name)]
        if stored and (unreferenced := await self._store.unreferenced(step.project_id, stored)):
            await self._store.forget(step.project_id, unreferenced, self._grace)
            async with self._store.forgotten(step.project_id, unreferenced) as gone:
                await asyncio.to_thread(self._objects.remove, [asset_key(step.project_id, sha256) for sha256 in gone])
            if gone:
                _log.info("assets removed", project_id=step.project_id, count=len(gone))
        await self._store.advance_sweep(step.project_id, names[-1] if len(names) == _AT_ONCE else None)
        return True

    def _names(self, step: SweepStep) -> list[str]:
        """The next objects of a walk, by their names without the folder. Blocking."""
        folder = assets_folder(step.project_id)
        listed = self._objects.list(folder, folder + step.after if step.after else None)
        return [one.key.removeprefix(folder) for one in islice(listed, _AT_ONCE)]
