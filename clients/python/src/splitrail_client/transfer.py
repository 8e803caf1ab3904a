"""Sending a source: announce it, upload what the platform lacks, start the import, follow it to its end."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import stamina
from splitrail.split.v1 import dataset_pb2, import_pb2, import_service_pb2

from .channel import LONG_DEADLINE_SECONDS, Channel
from .errors import ImportFailedError, SplitrailError, UnreachableError, UsageError
from .references import import_request_id
from .source import HashedFile, Source, hash_files, manifest_digest, scan
from .watching import watch_import

FILES_PER_REQUEST = 1000
UPLOADS_AT_ONCE = 8
_PIECE_BYTES = 256 * 1024
_TRIES = 6
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_LIMITS = httpx.Limits(max_connections=UPLOADS_AT_ONCE, max_keepalive_connections=UPLOADS_AT_ONCE)
# This machine is reached without a proxy, whatever the environment says.
DIRECT: dict[str, httpx.AsyncBaseTransport | None] = {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}


@dataclass(frozen=True)
class ImportOrder:
    """What to import, and how."""

    folder: Path
    project: str
    dataset: str
    strict: bool
    dry_run: bool
    task: dataset_pb2.Task.ValueType = dataset_pb2.TASK_DETECT


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is. `phase`: `scanned` (with `source`), `hashing` and `uploading` (counts of files), `processing` (of images)."""

    phase: str
    done: int = 0
    total: int = 0
    source: Source | None = None


@dataclass(frozen=True)
class ImportResult:
    """An import that succeeded."""

    report: import_pb2.Import
    """What the service found; `report.problems` holds the first 1000 problems."""
    uploaded_files: int
    """Distinct contents that had to be sent."""
    uploaded_bytes: int

    @property
    def version(self) -> dataset_pb2.DatasetVersion:
        """The committed version; empty after a dry run."""
        return self.report.version

    @property
    def reference(self) -> str:
        """`cells@v1`; empty after a dry run."""
        return f"{self.version.dataset_name or self.report.dataset_name}@v{self.version.number}" if self.version.number else ""


Report = Callable[[ImportProgress], None]


class _NotTakenError(Exception):
    """The object store did not take the bytes this time."""


class Transfer:
    """One import on its way."""

    def __init__(self, channel: Channel, order: ImportOrder, report: Report) -> None:
        self._channel = channel
        self._order = order
        self._report = report
        self._sent: set[str] = set()
        self._sent_bytes = 0
        self._done = 0
        self._total = 0

    async def run(self) -> ImportResult:
        """Imports to the end. Running it again with the same folder resumes it, or returns what it made.

        Raises UsageError for a folder that cannot be sent, RefusedError, UnreachableError, and ImportFailedError when it ends without a version.
        """
        source, files = await self._read()
        order, imports = self._order, self._channel.imports
        request = import_service_pb2.CreateImportRequest(
            project_id=order.project,
            dataset_name=order.dataset,
            request_id=import_request_id(order.project, order.dataset, _identity(files, order.task), strict=order.strict, dry_run=order.dry_run),
            task=order.task,
        )
        current: import_pb2.Import = getattr(await self._channel.call(imports.CreateImport, request), "import")  # a keyword of Python
        import_id = current.import_id
        if current.state == import_pb2.IMPORT_STATE_OPEN:
            await self._send(import_id, source, files)
            start = import_service_pb2.StartImportRequest(import_id=import_id, strict=order.strict, dry_run=order.dry_run)
            await self._channel.call(imports.StartImport, start, seconds=LONG_DEADLINE_SECONDS)
        async for current in watch_import(self._channel, import_id):
            self._report(ImportProgress("processing", current.processed_count, current.image_count))
        if current.state == import_pb2.IMPORT_STATE_FAILED:
            raise ImportFailedError(current.failure or "the import failed", current)
        return ImportResult(current, len(self._sent), self._sent_bytes)

    async def _read(self) -> tuple[Source, list[HashedFile]]:
        source = await asyncio.to_thread(scan, self._order.folder)
        self._report(ImportProgress("scanned", source=source))
        loop = asyncio.get_running_loop()

        def hashed(done: int) -> None:
            loop.call_soon_threadsafe(self._report, ImportProgress("hashing", done, len(source.files)))

        return source, await asyncio.to_thread(hash_files, source, hashed)

    async def _send(self, import_id: str, source: Source, files: Sequence[HashedFile]) -> None:
        """Announces all files, a page at a time, and uploads what each page lacks. What comes twice is sent once."""
        self._total = len(files)
        async with httpx.AsyncClient(timeout=TIMEOUT, limits=_LIMITS, mounts=DIRECT) as http:
            for start in range(0, len(files), FILES_PER_REQUEST):
                page = files[start : start + FILES_PER_REQUEST]
                by_content = {item.sha256: item for item in page}
                uploads = [item for item in await self._announce(import_id, page) if item.sha256 not in self._sent]
                self._settled(len(page) - len(uploads))
                slots = anyio.CapacityLimiter(UPLOADS_AT_ONCE)
                try:
                    async with asyncio.TaskGroup() as group:
                        for item in uploads:
                            group.create_task(self._upload(http, import_id, source.root, by_content[item.sha256], url=item.url, slots=slots))
                except* (SplitrailError, OSError) as errors:
                    raise _first(errors) from None

    def _settled(self, count: int) -> None:
        self._done += count
        self._report(ImportProgress("uploading", self._done, self._total))

    async def _announce(self, import_id: str, files: Sequence[HashedFile]) -> list[import_pb2.Upload]:
        request = import_service_pb2.AddFilesRequest(
            import_id=import_id, files=[import_pb2.SourceFile(path=item.path, sha256=item.sha256, size_bytes=item.size_bytes) for item in files]
        )
        return list((await self._channel.call(self._channel.imports.AddFiles, request)).uploads)

    async def _upload(self, http: httpx.AsyncClient, import_id: str, root: Path, item: HashedFile, *, url: str, slots: anyio.CapacityLimiter) -> None:
        """One PUT, tried again while the store cannot: safe, since the same bytes go to the same key."""
        async with slots:
            try:
                async for attempt in stamina.retry_context(
                    on=(httpx.TransportError, _NotTakenError), attempts=_TRIES, timeout=None, wait_initial=0.2, wait_max=10.0, wait_jitter=0.5
                ):
                    with attempt:
                        if attempt.num > 1:  # the URL may have ended, or the bytes may have arrived after all
                            fresh = await self._announce(import_id, [item])
                            if not fresh:
                                break
                            url = fresh[0].url
                        await _put(http, root, item, url)
            except (httpx.TransportError, _NotTakenError) as error:
                place = urlsplit(url).netloc
                raise UnreachableError(f"the object store at {place} does not take {item.path}: {error or type(error).__name__}") from error
        self._sent.add(item.sha256)
        self._sent_bytes += item.size_bytes
        self._settled(1)


def _identity(files: Sequence[HashedFile], task: dataset_pb2.Task.ValueType) -> str:
    """What is imported: the source, and what its annotations are taken for."""
    digest = manifest_digest(files)
    return digest if task == dataset_pb2.TASK_DETECT else f"{digest} {dataset_pb2.Task.Name(task)}"


async def _put(http: httpx.AsyncClient, root: Path, item: HashedFile, url: str) -> None:
    headers = {"content-length": str(item.size_bytes), "content-type": "application/octet-stream"}
    answer = await http.put(url, content=_pieces(root, item), headers=headers)
    if answer.status_code in (403, 408, 429) or answer.status_code >= 500:
        raise _NotTakenError(f"HTTP {answer.status_code}")
    if not answer.is_success:
        raise SplitrailError(f"the object store refuses {item.path}: HTTP {answer.status_code}")


async def _pieces(root: Path, item: HashedFile) -> AsyncIterator[bytes]:
    """The file's bytes; UsageError before the last of them when they are not those that were hashed."""
    digest, sent = hashlib.sha256(), 0
    changed = UsageError(f"{item.path} was changed while it was being sent: run the import again")
    async with await anyio.open_file(root / item.path, "rb") as file:
        while piece := await file.read(_PIECE_BYTES):
            digest.update(piece)
            sent += len(piece)
            if sent > item.size_bytes or (sent == item.size_bytes and digest.hexdigest() != item.sha256):
                raise changed
            yield piece
    if sent != item.size_bytes:
        raise changed


def _first(group: BaseExceptionGroup[BaseException]) -> SplitrailError:
    """The first error of several that failed together, as this client's own."""
    error = group.exceptions[0]
    if isinstance(error, BaseExceptionGroup):
        return _first(error)
    if isinstance(error, SplitrailError):
        return error
    return UsageError(f"a file cannot be read any more: {error}")
