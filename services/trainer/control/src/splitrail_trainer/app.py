"""The composition root: everything that the service is made of, joined here and nowhere else."""

from contextlib import AsyncExitStack

import grpc
from splitrail.trainer.v1 import job_service_pb2, job_service_pb2_grpc, run_service_pb2, run_service_pb2_grpc
from splitrail_common import messaging, peers
from splitrail_common.database import open_pool
from splitrail_common.objects import ObjectStore
from splitrail_common.server import Draining, Servicer, serve
from splitrail_common.tokens import TRAINER, Signer, Verifier

from splitrail_trainer.data.split_peer import SplitPeer
from splitrail_trainer.jobs.outbox import Relay
from splitrail_trainer.models.sweeper import Sweeper
from splitrail_trainer.queue.lease import LapseGuard, Reaper
from splitrail_trainer.queue.service import Attempts
from splitrail_trainer.runs.service import Runs
from splitrail_trainer.runs.servicer import JobServicer, RunServicer
from splitrail_trainer.runs.store import Store
from splitrail_trainer.settings import Settings


def servicers(runs: Runs, attempts: Attempts, *, lease_seconds: float) -> list[Servicer]:
    """The two gRPC services."""

    def add_runs(server: grpc.aio.Server) -> None:
        run_service_pb2_grpc.add_RunServiceServicer_to_server(RunServicer(runs), server)

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

        store = Store(pool, lease_seconds=settings.lease_seconds)
        guard = LapseGuard(settings.lease_seconds)
        runs = Runs(store, objects, SplitPeer(split_channel, signer), max_attempts=settings.max_attempts)
        attempts = Attempts(store, objects, signer, guard, token_seconds=settings.attempt_token_seconds)
        await serve(
            settings.listen,
            servicers(runs, attempts, lease_seconds=settings.lease_seconds),
            verifier,
            draining=Draining(),
            tasks=[
                Reaper(store, guard).run(),
                Sweeper(store, objects).run(),
                Relay(store, jetstream, metrics_channel, signer).run(),
            ],
        )
