"""Use cases: which feed a caller may see, and what is read from it."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from splitrail_common.access import Call
from splitrail_common.errors import Reason, not_found, precondition
from splitrail_common.objects import ObjectStore
from splitrail_common.paging import Page
from splitrail_common.tokens import CallerKind

from ..domain import CommittedEvent, Feed, Plot, RunSplit
from .store import History, Store, Summary, Watermark

URL_LIFETIME = timedelta(minutes=5)
MAX_INLINE_BYTES = 3 * 1024 * 1024
"""Plots larger than this do not fit into a message; their signed URL has no limit."""


class JobDirectory(Protocol):
    """Knows the jobs that have not reported yet."""

    async def split(self, job_id: str, token: str) -> RunSplit | None:
        """The split of a run or an evaluation; None when the bearer of `token` may see no such job."""


@dataclass(frozen=True)
class SignedPlot:
    """A plot, and a URL for a plain GET until `expires`."""

    plot: Plot
    url: str
    expires: datetime


@dataclass(frozen=True)
class RunMetrics:
    """A job's numbers and pictures, and the split that they come from."""

    history: History
    plots: list[SignedPlot]
    split: RunSplit


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
        """The feed, or None for a job that exists and has not reported yet. Raises NOT_FOUND when the caller may see no
        such job."""
        feed = (await self._store.head(run_id)).feed
        if feed is None or feed.project_id is None:
            await self._split(call, run_id)
            return None
        if call.scope.projects is not None and feed.project_id not in call.scope.projects:
            raise not_found("run", run_id)
        return feed

    async def metrics(self, call: Call, run_id: str) -> RunMetrics:
        """Epochs of the effective timeline, and plots; none of either for a job that has not reported yet. The trainer,
        asked for the split in any case, decides whether the caller may see it."""
        split = await self._split(call, run_id)
        history = await self._store.history(run_id) or History(Feed(run_id), [], None)
        return RunMetrics(history, await self._signed(await self._store.plots(run_id)), split)

    async def _split(self, call: Call, run_id: str) -> RunSplit:
        """Raises NOT_FOUND when the caller may see no such job."""
        split = await self._jobs.split(run_id, call.token)
        if split is None:
            raise not_found("run", run_id)
        return split

    async def summaries(self, call: Call, run_ids: list[str]) -> list[Summary]:
        """Of those that have reported and that the caller may see."""
        return await self._store.summaries(run_ids, call.scope)

    async def plots(self, call: Call, run_id: str, after_name: str, limit: int) -> Page[SignedPlot]:
        """By name, those after `after_name`, at most `limit`."""
        found = Page.of(
            await self._store.plots(run_id, after_name, limit + 1) if await self.admit(call, run_id) else [], limit
        )
        return Page(await self._signed(found.items), found.more)

    async def _signed(self, plots: Sequence[Plot]) -> list[SignedPlot]:
        expires = datetime.now(UTC) + URL_LIFETIME
        urls = await asyncio.to_thread(
            lambda: [
                self._objects.download_url(plot.key, URL_LIFETIME, content_type=plot.content_type) for plot in plots
            ]
        )
        return [SignedPlot(plot, url, expires) for plot, url in zip(plots, urls, strict=True)]

    async def plot_bytes(self, call: Call, run_id: str, name: str) -> PlotBytes:
        """The plot as it was reported. Raises NOT_FOUND also when its object is gone or is not what was reported."""
        feed = await self.admit(call, run_id)
        plot = await self._store.plot(run_id, name) if feed else None
        if plot is None:
            raise not_found("plot", name)
        if plot.size_bytes > MAX_INLINE_BYTES:
            raise precondition(
                Reason.ERROR_REASON_PLOT_TOO_LARGE,
                f"{name} has {plot.size_bytes} bytes, more than the {MAX_INLINE_BYTES} that fit here: use the URL from ListPlots",
                metadata={"name": name, "size_bytes": str(plot.size_bytes), "max_bytes": str(MAX_INLINE_BYTES)},
            )
        data = await asyncio.to_thread(self._read, plot)
        if data is None:
            raise not_found("plot", name)
        return PlotBytes(plot.content_type, data)

    def _read(self, plot: Plot) -> bytes | None:
        """Blocking. None when the object is gone or differs from the report: a pod may write below its own prefix."""
        try:
            data = self._objects.read(plot.key, at_most=plot.size_bytes)
        except (KeyError, ValueError):
            return None
        return data if hashlib.sha256(data).hexdigest() == plot.sha256 else None

    async def log_lines(self, call: Call, run_id: str, after_seq: int, limit: int) -> Page[CommittedEvent]:
        """The next log lines, at most `limit`."""
        feed = await self.admit(call, run_id)
        return await self._store.log_lines(run_id, after_seq, limit) if feed else Page([], more=False)

    async def watermark(self, call: Call, job_id: str, origin: int) -> Watermark:
        """How far the events of an origin are committed. Raises NOT_FOUND when an attempt asks about another job than
        its own."""
        found = await self._store.watermark(job_id, origin)
        if call.caller.kind is CallerKind.ATTEMPT:
            foreign = found.project_id is not None and found.project_id != call.caller.project_id
            if job_id != call.caller.job_id or foreign:
                raise not_found("job", job_id)
        return found
