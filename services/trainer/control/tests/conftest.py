"""One stack for the session: real Postgres, NATS and S3; the services beside them when a test asks for them. A database
of its own for each test.
"""

import asyncio
import hashlib
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from splitrail.events.v1 import event_pb2
from splitrail.internal.events.v1 import run_event_pb2
from splitrail_common.access import Scope
from splitrail_common.database import Pool, open_pool
from splitrail_common.ids import new_id
from splitrail_common.objects import ObjectStore
from splitrail_common.tokens import TRAINER, Caller, Signer, Verifier
from splitrail_local.stack import SERVERS
from splitrail_local.testing import ClonedDatabase, RunningStack, TemplateDatabase, eventually, running_stack
from splitrail_trainer.app import open_stores
from splitrail_trainer.arguments.resolve import resolve_training
from splitrail_trainer.data.domain import Part, PinnedData
from splitrail_trainer.evaluations.domain import NewEvaluation
from splitrail_trainer.jobs.domain import Job, JobKind
from splitrail_trainer.models.domain import ArtifactKind, StoredFile
from splitrail_trainer.queue.domain import ClaimedJob, UploadedFile
from splitrail_trainer.queue.lease import LapseGuard
from splitrail_trainer.queue.service import Attempts, Stores
from splitrail_trainer.runs.domain import NewRun, Run
from splitrail_trainer.settings import Settings
from splitrail_trainer.transactions import Database

ALL = Scope(None)
LEASE_SECONDS = 60.0
"""Of the stores that the tests make themselves: longer than any test, on the busiest machine."""
SHORT_LEASE_SECONDS = 0.3
SERVICE_LEASE_SECONDS = 3
"""Of the trainer service in the stack."""
PIN = PinnedData("default", new_id(), "cells", new_id(), 1, new_id(), "cells@v1#1", "d" * 64, ("red", "white"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The servers."""
    environment = {"trainer": {"SPLITRAIL_LEASE_SECONDS": str(SERVICE_LEASE_SECONDS)}}
    with running_stack(tmp_path_factory, SERVERS, environment) as running:
        yield running


@pytest.fixture(scope="session")
def services(stack: RunningStack) -> Iterator[RunningStack]:
    """The servers, and the three services as processes. No request, however bad, may be a defect to the trainer
    service.
    """
    stack.stack.up(only=[*SERVERS, "split", "trainer", "metrics"], gateway_port=0, die_with_caller=True)
    yield stack
    defects = [line for line in stack.log("trainer").splitlines() if '"defect"' in line or "Traceback" in line]
    assert defects == [], "\n".join(defects)


@pytest.fixture(scope="session")
def settings(stack: RunningStack) -> Settings:
    """As the trainer service would read them, with a short lease."""
    values = {name.removeprefix("SPLITRAIL_").lower(): value for name, value in stack.environment("trainer").items()}
    return Settings(**values | {"lease_seconds": LEASE_SECONDS})


@pytest.fixture(scope="session")
def template(stack: RunningStack) -> TemplateDatabase:
    """The service's database, migrated."""
    return TemplateDatabase(stack, "trainer")


@pytest.fixture
def database(template: TemplateDatabase) -> Iterator[ClonedDatabase]:
    """A database of the test's own."""
    with template.clone() as clone:
        yield clone


@pytest.fixture
async def pool(database: ClonedDatabase) -> AsyncIterator[Pool]:
    """A pool as the service opens it."""
    async with open_pool(database.dsn, size=10, deadline_seconds=30, package="splitrail_trainer") as opened:
        yield opened


@dataclass
class Clock:
    """A monotonic clock that moves when told."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """The pod's side of the service without the wire, on a database of its own."""

    pool: Pool
    database: Database
    stores: Stores
    objects: ObjectStore
    attempts: Attempts
    guard: LapseGuard
    clock: Clock
    verifier: Verifier
    signer: Signer
    guard_seconds: float = LEASE_SECONDS

    async def add_run(
        self,
        *,
        project_id: str = "default",
        queue: str = "default",
        max_attempts: int = 3,
        request_id: str = "",
        external_id: str = "",
        **arguments: object,
    ) -> str:
        """Queues a run; its data is made up, for nothing here reads it."""
        job = Job(new_id(), project_id, JobKind.TRAIN, queue, max_attempts=max_attempts)
        pin = PinnedData(project_id, *list(PIN.__dict__.values())[1:])
        resolved = resolve_training(arguments).arguments
        async with self.database.transaction() as transaction:
            await self.stores.jobs.add(transaction, job, request_id)
            await self.stores.runs.add(transaction, NewRun(job, pin, "yolov8n", arguments, resolved, external_id, {}))
        return job.job_id

    async def add_evaluation(self, run_id: str, queue: str = "default") -> str:
        """Queues an evaluation of the run's test part; its weights are made up."""
        run = await self.run(run_id)
        job = Job(new_id(), run.data.project_id, JobKind.EVALUATE, queue)
        new = NewEvaluation(
            job=job,
            run_id=run_id,
            weights=ArtifactKind.BEST_WEIGHTS,
            weights_file=StoredFile(f"attempts/{run_id}/1/best.pt", "0" * 64, 7),
            split_id=run.data.split_id,
            split_reference=run.data.split_reference,
            part=Part.TEST,
            contaminated_images=0,
            arguments={},
        )
        async with self.database.transaction() as transaction:
            await self.stores.jobs.add(transaction, job, "")
            await self.stores.evaluations.add(transaction, new)
        return job.job_id

    async def claim(self, queue: str = "default", worker: str = "pod") -> tuple[ClaimedJob, Caller]:
        """Claims, and gives the caller that the token proves."""
        claimed = await self.attempts.claim(worker, queue, list(JobKind))
        assert claimed is not None
        return claimed, self.verifier.verify(claimed.token)

    def shorten_leases(self, seconds: float = SHORT_LEASE_SECONDS) -> None:
        """Leases that begin from now on end soon."""
        self.stores.jobs.lease_seconds = seconds

    async def claim_lapsed(self, worker: str = "other") -> tuple[ClaimedJob, Caller]:
        """Claims as soon as a lease has run out."""
        claimed = await eventually(
            lambda: self.attempts.claim(worker, "default", list(JobKind)), "a lease has run out", 20
        )
        return claimed, self.verifier.verify(claimed.token)

    async def run(self, run_id: str) -> Run:
        async with self.database.transaction() as transaction:
            found = await self.stores.runs.get(transaction, run_id, ALL)
        assert found is not None
        return found

    async def states(self, job_id: str) -> list[str]:
        """The state events in the outbox, in order."""
        async with self.database.transaction() as transaction:
            events = [
                run_event_pb2.RunEvent.FromString(event)
                for event in await self.stores.jobs.events(transaction, job_id, 0, 1000)
            ]
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        return [event_pb2.JobState.Name(event.state.state).removeprefix("JOB_STATE_").lower() for event in events]

    async def upload(self, caller: Caller, name: str, data: bytes) -> str:
        """Puts a file where the service says; the key."""
        ((_, key, url),) = await self.attempts.create_uploads(caller, caller.job_id, [name])
        await asyncio.to_thread(put, url, data)
        return key

    @staticmethod
    def get(url: str) -> bytes:
        """An HTTP GET."""
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.read()

    async def leave(
        self, caller: Caller, name: str, kind: ArtifactKind, *, epoch: int = 0, data: bytes = b"weights"
    ) -> str:
        """Uploads and commits a file; its key."""
        key = await self.upload(caller, name, data)
        sha256 = hashlib.sha256(data).hexdigest()
        await self.attempts.commit_artifact(caller, caller.job_id, UploadedFile(name, kind, len(data), sha256, epoch))
        return key


def put(url: str, data: bytes) -> None:
    """An HTTP PUT."""
    with urllib.request.urlopen(urllib.request.Request(url, data, method="PUT"), timeout=20) as response:
        assert response.status == 200


@pytest.fixture
async def world(pool: Pool, settings: Settings) -> World:
    """With a guard that lets leases run out, as after a long quiet time."""
    clock = Clock()
    guard = LapseGuard(LEASE_SECONDS, clock)
    for _ in range(9):
        guard.heard()
        clock.now += LEASE_SECONDS / 8
    assert guard.may_lapse
    signer = Signer.from_file(TRAINER, settings.signing_key_file)
    database, kept, objects = Database(pool), open_stores(pool, lease_seconds=LEASE_SECONDS), ObjectStore(settings)
    attempts = Attempts(database, kept, objects, signer, guard, token_seconds=3600)
    return World(pool, database, kept, objects, attempts, guard, clock, Verifier.from_file(settings.jwks_file), signer)
