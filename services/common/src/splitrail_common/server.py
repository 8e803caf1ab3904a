"""The one shape of a service's process: `build(settings)` composes an `App`, and `main` serves it until the process is
asked to end.

The gRPC server has health and reflection, background tasks beside it, and a graceful end on SIGTERM.
"""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from . import log
from .access import rules
from .boundary import Boundary
from .concurrency import ended
from .limits import compiled
from .settings import ServiceSettings, load
from .tokens import Verifier

_log = log.get(__name__)
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_MAX_HEADER_BYTES = 64 * 1024
_MAX_STREAMS = 2000
_MAX_PENDING = 10_000
_GRACE_SECONDS = 10.0
_INTERNAL = "splitrail.internal."
"""Packages of what services and pods say to each other; the gateway routes reflection, which need not tell of them."""


@dataclass(frozen=True)
class Servicer:
    """A servicer and how to add it to a server."""

    descriptor: ServiceDescriptor
    add: Callable[[grpc.aio.Server], None]

    @classmethod
    def of(cls, protos: ModuleType, stubs: ModuleType, servicer: object, name: str) -> "Servicer":
        """From the two modules that are generated for the service `name`."""
        return cls(
            protos.DESCRIPTOR.services_by_name[name], partial(getattr(stubs, f"add_{name}Servicer_to_server"), servicer)
        )


class Draining:
    """Set when the process has been asked to end: watches close, no new work begins."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """True once the process is ending."""
        return self.event.is_set()


@dataclass(frozen=True)
class App:
    """A service, built: its connections are open, and nothing is served yet."""

    servicers: Sequence[Servicer]
    verifier: Verifier
    draining: Draining = field(default_factory=Draining)
    background: Sequence[Callable[[], Awaitable[None]]] = ()
    """What runs beside the server. One that raises ends the process, so that its supervisor starts it again; none may
    return before `draining` is set."""
    reflected: Sequence[ServiceDescriptor] = ()
    """Services that reflection lists besides those that are served here: the gateway asks one service about all."""


def make_server(
    servicers: Sequence[Servicer], verifier: Verifier, *, reflected: Sequence[ServiceDescriptor] = ()
) -> grpc.aio.Server:
    """A server behind the boundary, not yet listening; reflection lists its public services and those `reflected`
    besides.

    Raises RuleMissingError when an RPC has no authorization rule, LimitsError when a field's limits do not fit its
    type.
    """
    services = [item.descriptor for item in servicers]
    server = grpc.aio.server(
        interceptors=[Boundary(verifier, rules(services), compiled(services))],
        options=[
            # The gateway brings the calls of many clients over few connections: what is beyond this waits without a
            # word.
            ("grpc.max_concurrent_streams", _MAX_STREAMS),
            # After a restart all watchers come back at once: from 1000 calls on that Python has not taken up yet, gRPC
            # would by itself cancel some.
            ("grpc.server.max_pending_requests", _MAX_PENDING),
            ("grpc.server.max_pending_requests_hard_limit", 2 * _MAX_PENDING),
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
    served = (service.full_name for service in services if not service.full_name.startswith(_INTERNAL))
    listed = dict.fromkeys([*served, *(service.full_name for service in reflected)])
    reflection.enable_server_reflection([*listed, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return server


S = TypeVar("S", bound=ServiceSettings)
Build = Callable[[S], AbstractAsyncContextManager[App]]
"""A service's composition root. Waits for its stores up to `start_deadline_seconds`, then raises what they last said.
"""


class Running:
    """An app that is being served."""

    def __init__(self, address: str, tasks: Sequence[asyncio.Task[None]]) -> None:
        self.address = address
        """host:port; a listening port of 0 has become a real one."""
        self._tasks = tasks

    async def wait(self, draining: Draining) -> None:
        """Returns when the app drains; raises what a background task raised, or RuntimeError when one returned too
        early."""
        waiting = asyncio.create_task(draining.event.wait())
        try:
            done, _ = await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks:
                if task in done:
                    task.result()
                    if not draining.is_set:
                        raise RuntimeError("a background task ended, which none should")
        finally:
            await ended(waiting)


@asynccontextmanager
async def serving(app: App, listen: str, *, grace_seconds: float = _GRACE_SECONDS) -> AsyncIterator[Running]:
    """Serves the app at `listen` (host:port) with health, reflection and its background tasks.

    At the end it drains: not healthy, watches closed, calls finished within the grace, background tasks cancelled.
    Raises RuntimeError when it cannot listen, and at the end what a background task has failed with.
    """
    server = make_server(app.servicers, app.verifier, reflected=app.reflected)
    state = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    port = server.add_insecure_port(listen)
    if port == 0:
        raise RuntimeError(f"cannot listen on {listen}")
    await server.start()
    for name in ["", *(item.descriptor.full_name for item in app.servicers)]:
        await state.set(name, health_pb2.HealthCheckResponse.SERVING)
    address = f"{listen.rpartition(':')[0]}:{port}"
    tasks = [asyncio.create_task(_awaited(task)) for task in app.background]
    _log.info("serving", listen=address)
    try:
        yield Running(address, tasks)
    finally:
        app.draining.event.set()
        failures = [error for task in tasks if task.done() and not task.cancelled() and (error := task.exception())]
        await state.enter_graceful_shutdown()
        await server.stop(grace_seconds)
        await ended(*tasks)
        _log.info("stopped")
        if failures:
            raise failures[0]


async def _awaited(task: Callable[[], Awaitable[None]]) -> None:
    await task()


async def run(settings: S, build: Build[S]) -> None:
    """Builds and serves until SIGTERM or SIGINT. Raises what a background task failed with."""
    async with build(settings) as app:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, app.draining.event.set)
        gc.collect()
        gc.freeze()  # what is there by now stays: collections need not look at it again and again
        async with serving(app, settings.listen) as running:
            await running.wait(app.draining)


def main(name: str, settings: type[S], build: Build[S]) -> None:
    """A service's entry point: settings from the environment (or exit 2), logs under `name`, then `run`."""
    loaded = load(settings)
    log.configure(name, loaded.log_level)
    asyncio.run(run(loaded, build))
