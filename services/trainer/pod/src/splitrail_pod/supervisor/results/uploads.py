"""Uploads to the object store: checkpoints during training, artifacts and plots at its end."""

import asyncio
import random
from collections.abc import Sequence

from splitrail.internal.events.v1 import run_event_pb2
from splitrail.trainer.v1 import job_pb2
from splitrail_common import log
from splitrail_common.concurrency import together

from splitrail_pod.exchange.messages import ArtifactRecord, CheckpointRecord, PlotRecord, StoredFile
from splitrail_pod.supervisor.network.calls import AttemptCalls, RefusedError
from splitrail_pod.supervisor.network.retry import BadResponseError, UnavailableError, retrying
from splitrail_pod.supervisor.network.transfer import Transfer
from splitrail_pod.supervisor.results.events import PLOT_KINDS, RunEvent

_log = log.get(__name__)
ArtifactKind = job_pb2.ArtifactKind
_BINARY = "application/octet-stream"
_ROLES = {
    "weights_best": (ArtifactKind.ARTIFACT_KIND_BEST_WEIGHTS, _BINARY),
    "weights_last": (ArtifactKind.ARTIFACT_KIND_LAST_WEIGHTS, _BINARY),
    "results_csv": (ArtifactKind.ARTIFACT_KIND_RESULTS, "text/csv"),
    "args": (ArtifactKind.ARTIFACT_KIND_ARGUMENTS, "application/yaml"),
}
_PARALLEL = 4
_LONGEST_PAUSE_SECONDS = 15.0
_FEW = 5


class Uploads:
    """Puts files under the attempt's prefix."""

    def __init__(self, calls: AttemptCalls, transfer: Transfer, patience_seconds: float) -> None:
        self._calls = calls
        self._transfer = transfer
        self._patience = patience_seconds
        self._slots = asyncio.Semaphore(_PARALLEL)

    async def put_once(self, name: str, file: StoredFile, content_type: str) -> str:
        """Uploads a file once and returns its key. Raises what `AttemptCalls` and `Transfer` raise."""
        target = await self._calls.upload_target(name)
        await self._transfer.upload(target.url, file.path, size_bytes=file.size_bytes, content_type=content_type)
        return target.key

    async def checkpoint_once(self, record: CheckpointRecord) -> None:
        """Uploads a checkpoint and makes it the resume point, once."""
        name = f"checkpoint-{record.epoch:06d}.ckpt"
        await self.put_once(name, record.file, _BINARY)
        await self._calls.commit_artifact(
            name,
            ArtifactKind.ARTIFACT_KIND_CHECKPOINT,
            size_bytes=record.file.size_bytes,
            sha256=record.file.sha256,
            epoch=record.epoch,
        )

    async def artifacts(self, records: Sequence[ArtifactRecord]) -> None:
        """Uploads and commits result files. Retrying is safe: the same bytes go to the same key."""
        await together(*(self._artifact(record) for record in records))

    async def _artifact(self, record: ArtifactRecord) -> None:
        kind, content_type = _ROLES[record.role]
        file = record.file
        async with self._slots:
            async for attempt in retrying(self._patience):
                with attempt:
                    await self.put_once(file.path.name, file, content_type)
                    await self._calls.commit_artifact(
                        file.path.name, kind, size_bytes=file.size_bytes, sha256=file.sha256
                    )

    async def plots(self, records: Sequence[PlotRecord]) -> list[RunEvent]:
        """Uploads plots, with retries, and returns their events in the order of the records."""
        return await together(*(self._plot(record) for record in records))

    async def _plot(self, record: PlotRecord) -> RunEvent:
        key, file = "", record.file
        async with self._slots:
            async for attempt in retrying(self._patience):
                with attempt:
                    key = await self.put_once(file.path.name, file, record.content_type)
        return RunEvent(
            plot=run_event_pb2.PlotStored(
                name=file.path.name,
                title=record.title,
                kind=PLOT_KINDS[record.plot],
                key=key,
                content_type=record.content_type,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
            )
        )


class CheckpointUploader:
    """Takes only the newest checkpoint that has not been sent: when uploads are slower than epochs, or the store is
    unavailable, older ones are skipped.
    """

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._newest: CheckpointRecord | None = None
        self._offered = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._refusal: Exception | None = None

    def offer(self, record: CheckpointRecord) -> None:
        """A `checkpoint` record has come."""
        self._newest = record
        self._refusal = None
        self._settled.clear()
        self._offered.set()

    async def idle(self) -> None:
        """Waits until the newest checkpoint is stored and committed. Raises BadResponseError or RefusedError after
        several refusals, FileNotFoundError when its file is gone.
        """
        await self._settled.wait()
        if self._refusal is not None:
            raise self._refusal

    async def run(self) -> None:
        """Uploads without end; outages and refusals only delay. Raises FencedError."""
        failures = refusals = 0
        while True:
            await self._offered.wait()
            record = self._newest
            assert record is not None, "offered"
            try:
                await self._uploads.checkpoint_once(record)
            except FileNotFoundError as error:
                if self._newest is record:
                    # The training process has removed it because newer ones exist, which the spool is about to
                    # announce. Otherwise `idle` raises.
                    self._refusal = error
                    self._offered.clear()
                    self._settled.set()
                continue
            except (UnavailableError, BadResponseError, RefusedError) as error:
                failures += 1
                refusals = 0 if isinstance(error, UnavailableError) else refusals + 1
                if refusals >= _FEW and self._newest is record:
                    self._refusal = error
                    self._settled.set()
                pause = min(_LONGEST_PAUSE_SECONDS, 0.5 * 2 ** min(failures, 6)) * random.uniform(0.5, 1)  # noqa: S311 - jitter
                _log.warning(
                    "checkpoint not stored, will retry",
                    epoch=record.epoch,
                    error=str(error),
                    pause_seconds=round(pause, 1),
                )
                await asyncio.sleep(pause)
                continue
            failures = refusals = 0
            _log.info("checkpoint stored", epoch=record.epoch, size_bytes=record.file.size_bytes)
            if self._newest is record:
                self._offered.clear()
                self._refusal = None
                self._settled.set()
