"""The client for scripts and notebooks: the same calls, waiting. An event loop runs in a thread of its own."""

import asyncio
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from os import PathLike
from typing import Any, Self, Unpack

from anyio.from_thread import BlockingPortal, start_blocking_portal
from splitrail.events.v1 import run_event_pb2
from splitrail.metrics.v1 import metrics_pb2, metrics_service_pb2
from splitrail.split.v1 import dataset_pb2, import_pb2, split_pb2, split_service_pb2, version_pb2, version_service_pb2
from splitrail.trainer.v1 import run_pb2, run_service_pb2

from .client import AsyncClient, EvaluationLike, RunLike
from .export import ExportProgress, ExportResult
from .references import SplitWishes
from .transfer import ImportProgress, ImportResult
from .versions import DraftChange, VersionLike
from .watching import OnInterruption


class Client:
    """Twin of AsyncClient, which says what each call does. Callbacks are called from the loop's thread.

    Closes itself when it is no longer used, and at the end of the program; or use it as a context manager.
    """

    def __init__(self, client: AsyncClient) -> None:
        with ExitStack() as stack:
            self._portal: BlockingPortal = stack.enter_context(start_blocking_portal(name="splitrail-client"))
            self._client = stack.enter_context(self._portal.wrap_async_context_manager(client))
            self._close = weakref.finalize(self, stack.pop_all().close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and the thread."""
        self._close()

    def import_dataset(
        self,
        path: str | PathLike[str],
        name: str | None = None,
        *,
        task: str = "detect",
        strict: bool = False,
        dry_run: bool = False,
        progress: Callable[[ImportProgress], None] | None = None,
    ) -> ImportResult:
        """See AsyncClient.import_dataset."""
        return self._portal.call(lambda: self._client.import_dataset(path, name, task=task, strict=strict, dry_run=dry_run, progress=progress))

    def export(
        self,
        reference: str,
        folder: str | PathLike[str],
        *,
        format: str = "yolo",
        parts: Sequence[str] = (),
        include_unlabelled: bool = False,
        progress: Callable[[ExportProgress], None] | None = None,
    ) -> ExportResult:
        """See AsyncClient.export."""
        return self._portal.call(
            lambda: self._client.export(reference, folder, format=format, parts=parts, include_unlabelled=include_unlabelled, progress=progress)
        )

    def problems(self, import_id: str) -> list[import_pb2.Problem]:
        """See AsyncClient.problems."""
        return self._portal.call(self._client.problems, import_id)

    def datasets(self) -> list[dataset_pb2.Dataset]:
        """See AsyncClient.datasets."""
        return self._portal.call(self._client.datasets)

    def version(self, reference: str) -> dataset_pb2.DatasetVersion:
        """See AsyncClient.version."""
        return self._portal.call(self._client.version, reference)

    def versions(self, dataset: str) -> list[dataset_pb2.DatasetVersion]:
        """See AsyncClient.versions."""
        return self._portal.call(self._client.versions, dataset)

    def create_dataset(
        self, name: str, task: str = "detect", *, external_id: str = "", labels: Mapping[str, str] | None = None
    ) -> dataset_pb2.Dataset:
        """See AsyncClient.create_dataset."""
        return self._portal.call(lambda: self._client.create_dataset(name, task, external_id=external_id, labels=labels))

    def drafts(self, dataset: str | dataset_pb2.DatasetVersion) -> list[version_pb2.Draft]:
        """See AsyncClient.drafts."""
        return self._portal.call(self._client.drafts, dataset)

    def new_draft(self, base: VersionLike) -> dataset_pb2.DatasetVersion:
        """See AsyncClient.new_draft."""
        return self._portal.call(self._client.new_draft, base)

    def upsert_assets(
        self,
        draft: VersionLike,
        assets: Sequence[version_pb2.AssetUpsert] = (),
        *,
        images: str | PathLike[str] | None = None,
        into: str = "",
        progress: Callable[[ImportProgress], None] | None = None,
    ) -> DraftChange:
        """See AsyncClient.upsert_assets."""
        return self._portal.call(lambda: self._client.upsert_assets(draft, assets, images=images, into=into, progress=progress))

    def delete_assets(
        self, draft: VersionLike, paths: Sequence[str] = (), *, external_ids: Sequence[str] = ()
    ) -> version_service_pb2.DeleteAssetsResponse:
        """See AsyncClient.delete_assets."""
        return self._portal.call(lambda: self._client.delete_assets(draft, paths, external_ids=external_ids))

    def update_classes(
        self, draft: VersionLike, *, add: Sequence[str] = (), rename: Mapping[str, str] | None = None, merge: Mapping[str, str] | None = None
    ) -> version_service_pb2.UpdateClassesResponse:
        """See AsyncClient.update_classes."""
        return self._portal.call(lambda: self._client.update_classes(draft, add=add, rename=rename, merge=merge))

    def commit(self, draft: VersionLike, *, expected_base: VersionLike | None = None) -> dataset_pb2.DatasetVersion:
        """See AsyncClient.commit."""
        return self._portal.call(lambda: self._client.commit(draft, expected_base=expected_base))

    def version_id(self, version: VersionLike) -> str:
        """See AsyncClient.version_id."""
        return self._portal.call(self._client.version_id, version)

    def diff(self, version: VersionLike, before: VersionLike | None = None, *, annotations: bool = False) -> version_service_pb2.DiffVersionsResponse:
        """See AsyncClient.diff."""
        return self._portal.call(lambda: self._client.diff(version, before, annotations=annotations))

    def discard_draft(self, draft: VersionLike) -> None:
        """See AsyncClient.discard_draft."""
        self._portal.call(self._client.discard_draft, draft)

    def delete_split(self, reference: str) -> None:
        """See AsyncClient.delete_split."""
        self._portal.call(self._client.delete_split, reference)

    def delete_version(self, version: VersionLike) -> None:
        """See AsyncClient.delete_version."""
        self._portal.call(self._client.delete_version, version)

    def delete_dataset(self, dataset: str) -> None:
        """See AsyncClient.delete_dataset."""
        self._portal.call(self._client.delete_dataset, dataset)

    def split(self, reference: str, ratios: Sequence[float] = (0.7, 0.15, 0.15), **wishes: Unpack[SplitWishes]) -> split_pb2.SplitRevision:
        """See AsyncClient.split."""
        return self._portal.call(lambda: self._client.split(reference, ratios, **wishes))

    def preview_split(self, reference: str, ratios: Sequence[float] = (0.7, 0.15, 0.15), **wishes: Unpack[SplitWishes]) -> split_pb2.SplitRevision:
        """See AsyncClient.preview_split."""
        return self._portal.call(lambda: self._client.preview_split(reference, ratios, **wishes))

    def splits(self, reference: str) -> list[split_pb2.SplitRevision]:
        """See AsyncClient.splits."""
        return self._portal.call(self._client.splits, reference)

    def compare_splits(self, reference: str, before: str) -> split_service_pb2.CompareSplitsResponse:
        """See AsyncClient.compare_splits."""
        return self._portal.call(self._client.compare_splits, reference, before)

    def leaks(self, reference: str, max_distance: int | None = None) -> list[split_service_pb2.Leak]:
        """See AsyncClient.leaks."""
        return self._portal.call(self._client.leaks, reference, max_distance)

    def get_split(self, reference: str) -> split_pb2.SplitRevision:
        """See AsyncClient.get_split."""
        return self._portal.call(self._client.get_split, reference)

    def train(
        self,
        *,
        data: str,
        model: str,
        queue: str = "",
        external_id: str = "",
        labels: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> run_pb2.Run:
        """See AsyncClient.train."""
        return self._portal.call(lambda: self._client.train(data=data, model=model, queue=queue, external_id=external_id, labels=labels, **arguments))

    def run(self, run: RunLike) -> run_pb2.Run:
        """See AsyncClient.run."""
        return self._portal.call(self._client.run, run)

    def runs(self, *, state: run_event_pb2.JobState.ValueType = run_event_pb2.JOB_STATE_UNSPECIFIED, limit: int = 0) -> list[run_pb2.Run]:
        """See AsyncClient.runs."""
        return self._portal.call(lambda: self._client.runs(state=state, limit=limit))

    def watch(
        self,
        run: RunLike,
        *,
        after_seq: int = 0,
        on_progress: Callable[[run_event_pb2.BatchProgress], None] | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> Generator[metrics_pb2.FeedEvent, None, None]:
        """See AsyncClient.watch. Giving up the iteration ends the watch, not the run."""
        watching = self._client.watch(run, after_seq=after_seq, on_progress=on_progress, on_interruption=on_interruption)
        reading = asyncio.Lock()  # the loop's: a generator that runs, or unwinds from being cancelled, cannot be closed

        async def following() -> metrics_pb2.FeedEvent | None:
            async with reading:
                return await anext(watching, None)

        async def ending() -> None:
            async with reading:
                await watching.aclose()

        try:
            while True:
                future = self._portal.start_task_soon(following)
                try:
                    event = future.result()
                except BaseException:  # Ctrl-C while waiting: the loop's side must not go on reading
                    future.cancel()
                    raise
                if event is None:
                    return
                yield event
        finally:
            if self._close.alive:  # else the loop has ended, and the watch with it
                self._portal.call(ending)

    def metrics(self, run: RunLike) -> metrics_service_pb2.GetRunMetricsResponse:
        """See AsyncClient.metrics."""
        return self._portal.call(self._client.metrics, run)

    def history(self, run: RunLike) -> Any:
        """See AsyncClient.history."""
        return self._portal.call(self._client.history, run)

    def plots(self, run: RunLike | run_pb2.Evaluation) -> list[metrics_pb2.Plot]:
        """See AsyncClient.plots."""
        return self._portal.call(self._client.plots, run)

    def artifacts(self, run: RunLike) -> list[run_pb2.Artifact]:
        """See AsyncClient.artifacts."""
        return self._portal.call(self._client.artifacts, run)

    def logs(self, run: RunLike | run_pb2.Evaluation, *, after_seq: int = 0) -> list[metrics_pb2.FeedEvent]:
        """See AsyncClient.logs."""
        return self._portal.call(lambda: self._client.logs(run, after_seq=after_seq))

    def cancel(self, run: RunLike) -> run_pb2.Run:
        """See AsyncClient.cancel."""
        return self._portal.call(self._client.cancel, run)

    def schema(self) -> run_service_pb2.GetTrainingSchemaResponse:
        """See AsyncClient.schema."""
        return self._portal.call(self._client.schema)

    def evaluate(
        self, run: RunLike, split: str = "test", *, wait: bool = True, force: bool = False, on: str | None = None, **arguments: Any
    ) -> run_pb2.Evaluation:
        """See AsyncClient.evaluate."""
        return self._portal.call(lambda: self._client.evaluate(run, split, wait=wait, force=force, on=on, **arguments))

    def evaluation(self, evaluation: EvaluationLike) -> run_pb2.Evaluation:
        """See AsyncClient.evaluation."""
        return self._portal.call(self._client.evaluation, evaluation)

    def evaluations(self, run: RunLike | None = None) -> list[run_pb2.Evaluation]:
        """See AsyncClient.evaluations."""
        return self._portal.call(self._client.evaluations, run)
