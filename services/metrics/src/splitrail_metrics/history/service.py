"""Use cases: which feed a caller may see, and what is read from it."""

import asyncio
import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import grpc
from splitrail.trainer.v1 import run_service_pb2, run_service_pb2_grpc
from splitrail_common.access import Call
from splitrail_common.errors import Reason, not_found, precondition
from splitrail_common.objects import ObjectStore
from splitrail_common.peers import bearer
from splitrail_common.tokens import Kind

from ..ingest.check import PLOT_TYPES
from ..ingest.feed import Feed, PlotRow
from .store import History, LogPage, Store, Summary, Watermark

T = TypeVar("T")
URL_LIFETIME = timedelta(minutes=5)
MAX_INLINE_BYTES = 3 * 1024 * 1024
"""Plots larger than this do not fit into a message; their signed URL has no limit."""
_TRAINER_SECONDS = 5.0


@dataclass(frozen=True)
class JobSplit:
    """The split revision that a job works on; of an evaluation's, only the first two are known."""

    split_id: str
    reference: str
    digest: str = ""
    dataset_id: str = ""
    version_id: str = ""


class JobDirectory:
    """Asks the trainer service for a job, on behalf of the caller, so that its scoping decides."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._runs = run_service_pb2_grpc.RunServiceStub(channel)

    async def split(self, job_id: str, token: str) -> JobSplit | None:
        """The split of a run or an evaluation; None when the bearer of `token` may see no such job. Raises grpc.aio.AioRpcError when the trainer does
        not answer."""
        run_request = run_service_pb2.GetRunRequest(run_id=job_id)
        if found := await _found(self._runs.GetRun(run_request, metadata=bearer(token), timeout=_TRAINER_SECONDS)):
            run = found.run
            return JobSplit(run.split_id, run.split_reference, run.split_digest, run.dataset_id, run.version_id)
        request = run_service_pb2.GetEvaluationRequest(evaluation_id=job_id)
        if judged := await _found(self._runs.GetEvaluation(request, metadata=bearer(token), timeout=_TRAINER_SECONDS)):
            return JobSplit(judged.evaluation.split_id, judged.evaluation.split_reference)
        return None


async def _found(call: Awaitable[T]) -> T | None:
    """The answer; None for NOT_FOUND."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise


@dataclass(frozen=True)
class SignedPlot:
    """A plot, and a URL for a plain GET until `expires`."""

    row: PlotRow
    url: str
    expires: datetime


@dataclass(frozen=True)
class RunMetrics:
    """A job's numbers and pictures, and the split that they come from."""

    history: History
    plots: list[SignedPlot]
    split: JobSplit


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
            await self._split(call, run_id)
            return None
        if call.scope.projects is not None and feed.project_id not in call.scope.projects:
            raise not_found("run", run_id)
        return feed

    async def metrics(self, call: Call, run_id: str) -> RunMetrics:
        """Epochs of the effective timeline, and plots; none of either for a job that has not reported yet. The trainer, asked for the split in any
        case, decides whether the caller may see it."""
        split = await self._split(call, run_id)
        history = await self._store.history(run_id) or History(Feed(run_id), [], None)
        return RunMetrics(history, await self._signed_plots(run_id), split)

    async def _split(self, call: Call, run_id: str) -> JobSplit:
        """Raises NOT_FOUND when the caller may see no such job."""
        split = await self._jobs.split(run_id, call.token)
        if split is None:
            raise not_found("run", run_id)
        return split

    async def summaries(self, call: Call, run_ids: list[str]) -> list[Summary]:
        """Of those that have reported and that the caller may see."""
        return await self._store.summaries(run_ids, call.scope)

    async def plots(self, call: Call, run_id: str) -> list[SignedPlot]:
        """In the order in which they came."""
        return await self._signed_plots(run_id) if await self.admit(call, run_id) else []

    async def _signed_plots(self, run_id: str) -> list[SignedPlot]:
        rows = await self._store.plots(run_id)
        expires = datetime.now(UTC) + URL_LIFETIME
        urls = await asyncio.to_thread(lambda: [self._objects.download_url(row.key, URL_LIFETIME, content_type=row.content_type) for row in rows])
        return [SignedPlot(row, url, expires) for row, url in zip(rows, urls, strict=True)]

    async def plot_bytes(self, call: Call, run_id: str, name: str) -> PlotBytes:
        """The plot as it was reported. Raises NOT_FOUND also when its object is gone or is not what was reported."""
        feed = await self.admit(call, run_id)
        row = await self._store.plot(run_id, name) if feed else None
        if row is None or row.content_type not in PLOT_TYPES:
            raise not_found("plot", name)
        if row.size_bytes > MAX_INLINE_BYTES:
            raise precondition(
                Reason.ERROR_REASON_PLOT_TOO_LARGE,
                f"{name} has {row.size_bytes} bytes, more than the {MAX_INLINE_BYTES} that fit here: use the URL from ListPlots",
                metadata={"name": name, "size_bytes": str(row.size_bytes), "max_bytes": str(MAX_INLINE_BYTES)},
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
