"""The import queue's workers: claim, keep the lease, work, give back. A process that dies is replaced when its lease
ends.
"""

import asyncio
from datetime import timedelta

from splitrail_common import ids, log
from splitrail_common.background import LeaseLostError, hold_lease, keep_going
from splitrail_common.concurrency import together
from splitrail_common.server import Draining

from splitrail_split.contents.failures import STORES_FAILED
from splitrail_split.imports.domain import Claim, ImportState, Report
from splitrail_split.imports.job import Importer
from splitrail_split.imports.store import ImportStore

_log = log.get(__name__)

_POLL_SECONDS = 2.0
_MAX_CLAIMS = 8
_BACKOFF = timedelta(seconds=10)


class ImportWorkers:
    """A number of imports worked on at once."""

    def __init__(
        self,
        store: ImportStore,
        importer: Importer,
        queued: asyncio.Event,
        draining: Draining,
        *,
        workers: int,
        lease_seconds: float,
    ) -> None:
        """queued: set when something was queued in this process; others queue and die too, so workers also look by
        themselves.
        """
        self._store = store
        self._importer = importer
        self._queued = queued
        self._draining = draining
        self._workers = workers
        self._lease = timedelta(seconds=lease_seconds)

    async def run(self) -> None:
        """Works until the process ends or this is cancelled; what is unfinished then goes back into the queue at once."""
        await together(*(self._work() for _ in range(self._workers)))
        await self._draining.event.wait()

    async def _work(self) -> None:
        # RuntimeError: staged files that the object store does not remove.
        retried = (*STORES_FAILED, RuntimeError)
        await keep_going(
            self._step,
            name="imports",
            seconds=_POLL_SECONDS,
            wake=self._queued,
            draining=self._draining,
            retried=retried,
        )

    async def _step(self) -> bool:
        """Works on one import, or cleans up after one that has ended; False when there is nothing to do."""
        claim = await self._store.claim(ids.new_id(), self._lease)
        if claim is None:
            return await self._importer.clean_up()
        self._queued.set()  # an idle worker looks for the next one
        await self._hold(claim)
        return True

    async def _hold(self, claim: Claim) -> None:
        """Works on an import while the lease is renewed; whichever ends first decides."""
        _log.info("import claimed", import_id=claim.import_id, project_id=claim.project_id, claims=claim.claims)
        try:
            await hold_lease(
                self._attempt(claim),
                lambda: self._store.renew(claim, self._lease),
                lease_seconds=self._lease.total_seconds(),
            )
        except LeaseLostError:
            _log.warning("import cancelled, or taken over by another process: work dropped", import_id=claim.import_id)
        except asyncio.CancelledError:
            await self._give_back(claim, timedelta(), counted=False)
            raise

    async def _attempt(self, claim: Claim) -> None:
        try:
            if claim.claims > _MAX_CLAIMS:
                why = f"given up after {_MAX_CLAIMS} attempts: each time the service was killed or a store did not answer; import the source again"
                await self._store.end(claim, ImportState.FAILED, Report(), why)
            else:
                await self._importer.run(claim)
        except LeaseLostError:
            raise
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
        except STORES_FAILED as error:
            _log.warning("import not ended: its lease will end", import_id=claim.import_id, error=str(error))
