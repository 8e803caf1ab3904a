"""Evaluations in Postgres."""

from psycopg.types.json import Jsonb
from splitrail_common.access import Scope
from splitrail_common.database import Pool, Row, Tables
from splitrail_common.paging import PAGE_BYTES

from splitrail_trainer.data.domain import Part
from splitrail_trainer.evaluations.domain import Evaluation, EvaluationFilter, NewEvaluation
from splitrail_trainer.jobs.store import info_from
from splitrail_trainer.models.domain import ArtifactKind, StoredFile
from splitrail_trainer.transactions import Transaction


class EvaluationStore:
    """Reads and writes evaluations."""

    def __init__(self, pool: Pool) -> None:
        self._tables = Tables(pool, __package__)

    async def add(self, transaction: Transaction, new: NewEvaluation) -> None:
        """Adds an evaluation, whose job is there, and gives it the next number of its run."""
        (row,) = await self._tables.rows_in(transaction.connection, "next_evaluation_number", {"run_id": new.run_id})
        await self._tables.rows_in(
            transaction.connection,
            "add_evaluation",
            {
                "job_id": new.job.job_id,
                "project_id": new.job.project_id,
                "run_id": new.run_id,
                "number": row["evaluation_count"],
                "weights": new.weights.value,
                "weights_key": new.weights_file.key,
                "weights_sha256": new.weights_file.sha256,
                "weights_size_bytes": new.weights_file.size_bytes,
                "split_id": new.split_id,
                "split_reference": new.split_reference,
                "part": new.part.value,
                "contaminated_images": new.contaminated_images,
                "arguments": Jsonb(dict(new.arguments)),
            },
        )

    async def get(self, transaction: Transaction, evaluation_id: str, scope: Scope) -> Evaluation | None:
        """An evaluation of the scope."""
        found = await self._tables.rows_in(
            transaction.connection, "get_evaluation", {"evaluation_id": evaluation_id, "scope": scope.sql()}
        )
        return _evaluation(found[0]) if found else None

    async def page(
        self, transaction: Transaction, scope: Scope, wanted: EvaluationFilter, before: str | None, limit: int
    ) -> list[Evaluation]:
        """Evaluations older than `before`, newest first; fewer than `limit` also when they are more than a page can
        hold.
        """
        found = await self._tables.rows_in(
            transaction.connection,
            "list_evaluations",
            {"scope": scope.sql(), **vars(wanted), "before": before, "limit": limit, "page_bytes": PAGE_BYTES},
        )
        return [_evaluation(row) for row in found]

    async def set_result(
        self, transaction: Transaction, evaluation_id: str, versions: dict[str, str], result: bytes
    ) -> None:
        """Stores what was found, and what programs the attempt ran with."""
        await self._tables.rows_in(
            transaction.connection,
            "set_evaluation_result",
            {"job_id": evaluation_id, "versions": Jsonb(versions), "result": result},
        )


def _evaluation(row: Row) -> Evaluation:
    """From the columns of `evaluation`, `job_view` and the run's reference."""
    return Evaluation(
        info=info_from(row),
        run_id=row["run_id"],
        run_reference=f"{row['run_dataset_name']}/{row['run_number']}",
        number=row["number"],
        weights=ArtifactKind(row["weights"]),
        weights_file=StoredFile(row["weights_key"], row["weights_sha256"], row["weights_size_bytes"]),
        split_id=row["split_id"],
        split_reference=row["split_reference"],
        part=Part(row["part"]),
        contaminated_images=row["contaminated_images"],
        arguments=row["arguments"],
        result=row["result"],
    )
