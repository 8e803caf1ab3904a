"""The composition root: everything that the service is made of, joined here and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from splitrail.internal.metrics.v1 import watermark_service_pb2, watermark_service_pb2_grpc
from splitrail.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from splitrail_common.database import open_pool
from splitrail_common.messaging import connect
from splitrail_common.objects import ObjectStore
from splitrail_common.peers import channel
from splitrail_common.server import App, Draining, Servicer
from splitrail_common.tokens import Verifier

from . import convert
from .history.service import FeedService
from .history.store import Store
from .ingest import incarnation
from .ingest.loop import Ingest
from .live.watches import Live
from .servicer import MetricsServicer, WatermarkServicer
from .settings import Settings
from .trainer_peer import TrainerPeer


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[App]:
    """The service with its connections open. Waits for Postgres and NATS as long as the settings say, then raises what
    they last said."""
    verifier, draining = Verifier.from_file(settings.jwks_file), Draining()
    dsn, deadline = settings.database_dsn.get_secret_value(), settings.start_deadline_seconds
    nats = await connect(settings.nats_url.get_secret_value(), name="splitrail-metrics", deadline_seconds=deadline)
    try:
        async with (
            open_pool(dsn, size=settings.database_pool_size, deadline_seconds=deadline, package=__package__) as pool,
            channel(settings.trainer_address) as trainer,
        ):
            async with pool.connection() as connection:
                await incarnation.settle(connection)
            store = Store(pool)
            live = Live(store, nats, draining, convert.watched_event, heartbeat_seconds=settings.heartbeat_seconds)
            feeds = FeedService(store, ObjectStore(settings), TrainerPeer(trainer))
            metrics = MetricsServicer(feeds, live, stall_seconds=settings.watch_stall_seconds)
            servicers = [
                Servicer.of(metrics_service_pb2, metrics_service_pb2_grpc, metrics, "MetricsService"),
                Servicer.of(
                    watermark_service_pb2, watermark_service_pb2_grpc, WatermarkServicer(feeds), "WatermarkService"
                ),
            ]
            async with live.running():
                yield App(servicers, verifier, draining, background=[Ingest(dsn, nats, verifier, live.committed).run])
    finally:
        await nats.close()


async def begin_incarnation(settings: Settings) -> str:
    """Begins a new incarnation of the feeds (see ingest/incarnation.py) and returns it; a service may be running."""
    dsn = settings.database_dsn.get_secret_value()
    async with (
        open_pool(dsn, size=1, deadline_seconds=settings.start_deadline_seconds, package=__package__) as pool,
        pool.connection() as connection,
    ):
        return await incarnation.begin(connection)
