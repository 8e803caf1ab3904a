"""Puts the service together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from splitrail.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from splitrail_common.database import open_pool
from splitrail_common.messaging import connect
from splitrail_common.objects import ObjectStore
from splitrail_common.peers import channel
from splitrail_common.server import App, Draining, Servicer
from splitrail_common.tokens import Verifier

from .history.service import FeedService, JobDirectory
from .history.store import Store
from .ingest.loop import Ingest
from .live.watches import Live
from .servicer import MetricsServicer
from .settings import Settings


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[App]:
    """The service with its connections open. Waits for Postgres and NATS as long as the settings say, then raises what they last said."""
    verifier, draining = Verifier.from_file(settings.jwks_file), Draining()
    dsn, deadline = settings.database_dsn.get_secret_value(), settings.start_deadline_seconds
    nats = await connect(settings.nats_url.get_secret_value(), name="splitrail-metrics", deadline_seconds=deadline)
    try:
        async with (
            open_pool(dsn, size=settings.database_pool_size, deadline_seconds=deadline, package=__package__) as pool,
            channel(settings.trainer_address) as trainer,
        ):
            store = Store(pool)
            live = Live(store, nats, draining, heartbeat_seconds=settings.heartbeat_seconds)
            feeds = FeedService(store, ObjectStore(settings), JobDirectory(trainer))
            servicer = MetricsServicer(feeds, live, stall_seconds=settings.watch_stall_seconds)
            ingest = Ingest(dsn, nats, verifier, live.committed)
            async with live.running():
                yield App(
                    [
                        Servicer(
                            metrics_service_pb2.DESCRIPTOR.services_by_name["MetricsService"],
                            lambda server: metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(servicer, server),
                        )
                    ],
                    verifier,
                    draining,
                    [ingest.run],
                )
    finally:
        await nats.close()
