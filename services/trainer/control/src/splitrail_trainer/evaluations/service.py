"""What people and programs do with evaluations: queue them, look at them, cancel them."""

from collections.abc import Mapping

from splitrail_common import log
from splitrail_common.access import Call, Scope
from splitrail_common.errors import Reason, Violation, invalid, not_found, precondition
from splitrail_common.paging import Page
from splitrail_common.training.arguments import Value

from splitrail_trainer.arguments.resolve import resolve_evaluation
from splitrail_trainer.data.domain import SplitRevision
from splitrail_trainer.data.split_peer import SplitPeer
from splitrail_trainer.evaluations.domain import Evaluation, EvaluationFilter, EvaluationRequest, NewEvaluation
from splitrail_trainer.evaluations.store import EvaluationStore
from splitrail_trainer.jobs.domain import JobKind
from splitrail_trainer.jobs.requests import require_same
from splitrail_trainer.jobs.service import Jobs
from splitrail_trainer.jobs.store import RequestKnownError
from splitrail_trainer.models.store import ArtifactStore
from splitrail_trainer.runs.domain import Run
from splitrail_trainer.runs.service import Runs
from splitrail_trainer.transactions import Database

_log = log.get(__name__)


class Evaluations:
    """Evaluations, always within the caller's scope."""

    def __init__(
        self,
        database: Database,
        store: EvaluationStore,
        *,
        artifacts: ArtifactStore,
        jobs: Jobs,
        runs: Runs,
        splits: SplitPeer,
    ) -> None:
        self._database = database
        self._store = store
        self._artifacts = artifacts
        self._jobs = jobs
        self._runs = runs
        self._splits = splits

    async def create(self, call: Call, wanted: EvaluationRequest) -> Evaluation:
        """Queues an evaluation, unless the run was trained on the images; a repeated request_id returns the evaluation
        that it made.

        Raises INVALID_ARGUMENT, also when the request_id belongs to another request, and FAILED_PRECONDITION
        (RUN_UNFINISHED, SPLIT_EMPTY, CONTAMINATED).
        """
        run = await self._runs.get(call.scope, wanted.run_id)
        resolved = resolve_evaluation(wanted.arguments, imgsz=int(run.resolved["imgsz"]))
        if resolved.violations:
            raise invalid(*resolved.violations)
        known = await self._jobs.by_request(run.data.project_id, JobKind.EVALUATE, wanted.request_id)
        if known is None:
            new = await self._new(call, run, wanted, resolved.arguments)
            try:
                async with self._jobs.queueing(new.job, wanted.request_id, new.split_id) as transaction:
                    await self._store.add(transaction, new)
            except RequestKnownError:
                known = await self._jobs.made_meanwhile(new.job, wanted.request_id)
            else:
                _log.info(
                    "evaluation queued",
                    job_id=new.job.job_id,
                    run_id=new.run_id,
                    split=new.split_reference,
                    part=new.part.value,
                )
                return await self.get(call.scope, new.job.job_id)
        evaluation = await self.get(call.scope, known)
        _require_same_evaluation(evaluation, run, wanted, resolved.arguments)
        return evaluation

    async def _new(
        self, call: Call, run: Run, wanted: EvaluationRequest, arguments: Mapping[str, Value]
    ) -> NewEvaluation:
        async with self._database.transaction() as transaction:
            weights = await self._artifacts.newest(transaction, run.run_id, wanted.weights)
        if weights is None or not run.info.job.ended:  # what a running attempt has left, a later one may replace
            missing = (
                f"has left no {wanted.weights.value.replace('_', ' ')} to evaluate"
                if run.info.job.ended
                else "has not ended yet"
            )
            raise precondition(
                Reason.ERROR_REASON_RUN_UNFINISHED,
                f"{run.reference} ({run.info.job.state.value}) {missing}",
                field="run_id",
            )
        revision = await self._splits.revision(wanted.split_id or run.data.split_id, call.token)
        contaminated = await self._require_fit(call, run, revision, wanted)
        return NewEvaluation(
            job=self._jobs.new(run.data.project_id, JobKind.EVALUATE, run.info.job.queue),
            run_id=run.run_id,
            weights=wanted.weights,
            weights_file=weights.file,
            split_id=revision.data.split_id,
            split_reference=revision.data.split_reference,
            part=wanted.part,
            contaminated_images=contaminated,
            arguments=arguments,
        )

    async def _require_fit(self, call: Call, run: Run, revision: SplitRevision, wanted: EvaluationRequest) -> int:
        """Counts the images of the part that the run has trained or chosen its weights on; refuses them unless forced,
        and data of other classes.
        """
        if revision.data.project_id != run.data.project_id:
            raise invalid(
                Violation(
                    "split_id",
                    f"belongs to the project {revision.data.project_id!r}, the run to {run.data.project_id!r}",
                )
            )
        if tuple(revision.data.class_names) != tuple(run.data.class_names):
            raise invalid(
                Violation(
                    "split_id",
                    f"the classes of {revision.data.split_reference} are not those that {run.reference} was trained on",
                )
            )
        revision.require_images(wanted.part, "part")
        overlap = await self._splits.overlap(revision.data.split_id, wanted.part, run.data.split_id, call.token)
        if overlap and not wanted.force:
            raise precondition(
                Reason.ERROR_REASON_CONTAMINATED,
                f"{run.reference} was trained, or its weights chosen, on {overlap} of the {revision.images[wanted.part]} images in the "
                f"{wanted.part.value} part of {revision.data.split_reference}, so the result would be too good; with force it is made and labelled",
                metadata={"overlap": str(overlap)},
                field="part",
            )
        return overlap

    async def get(self, scope: Scope, evaluation_id: str) -> Evaluation:
        """One evaluation. Raises NOT_FOUND."""
        async with self._database.transaction() as transaction:
            found = await self._store.get(transaction, evaluation_id, scope)
        if found is None:
            raise not_found("evaluation", evaluation_id)
        return found

    async def page(self, scope: Scope, wanted: EvaluationFilter, before: str | None, limit: int) -> Page[Evaluation]:
        """Evaluations older than `before`, newest first. Raises NOT_FOUND for a run or project outside the scope."""
        if wanted.project_id is not None:
            scope.require(wanted.project_id)
        if wanted.run_id is not None:
            await self._runs.get(scope, wanted.run_id)
        async with self._database.transaction() as transaction:
            return Page.of(await self._store.page(transaction, scope, wanted, before, limit + 1), limit)

    async def cancel(self, scope: Scope, evaluation_id: str) -> Evaluation:
        """Requests its cancellation. Raises FAILED_PRECONDITION (JOB_ENDED)."""
        await self.get(scope, evaluation_id)
        await self._jobs.cancel(evaluation_id)
        return await self.get(scope, evaluation_id)


def _require_same_evaluation(
    evaluation: Evaluation, run: Run, wanted: EvaluationRequest, arguments: Mapping[str, Value]
) -> None:
    """Refuses a request_id that has made another evaluation than `wanted`, with its arguments resolved, asks for."""
    require_same(
        f"evaluation {evaluation.number} of {evaluation.run_reference}",
        {
            "run_id": evaluation.run_id == run.run_id,
            "weights": evaluation.weights is wanted.weights,
            "split_id": evaluation.split_id == (wanted.split_id or run.data.split_id),
            "part": evaluation.part is wanted.part,
            "arguments": evaluation.arguments == arguments,
            "force": wanted.force or not evaluation.contaminated_images,
        },
    )
