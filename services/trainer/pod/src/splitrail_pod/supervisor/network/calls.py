"""The platform's services as a pod sees them: every call of an attempt carries its token, and every outcome is one of
five.

FencedError (stop at once), RefusedError (the request cannot succeed), UnavailableError (retry), BadResponseError (retry
a few times), or the response.
"""

from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
from splitrail.events.v1 import event_pb2
from splitrail.internal.metrics.v1 import watermark_service_pb2, watermark_service_pb2_grpc
from splitrail.internal.split.v1 import staging_service_pb2, staging_service_pb2_grpc
from splitrail.internal.trainer.v1 import job_service_pb2, job_service_pb2_grpc
from splitrail.split.v1 import dataset_pb2
from splitrail.trainer.v1 import evaluation_pb2, job_pb2
from splitrail_common import log
from splitrail_common.peers import bearer

from splitrail_pod.supervisor.failures import FencedError
from splitrail_pod.supervisor.network.retry import BadResponseError, UnavailableError, retrying

_log = log.get(__name__)
R = TypeVar("R")
_SECONDS = 15.0
_STREAM_SECONDS = 600.0
_UNAVAILABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
# RESOURCE_EXHAUSTED is also how gRPC refuses a message that is too large, which no retry makes smaller.
_BAD = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class RefusedError(Exception):
    """A service understood the request and will not do it."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code


def classified(error: grpc.aio.AioRpcError, what: str) -> Exception:
    """`error` as FencedError, UnavailableError, BadResponseError or RefusedError."""
    code, detail = error.code(), error.details() or ""
    if code is grpc.StatusCode.ABORTED:
        return FencedError(detail)
    if code in _UNAVAILABLE:
        return UnavailableError(f"{what}: {code.name}: {detail}")
    if code in _BAD:
        return BadResponseError(f"{what}: {code.name}: {detail}")
    return RefusedError(code, f"{what}: {detail}")


@dataclass(frozen=True)
class Channels:
    """Connections to the three services; they reconnect by themselves."""

    split: grpc.aio.Channel
    trainer: grpc.aio.Channel
    metrics: grpc.aio.Channel


class JobQueue:
    """Where jobs come from."""

    def __init__(self, channel: grpc.aio.Channel, token_file: Path, *, worker: str, queue: str) -> None:
        self._stub = job_service_pb2_grpc.JobServiceStub(channel)
        self._token_file = token_file
        self._request = job_service_pb2.ClaimJobRequest(worker=worker, queue=queue)

    async def claim(self) -> job_service_pb2.ClaimedJob | None:
        """The next job, or None. Raises UnavailableError, BadResponseError, RefusedError, OSError when the token cannot
        be read.
        """
        token = self._token_file.read_text(encoding="utf-8").strip()
        try:
            response = await self._stub.ClaimJob(self._request, metadata=bearer(token), timeout=_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise classified(error, "ClaimJob") from error
        return response.job if response.HasField("job") else None


class _Unary(Protocol):
    def __call__(self, request: Any, *, metadata: Any, timeout: float) -> Awaitable[Any]: ...


class AttemptCalls:
    """The calls of one attempt. All may be repeated without harm.

    All raise FencedError and RefusedError; those that take `patience` retry for so many seconds before they raise
    UnavailableError or BadResponseError.
    """

    def __init__(self, channels: Channels, job: job_service_pb2.ClaimedJob) -> None:
        self._jobs = job_service_pb2_grpc.JobServiceStub(channels.trainer)
        self._staging = staging_service_pb2_grpc.StagingServiceStub(channels.split)
        self._watermarks = watermark_service_pb2_grpc.WatermarkServiceStub(channels.metrics)
        self._job_id = job.job_id
        self._attempt = job.attempt
        self.token = job.attempt_token
        """The newest token; heartbeats renew it."""

    async def heartbeat(self, timeout_seconds: float) -> bool:
        """Renews lease and token; one request. True when the job is to be cancelled. Also raises UnavailableError and
        BadResponseError.
        """
        request = job_service_pb2.HeartbeatRequest(job_id=self._job_id)
        response = await self._once("Heartbeat", self._jobs.Heartbeat, request, timeout_seconds)
        if response.attempt_token:
            self.token = response.attempt_token
        return bool(response.cancel)

    async def upload_target(self, name: str) -> job_service_pb2.UploadTarget:
        """Where to put a file of that name; one request. Also raises UnavailableError and BadResponseError."""
        request = job_service_pb2.CreateUploadsRequest(job_id=self._job_id, names=[name])
        response = await self._once("CreateUploads", self._jobs.CreateUploads, request)
        if len(response.targets) != 1:
            raise BadResponseError(f"CreateUploads: {len(response.targets)} targets for one name")
        target: job_service_pb2.UploadTarget = response.targets[0]
        return target

    async def commit_artifact(
        self, name: str, kind: job_pb2.ArtifactKind.ValueType, *, size_bytes: int, sha256: str, epoch: int = 0
    ) -> None:
        """Records an uploaded file; one request. Also raises UnavailableError and BadResponseError, the latter when the
        store does not hold the file as announced.
        """
        request = job_service_pb2.CommitArtifactRequest(
            job_id=self._job_id, name=name, kind=kind, size_bytes=size_bytes, sha256=sha256, epoch=epoch
        )
        try:
            await self._once("CommitArtifact", self._jobs.CommitArtifact, request)
        except RefusedError as error:
            if error.code is grpc.StatusCode.FAILED_PRECONDITION:
                raise BadResponseError(str(error)) from error
            raise

    async def complete(self, versions: dict[str, str], evaluation: evaluation_pb2.EvaluationResult | None) -> None:
        """Completes the job; retries without end while the trainer service is unavailable."""
        request = job_service_pb2.CompleteJobRequest(job_id=self._job_id, versions=versions, evaluation=evaluation)
        await self._patiently("CompleteJob", self._jobs.CompleteJob, request, None)

    async def fail(self, cause: event_pb2.FailureCause.ValueType, message: str, patience: float) -> bool:
        """Reports a failure; True when the job will be retried."""
        request = job_service_pb2.FailJobRequest(job_id=self._job_id, cause=cause, message=message)
        response = await self._patiently("FailJob", self._jobs.FailJob, request, patience)
        return bool(response.retried)

    async def release(self, patience: float) -> None:
        """Returns the job to the queue."""
        request = job_service_pb2.ReleaseJobRequest(job_id=self._job_id)
        await self._patiently("ReleaseJob", self._jobs.ReleaseJob, request, patience)

    async def watermark(self) -> watermark_service_pb2.GetWatermarkResponse:
        """How far this attempt's events are committed. Raises AioRpcError, as the publisher expects."""
        request = watermark_service_pb2.GetWatermarkRequest(job_id=self._job_id, attempt=self._attempt)
        return await self._watermarks.GetWatermark(request, metadata=bearer(self.token), timeout=_SECONDS)

    async def manifest(
        self, split_id: str, parts: Sequence[dataset_pb2.Part.ValueType], after_ordinal: int | None
    ) -> AsyncIterator[staging_service_pb2.StreamManifestResponse]:
        """The manifest's messages after an ordinal, until the stream ends. Also raises UnavailableError and
        BadResponseError when it breaks off.
        """
        request = staging_service_pb2.StreamManifestRequest(split_id=split_id, parts=parts, after_ordinal=after_ordinal)
        stream = self._staging.StreamManifest(request, metadata=bearer(self.token), timeout=_STREAM_SECONDS)
        try:
            async for message in stream:
                yield message
        except grpc.aio.AioRpcError as error:
            raise classified(error, "StreamManifest") from error
        finally:
            stream.cancel()

    async def _once(self, what: str, method: _Unary, request: Any, timeout_seconds: float = _SECONDS) -> Any:
        try:
            return await method(request, metadata=bearer(self.token), timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise classified(error, what) from error

    async def _patiently(self, what: str, method: _Unary, request: Any, patience: float | None) -> Any:
        async for attempt in retrying(patience):
            with attempt:
                return await self._once(what, method, request)
        raise AssertionError("unreachable: retrying either yields or raises")
