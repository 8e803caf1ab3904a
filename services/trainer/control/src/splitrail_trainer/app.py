"""The composition root: everything that the service is made of, joined here and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from splitrail.internal.trainer.v1 import job_service_pb2, job_service_pb2_grpc
from splitrail.trainer.v1 import (
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    run_service_pb2,
    run_service_pb2_grpc,
)
from splitrail_common import messaging, peers
from splitrail_common.database import Pool, open_pool
from splitrail_common.objects import ObjectStore
from splitrail_common.server import App, Servicer
from splitrail_common.tokens import TRAINER, Signer, Verifier

from splitrail_trainer.data.split_peer import SplitPeer
from splitrail_trainer.evaluations.service import Evaluations
from splitrail_trainer.evaluations.servicer import EvaluationServicer
from splitrail_trainer.evaluations.store import EvaluationStore
from splitrail_trainer.jobs.convert import state_event
from splitrail_trainer.jobs.feed_peer import FeedPeer
from splitrail_trainer.jobs.outbox import Relay
from splitrail_trainer.jobs.service import Jobs
from splitrail_trainer.jobs.store import JobStore
from splitrail_trainer.models.store import ArtifactStore
from splitrail_trainer.models.sweeper import Sweeper
from splitrail_trainer.queue.lease import LapseGuard, Reaper
from splitrail_trainer.queue.service import Attempts, Stores
from splitrail_trainer.queue.servicer import JobServicer
from splitrail_trainer.queue.store import QueueStore
from splitrail_trainer.runs.service import Runs
from splitrail_trainer.runs.servicer import RunServicer
from splitrail_trainer.runs.store import RunStore
from splitrail_trainer.settings import Settings
from splitrail_trainer.transactions import Database


def open_stores(pool: Pool, *, lease_seconds: float) -> Stores:
    """The stores of all wings."""
    artifacts = ArtifactStore(pool)
    return Stores(
        queue=QueueStore(pool),
        jobs=JobStore(pool, state_event, lease_seconds=lease_seconds),
        artifacts=artifacts,
        runs=RunStore(pool, artifacts),
        evaluations=EvaluationStore(pool),
    )


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[App]:
    """The service with its connections open. Waits for Postgres, S3 and NATS as long as the settings say, then raises
    what they last said.
    """
    verifier = Verifier.from_file(settings.jwks_file)
    signer = Signer.from_file(TRAINER, settings.signing_key_file)
    dsn, deadline = settings.database_dsn.get_secret_value(), settings.start_deadline_seconds
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(dsn, size=settings.database_pool_size, deadline_seconds=deadline, package=__package__)
        )
        objects = ObjectStore(settings)
        await objects.wait(deadline)
        nats = await messaging.connect(
            settings.nats_url.get_secret_value(), name="splitrail-trainer", deadline_seconds=deadline
        )
        stack.push_async_callback(nats.close)
        jetstream = nats.jetstream()
        await messaging.wait_for_stream(jetstream, deadline)
        split_channel = await stack.enter_async_context(peers.channel(settings.split_address))
        metrics_channel = await stack.enter_async_context(peers.channel(settings.metrics_address))

        database, stores = Database(pool), open_stores(pool, lease_seconds=settings.lease_seconds)
        guard, splits = LapseGuard(settings.lease_seconds), SplitPeer(split_channel, signer)
        jobs = Jobs(database, stores.jobs, splits, max_attempts=settings.max_attempts)
        runs = Runs(database, stores.runs, jobs, splits, objects)
        evaluations = Evaluations(
            database, stores.evaluations, artifacts=stores.artifacts, jobs=jobs, runs=runs, splits=splits
        )
        attempts = Attempts(database, stores, objects, signer, guard, token_seconds=settings.attempt_token_seconds)
        yield App(
            [
                Servicer.of(run_service_pb2, run_service_pb2_grpc, RunServicer(runs), "RunService"),
                Servicer.of(
                    evaluation_service_pb2,
                    evaluation_service_pb2_grpc,
                    EvaluationServicer(evaluations),
                    "EvaluationService",
                ),
                Servicer.of(
                    job_service_pb2,
                    job_service_pb2_grpc,
                    JobServicer(attempts, lease_seconds=settings.lease_seconds),
                    "JobService",
                ),
            ],
            verifier,
            background=[
                Reaper(database, stores.queue, stores.jobs, guard).run,
                Sweeper(database, stores.artifacts, objects).run,
                Relay(database, stores.jobs, FeedPeer(jetstream, metrics_channel, signer), jetstream).run,
            ],
        )
