"""One gRPC channel to the gateway: deadlines, token, keepalive, safe retries, and gRPC errors translated to
SplitrailError.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import Message
from splitrail.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from splitrail.split.v1.dataset_service_pb2_grpc import DatasetServiceStub
from splitrail.split.v1.export_service_pb2_grpc import ExportServiceStub
from splitrail.split.v1.import_service_pb2_grpc import ImportServiceStub
from splitrail.split.v1.project_service_pb2_grpc import ProjectServiceStub
from splitrail.split.v1.split_service_pb2_grpc import SplitServiceStub
from splitrail.split.v1.version_service_pb2_grpc import VersionServiceStub
from splitrail.trainer.v1.evaluation_service_pb2_grpc import EvaluationServiceStub
from splitrail.trainer.v1.run_service_pb2_grpc import RunServiceStub

from .connection import Connection
from .errors import UnreachableError, from_rpc

if TYPE_CHECKING:  # the asynchronous face of the stubs exists for type checkers only
    from splitrail.metrics.v1.metrics_service_pb2_grpc import MetricsServiceAsyncStub
    from splitrail.split.v1.dataset_service_pb2_grpc import DatasetServiceAsyncStub
    from splitrail.split.v1.export_service_pb2_grpc import ExportServiceAsyncStub
    from splitrail.split.v1.import_service_pb2_grpc import ImportServiceAsyncStub
    from splitrail.split.v1.project_service_pb2_grpc import ProjectServiceAsyncStub
    from splitrail.split.v1.split_service_pb2_grpc import SplitServiceAsyncStub
    from splitrail.split.v1.version_service_pb2_grpc import VersionServiceAsyncStub
    from splitrail.trainer.v1.evaluation_service_pb2_grpc import EvaluationServiceAsyncStub
    from splitrail.trainer.v1.run_service_pb2_grpc import RunServiceAsyncStub

Answer = TypeVar("Answer", bound=Message)
DEADLINE_SECONDS = 30.0
"""Default deadline of a unary call."""
LONG_DEADLINE_SECONDS = 180.0
"""Deadline of a unary call that processes all files of a source or all images of a version."""
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
# Which calls gRPC repeats by itself, as in proto/service_config.json: unary ones, when a service is UNAVAILABLE.
_SERVICE_CONFIG = files("splitrail_client").joinpath("service_config.json").read_text()


class Channel:
    """The services behind one gateway. Create and close it within one event loop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        options: list[tuple[str, Any]] = [
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 5_000),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.service_config", _SERVICE_CONFIG),
            ("grpc.enable_http_proxy", 0 if connection.is_loopback else 1),
        ]
        if connection.is_tls:
            self._channel = grpc.aio.secure_channel(connection.target, grpc.ssl_channel_credentials(), options=options)
        else:
            self._channel = grpc.aio.insecure_channel(connection.target, options=options)
        self._metadata = (("authorization", f"Bearer {connection.token}"),)
        self.projects: ProjectServiceAsyncStub = ProjectServiceStub(self._channel)
        self.datasets: DatasetServiceAsyncStub = DatasetServiceStub(self._channel)
        self.exports: ExportServiceAsyncStub = ExportServiceStub(self._channel)
        self.imports: ImportServiceAsyncStub = ImportServiceStub(self._channel)
        self.splits: SplitServiceAsyncStub = SplitServiceStub(self._channel)
        self.versions: VersionServiceAsyncStub = VersionServiceStub(self._channel)
        self.runs: RunServiceAsyncStub = RunServiceStub(self._channel)
        self.evaluations: EvaluationServiceAsyncStub = EvaluationServiceStub(self._channel)
        self.metrics: MetricsServiceAsyncStub = MetricsServiceStub(self._channel)

    @property
    def url(self) -> str:
        """The gateway's address."""
        return self._connection.url

    async def close(self) -> None:
        """Closes the channel and cancels running calls."""
        await self._channel.close()

    async def call(
        self,
        method: Callable[..., grpc.aio.UnaryUnaryCall[Any, Answer]],
        request: Message,
        *,
        seconds: float = DEADLINE_SECONDS,
    ) -> Answer:
        """One unary call with a deadline. Every mutation gets a request_id, so that it can be repeated. Raises
        SplitrailError.
        """
        identifier = request.DESCRIPTOR.fields_by_name.get("request_id")
        if identifier is not None and not getattr(request, identifier.name):
            setattr(request, identifier.name, str(uuid.uuid4()))
        try:
            return await method(request, timeout=seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self.url) from error
        except asyncio.CancelledError as error:
            raise self._unless_ours(error) from error

    async def stream(
        self, method: Callable[..., grpc.aio.UnaryStreamCall[Any, Answer]], request: Message
    ) -> AsyncGenerator[Answer, None]:
        """The messages of a server stream, which is cancelled when the iteration stops early. Raises SplitrailError."""
        call = method(request, metadata=self._metadata)
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self.url) from error
        except asyncio.CancelledError as error:
            raise self._unless_ours(error) from error
        finally:
            call.cancel()

    def _unless_ours(self, error: asyncio.CancelledError) -> BaseException:
        """gRPC raises CancelledError both when this task is cancelled and when the server cancels the stream: tells the
        two apart.
        """
        task = asyncio.current_task()
        if task is not None and task.cancelling() > 0:
            return error
        return UnreachableError(f"{self.url} broke the connection", code=grpc.StatusCode.CANCELLED)
