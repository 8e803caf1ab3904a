"""Leases that ran out: when they may, and the loop that finds them.

Leases are kept by Postgres' clock. While Postgres is away no pod can renew, so no lease may run out before the pods
have had one lease length of an answering database. `LapseGuard` knows that from the reaper's own regular contact: a
longer silence, for whatever reason (Postgres down, this process stopped or just started), is an outage.
"""

import time
from collections.abc import Callable

from splitrail_common import log
from splitrail_common.background import keep_going

from splitrail_trainer.jobs.domain import lapse
from splitrail_trainer.jobs.store import JobStore
from splitrail_trainer.queue.store import QueueStore
from splitrail_trainer.transactions import Database

_log = log.get(__name__)


class LapseGuard:
    """Whether leases may run out at the moment."""

    def __init__(self, lease_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_seconds = lease_seconds
        self._silence = lease_seconds / 3
        self._clock = clock
        self._heard = float("-inf")
        self._not_before = float("inf")

    def heard(self) -> None:
        """The database has just answered."""
        now = self._clock()
        if now - self._heard > self._silence:
            self._not_before = now + self._lease_seconds
        self._heard = now

    def lost(self) -> None:
        """The database has just failed to answer."""
        self._heard = float("-inf")

    @property
    def may_lapse(self) -> bool:
        """False from the beginning of an outage until one lease length after it."""
        now = self._clock()
        return now >= self._not_before and now - self._heard <= self._silence


class Reaper:
    """Puts jobs whose lease ran out back into the queue, or fails them."""

    def __init__(self, database: Database, queue: QueueStore, jobs: JobStore, guard: LapseGuard) -> None:
        self._database = database
        self._queue = queue
        self._jobs = jobs
        self._guard = guard

    async def run(self) -> None:
        """Until it is cancelled."""
        await keep_going(self.step, name="reaper", seconds=min(1.0, self._jobs.lease_seconds / 10))

    async def step(self) -> None:
        """One look. It is also the guard's regular contact with the database."""
        try:
            async with self._database.transaction() as transaction:
                jobs = await self._queue.lapsed(transaction)
                self._guard.heard()
                if not self._guard.may_lapse:
                    return
                for job in jobs:
                    after = lapse(job)
                    await self._jobs.save(transaction, job, after)
                    _log.warning(
                        "lease ran out",
                        job_id=job.job_id,
                        attempt=job.attempt,
                        worker=job.worker,
                        state=after.state.value,
                    )
        except Exception:
            self._guard.lost()
            raise
