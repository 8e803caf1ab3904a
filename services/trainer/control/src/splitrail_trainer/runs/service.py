"""What people and programs do: queue trainings and evaluations, look at them, cancel them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from splitrail_common import log
from splitrail_common.access import Call, Scope
from splitrail_common.errors import Reason, Violation, invalid, not_found, precondition
from splitrail_common.ids import new_id
from splitrail_common.objects import ObjectStore
from splitrail_common.training.arguments import Value

from splitrail_trainer.arguments.resolve import resolve_evaluation
from splitrail_trainer.data.split_peer import Revision, SplitPeer
from splitrail_trainer.jobs.domain import Ended, Job, Kind, cancel
from splitrail_trainer.runs.domain import ArtifactKind, Evaluation, NewEvaluation, NewRun, Part, Run, RunFilter
from splitrail_trainer.runs.store import RequestKnownError, Store, Transaction

_log = log.get(__name__)
_URL_LIFETIME = timedelta(minutes=15)


@dataclass(frozen=True)
class RunWish:
    """A run as asked for, after the stateless checks."""

    project_id: str
    data: str
    split_id: str
    model: str
    arguments: Mapping[str, object]
    resolved: Mapping[str, Value]
    request_id: str
    queue: str
    external_id: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class EvaluationWish:
    """An evaluation as asked for, after the stateless checks."""

    run_id: str
    weights: ArtifactKind
    split_id: str
    """Empty: the run's own."""
    part: Part
    arguments: Mapping[str, object]
    force: bool
    request_id: str


class Runs:
    """Runs and evaluations, always within the caller's scope."""

    def __init__(self, store: Store, objects: ObjectStore, splits: SplitPeer, *, max_attempts: int) -> None:
        self._store = store
        self._objects = objects
        self._splits = splits
        self._max_attempts = max_attempts

    async def create_run(self, call: Call, wish: RunWish) -> Run:
        """Pins the data and queues the run; a request that repeats an earlier one with its id gets that one's run.

        Raises INVALID_ARGUMENT when the request_id belongs to another request.
        """
        project_id = call.scope.require(wish.project_id)
        known = await self._known(project_id, Kind.TRAIN, wish.request_id)
        if known is None:
            new = await self._new_run(call, project_id, wish)
            try:
                async with self._queueing(new.data.split_id, new.job) as transaction:
                    await transaction.add_run(new)
            except RequestKnownError:
                known = await self._must_know(new.job, wish.request_id)
            else:
                _log.info("run queued", job_id=new.job.job_id, model=new.model, split=new.data.split_reference)
                return await self.run(call.scope, new.job.job_id)
        run = await self.run(call.scope, known)
        _require_same_run(run, wish)
        return run

    async def _new_run(self, call: Call, project_id: str, wish: RunWish) -> NewRun:
        revision = await self._revision(call, wish)
        if revision.pin.project_id != project_id:
            raise invalid(Violation("split_id", f"belongs to the project {revision.pin.project_id!r}, not {project_id!r}: set project_id"))
        for part in (Part.TRAIN, Part.VAL):
            _require_images(revision, part, "split_id" if wish.split_id else "data")
        job = self._new_job(project_id, Kind.TRAIN, wish.queue)
        return NewRun(job, revision.pin, wish.model, wish.arguments, wish.resolved, wish.request_id, wish.external_id, wish.labels)

    async def _revision(self, call: Call, wish: RunWish) -> Revision:
        if wish.split_id:
            return await self._splits.revision(wish.split_id, call.token)
        return await self._splits.resolve(wish.project_id, wish.data, call.token)

    def _new_job(self, project_id: str, kind: Kind, queue: str) -> Job:
        return Job(new_id(), project_id, kind, queue, max_attempts=self._max_attempts)

    @asynccontextmanager
    async def _queueing(self, split_id: str, job: Job) -> AsyncIterator[Transaction]:
        """A transaction that adds the job, and pins its data before anybody can see it. Raises RequestKnownError.

        The pin comes last, so that a request that loses to another one with its id, or is refused, pins nothing. What fails between the pin and
        the commit leaves a pin of a job that never was: that revision cannot be deleted, and nothing else is wrong.
        """
        async with self._store.transaction() as transaction:
            yield transaction
            await self._splits.pin(split_id, job.job_id)

    async def _known(self, project_id: str, kind: Kind, request_id: str) -> str | None:
        if not request_id:
            return None
        async with self._store.transaction() as transaction:
            return await transaction.job_by_request(project_id, kind, request_id)

    async def _must_know(self, job: Job, request_id: str) -> str:
        """The job that another call with the same request_id has just made."""
        known = await self._known(job.project_id, job.kind, request_id)
        if known is None:
            raise RuntimeError(f"request_id {request_id!r} is taken, but by no job")
        return known

    async def run(self, scope: Scope, run_id: str) -> Run:
        """One run. Raises NOT_FOUND."""
        async with self._store.transaction() as transaction:
            found = await transaction.run(run_id, scope)
        if found is None:
            raise not_found("run", run_id)
        return found

    async def resolve_run(self, scope: Scope, project_id: str, reference: tuple[str, int] | str) -> Run:
        """`cells/17` in a project, or a run_id. Raises NOT_FOUND."""
        if isinstance(reference, str):
            return await self.run(scope, reference)
        name, number = reference
        async with self._store.transaction() as transaction:
            run_id = await transaction.run_by_number(scope.require(project_id), name, number)
        if run_id is None:
            raise not_found("run", f"{name}/{number}")
        return await self.run(scope, run_id)

    async def runs(self, scope: Scope, wanted: RunFilter, before: str | None, limit: int) -> list[Run]:
        """Runs older than `before`, newest first."""
        if wanted.project_id is not None:
            scope.require(wanted.project_id)
        async with self._store.transaction() as transaction:
            return await transaction.runs(scope, wanted, before, limit)

    async def cancel_run(self, scope: Scope, run_id: str) -> Run:
        """Asks for its end. Raises FAILED_PRECONDITION (JOB_ENDED)."""
        await self.run(scope, run_id)
        await self._cancel(run_id)
        return await self.run(scope, run_id)

    async def _cancel(self, job_id: str) -> None:
        async with self._store.transaction() as transaction:
            job = await transaction.lock(job_id)
            if job is None:
                raise not_found("job", job_id)
            try:
                after = cancel(job)
            except Ended as error:
                raise precondition(Reason.ERROR_REASON_JOB_ENDED, str(error), metadata={"state": error.state.value}) from error
            if after is not job:
                await transaction.save(job, after)

    async def create_evaluation(self, call: Call, wish: EvaluationWish) -> Evaluation:
        """Queues an evaluation, unless the run was trained on what it would be judged on; a request that repeats an earlier one with its id gets
        that one's evaluation.

        Raises INVALID_ARGUMENT, also when the request_id belongs to another request, and FAILED_PRECONDITION (RUN_UNFINISHED, SPLIT_EMPTY,
        CONTAMINATED).
        """
        run = await self.run(call.scope, wish.run_id)
        resolved = resolve_evaluation(wish.arguments, imgsz=int(run.resolved["imgsz"]))
        if resolved.violations:
            raise invalid(*resolved.violations)
        known = await self._known(run.data.project_id, Kind.EVALUATE, wish.request_id)
        if known is None:
            new = await self._new_evaluation(call, run, wish, resolved.arguments)
            try:
                async with self._queueing(new.split_id, new.job) as transaction:
                    await transaction.add_evaluation(new)
            except RequestKnownError:
                known = await self._must_know(new.job, wish.request_id)
            else:
                _log.info("evaluation queued", job_id=new.job.job_id, run_id=new.run_id, split=new.split_reference, part=new.part.value)
                return await self.evaluation(call.scope, new.job.job_id)
        evaluation = await self.evaluation(call.scope, known)
        _require_same_evaluation(evaluation, run, wish, resolved.arguments)
        return evaluation

    async def _new_evaluation(self, call: Call, run: Run, wish: EvaluationWish, arguments: Mapping[str, Value]) -> NewEvaluation:
        async with self._store.transaction() as transaction:
            weights = await transaction.newest_artifact(run.run_id, wish.weights)
        if weights is None or not run.info.job.ended:  # what a running attempt has left, a later one may replace
            missing = f"has left no {wish.weights.value.replace('_', ' ')} to judge" if run.info.job.ended else "has not ended yet"
            raise precondition(Reason.ERROR_REASON_RUN_UNFINISHED, f"{run.reference} ({run.info.job.state.value}) {missing}", field="run_id")
        revision = await self._splits.revision(wish.split_id or run.data.split_id, call.token)
        contaminated = await self._judgeable(call, run, revision, wish)
        return NewEvaluation(
            job=self._new_job(run.data.project_id, Kind.EVALUATE, run.info.job.queue),
            run_id=run.run_id,
            weights=wish.weights,
            weights_file=weights.file,
            split_id=revision.pin.split_id,
            split_reference=revision.pin.split_reference,
            part=wish.part,
            contaminated_images=contaminated,
            arguments=arguments,
            request_id=wish.request_id,
        )

    async def _judgeable(self, call: Call, run: Run, revision: Revision, wish: EvaluationWish) -> int:
        """How many images of the part the run has trained or chosen its weights on: 0 unless forced. Raises when the part is unfit."""
        if revision.pin.project_id != run.data.project_id:
            raise invalid(Violation("split_id", f"belongs to the project {revision.pin.project_id!r}, the run to {run.data.project_id!r}"))
        if tuple(revision.pin.class_names) != tuple(run.data.class_names):
            raise invalid(Violation("split_id", f"the classes of {revision.pin.split_reference} are not those that {run.reference} was trained on"))
        _require_images(revision, wish.part, "split")
        overlap = await self._splits.overlap(revision.pin.split_id, wish.part, run.data.split_id, call.token)
        if overlap and not wish.force:
            raise precondition(
                Reason.ERROR_REASON_CONTAMINATED,
                f"{run.reference} was trained, or its weights chosen, on {overlap} of the {revision.images[wish.part]} images in the "
                f"{wish.part.value} part of {revision.pin.split_reference}: the numbers would flatter it. With force the result is labelled",
                metadata={"overlap": str(overlap)},
                field="split",
            )
        return overlap

    async def evaluation(self, scope: Scope, evaluation_id: str) -> Evaluation:
        """One evaluation. Raises NOT_FOUND."""
        async with self._store.transaction() as transaction:
            found = await transaction.evaluation(evaluation_id, scope)
        if found is None:
            raise not_found("evaluation", evaluation_id)
        return found

    async def evaluations(self, scope: Scope, project_id: str | None, run_id: str | None, before: str | None, limit: int) -> Sequence[Evaluation]:
        """Evaluations older than `before`, newest first. Raises NOT_FOUND for a run or project outside the scope."""
        if project_id is not None:
            scope.require(project_id)
        if run_id is not None:
            await self.run(scope, run_id)
        async with self._store.transaction() as transaction:
            return await transaction.evaluations(scope, project_id, run_id, before, limit)

    async def cancel_evaluation(self, scope: Scope, evaluation_id: str) -> Evaluation:
        """Asks for its end. Raises FAILED_PRECONDITION (JOB_ENDED)."""
        await self.evaluation(scope, evaluation_id)
        await self._cancel(evaluation_id)
        return await self.evaluation(scope, evaluation_id)

    def sign(self, key: str) -> str:
        """A download URL for a person's browser or program."""
        return self._objects.download_url(key, _URL_LIFETIME)


def _require_same_run(run: Run, wish: RunWish) -> None:
    """Refuses a request_id that has made another run than `wish` asks for."""
    same_data = run.data.split_id == wish.split_id if wish.split_id else run.data.may_be(wish.data)
    _require_same(
        run.reference,
        {
            "split_id" if wish.split_id else "data": same_data,
            "model": run.model == wish.model,
            "arguments": run.arguments == wish.arguments,
            "queue": run.info.job.queue == wish.queue,
            "external_id": run.external_id == wish.external_id,
            "labels": run.labels == wish.labels,
        },
    )


def _require_same_evaluation(evaluation: Evaluation, run: Run, wish: EvaluationWish, arguments: Mapping[str, Value]) -> None:
    """Refuses a request_id that has made another evaluation than `wish`, with its arguments resolved, asks for."""
    _require_same(
        f"evaluation {evaluation.number} of {evaluation.run_reference}",
        {
            "run_id": evaluation.run_id == run.run_id,
            "weights": evaluation.weights is wish.weights,
            "split_id": evaluation.split_id == (wish.split_id or run.data.split_id),
            "split": evaluation.part is wish.part,
            "arguments": evaluation.arguments == arguments,
            "force": wish.force or not evaluation.contaminated_images,
        },
    )


def _require_same(made: str, same: Mapping[str, bool]) -> None:
    differing = [name for name, is_same in same.items() if not is_same]
    if differing:
        raise invalid(Violation("request_id", f"was used for {made} with other {', '.join(differing)}: use a new one"))


def _require_images(revision: Revision, part: Part, field: str) -> None:
    if not revision.images.get(part):
        raise precondition(
            Reason.ERROR_REASON_SPLIT_EMPTY,
            f"the {part.value} part of {revision.pin.split_reference} holds no images",
            metadata={"split": part.value},
            field=field,
        )
