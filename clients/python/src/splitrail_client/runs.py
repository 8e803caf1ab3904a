"""Runs and what they leave: metrics, plots, logs, artifacts."""

import importlib
import importlib.util
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from splitrail.events.v1 import event_pb2
from splitrail.metrics.v1 import metrics_pb2, metrics_service_pb2
from splitrail.trainer.v1 import evaluation_pb2, job_pb2, run_pb2, run_service_pb2

from .base import PAGE, BaseClient
from .references import to_values
from .watching import OnInterruption, OnRestart, watch_run

RunLike = run_pb2.Run | str
"""A run, `cells/17`, or a run_id."""


class RunClient(BaseClient):
    """The part of AsyncClient that creates, watches and cancels runs."""

    async def train(
        self,
        *,
        data: str,
        model: str,
        queue: str = "",
        external_id: str = "",
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
        **arguments: Any,
    ) -> run_pb2.Run:
        """Queues a training run on the split that `data` names. `arguments` are those of Ultralytics (`epochs=20`); see
        `schema`.

        `request_id`: the caller's identifier of this request; calling again with the same one returns the same run.
        Raises RefusedError naming each argument that is unknown, of a wrong type, out of range or set by the platform.
        """
        created = await self.create_run(
            data=data,
            model=model,
            arguments=arguments,
            queue=queue,
            external_id=external_id,
            labels=labels,
            request_id=request_id,
        )
        return created.run

    async def create_run(
        self,
        *,
        data: str,
        model: str,
        arguments: Mapping[str, Any],
        queue: str = "",
        external_id: str = "",
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
    ) -> run_service_pb2.CreateRunResponse:
        """Like `train`, with the service's warnings; also for arguments whose names collide with parameters of `train`."""
        request = run_service_pb2.CreateRunRequest(
            project_id=self.project,
            data=data,
            model=model,
            arguments=to_values(arguments),
            request_id=request_id,
            queue=queue,
            external_id=external_id,
            labels=labels,
        )
        return await self.channel.call(self.channel.runs.CreateRun, request)

    async def run(self, run: RunLike) -> run_pb2.Run:
        """The current state of a run."""
        if isinstance(run, run_pb2.Run):
            request = run_service_pb2.GetRunRequest(run_id=run.run_id)
            return (await self.channel.call(self.channel.runs.GetRun, request)).run
        reference = run_service_pb2.ResolveRunRequest(project_id=self.project, reference=run)
        return (await self.channel.call(self.channel.runs.ResolveRun, reference)).run

    async def runs(
        self, *, state: event_pb2.JobState.ValueType = event_pb2.JOB_STATE_UNSPECIFIED, limit: int = 0
    ) -> list[run_pb2.Run]:
        """Runs of the project, newest first; `limit` 0: all."""
        found: list[run_pb2.Run] = []
        request = run_service_pb2.ListRunsRequest(project_id=self.project, state=state)
        async with aclosing(self._pages(self.channel.runs.ListRuns, request)) as pages:
            async for page in pages:
                found.extend(page.runs)
                if limit and len(found) >= limit:
                    break
        return found[:limit] if limit else found

    async def summaries(self, runs: Sequence[run_pb2.Run]) -> Mapping[str, metrics_pb2.RunSummary]:
        """Summaries by run_id; runs that have reported nothing are absent."""
        found: dict[str, metrics_pb2.RunSummary] = {}
        for start in range(0, len(runs), PAGE):
            request = metrics_service_pb2.BatchGetSummariesRequest(
                run_ids=[item.run_id for item in runs[start : start + PAGE]]
            )
            found.update((await self.channel.call(self.channel.metrics.BatchGetSummaries, request)).summaries)
        return found

    async def watch(
        self,
        run: RunLike,
        *,
        after_seq: int = 0,
        on_progress: Callable[[event_pb2.BatchProgress], None] | None = None,
        on_interruption: OnInterruption | None = None,
        on_restart: OnRestart | None = None,
    ) -> AsyncGenerator[metrics_pb2.FeedEvent, None]:
        """Each event of a run exactly once and in order: past ones, then live, until the run ends. Reconnects by
        itself.

        `on_progress` is called with the progress of the running epoch, `on_interruption` with the error and the seconds
        until the next attempt, `on_restart` before the feed starts again from its first event, because the platform was
        restored from a backup: forget the earlier events then. Without `on_restart`, RefusedError (CURSOR_OUT_OF_RANGE)
        is raised instead.
        """
        messages = self.watch_messages(run, after_seq=after_seq, on_interruption=on_interruption, on_restart=on_restart)
        async with aclosing(messages):
            async for message in messages:
                if message.HasField("event"):
                    yield message.event
                elif message.HasField("progress") and on_progress is not None:
                    on_progress(message.progress)

    async def watch_messages(
        self,
        run: RunLike | evaluation_pb2.Evaluation,
        *,
        after_seq: int = 0,
        incarnation: str = "",
        on_interruption: OnInterruption | None = None,
        on_restart: OnRestart | None = None,
    ) -> AsyncGenerator[metrics_service_pb2.WatchRunResponse, None]:
        """Like `watch`, for programs that store their position: messages with `cursor` and `incarnation`, the last one
        `closed`.

        To continue, pass both as `after_seq` and `incarnation`.
        """
        feed_id = await self._feed_id(run)
        watching = watch_run(
            self.channel,
            feed_id,
            after_seq,
            incarnation=incarnation,
            on_interruption=on_interruption,
            on_restart=on_restart,
        )
        async with aclosing(watching):
            async for message in watching:
                yield message

    async def metrics(self, run: RunLike) -> metrics_service_pb2.GetRunMetricsResponse:
        """Epochs of the effective timeline, their summary, and the best checkpoint's metrics on val."""
        request = metrics_service_pb2.GetRunMetricsRequest(run_id=await self._run_id(run))
        return await self.channel.call(self.channel.metrics.GetRunMetrics, request)

    async def history(self, run: RunLike) -> Any:
        """One row per epoch with its canonical metric keys: a pandas DataFrame when pandas is installed, else a list of
        dicts.
        """
        rows = [
            {"epoch": item.epoch, **dict(sorted(item.metrics.items()))} for item in (await self.metrics(run)).epochs
        ]
        if importlib.util.find_spec("pandas") is None:
            return rows
        return importlib.import_module("pandas").DataFrame(rows)

    async def plots(self, run: RunLike | evaluation_pb2.Evaluation) -> list[metrics_pb2.Plot]:
        """Plots of a run or an evaluation, with signed URLs that expire."""
        request = metrics_service_pb2.ListPlotsRequest(run_id=await self._feed_id(run))
        return [item async for page in self._pages(self.channel.metrics.ListPlots, request) for item in page.plots]

    async def artifacts(self, run: RunLike) -> list[job_pb2.Artifact]:
        """Weights, results.csv and the like, with signed URLs that expire."""
        request = run_service_pb2.ListArtifactsRequest(run_id=await self._run_id(run))
        return [item async for page in self._pages(self.channel.runs.ListArtifacts, request) for item in page.artifacts]

    async def logs(
        self, run: RunLike | evaluation_pb2.Evaluation, *, after_seq: int = 0
    ) -> list[metrics_pb2.FeedEvent]:
        """Log lines of a run or an evaluation so far (payload `log`)."""
        request = metrics_service_pb2.ListLogLinesRequest(run_id=await self._feed_id(run), after_seq=after_seq)
        return [item async for page in self._pages(self.channel.metrics.ListLogLines, request) for item in page.lines]

    async def cancel(self, run: RunLike) -> run_pb2.Run:
        """Cancels a run. Safe to repeat."""
        request = run_service_pb2.CancelRunRequest(run_id=await self._run_id(run))
        return (await self.channel.call(self.channel.runs.CancelRun, request)).run

    async def schema(self) -> run_service_pb2.GetTrainingSchemaResponse:
        """The training arguments and the models."""
        return await self.channel.call(self.channel.runs.GetTrainingSchema, run_service_pb2.GetTrainingSchemaRequest())

    async def metric_schema(self) -> list[metrics_pb2.MetricDescriptor]:
        """What each canonical metric means, in display order."""
        request = metrics_service_pb2.GetMetricSchemaRequest()
        return list((await self.channel.call(self.channel.metrics.GetMetricSchema, request)).metrics)

    async def _feed_id(self, job: RunLike | evaluation_pb2.Evaluation) -> str:
        return job.evaluation_id if isinstance(job, evaluation_pb2.Evaluation) else await self._run_id(job)

    async def _run_id(self, run: RunLike) -> str:
        return run.run_id if isinstance(run, run_pb2.Run) else (await self.run(run)).run_id
