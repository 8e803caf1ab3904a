"""The import queue's workers: claim, keep the lease, work, give back. A process that dies is replaced when its lease ends."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from splitrail_common import ids, log
from splitrail_common.concurrency import ended
from splitrail_common.server import Draining

from splitrail_split.imports.domain import Claim, ImportState, Report
from splitrail_split.imports.job import Importer
from splitrail_split.imports.store import ImportStore, LeaseLostError
from splitrail_split.storage.failures import STORES_FAILED

_log = log.get(__name__)

_POLL_SECONDS = 2.0
_MAX_CLAIMS = 8
_BACKOFF = timedelta(seconds=10)


class ImportQueue:
    """Wakes idle workers of this process; the queue itself is the table."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Something was queued."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Until something is queued here; at most `seconds`, because other processes queue and die too."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()


class ImportWorkers:
    """A number of imports worked on at once."""

    def __init__(self, store: ImportStore, importer: Importer, queue: ImportQueue, draining: Draining, *, workers: int, lease_seconds: float) -> None:
        self._store = store
        self._importer = importer
        self._queue = queue
        self._draining = draining
        self._workers = workers
        self._lease = timedelta(seconds=lease_seconds)

    async def run(self) -> None:
        """Works until the process ends or this is cancelled; what is unfinished then goes back into the queue at once."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while not self._draining.is_set:
            claim = await self._claim()
            if claim is None:
                if not await self._cleaned_up():
                    await self._queue.wait(_POLL_SECONDS)
            else:
                self._queue.notify()  # an idle worker looks for the next one
                await self._hold(claim)

    async def _claim(self) -> Claim | None:
        try:
            return await self._store.claim(ids.new_id(), self._lease)
        except STORES_FAILED as error:
            _log.warning("no import can be claimed at the moment", error=str(error))
            return None

    async def _cleaned_up(self) -> bool:
        """Removes what ended imports have left; False when there is nothing to do, or no store answers."""
        try:
            return await self._importer.clean_up()
        except (*STORES_FAILED, RuntimeError) as error:
            _log.warning("staged files were not removed, will retry", error=str(error))
            return False

    async def _hold(self, claim: Claim) -> None:
        """Works on an import while the lease is renewed; whichever ends first decides."""
        _log.info("import claimed", import_id=claim.import_id, project_id=claim.project_id, claims=claim.claims)
        work = asyncio.create_task(self._attempt(claim))
        renewal = asyncio.create_task(self._renew(claim))
        try:
            done, _ = await asyncio.wait({work, renewal}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if error := task.exception():
                    _log.error("defect", import_id=claim.import_id, exc_info=error)
            if work not in done:
                _log.warning("lease lost, work dropped", import_id=claim.import_id)
        except asyncio.CancelledError:
            await ended(work, renewal)
            await self._give_back(claim, timedelta(), counted=False)
            raise
        finally:
            await ended(work, renewal)

    async def _attempt(self, claim: Claim) -> None:
        try:
            if claim.claims > _MAX_CLAIMS:
                why = f"given up after {_MAX_CLAIMS} attempts: each time the service was killed or a store did not answer; import the source again"
                await self._store.end(claim, ImportState.FAILED, Report(), why)
            else:
                await self._importer.run(claim)
        except LeaseLostError:
            _log.warning("import taken over by another process", import_id=claim.import_id)
        except STORES_FAILED as error:
            _log.warning("import interrupted, will retry", import_id=claim.import_id, error=str(error))
            await self._give_back(claim, _BACKOFF * claim.claims, counted=True)
        except Exception:
            _log.exception("defect", import_id=claim.import_id)
            await self._fail(claim)

    async def _give_back(self, claim: Claim, delay: timedelta, *, counted: bool) -> None:
        try:
            await self._store.release(claim, delay=delay, counted=counted)
        except STORES_FAILED as error:
            _log.warning("import not given back: its lease will end", import_id=claim.import_id, error=str(error))

    async def _fail(self, claim: Claim) -> None:
        why = f"a defect on our side; the service's log has the detail under import_id {claim.import_id}"
        try:
            await self._store.end(claim, ImportState.FAILED, Report(), why)
        except (LeaseLostError, *STORES_FAILED) as error:
            _log.warning("import not ended: its lease will end", import_id=claim.import_id, error=str(error))

    async def _renew(self, claim: Claim) -> None:
        """Returns when the lease is lost. A database that does not answer is asked again: the commit is fenced anyway."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                if not await self._store.renew(claim, self._lease):
                    return
            except STORES_FAILED as error:
                _log.warning("lease not renewed, will retry", import_id=claim.import_id, error=str(error))
