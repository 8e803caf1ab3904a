"""The queue in Postgres: jobs that can be claimed, and leases that ran out."""

from collections.abc import Sequence

from splitrail_common.database import Pool, Tables

from splitrail_trainer.jobs.domain import Job, JobKind
from splitrail_trainer.jobs.store import job_from
from splitrail_trainer.transactions import Transaction


class QueueStore:
    """Finds jobs and locks them."""

    def __init__(self, pool: Pool) -> None:
        self._tables = Tables(pool, __package__)

    async def claimable(
        self, transaction: Transaction, queue: str, kinds: Sequence[JobKind], *, may_lapse: bool
    ) -> Job | None:
        """The first job that can be claimed and that nobody else is claiming; a running one whose lease ran out only
        with `may_lapse`.
        """
        names = [kind.value for kind in kinds]
        found = await self._tables.rows_in(
            transaction.connection, "claim_candidate", {"queue": queue, "kinds": names, "may_lapse": may_lapse}
        )
        return job_from(found[0]) if found else None

    async def lapsed(self, transaction: Transaction) -> list[Job]:
        """Running jobs whose lease ran out, at most 50."""
        return [job_from(row) for row in await self._tables.rows_in(transaction.connection, "lapsed_jobs", {})]
