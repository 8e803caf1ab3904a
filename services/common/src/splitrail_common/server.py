"""A service's process: the gRPC server with health and reflection, background tasks beside it, and a graceful end on SIGTERM."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from splitrail.metrics.v1 import metrics_service_pb2
from splitrail.split.v1 import dataset_service_pb2, export_service_pb2, import_service_pb2, split_service_pb2, version_service_pb2
from splitrail.trainer.v1 import job_service_pb2, run_service_pb2

from . import log
from .access import rules
from .boundary import Boundary
from .concurrency import ended
from .tokens import Verifier

_log = log.get(__name__)
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_MAX_HEADER_BYTES = 64 * 1024
PUBLIC_FILES: tuple[FileDescriptor, ...] = (
    dataset_service_pb2.DESCRIPTOR,
    export_service_pb2.DESCRIPTOR,
    import_service_pb2.DESCRIPTOR,
    split_service_pb2.DESCRIPTOR,
    version_service_pb2.DESCRIPTOR,
    run_service_pb2.DESCRIPTOR,
    job_service_pb2.DESCRIPTOR,
    metrics_service_pb2.DESCRIPTOR,
)


@dataclass(frozen=True)
class Servicer:
    """A servicer and how to add it to a server."""

    descriptor: ServiceDescriptor
    add: Callable[[grpc.aio.Server], None]


class Draining:
    """Set when the process has been asked to end: watches close, no new work begins."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """True once the process is ending."""
        return self.event.is_set()


def make_server(servicers: Sequence[Servicer], verifier: Verifier) -> grpc.aio.Server:
    """A server behind the boundary, not yet listening. Raises RuleMissingError when an RPC has no authorization rule."""
    server = grpc.aio.server(
        interceptors=[Boundary(verifier, rules([item.descriptor for item in servicers]))],
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # All that the gateway lets through: it repeats the path of a JSON request, with its query, in a header.
            ("grpc.max_metadata_size", _MAX_HEADER_BYTES),
            ("grpc.absolute_max_metadata_size", _MAX_HEADER_BYTES),
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
    )
    for item in servicers:
        item.add(server)
    names = [service.full_name for file in PUBLIC_FILES for service in file.services_by_name.values()]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return server


async def serve(
    listen: str,
    servicers: Sequence[Servicer],
    verifier: Verifier,
    *,
    draining: Draining,
    tasks: Sequence[Coroutine[Any, Any, None]] = (),
    grace_seconds: float = 10.0,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains: not healthy, watches closed, calls finished within the grace.

    A background task that fails ends the process with its exception, so that whoever supervises it starts it again.
    """
    server = make_server(servicers, verifier)
    state = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    if server.add_insecure_port(listen) == 0:
        raise RuntimeError(f"cannot listen on {listen}")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, draining.event.set)
    gc.collect()
    gc.freeze()  # what is there by now stays: collections need not look at it again and again
    await server.start()
    for name in ["", *(item.descriptor.full_name for item in servicers)]:
        await state.set(name, health_pb2.HealthCheckResponse.SERVING)
    _log.info("serving", listen=listen)
    running = [asyncio.create_task(item) for item in tasks]
    waiting = asyncio.create_task(draining.event.wait())
    try:
        done, _ = await asyncio.wait([waiting, *running], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            task.result()
            if not draining.is_set:
                raise RuntimeError("a background task ended, which none should")
    finally:
        draining.event.set()
        await state.enter_graceful_shutdown()
        await server.stop(grace_seconds)
        await ended(*running, waiting)
        _log.info("stopped")
