"""MetricsService and WatermarkService: requests in, responses out."""

import asyncio
from contextlib import aclosing

import grpc
from google.api import httpbody_pb2
from splitrail.internal.metrics.v1 import watermark_service_pb2, watermark_service_pb2_grpc
from splitrail.metrics.v1 import metrics_service_pb2 as api
from splitrail.metrics.v1 import metrics_service_pb2_grpc
from splitrail_common import paging
from splitrail_common.access import current_call
from splitrail_common.boundary import Context
from splitrail_common.errors import PlatformError, Reason

from . import catalogue, convert
from .history.service import FeedService
from .live.watches import Live


class MetricsServicer(metrics_service_pb2_grpc.MetricsServiceServicer):
    """See metrics_service.proto."""

    def __init__(self, feeds: FeedService, live: Live[api.WatchRunResponse], *, stall_seconds: float) -> None:
        self._feeds = feeds
        self._live = live
        self._stall_seconds = stall_seconds

    async def WatchRun(self, request: api.WatchRunRequest, context: Context) -> None:  # type: ignore[override]
        """Writes by itself instead of yielding: only so can a write have a deadline."""
        await self._feeds.admit(current_call(), request.run_id)
        async with aclosing(self._live.watch(request.run_id, request.after_seq, request.incarnation)) as updates:
            async for update in updates:
                try:
                    async with asyncio.timeout(self._stall_seconds):
                        await context.write(convert.watch_response(update))
                except TimeoutError:
                    # gRPC has taken this message and delivers it before the status: a client that reads the status has
                    # received it.
                    raise _too_slow(update.cursor, self._stall_seconds) from None

    async def GetRunMetrics(self, request: api.GetRunMetricsRequest, context: Context) -> api.GetRunMetricsResponse:
        return convert.run_metrics(await self._feeds.metrics(current_call(), request.run_id))

    async def BatchGetSummaries(
        self, request: api.BatchGetSummariesRequest, context: Context
    ) -> api.BatchGetSummariesResponse:
        return convert.summaries(await self._feeds.summaries(current_call(), list(dict.fromkeys(request.run_ids))))

    async def ListPlots(self, request: api.ListPlotsRequest, context: Context) -> api.ListPlotsResponse:
        asked = paging.page(request, str)
        found = await self._feeds.plots(
            current_call(), request.run_id, asked.after[0] if asked.after else "", asked.size
        )
        plots, token = paging.fit(asked, found, convert.plot, lambda item: [item.plot.name])
        return api.ListPlotsResponse(plots=plots, next_page_token=token)

    async def GetPlot(self, request: api.GetPlotRequest, context: Context) -> httpbody_pb2.HttpBody:
        plot = await self._feeds.plot_bytes(current_call(), request.run_id, request.name)
        return httpbody_pb2.HttpBody(content_type=plot.content_type, data=plot.data)

    async def ListLogLines(self, request: api.ListLogLinesRequest, context: Context) -> api.ListLogLinesResponse:
        asked = paging.page(request, int)
        after = asked.after[0] if asked.after else request.after_seq
        found = await self._feeds.log_lines(current_call(), request.run_id, after, asked.size)
        lines, token = paging.fit(asked, found, convert.feed_event, lambda line: [line.seq])
        return api.ListLogLinesResponse(lines=lines, next_page_token=token)

    async def GetMetricSchema(
        self, request: api.GetMetricSchemaRequest, context: Context
    ) -> api.GetMetricSchemaResponse:
        return convert.schema(catalogue.METRICS)


class WatermarkServicer(watermark_service_pb2_grpc.WatermarkServiceServicer):
    """See watermark_service.proto."""

    def __init__(self, feeds: FeedService) -> None:
        self._feeds = feeds

    async def GetWatermark(
        self, request: watermark_service_pb2.GetWatermarkRequest, context: Context
    ) -> watermark_service_pb2.GetWatermarkResponse:
        return convert.watermark(await self._feeds.watermark(current_call(), request.job_id, request.attempt))


def _too_slow(cursor: int, seconds: float) -> PlatformError:
    return PlatformError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.ERROR_REASON_WATCHER_TOO_SLOW,
        f"you did not accept a message within {seconds:g} s; open again with after_seq {cursor}",
        metadata={"cursor": str(cursor)},
    )
