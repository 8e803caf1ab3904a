"""MetricsService: requests in, responses out."""

import asyncio
from contextlib import aclosing
from typing import Any

import grpc
from google.api import httpbody_pb2
from splitrail.metrics.v1 import metrics_service_pb2 as api
from splitrail.metrics.v1 import metrics_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.errors import PlatformError, Reason

from . import catalogue, convert, validate
from .history.service import FeedService
from .live.watches import Live

_Context = grpc.aio.ServicerContext[Any, Any]


class MetricsServicer(metrics_service_pb2_grpc.MetricsServiceServicer):
    """See metrics_service.proto."""

    def __init__(self, feeds: FeedService, live: Live, *, stall_seconds: float) -> None:
        self._feeds = feeds
        self._live = live
        self._stall_seconds = stall_seconds

    async def WatchRun(self, request: api.WatchRunRequest, context: _Context) -> None:  # type: ignore[override]
        """Writes by itself instead of yielding: only so can a write have a deadline."""
        run_id, after_seq = validate.run_id(request.run_id), validate.cursor(request.after_seq)
        await self._feeds.admit(current_call(), run_id)
        async with aclosing(self._live.watch(run_id, after_seq)) as responses:
            async for response in responses:
                try:
                    async with asyncio.timeout(self._stall_seconds):
                        await context.write(response)
                except TimeoutError:
                    # gRPC has taken this message and delivers it before the status: who reads the status has it.
                    raise _too_slow(response.cursor, self._stall_seconds) from None

    async def GetRunMetrics(self, request: api.GetRunMetricsRequest, context: _Context) -> api.GetRunMetricsResponse:
        return convert.run_metrics(await self._feeds.metrics(current_call(), validate.run_id(request.run_id)))

    async def BatchGetSummaries(self, request: api.BatchGetSummariesRequest, context: _Context) -> api.BatchGetSummariesResponse:
        found = await self._feeds.summaries(current_call(), validate.run_ids(request.run_ids))
        return api.BatchGetSummariesResponse(summaries={item.run_id: convert.summary(item) for item in found})

    async def ListPlots(self, request: api.ListPlotsRequest, context: _Context) -> api.ListPlotsResponse:
        plots = await self._feeds.plots(current_call(), validate.run_id(request.run_id))
        return api.ListPlotsResponse(plots=[convert.plot(item) for item in plots])

    async def GetPlot(self, request: api.GetPlotRequest, context: _Context) -> httpbody_pb2.HttpBody:
        plot = await self._feeds.plot_bytes(current_call(), validate.run_id(request.run_id), validate.plot_name(request.name))
        return httpbody_pb2.HttpBody(content_type=plot.content_type, data=plot.data)

    async def ListLogLines(self, request: api.ListLogLinesRequest, context: _Context) -> api.ListLogLinesResponse:
        run_id, size = validate.run_id(request.run_id), paging.page_size(request.page_size)
        key = paging.decode(request.page_token, (int,))
        after = validate.cursor(int(key[0]) if key else request.after_seq)
        page = await self._feeds.log_lines(current_call(), run_id, after, size)
        return api.ListLogLinesResponse(
            lines=[convert.feed_event(line) for line in page.lines],
            next_page_token=paging.encode([page.lines[-1].seq]) if page.more else "",
        )

    async def GetMetricSchema(self, request: api.GetMetricSchemaRequest, context: _Context) -> api.GetMetricSchemaResponse:
        return convert.schema(catalogue.SCHEMA)

    async def GetWatermark(self, request: api.GetWatermarkRequest, context: _Context) -> api.GetWatermarkResponse:
        job_id = validate.run_id(request.job_id, "job_id")
        return convert.watermark(await self._feeds.watermark(current_call(), job_id, request.attempt))


def _too_slow(cursor: int, seconds: float) -> PlatformError:
    return PlatformError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.ERROR_REASON_WATCHER_TOO_SLOW,
        f"you did not accept a message within {seconds:g} s; open again with after_seq {cursor}",
        metadata={"cursor": str(cursor)},
    )
