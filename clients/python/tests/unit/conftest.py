"""A peer for the client over real sockets: a gRPC server in this process, and a relay before it whose connections can
be cut.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from splitrail.events.v1 import event_pb2
from splitrail.metrics.v1 import metrics_pb2, metrics_service_pb2, metrics_service_pb2_grpc
from splitrail.split.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    import_pb2,
    import_service_pb2,
    import_service_pb2_grpc,
)
from splitrail_client.channel import Channel
from splitrail_client.cli.metrics import MetricNames
from splitrail_client.connection import Connection

Message = metrics_service_pb2.WatchRunResponse


def epoch_event(seq: int, epoch: int, epochs: int = 3, attempt: int = 1, **metrics: float) -> metrics_pb2.FeedEvent:
    values = {
        "train_box_loss": 1.5,
        "train_cls_loss": 2.5,
        "train_dfl_loss": 0.5,
        "mAP50": 0.25,
        "mAP50_95": 0.125,
        "fitness": 0.1 * epoch,
    } | metrics
    row = metrics_pb2.EpochMetrics(epoch=epoch, epochs=epochs, metrics=values, attempt=attempt, seq=seq)
    return metrics_pb2.FeedEvent(seq=seq, run_id="run-1", attempt=attempt, epoch=row)


def state_event(seq: int, state: int, **fields: object) -> metrics_pb2.FeedEvent:
    return metrics_pb2.FeedEvent(seq=seq, run_id="run-1", state=event_pb2.StateChanged(state=state, **fields))


class Relay:
    """Passes TCP on to a port; `cut()` resets every open connection, `refuse` turns new ones away."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: list[asyncio.StreamWriter] = []
        self.refuse = False
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Relay"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, onward]
        await asyncio.gather(self._pass(reader, onward), self._pass(onward_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass
class Feed(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Serves a feed; `before(seq, opening)` may abort, cut or wait before an event is sent for the n-th opening of the
    stream.
    """

    events: list[metrics_pb2.FeedEvent] = field(default_factory=list)
    before: Callable[..., object] | None = None
    end: int = metrics_service_pb2.CLOSED_REASON_ENDED
    incarnation: str = "first"
    cursors: list[int] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)

    async def WatchRun(self, request, context):
        self.cursors.append(request.after_seq)
        self.metadata.append(dict(context.invocation_metadata()))
        if request.incarnation not in ("", self.incarnation):
            await context.abort_with_status(rpc_status.to_status(self.other_incarnation()))
        yield Message(cursor=request.after_seq, incarnation=self.incarnation, heartbeat=metrics_service_pb2.Heartbeat())
        for event in self.events:
            if event.seq > request.after_seq:
                if self.before is not None:
                    waiting = self.before(event.seq, len(self.cursors), context)
                    if waiting is not None:
                        await waiting
                yield Message(cursor=event.seq, incarnation=self.incarnation, event=event)
        yield Message(
            cursor=self.events[-1].seq, incarnation=self.incarnation, closed=metrics_service_pb2.Closed(reason=self.end)
        )

    @staticmethod
    def other_incarnation() -> status_pb2.Status:
        refusal = status_pb2.Status(code=grpc.StatusCode.OUT_OF_RANGE.value[0], message="another incarnation")
        refusal.details.add().Pack(error_details_pb2.ErrorInfo(reason="CURSOR_OUT_OF_RANGE", domain="splitrail"))
        return refusal


class Store(import_service_pb2_grpc.ImportServiceServicer):
    """Takes announcements and, over HTTP, uploads; `answers` are the status codes of the next PUTs."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.imports: dict[str, import_pb2.Import] = {}
        self.announced: dict[str, str] = {}
        self.answers: list[int] = []
        self.started: list[import_service_pb2.StartImportRequest] = []
        self.pages: list[int] = []
        self.tasks: list[int] = []
        self.end = import_pb2.IMPORT_STATE_SUCCEEDED
        self.port = 0

    async def CreateImport(self, request, context):
        self.tasks.append(request.task)
        found = self.imports.setdefault(
            request.request_id,
            import_pb2.Import(
                import_id=request.request_id, dataset_name=request.dataset_name, state=import_pb2.IMPORT_STATE_OPEN
            ),
        )
        return import_service_pb2.CreateImportResponse(dataset_import=found)

    async def AddFiles(self, request, context):
        self.pages.append(len(request.files))
        self.announced.update({item.path: item.sha256 for item in request.files})
        self.contents.update({item.sha256: item.content for item in request.files if item.HasField("content")})
        missing = sorted({item.sha256 for item in request.files} - set(self.contents))
        url = f"http://127.0.0.1:{self.port}/staging"
        return import_service_pb2.AddFilesResponse(
            uploads=[import_pb2.Upload(sha256=digest, url=f"{url}/{digest}") for digest in missing]
        )

    async def StartImport(self, request, context):
        self.started.append(request)
        current = self.imports[request.import_id]
        current.state, current.file_count = self.end, len(self.announced)
        if self.end == import_pb2.IMPORT_STATE_SUCCEEDED and not request.dry_run:
            current.version.number, current.version.dataset_name, current.version.image_count = (
                1,
                current.dataset_name,
                len(self.announced),
            )
        return import_service_pb2.StartImportResponse(dataset_import=current)

    async def WatchImport(self, request, context):
        yield import_service_pb2.WatchImportResponse(dataset_import=self.imports[request.import_id])

    async def serve_put(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(
                    next(line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length"))
                )
                body = await reader.readexactly(length)
                status = self.answers.pop(0) if self.answers else 200
                if status == 200:
                    digest = head.split()[1].rpartition("/")[2]
                    assert hashlib.sha256(body).hexdigest() == digest
                    self.contents[digest] = body
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()


@dataclass
class Datasets(dataset_service_pb2_grpc.DatasetServiceServicer):
    """Knows every dataset; `latest` is the number of its newest version."""

    latest: int = 1

    async def ListDatasets(self, request, context):
        return dataset_service_pb2.ListDatasetsResponse(
            datasets=[dataset_pb2.Dataset(name=request.name, latest_version=self.latest)]
        )


@dataclass
class Peer:
    """What stands behind the client's channel."""

    feed: Feed
    store: Store
    datasets: Datasets
    relay: Relay
    channel: Channel

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.relay.port}"


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    feed, store, datasets = Feed(), Store(), Datasets()
    server = grpc.aio.server()
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(feed, server)
    import_service_pb2_grpc.add_ImportServiceServicer_to_server(store, server)
    dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server(datasets, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    puts = await asyncio.start_server(store.serve_put, "127.0.0.1", 0)
    store.port = puts.sockets[0].getsockname()[1]
    async with Relay(port).listening() as relay:
        channel = Channel(Connection(f"http://127.0.0.1:{relay.port}", "secret", "test"))
        yield Peer(feed, store, datasets, relay, channel)
        await channel.close()
        puts.close()
        await server.stop(None)


@pytest.fixture
def names() -> MetricNames:
    """A metric schema in which mAP50 and mAP50_95 are headlines."""
    ratios = {"mAP50": True, "mAP50_95": True, "precision": False, "top1": True}
    schema = [
        metrics_pb2.MetricDescriptor(
            key=key,
            title=key.replace("_", "-"),
            unit="ratio",
            direction=metrics_pb2.DIRECTION_HIGHER,
            headline=headline,
        )
        for key, headline in ratios.items()
    ]
    return MetricNames(
        [
            *schema,
            *(metrics_pb2.MetricDescriptor(key=f"train_{name}_loss", unit="loss") for name in ("box", "cls", "dfl")),
        ]
    )


@pytest.fixture
def make_epoch():
    return epoch_event


@pytest.fixture
def make_state():
    return state_event
