"""The composition root: everything that the service is made of, joined here and nowhere else."""

from contextlib import AsyncExitStack

import grpc
from splitrail.trainer.v1 import job_service_pb2, job_service_pb2_grpc, run_service_pb2, run_service_pb2_grpc
from splitrail_common import messaging, peers
from splitrail_common.database import open_pool
from splitrail_common.objects import ObjectStore
from splitrail_common.server import Draining, Servicer, serve
from splitrail_common.tokens import TRAINER, Signer, Verifier

from splitrail_trainer.arguments.servicer import ArgumentRpcs
from splitrail_trainer.data.split_peer import SplitPeer
from splitrail_trainer.evaluations.service import Evaluations
from splitrail_trainer.evaluations.servicer import EvaluationRpcs
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
from splitrail_trainer.runs.servicer import RunRpcs
from splitrail_trainer.runs.store import RunStore
from splitrail_trainer.settings import Settings
from splitrail_trainer.transactions import Database


class RunServicer(ArgumentRpcs, RunRpcs, EvaluationRpcs, run_service_pb2_grpc.RunServiceServicer):
    """RunService, whose RPCs three wings serve."""

    def __init__(self, runs: Runs, evaluations: Evaluations) -> None:
        RunRpcs.__init__(self, runs)
        EvaluationRpcs.__init__(self, evaluations)


def stores(*, lease_seconds: float) -> Stores:
    """The stores of all wings."""
    artifacts = ArtifactStore()
    return Stores(QueueStore(), JobStore(state_event, lease_seconds=lease_seconds), artifacts, RunStore(artifacts), EvaluationStore())


def servicers(runs: Runs, evaluations: Evaluations, attempts: Attempts, *, lease_seconds: float) -> list[Servicer]:
    """The two gRPC services."""

    def add_runs(server: grpc.aio.Server) -> None:
        run_service_pb2_grpc.add_RunServiceServicer_to_server(RunServicer(runs, evaluations), server)

    def add_jobs(server: grpc.aio.Server) -> None:
        job_service_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(attempts, lease_seconds=lease_seconds), server)

    return [
        Servicer(run_service_pb2.DESCRIPTOR.services_by_name["RunService"], add_runs),
        Servicer(job_service_pb2.DESCRIPTOR.services_by_name["JobService"], add_jobs),
    ]


async def run(settings: Settings) -> None:
    """Serves until asked to end. Waits for Postgres, S3 and NATS at start, up to the deadline."""
    verifier = Verifier.from_file(settings.jwks_file)
    signer = Signer.from_file(TRAINER, settings.signing_key_file)
    deadline = settings.start_deadline_seconds
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(
                settings.database_dsn.get_secret_value(),
                size=settings.database_pool_size,
                deadline_seconds=deadline,
                package="splitrail_trainer",
            )
        )
        objects = ObjectStore(settings)
        await objects.wait(deadline)
        client = await messaging.connect(settings.nats_url.get_secret_value(), name="splitrail-trainer", deadline_seconds=deadline)
        stack.push_async_callback(client.close)
        jetstream = client.jetstream()
        await messaging.wait_for_stream(jetstream, deadline)
        split_channel = await stack.enter_async_context(peers.channel(settings.split_address))
        metrics_channel = await stack.enter_async_context(peers.channel(settings.metrics_address))

        database, kept = Database(pool), stores(lease_seconds=settings.lease_seconds)
        guard, splits = LapseGuard(settings.lease_seconds), SplitPeer(split_channel, signer)
        jobs = Jobs(database, kept.jobs, splits, max_attempts=settings.max_attempts)
        runs = Runs(database, kept.runs, jobs, splits, objects)
        evaluations = Evaluations(database, kept.evaluations, artifacts=kept.artifacts, jobs=jobs, runs=runs, splits=splits)
        attempts = Attempts(database, kept, objects, signer, guard, token_seconds=settings.attempt_token_seconds)
        feed = FeedPeer(jetstream, metrics_channel, signer)
        await serve(
            settings.listen,
            servicers(runs, evaluations, attempts, lease_seconds=settings.lease_seconds),
            verifier,
            draining=Draining(),
            tasks=[
                Reaper(database, kept.queue, kept.jobs, guard).run(),
                Sweeper(database, kept.artifacts, objects).run(),
                Relay(database, kept.jobs, feed, jetstream).run(),
            ],
        )
