"""What people and programs do with runs: queue trainings, look at them, cancel them."""

from collections.abc import Mapping
from datetime import timedelta

from splitrail_common import log
from splitrail_common.access import Call, Scope
from splitrail_common.errors import Violation, already_exists, invalid, not_found
from splitrail_common.objects import ObjectStore
from splitrail_common.paging import Page
from splitrail_common.training.arguments import Value

from splitrail_trainer.data.domain import Part, SplitRevision
from splitrail_trainer.data.split_peer import SplitPeer
from splitrail_trainer.jobs.domain import JobKind
from splitrail_trainer.jobs.requests import require_same
from splitrail_trainer.jobs.service import Jobs
from splitrail_trainer.jobs.store import RequestKnownError
from splitrail_trainer.models.domain import SignedArtifact
from splitrail_trainer.runs.domain import NewRun, Run, RunFilter, RunRequest
from splitrail_trainer.runs.store import ExternalIdTakenError, RunStore
from splitrail_trainer.transactions import Database

_log = log.get(__name__)
_URL_LIFETIME = timedelta(minutes=15)


class Runs:
    """Runs, always within the caller's scope."""

    def __init__(
        self, database: Database, store: RunStore, jobs: Jobs, splits: SplitPeer, objects: ObjectStore
    ) -> None:
        self._database = database
        self._store = store
        self._jobs = jobs
        self._splits = splits
        self._objects = objects

    async def create(self, call: Call, wanted: RunRequest, resolved: Mapping[str, Value]) -> Run:
        """Pins the data and queues the run; a repeated request_id returns the run that it made.

        `resolved`: the arguments of `wanted` with the defaults. Raises INVALID_ARGUMENT when the request_id belongs to
        another request, ALREADY_EXISTS when another run has the external_id, and FAILED_PRECONDITION (SPLIT_EMPTY, or
        what the split service says of the data).
        """
        project_id = call.scope.require(wanted.project_id)
        known = await self._jobs.by_request(project_id, JobKind.TRAIN, wanted.request_id)
        if known is None:
            new = await self._new(call, project_id, wanted, resolved)
            try:
                async with self._jobs.queueing(new.job, wanted.request_id, new.data.split_id) as transaction:
                    await self._store.add(transaction, new)
            except RequestKnownError:
                known = await self._jobs.made_meanwhile(new.job, wanted.request_id)
            except ExternalIdTakenError as error:
                raise already_exists("run", wanted.external_id, "external_id") from error
            else:
                _log.info("run queued", job_id=new.job.job_id, model=new.model, split=new.data.split_reference)
                return await self.get(call.scope, new.job.job_id)
        run = await self.get(call.scope, known)
        _require_same_run(run, wanted)
        return run

    async def _new(self, call: Call, project_id: str, wanted: RunRequest, resolved: Mapping[str, Value]) -> NewRun:
        revision = await self._revision(call, wanted)
        if revision.data.project_id != project_id:
            raise invalid(
                Violation(
                    "split_id",
                    f"belongs to the project {revision.data.project_id!r}, not {project_id!r}: set project_id",
                )
            )
        for part in (Part.TRAIN, Part.VAL):
            revision.require_images(part, "split_id" if wanted.split_id else "data")
        job = self._jobs.new(project_id, JobKind.TRAIN, wanted.queue)
        return NewRun(job, revision.data, wanted.model, wanted.arguments, resolved, wanted.external_id, wanted.labels)

    async def _revision(self, call: Call, wanted: RunRequest) -> SplitRevision:
        if wanted.split_id:
            return await self._splits.revision(wanted.split_id, call.token)
        return await self._splits.resolve(wanted.project_id, wanted.data, call.token)

    async def get(self, scope: Scope, run_id: str) -> Run:
        """One run. Raises NOT_FOUND."""
        async with self._database.transaction() as transaction:
            found = await self._store.get(transaction, run_id, scope)
        if found is None:
            raise not_found("run", run_id)
        return found

    async def resolve(self, scope: Scope, project_id: str, reference: tuple[str, int] | str) -> Run:
        """`cells/17` in a project, or a run_id. Raises NOT_FOUND."""
        if isinstance(reference, str):
            return await self.get(scope, reference)
        name, number = reference
        async with self._database.transaction() as transaction:
            run_id = await self._store.id_of(transaction, scope.require(project_id), name, number)
        if run_id is None:
            raise not_found("run", f"{name}/{number}")
        return await self.get(scope, run_id)

    async def page(self, scope: Scope, wanted: RunFilter, before: str | None, limit: int) -> Page[Run]:
        """Runs older than `before`, newest first."""
        if wanted.project_id is not None:
            scope.require(wanted.project_id)
        async with self._database.transaction() as transaction:
            return Page.of(await self._store.page(transaction, scope, wanted, before, limit + 1), limit)

    async def artifacts(
        self, scope: Scope, run_id: str, after: tuple[int, str] | None, limit: int
    ) -> Page[SignedArtifact]:
        """The newest of each of a run's files beyond the place `after`, by kind and name. Raises NOT_FOUND."""
        files = sorted((await self.get(scope, run_id)).artifacts, key=lambda item: item.place)
        found = Page.of([item for item in files if after is None or item.place > after], limit)
        return Page(
            [SignedArtifact(item, self._objects.download_url(item.file.key, _URL_LIFETIME)) for item in found.items],
            found.more,
        )

    async def cancel(self, scope: Scope, run_id: str) -> Run:
        """Requests its cancellation. Raises FAILED_PRECONDITION (JOB_ENDED)."""
        await self.get(scope, run_id)
        await self._jobs.cancel(run_id)
        return await self.get(scope, run_id)


def _require_same_run(run: Run, wanted: RunRequest) -> None:
    """Refuses a request_id that has made another run than `wanted` asks for."""
    same_data = run.data.split_id == wanted.split_id if wanted.split_id else run.data.may_be(wanted.data)
    require_same(
        run.reference,
        {
            "split_id" if wanted.split_id else "data": same_data,
            "model": run.model == wanted.model,
            "arguments": run.arguments == wanted.arguments,
            "queue": run.info.job.queue == wanted.queue,
            "external_id": run.external_id == wanted.external_id,
            "labels": run.labels == wanted.labels,
        },
    )
