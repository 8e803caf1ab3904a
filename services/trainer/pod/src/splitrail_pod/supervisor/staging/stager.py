"""Staging: the images and labels of the parts that a job needs, in the work directory, verified by the split's digests.

Layout: data/images/<part>/<ordinal, 8 digits><extension>, data/labels/<part>/<ordinal, 8 digits>.txt.
"""

import asyncio
import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splitrail.internal.split.v1 import staging_service_pb2
from splitrail.split.v1 import dataset_pb2
from splitrail_common import log
from splitrail_common.concurrency import together

from splitrail_pod.exchange.messages import Part
from splitrail_pod.supervisor.failures import AttemptFailedError, FailureCause
from splitrail_pod.supervisor.network.calls import AttemptCalls, RefusedError
from splitrail_pod.supervisor.network.retry import BadResponseError, UnavailableError, retrying
from splitrail_pod.supervisor.network.transfer import CorruptError, Transfer
from splitrail_pod.supervisor.staging.cache import ContentCache
from splitrail_pod.supervisor.staging.manifest import PART_NAMES, Entry, Ledger, label_rows

_log = log.get(__name__)
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Staged:
    """What lies in the work directory."""

    class_names: tuple[str, ...]
    images: dict[Part, int]
    """Number of images by part."""


class Stager:
    """Stages for one attempt."""

    def __init__(
        self,
        calls: AttemptCalls,
        transfer: Transfer,
        cache: ContentCache,
        directory: Path,
        *,
        concurrency: int,
        patience_seconds: float,
    ) -> None:
        self._calls = calls
        self._transfer = transfer
        self._cache = cache
        self._data = directory / "data"
        self._concurrency = concurrency
        self._patience = patience_seconds

    async def stage(self, split_id: str, parts: Sequence[dataset_pb2.Part.ValueType]) -> Staged:
        """Fetches and verifies everything. Raises AttemptFailedError (DATA, DEPENDENCY), FencedError."""
        for part in parts:
            for kind in ("images", "labels"):
                (self._data / kind / PART_NAMES[part]).mkdir(parents=True, exist_ok=True)
        # Bounded, so that URLs are signed when they are about to be used; gRPC's flow control slows the service down.
        waiting: asyncio.Queue[Entry | None] = asyncio.Queue(4 * self._concurrency)
        ledger = Ledger(parts)
        end = staging_service_pb2.ManifestEnd()

        async def read() -> None:
            end.CopyFrom(await self._read(split_id, parts, ledger, waiting))
            for _ in range(self._concurrency):
                await waiting.put(None)

        async def fetch() -> None:
            while (entry := await waiting.get()) is not None:
                await self._fetch(split_id, parts, entry)

        try:
            await together(read(), *(fetch() for _ in range(self._concurrency)))
        except UnavailableError as error:
            raise AttemptFailedError(
                FailureCause.FAILURE_CAUSE_DEPENDENCY, f"staging gave up after {self._patience:.0f} s: {error}"
            ) from error
        except (BadResponseError, RefusedError) as error:
            raise AttemptFailedError(
                FailureCause.FAILURE_CAUSE_DEPENDENCY, f"staging is not possible: {error}"
            ) from error
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise AttemptFailedError(
                FailureCause.FAILURE_CAUSE_DEPENDENCY,
                f"the pod's disk is full: {error}; make room or lower the cache limit",
            ) from error
        await asyncio.to_thread(ledger.verify, end)
        return Staged(tuple(end.class_names), ledger.images())

    async def _read(
        self,
        split_id: str,
        parts: Sequence[dataset_pb2.Part.ValueType],
        ledger: Ledger,
        waiting: asyncio.Queue[Entry | None],
    ) -> staging_service_pb2.ManifestEnd:
        """Reads the manifest to its end, opening it again after the last ordinal when it breaks off. The time limit
        counts from the last entry.
        """
        while True:
            before = ledger.last_ordinal
            try:
                async for attempt in retrying(self._patience):
                    with attempt:
                        async for message in self._calls.manifest(split_id, parts, ledger.last_ordinal):
                            for entry in message.entries:
                                ledger.add(entry)
                                await waiting.put(entry)
                            if message.HasField("end"):
                                return message.end
                        raise BadResponseError("StreamManifest ended without its last message")
            except (UnavailableError, BadResponseError):
                if ledger.last_ordinal == before:
                    raise

    async def _fetch(self, split_id: str, parts: Sequence[dataset_pb2.Part.ValueType], entry: Entry) -> None:
        name, stem = PART_NAMES[entry.part], f"{entry.ordinal:08d}"
        (self._data / "labels" / name / f"{stem}.txt").write_text(label_rows(entry), encoding="utf-8")
        target = self._data / "images" / name / f"{stem}{entry.extension}"
        if await self._cache.place(entry.sha256, target):
            return

        async def sign_again() -> str:
            after = entry.ordinal - 1 if entry.ordinal else None
            async for message in self._calls.manifest(split_id, parts, after):
                for found in message.entries:
                    if found.ordinal == entry.ordinal:
                        return found.url
                break
            raise BadResponseError(f"the manifest no longer begins with image {entry.ordinal}")

        partial = self._cache.partial()
        try:
            await self._transfer.download(
                entry.url, partial, sha256=entry.sha256, size_bytes=entry.size_bytes, again=sign_again
            )
        except CorruptError as error:
            raise AttemptFailedError(
                FailureCause.FAILURE_CAUSE_DATA, f"image {entry.ordinal} cannot be fetched: {error}"
            ) from error
        self._cache.insert(partial, entry.sha256, target)
