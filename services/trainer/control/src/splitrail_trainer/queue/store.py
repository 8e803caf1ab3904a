"""The queue in Postgres: jobs that can be claimed, and leases that ran out."""

from collections.abc import Sequence

from splitrail_common.database import Queries

from splitrail_trainer.jobs.domain import Job, Kind
from splitrail_trainer.jobs.store import job_from
from splitrail_trainer.transactions import Transaction

_QUERIES = Queries("splitrail_trainer.queue")


class QueueStore:
    """Finds jobs and locks them."""

    async def claimable(self, transaction: Transaction, queue: str, kinds: Sequence[Kind], *, may_lapse: bool) -> Job | None:
        """The first job that can be claimed and that nobody else is claiming; a running one whose lease ran out only with `may_lapse`."""
        names = [kind.value for kind in kinds]
        found = await transaction.rows(_QUERIES["claim_candidate"], queue=queue, kinds=names, may_lapse=may_lapse)
        return job_from(found[0]) if found else None

    async def lapsed(self, transaction: Transaction) -> list[Job]:
        """Running jobs whose lease ran out, at most 50."""
        return [job_from(row) for row in await transaction.rows(_QUERIES["lapsed_jobs"])]
