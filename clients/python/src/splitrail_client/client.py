"""The asynchronous client. generate_sync.py makes `sync.Client` of it, for scripts and notebooks."""

import importlib
import importlib.util
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from splitrail.events.v1 import run_event_pb2
from splitrail.metrics.v1 import metrics_pb2, metrics_service_pb2
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, export_service_pb2, import_pb2, import_service_pb2, split_pb2, split_service_pb2
from splitrail.trainer.v1 import run_pb2, run_service_pb2

from .base import PAGE
from .channel import LONG_DEADLINE_SECONDS
from .errors import JobFailedError, RefusedError, UsageError
from .export import FORMATS, Export, ExportProgress, ExportResult
from .references import (
    SplitOptions,
    dataset_name,
    group_by,
    new_request_id,
    parse_evaluation_reference,
    split_method,
    split_name,
    split_ratios,
    split_value,
    task_value,
    to_values,
)
from .transfer import ImportProgress, ImportResult, ImportSpec, Transfer
from .versions import VersionClient
from .watching import OnInterruption, watch_run

RunLike = run_pb2.Run | str
"""A run, `cells/17`, or a run_id."""
EvaluationLike = run_pb2.Evaluation | str
"""An evaluation, `cells/17/eval/2`, or an evaluation_id."""


class AsyncClient(VersionClient):
    """A client of one gateway. An asynchronous context manager; see `connect_async`.

    Every call may raise RefusedError (with `reason` and `violations`) or UnreachableError.
    """

    # Data

    async def import_dataset(
        self,
        path: str | PathLike[str],
        name: str | None = None,
        *,
        task: str = "detect",
        strict: bool = False,
        dry_run: bool = False,
        progress: Callable[[ImportProgress], None] | None = None,
    ) -> ImportResult:
        """Imports a folder of images and annotations, or a .zip, .tar or .tar.gz of one. Files that the platform already has are not sent.

        `name` defaults to the folder's. `task`: detect, segment, pose, obb or classify.
        `strict` refuses a source with any problem; `dry_run` only reports.
        Raises UsageError for a folder that cannot be read or has no images, ImportFailedError when the import fails.
        """
        folder = Path(path)
        spec = ImportSpec(folder, self.project, name or dataset_name(folder), strict, dry_run, task_value(task))
        return await Transfer(self.channel, spec, progress or _ignore).run()

    async def export(
        self,
        reference: str,
        folder: str | PathLike[str],
        *,
        format: str = "yolo",
        parts: Sequence[str] = (),
        include_unlabelled: bool = False,
        progress: Callable[[ExportProgress], None] | None = None,
    ) -> ExportResult:
        """Writes the version that `cells@v3#2` names to a folder, as `yolo` (`yolo train data=data.yaml` works there) or `coco`.

        `parts` (`["test"]`): only these; `include_unlabelled`: also images in no part. The folder must be new, empty, or an interrupted run of the
        same export.
        Raises UsageError for any other folder, RefusedError for a part that has no images.
        """
        if format not in FORMATS:
            raise UsageError(f"{format!r} is not an export format: use {' or '.join(FORMATS)}")
        resolved = await self._resolve(reference)
        request = export_service_pb2.ExportVersionRequest(
            dataset_id=resolved.version.dataset_id,
            version_id=resolved.version.version_id,
            split_id=resolved.split_id,
            splits=[split_value(part) for part in ([parts] if isinstance(parts, str) else parts)],
            format=FORMATS[format],
            include_unlabelled=include_unlabelled,
        )
        result = await Export(self.channel, request, Path(folder), progress or _ignore).run()
        return result if parts else replace(result, left_out=resolved.version.image_count - result.end.image_count)

    async def problems(self, import_id: str) -> list[import_pb2.Problem]:
        """All problems of an import, by path and line."""
        request = import_service_pb2.ListProblemsRequest(import_id=import_id)
        return [item async for page in self._pages(self.channel.imports.ListProblems, request) for item in page.problems]

    async def datasets(self) -> list[dataset_pb2.Dataset]:
        """Datasets of the project, newest first."""
        request = dataset_service_pb2.ListDatasetsRequest(project_id=self.project)
        return [item async for page in self._pages(self.channel.datasets.ListDatasets, request) for item in page.datasets]

    async def split(self, reference: str, ratios: Sequence[float] = (0.7, 0.15, 0.15), **options: Unpack[SplitOptions]) -> split_pb2.SplitRevision:
        """Splits a version into train, val and test, and makes that its current split. Equal arguments give the same split everywhere."""
        parameters = await self._split_parameters(ratios, options)
        version = await self.version(reference)
        request = split_service_pb2.CreateSplitRequest(
            dataset_id=version.dataset_id,
            version_id=version.version_id,
            parameters=parameters,
            request_id=new_request_id(),
            keep_current="folds" in options,
        )
        return (await self.channel.call(self.channel.splits.CreateSplit, request, seconds=LONG_DEADLINE_SECONDS)).split

    async def preview_split(
        self, reference: str, ratios: Sequence[float] = (0.7, 0.15, 0.15), **options: Unpack[SplitOptions]
    ) -> split_pb2.SplitRevision:
        """The split that `split` would create, with its certificate; nothing is stored, so it has neither id nor number."""
        parameters = await self._split_parameters(ratios, options)
        version = await self.version(reference)
        request = split_service_pb2.PreviewSplitRequest(dataset_id=version.dataset_id, version_id=version.version_id, parameters=parameters)
        return (await self.channel.call(self.channel.splits.PreviewSplit, request, seconds=LONG_DEADLINE_SECONDS)).split

    async def _split_parameters(self, ratios: Sequence[float], options: SplitOptions) -> split_pb2.SplitParameters:
        """Raises UsageError before any call to a service."""
        folds = options.get("folds")
        parameters = split_pb2.SplitParameters(
            ratios=split_ratios(ratios),
            seed=options.get("seed", 0),
            method=split_method(options.get("method", "stratified")),
            group_by=[group_by(rule) for rule in options.get("group_by", ())],
            pins=[split_pb2.Pin(path=path, split=split_value(part)) for path, part in options.get("pins", {}).items()],
            folds=split_pb2.Folds(count=folds[0], index=folds[1]) if folds else None,
        )
        if options.get("base"):
            parameters.base_split_id = (await self.get_split(options["base"])).split_id
        return parameters

    async def splits(self, reference: str) -> list[split_pb2.SplitRevision]:
        """All revisions of a version, newest first."""
        version = await self.version(reference)
        request = split_service_pb2.ListSplitsRequest(dataset_id=version.dataset_id, version_id=version.version_id)
        return [item async for page in self._pages(self.channel.splits.ListSplits, request) for item in page.splits]

    async def compare_splits(self, reference: str, before: str) -> split_service_pb2.CompareSplitsResponse:
        """Which images are in another part than in the revision `before`: counts, and every image that moved."""
        now, earlier = await self.get_split(reference), await self.get_split(before)
        request = split_service_pb2.CompareSplitsRequest(split_id=now.split_id, before_split_id=earlier.split_id)
        whole = split_service_pb2.CompareSplitsResponse()
        async for page in self._pages(self.channel.splits.CompareSplits, request):
            if not whole.moves:  # every page has all of them
                whole.moves.extend(page.moves)
            whole.assets.extend(page.assets)
        return whole

    async def leaks(self, reference: str, max_distance: int | None = None) -> list[split_service_pb2.Leak]:
        """Near-duplicates in different parts of a revision, closest first, with signed URLs of both images."""
        revision = await self.get_split(reference)
        request = split_service_pb2.FindLeaksRequest(split_id=revision.split_id, max_distance=max_distance)
        return [item async for page in self._pages(self.channel.splits.FindLeaks, request) for item in page.leaks]

    async def get_split(self, reference: str) -> split_pb2.SplitRevision:
        """The split that `cells@v3#2` names; without number, the version's current split."""
        resolved = await self._resolve(reference)
        request = split_service_pb2.GetSplitRequest(
            dataset_id=resolved.version.dataset_id, version_id=resolved.version.version_id, split_id=resolved.split_id
        )
        return (await self.channel.call(self.channel.splits.GetSplit, request)).split

    async def delete_split(self, reference: str) -> None:
        """Deletes `cells@v3#2`; the newest of the others becomes the current one. Raises RefusedError (PINNED) while a job uses it.

        UsageError for `cells@v3`, which only implies a split.
        """
        found = await self.get_split(reference)
        if reference != found.reference:
            raise UsageError(f"{reference} does not name a split, so nothing was deleted: use {found.reference} to delete that one")
        await self.channel.call(self.channel.splits.DeleteSplit, split_service_pb2.DeleteSplitRequest(split_id=found.split_id))

    # Runs

    async def train(
        self,
        *,
        data: str,
        model: str,
        queue: str = "",
        external_id: str = "",
        labels: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> run_pb2.Run:
        """Queues a training run on the split that `data` names. `arguments` are those of Ultralytics (`epochs=20`); see `schema`.

        Raises RefusedError naming each argument that is unknown, of a wrong type, out of range or set by the platform.
        """
        return (await self.create_run(data=data, model=model, queue=queue, external_id=external_id, labels=labels, arguments=arguments)).run

    async def create_run(
        self, *, data: str, model: str, arguments: Mapping[str, Any], queue: str = "", external_id: str = "", labels: Mapping[str, str] | None = None
    ) -> run_service_pb2.CreateRunResponse:
        """Like `train`, with the service's warnings; also for arguments whose names collide with parameters of `train`."""
        request = run_service_pb2.CreateRunRequest(
            project_id=self.project,
            data=data,
            model=model,
            arguments=to_values(arguments),
            request_id=new_request_id(),
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

    async def runs(self, *, state: run_event_pb2.JobState.ValueType = run_event_pb2.JOB_STATE_UNSPECIFIED, limit: int = 0) -> list[run_pb2.Run]:
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
            request = metrics_service_pb2.BatchGetSummariesRequest(run_ids=[item.run_id for item in runs[start : start + PAGE]])
            found.update((await self.channel.call(self.channel.metrics.BatchGetSummaries, request)).summaries)
        return found

    async def watch(
        self,
        run: RunLike,
        *,
        after_seq: int = 0,
        on_progress: Callable[[run_event_pb2.BatchProgress], None] | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> AsyncGenerator[metrics_pb2.FeedEvent, None]:
        """Each event of a run exactly once and in order: past ones, then live, until the run ends. Reconnects by itself.

        `on_progress` is called with the progress of the running epoch, `on_interruption` with the error and the seconds until the next attempt.
        """
        run_id = await self._run_id(run)
        async with aclosing(watch_run(self.channel, run_id, after_seq, on_interruption=on_interruption)) as messages:
            async for message in messages:
                if message.HasField("event"):
                    yield message.event
                elif message.HasField("progress") and on_progress is not None:
                    on_progress(message.progress)

    async def metrics(self, run: RunLike) -> metrics_service_pb2.GetRunMetricsResponse:
        """Epochs of the effective timeline, their summary, and the best checkpoint's metrics on val."""
        request = metrics_service_pb2.GetRunMetricsRequest(run_id=await self._run_id(run))
        return await self.channel.call(self.channel.metrics.GetRunMetrics, request)

    async def history(self, run: RunLike) -> Any:
        """One row per epoch with its canonical metric keys: a pandas DataFrame when pandas is installed, else a list of dicts."""
        rows = [{"epoch": item.epoch, **dict(sorted(item.metrics.items()))} for item in (await self.metrics(run)).epochs]
        if importlib.util.find_spec("pandas") is None:
            return rows
        return importlib.import_module("pandas").DataFrame(rows)

    async def plots(self, run: RunLike | run_pb2.Evaluation) -> list[metrics_pb2.Plot]:
        """Plots of a run or an evaluation, with signed URLs that expire."""
        job_id = run.evaluation_id if isinstance(run, run_pb2.Evaluation) else await self._run_id(run)
        return list((await self.channel.call(self.channel.metrics.ListPlots, metrics_service_pb2.ListPlotsRequest(run_id=job_id))).plots)

    async def artifacts(self, run: RunLike) -> list[run_pb2.Artifact]:
        """Weights, results.csv and the like, with signed URLs that expire."""
        request = run_service_pb2.ListArtifactsRequest(run_id=await self._run_id(run))
        return list((await self.channel.call(self.channel.runs.ListArtifacts, request)).artifacts)

    async def logs(self, run: RunLike | run_pb2.Evaluation, *, after_seq: int = 0) -> list[metrics_pb2.FeedEvent]:
        """Log lines of a run or an evaluation so far (payload `log`)."""
        job_id = run.evaluation_id if isinstance(run, run_pb2.Evaluation) else await self._run_id(run)
        request = metrics_service_pb2.ListLogLinesRequest(run_id=job_id, after_seq=after_seq)
        return [item async for page in self._pages(self.channel.metrics.ListLogLines, request) for item in page.lines]

    async def cancel(self, run: RunLike) -> run_pb2.Run:
        """Cancels a run. Safe to repeat."""
        request = run_service_pb2.CancelRunRequest(run_id=await self._run_id(run))
        return (await self.channel.call(self.channel.runs.CancelRun, request)).run

    async def schema(self) -> run_service_pb2.GetTrainingSchemaResponse:
        """The training arguments and the models."""
        return await self.channel.call(self.channel.runs.GetTrainingSchema, run_service_pb2.GetTrainingSchemaRequest())

    # Evaluations

    async def evaluate(
        self,
        run: RunLike,
        split: str = "test",
        *,
        wait: bool = True,
        force: bool = False,
        on: str | None = None,
        **arguments: Any,
    ) -> run_pb2.Evaluation:
        """Evaluates a run's best weights on the part `split` of its own split revision, or of the one that `on` (`cells@v3#2`) names.

        `arguments`: imgsz, batch, conf, iou, max_det. With `wait`, returns when it has ended, and raises JobFailedError unless it succeeded.
        Raises RefusedError for an unfinished run, an empty split, or images that the run was trained on (unless `force`).
        """
        request = run_service_pb2.CreateEvaluationRequest(
            run_id=await self._run_id(run),
            split_id=(await self.get_split(on)).split_id if on else "",
            split=split_value(split),
            arguments=to_values(arguments),
            force=force,
            request_id=new_request_id(),
        )
        evaluation = (await self.channel.call(self.channel.runs.CreateEvaluation, request)).evaluation
        return await self.wait_evaluation(evaluation) if wait else evaluation

    async def wait_evaluation(
        self, evaluation: run_pb2.Evaluation, on_message: Callable[[metrics_service_pb2.WatchRunResponse], None] | None = None
    ) -> run_pb2.Evaluation:
        """Follows an evaluation to its end and returns it with its result. Raises JobFailedError unless it succeeded."""
        async with aclosing(watch_run(self.channel, evaluation.evaluation_id)) as messages:
            async for message in messages:
                if on_message is not None:
                    on_message(message)
        ended = await self.evaluation(evaluation)
        if ended.job.state != run_event_pb2.JOB_STATE_SUCCEEDED:
            raise JobFailedError(f"the evaluation of {ended.run_reference} on {split_name(ended.split)} {ending(ended.job)}")
        return ended

    async def evaluation(self, evaluation: EvaluationLike) -> run_pb2.Evaluation:
        """The current state of an evaluation."""
        if isinstance(evaluation, str):
            reference = parse_evaluation_reference(evaluation)
            if reference is not None:
                for item in await self.evaluations(reference.run):
                    if item.number == reference.number:
                        return item
                raise RefusedError(f"{reference.run} has no evaluation {reference.number}; `splitrail eval ls {reference.run}` lists its evaluations")
            identifier = evaluation
        else:
            identifier = evaluation.evaluation_id
        request = run_service_pb2.GetEvaluationRequest(evaluation_id=identifier)
        return (await self.channel.call(self.channel.runs.GetEvaluation, request)).evaluation

    async def evaluations(self, run: RunLike | None = None) -> list[run_pb2.Evaluation]:
        """Evaluations of a run, or of the project, newest first."""
        run_id = await self._run_id(run) if run is not None else ""
        request = run_service_pb2.ListEvaluationsRequest(run_id=run_id, project_id=self.project)
        return [item async for page in self._pages(self.channel.runs.ListEvaluations, request) for item in page.evaluations]

    async def _run_id(self, run: RunLike) -> str:
        return run.run_id if isinstance(run, run_pb2.Run) else (await self.run(run)).run_id


def ending(job: run_pb2.Job) -> str:
    """`failed (nan): the loss became NaN`, `was cancelled`: how an unsuccessful job ended."""
    if job.state == run_event_pb2.JOB_STATE_CANCELLED:
        return "was cancelled"
    cause = run_event_pb2.FailureCause.Name(job.cause).removeprefix("FAILURE_CAUSE_").lower().replace("_", " ")
    return "failed" + (f" ({cause})" if job.cause else "") + (f": {job.message}" if job.message else "")


def _ignore(_: ImportProgress | ExportProgress) -> None:
    return None
