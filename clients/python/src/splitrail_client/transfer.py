"""Sending a source: announce it, upload what the platform lacks, start the import, follow it to its end. Drafts upload by the same code."""

import asyncio
import functools
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import stamina
from splitrail.split.v1 import dataset_pb2, dataset_service_pb2, import_pb2, import_service_pb2

from .channel import LONG_DEADLINE_SECONDS, Channel
from .errors import ImportFailedError, SplitrailError, UnreachableError, UsageError
from .references import import_request_id
from .source import HashedFile, Source, hash_files, is_listing, manifest_digest, scan
from .watching import watch_import

FILES_PER_REQUEST = 1000
_INLINE_PER_REQUEST = 1 << 20
UPLOADS_AT_ONCE = 8
_PIECE_BYTES = 256 * 1024
_TRIES = 6
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
LIMITS = httpx.Limits(max_connections=UPLOADS_AT_ONCE, max_keepalive_connections=UPLOADS_AT_ONCE)
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
    """How far an import is, or the images on their way into a draft.

    `phase`: `scanned` (with `source`), `hashing` and `uploading` (counts of files), `processing` (of images; not for a draft).
    """

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
    ended_before: bool = False
    """This source had been imported like this before: the report is from then, and nothing was made now."""

    @property
    def version(self) -> dataset_pb2.DatasetVersion:
        """The committed version; empty after a dry run."""
        return self.report.version

    @property
    def reference(self) -> str:
        """`cells@v1`; empty after a dry run."""
        return f"{self.version.dataset_name or self.report.dataset_name}@v{self.version.number}" if self.version.number else ""


Report = Callable[[ImportProgress], None]
Announce = Callable[[Sequence[HashedFile]], Awaitable[list[import_pb2.Upload]]]
"""Tells the platform of files; where to put those that it lacks."""


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
        source, files = await read(functools.partial(scan, self._order.folder), self._report)
        order, imports = self._order, self._channel.imports
        identity = _identity(files, order.task)
        current = await self._open(identity)
        if current.state == import_pb2.IMPORT_STATE_SUCCEEDED and not order.dry_run and current.version.number != (latest := await self._latest()):
            # Something else has become the newest version since: what comes of the source now is for the service to say.
            current = await self._open(f"{identity} after {latest}")
        import_id, ended_before = current.import_id, current.state == import_pb2.IMPORT_STATE_SUCCEEDED
        if current.state == import_pb2.IMPORT_STATE_OPEN:
            await self._send(import_id, source, files)
            start = import_service_pb2.StartImportRequest(import_id=import_id, strict=order.strict, dry_run=order.dry_run)
            await self._channel.call(imports.StartImport, start, seconds=LONG_DEADLINE_SECONDS)
        async for current in watch_import(self._channel, import_id):
            self._report(ImportProgress("processing", current.processed_count, current.image_count))
        if current.state == import_pb2.IMPORT_STATE_FAILED:
            raise ImportFailedError(current.failure or "the import failed", current)
        return ImportResult(current, len(self._sent), self._sent_bytes, ended_before)

    async def _open(self, identity: str) -> import_pb2.Import:
        """The import of what this identity stands for: a new one, or the one that has been opened before."""
        order = self._order
        request = import_service_pb2.CreateImportRequest(
            project_id=order.project,
            dataset_name=order.dataset,
            request_id=import_request_id(order.project, order.dataset, identity, strict=order.strict, dry_run=order.dry_run),
            task=order.task,
        )
        opened: import_pb2.Import = getattr(await self._channel.call(self._channel.imports.CreateImport, request), "import")  # a keyword of Python
        return opened

    async def _latest(self) -> int:
        """The number of the dataset's newest version, 0 when there is none."""
        request = dataset_service_pb2.ListDatasetsRequest(project_id=self._order.project, name=self._order.dataset)
        found = await self._channel.call(self._channel.datasets.ListDatasets, request)
        return next((item.latest_version for item in found.datasets if item.name == self._order.dataset), 0)

    async def _send(self, import_id: str, source: Source, files: Sequence[HashedFile]) -> None:
        """Announces all files, a page at a time, and uploads what each page lacks. What comes twice is sent once."""
        self._total = len(files)
        async with httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS, mounts=DIRECT) as http:
            for page in _pages(files):
                announce = functools.partial(self._announce, import_id, source.root)
                uploads = [item for item in await announce(page) if item.sha256 not in self._sent]
                for item in {item.sha256: item for item in page}.values():
                    if item.is_inline and item.sha256 not in self._sent:
                        self._count(item)
                self._settled(len(page) - len(uploads))
                await upload(http, source.root, page, uploads, announce=announce, sent=self._uploaded)

    def _settled(self, count: int) -> None:
        self._done += count
        self._report(ImportProgress("uploading", self._done, self._total))

    def _count(self, item: HashedFile) -> None:
        self._sent.add(item.sha256)
        self._sent_bytes += item.size_bytes

    def _uploaded(self, item: HashedFile) -> None:
        self._count(item)
        self._settled(1)

    async def _announce(self, import_id: str, root: Path, files: Sequence[HashedFile]) -> list[import_pb2.Upload]:
        announced = await asyncio.to_thread(lambda: [_announced(root, item) for item in files])
        request = import_service_pb2.AddFilesRequest(import_id=import_id, files=announced)
        return list((await self._channel.call(self._channel.imports.AddFiles, request)).uploads)


async def read(scanning: Callable[[], Source], report: Report) -> tuple[Source, list[HashedFile]]:
    """What `scanning` finds, with its hashes. Raises UsageError for what cannot be read."""
    source = await asyncio.to_thread(scanning)
    report(ImportProgress("scanned", source=source))
    loop = asyncio.get_running_loop()

    def hashed(done: int) -> None:
        loop.call_soon_threadsafe(report, ImportProgress("hashing", done, len(source.files)))

    return source, await asyncio.to_thread(hash_files, source, hashed)


async def upload(
    http: httpx.AsyncClient,
    root: Path,
    files: Sequence[HashedFile],
    uploads: Sequence[import_pb2.Upload],
    *,
    announce: Announce,
    sent: Callable[[HashedFile], None],
) -> None:
    """Sends what `uploads` ask for of `files`, several at once; `sent` is told of each. Raises SplitrailError, the first one when several fail."""
    by_content = {item.sha256: item for item in files}
    slots = anyio.CapacityLimiter(UPLOADS_AT_ONCE)

    async def one(item: HashedFile, url: str) -> None:
        async with slots:
            await _upload(http, root, item, url, announce)
        sent(item)

    try:
        async with asyncio.TaskGroup() as group:
            for wanted in uploads:
                group.create_task(one(by_content[wanted.sha256], wanted.url))
    except* (SplitrailError, OSError) as errors:
        raise _first(errors) from None


async def _upload(http: httpx.AsyncClient, root: Path, item: HashedFile, url: str, announce: Announce) -> None:
    """One PUT, tried again while the store cannot: safe, since the same bytes go to the same key."""
    try:
        async for attempt in stamina.retry_context(
            on=(httpx.TransportError, _NotTakenError), attempts=_TRIES, timeout=None, wait_initial=0.2, wait_max=10.0, wait_jitter=0.5
        ):
            with attempt:
                if attempt.num > 1:  # the URL may have ended, or the bytes may have arrived after all
                    fresh = await announce([item])
                    if not fresh:
                        break
                    url = fresh[0].url
                await _put(http, root, item, url)
    except (httpx.TransportError, _NotTakenError) as error:
        place = urlsplit(url).netloc
        raise UnreachableError(f"the object store at {place} does not take {item.path}: {error or type(error).__name__}") from error


def _identity(files: Sequence[HashedFile], task: dataset_pb2.Task.ValueType) -> str:
    """What is imported: the source, and what its annotations are taken for."""
    digest = manifest_digest(files)
    if is_listing(files[0].path):  # what its objects hold may have changed since the last time
        digest = f"{digest} {uuid.uuid4()}"
    return digest if task == dataset_pb2.TASK_DETECT else f"{digest} {dataset_pb2.Task.Name(task)}"


def _pages(files: Sequence[HashedFile]) -> Iterator[list[HashedFile]]:
    """As many files as one request takes."""
    page: list[HashedFile] = []
    inline = 0
    for item in files:
        size = item.size_bytes if item.is_inline else 0
        if len(page) == FILES_PER_REQUEST or inline + size > _INLINE_PER_REQUEST:
            yield page
            page, inline = [], 0
        page.append(item)
        inline += size
    if page:
        yield page


def _announced(root: Path, item: HashedFile) -> import_pb2.SourceFile:
    """Blocking: reads what travels along; UsageError when it is not what was hashed."""
    announced = import_pb2.SourceFile(path=item.path, sha256=item.sha256, size_bytes=item.size_bytes)
    if item.is_inline:
        try:
            with open(root / item.path, "rb") as file:
                announced.content = file.read(item.size_bytes + 1)
        except OSError as error:
            raise UsageError(f"a file cannot be read any more: {error}") from error
        if hashlib.sha256(announced.content).hexdigest() != item.sha256:
            raise _changed(item)
    return announced


def _changed(item: HashedFile) -> UsageError:
    return UsageError(f"{item.path} was changed while it was being sent: send it again")


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
    async with await anyio.open_file(root / item.path, "rb") as file:
        while piece := await file.read(_PIECE_BYTES):
            digest.update(piece)
            sent += len(piece)
            if sent > item.size_bytes or (sent == item.size_bytes and digest.hexdigest() != item.sha256):
                raise _changed(item)
            yield piece
    if sent != item.size_bytes:
        raise _changed(item)


def _first(group: BaseExceptionGroup[BaseException]) -> SplitrailError:
    """The first error of several that failed together, as this client's own."""
    error = group.exceptions[0]
    if isinstance(error, BaseExceptionGroup):
        return _first(error)
    if isinstance(error, SplitrailError):
        return error
    return UsageError(f"a file cannot be read any more: {error}")
