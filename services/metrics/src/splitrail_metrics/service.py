"""Use cases: which feed a caller may see, and what is read from it."""

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
from splitrail.trainer.v1 import run_service_pb2, run_service_pb2_grpc
from splitrail_common.access import Call
from splitrail_common.errors import PlatformError, Reason, not_found
from splitrail_common.objects import ObjectStore
from splitrail_common.peers import bearer
from splitrail_common.tokens import Kind

from .check import PLOT_TYPES
from .domain import Feed, PlotRow
from .store import History, LogPage, Store, Summary, Watermark

URL_LIFETIME = timedelta(minutes=5)
MAX_INLINE_BYTES = 3 * 1024 * 1024
"""Plots larger than this do not fit into a message; their signed URL has no limit."""
_TRAINER_SECONDS = 5.0


class JobDirectory:
    """Asks the trainer service whether a job exists, on behalf of the caller, so that its scoping decides."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._runs = run_service_pb2_grpc.RunServiceStub(channel)

    async def knows(self, job_id: str, token: str) -> bool:
        """True when it is a run or an evaluation that the bearer of `token` may see. Raises grpc.aio.AioRpcError when the trainer does not answer."""
        return await self._has_run(job_id, token) or await self._has_evaluation(job_id, token)

    async def _has_run(self, job_id: str, token: str) -> bool:
        try:
            await self._runs.GetRun(run_service_pb2.GetRunRequest(run_id=job_id), metadata=bearer(token), timeout=_TRAINER_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def _has_evaluation(self, job_id: str, token: str) -> bool:
        request = run_service_pb2.GetEvaluationRequest(evaluation_id=job_id)
        try:
            await self._runs.GetEvaluation(request, metadata=bearer(token), timeout=_TRAINER_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return True


@dataclass(frozen=True)
class PlotBytes:
    """A plot's content."""

    content_type: str
    data: bytes


class FeedService:
    """Reads of feeds, each within the caller's scope."""

    def __init__(self, store: Store, objects: ObjectStore, jobs: JobDirectory) -> None:
        self._store = store
        self._objects = objects
        self._jobs = jobs

    async def admit(self, call: Call, run_id: str) -> Feed | None:
        """The feed, or None for a job that exists and has not reported yet. Raises NOT_FOUND when the caller may see no such job."""
        feed = await self._store.head(run_id)
        if feed is None or feed.project_id is None:
            if await self._jobs.knows(run_id, call.token):
                return None
            raise not_found("run", run_id)
        if call.scope.projects is not None and feed.project_id not in call.scope.projects:
            raise not_found("run", run_id)
        return feed

    async def history(self, call: Call, run_id: str) -> History:
        """All epochs of the effective timeline; empty for a job that has not reported yet."""
        if await self.admit(call, run_id) is None:
            return History(Feed(run_id), [], None)
        return await self._store.history(run_id) or History(Feed(run_id), [], None)

    async def summaries(self, call: Call, run_ids: list[str]) -> list[Summary]:
        """Of those that have reported and that the caller may see."""
        return await self._store.summaries(run_ids, call.scope)

    async def plots(self, call: Call, run_id: str) -> tuple[list[tuple[PlotRow, str]], datetime]:
        """Plots with URLs for a plain GET, and when these expire."""
        feed = await self.admit(call, run_id)
        rows = await self._store.plots(run_id) if feed else []
        expires = datetime.now(UTC) + URL_LIFETIME
        urls = await asyncio.to_thread(lambda: [self._objects.download_url(row.key, URL_LIFETIME, content_type=row.content_type) for row in rows])
        return list(zip(rows, urls, strict=True)), expires

    async def plot_bytes(self, call: Call, run_id: str, name: str) -> PlotBytes:
        """The plot as it was reported. Raises NOT_FOUND also when its object is gone or is not what was reported."""
        feed = await self.admit(call, run_id)
        row = await self._store.plot(run_id, name) if feed else None
        if row is None or row.content_type not in PLOT_TYPES:
            raise not_found("plot", name)
        if row.size_bytes > MAX_INLINE_BYTES:
            raise PlatformError(
                grpc.StatusCode.FAILED_PRECONDITION,
                Reason.ERROR_REASON_UNSPECIFIED,
                f"{name} has {row.size_bytes} bytes, more than the {MAX_INLINE_BYTES} that fit here: use the URL from ListPlots",
            )
        data = await asyncio.to_thread(self._read, row)
        if data is None:
            raise not_found("plot", name)
        return PlotBytes(row.content_type, data)

    def _read(self, row: PlotRow) -> bytes | None:
        """Blocking. None when the object is gone or is not what was reported: whoever may write it may have replaced it."""
        try:
            data = self._objects.read(row.key, at_most=row.size_bytes)
        except (KeyError, ValueError):
            return None
        return data if hashlib.sha256(data).hexdigest() == row.sha256 else None

    async def log_lines(self, call: Call, run_id: str, after_seq: int, limit: int) -> LogPage:
        """The next log lines, at most `limit`."""
        feed = await self.admit(call, run_id)
        return await self._store.log_lines(run_id, after_seq, limit) if feed else LogPage([], more=False)

    async def watermark(self, call: Call, job_id: str, origin: int) -> Watermark:
        """How far the events of an origin are committed. Raises NOT_FOUND when an attempt asks about another job than its own."""
        found = await self._store.watermark(job_id, origin)
        if call.caller.kind is Kind.ATTEMPT:
            foreign = found.project_id is not None and found.project_id != call.caller.project_id
            if job_id != call.caller.job_id or foreign:
                raise not_found("job", job_id)
        return found
