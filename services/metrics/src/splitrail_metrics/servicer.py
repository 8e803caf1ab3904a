"""MetricsService and WatermarkService: requests in, responses out."""

import asyncio
from contextlib import aclosing
from typing import Any

import grpc
from google.api import httpbody_pb2
from splitrail.internal.metrics.v1 import watermark_service_pb2, watermark_service_pb2_grpc
from splitrail.metrics.v1 import metrics_service_pb2 as api
from splitrail.metrics.v1 import metrics_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.errors import PlatformError, Reason

from . import catalogue, convert
from .history.service import FeedService
from .live.watches import Live

_Context = grpc.aio.ServicerContext[Any, Any]


class MetricsServicer(metrics_service_pb2_grpc.MetricsServiceServicer):
    """See metrics_service.proto."""

    def __init__(self, feeds: FeedService, live: Live[api.WatchRunResponse], *, stall_seconds: float) -> None:
        self._feeds = feeds
        self._live = live
        self._stall_seconds = stall_seconds

    async def WatchRun(self, request: api.WatchRunRequest, context: _Context) -> None:  # type: ignore[override]
        """Writes by itself instead of yielding: only so can a write have a deadline."""
        await self._feeds.admit(current_call(), request.run_id)
        async with aclosing(self._live.watch(request.run_id, request.after_seq, request.incarnation)) as updates:
            async for update in updates:
                try:
                    async with asyncio.timeout(self._stall_seconds):
                        await context.write(convert.watch_response(update))
                except TimeoutError:
                    # gRPC has taken this message and delivers it before the status: a client that reads the status has received it.
                    raise _too_slow(update.cursor, self._stall_seconds) from None

    async def GetRunMetrics(self, request: api.GetRunMetricsRequest, context: _Context) -> api.GetRunMetricsResponse:
        return convert.run_metrics(await self._feeds.metrics(current_call(), request.run_id))

    async def BatchGetSummaries(self, request: api.BatchGetSummariesRequest, context: _Context) -> api.BatchGetSummariesResponse:
        return convert.summaries(await self._feeds.summaries(current_call(), list(dict.fromkeys(request.run_ids))))

    async def ListPlots(self, request: api.ListPlotsRequest, context: _Context) -> api.ListPlotsResponse:
        page = paging.page(request, str)
        found = await self._feeds.plots(current_call(), request.run_id, page.after[0] if page.after else "", page.size + 1)
        plots = [convert.plot(item) for item in found[: page.size]]
        count, token = page.cut(found, plots, lambda item: [item.plot.name])
        return api.ListPlotsResponse(plots=plots[:count], next_page_token=token)

    async def GetPlot(self, request: api.GetPlotRequest, context: _Context) -> httpbody_pb2.HttpBody:
        plot = await self._feeds.plot_bytes(current_call(), request.run_id, request.name)
        return httpbody_pb2.HttpBody(content_type=plot.content_type, data=plot.data)

    async def ListLogLines(self, request: api.ListLogLinesRequest, context: _Context) -> api.ListLogLinesResponse:
        page = paging.page(request, int)
        after = page.after[0] if page.after else request.after_seq
        found = await self._feeds.log_lines(current_call(), request.run_id, after, page.size)
        return api.ListLogLinesResponse(
            lines=[convert.feed_event(line) for line in found.lines],
            next_page_token=page.token([found.lines[-1].seq]) if found.more else "",
        )

    async def GetMetricSchema(self, request: api.GetMetricSchemaRequest, context: _Context) -> api.GetMetricSchemaResponse:
        return convert.schema(catalogue.METRICS)


class WatermarkServicer(watermark_service_pb2_grpc.WatermarkServiceServicer):
    """See watermark_service.proto."""

    def __init__(self, feeds: FeedService) -> None:
        self._feeds = feeds

    async def GetWatermark(self, request: watermark_service_pb2.GetWatermarkRequest, context: _Context) -> watermark_service_pb2.GetWatermarkResponse:
        return convert.watermark(await self._feeds.watermark(current_call(), request.job_id, request.attempt))


def _too_slow(cursor: int, seconds: float) -> PlatformError:
    return PlatformError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.ERROR_REASON_WATCHER_TOO_SLOW,
        f"you did not accept a message within {seconds:g} s; open again with after_seq {cursor}",
        metadata={"cursor": str(cursor)},
    )
