"""Importing a local source: announce its files, upload those that the platform does not have, start the import, follow
it to its end.

Drafts upload their images with the same functions.
"""

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
from .errors import ImportFailedError, SplitrailError, UnreachableError, UsageError, first_error
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
# Loopback addresses are reached without the proxy of the environment.
NO_PROXY: dict[str, httpx.AsyncBaseTransport | None] = {
    "all://127.0.0.1": None,
    "all://localhost": None,
    "all://[::1]": None,
}


@dataclass(frozen=True)
class ImportSpec:
    """What to import, and how."""

    folder: Path
    project: str
    dataset: str
    strict: bool
    dry_run: bool
    task: dataset_pb2.Task.ValueType = dataset_pb2.TASK_DETECT


@dataclass(frozen=True)
class ImportProgress:
    """Progress of an import, or of images being added to a draft.

    `phase`: `scanned` (with `source`), `hashing` and `uploading` (counts of files), `processing` (counts of images; not
    for a draft).
    """

    phase: str
    done: int = 0
    total: int = 0
    source: Source | None = None


@dataclass(frozen=True)
class ImportResult:
    """An import that succeeded."""

    report: import_pb2.Import
    """The finished import; `report.problems` holds the first 1000 problems."""
    uploaded_files: int
    """Number of distinct files that had to be sent."""
    uploaded_bytes: int
    ended_before: bool = False
    """The same import had succeeded before: this is its report, and no new version was created."""

    @property
    def version(self) -> dataset_pb2.DatasetVersion:
        """The committed version; empty after a dry run."""
        return self.report.version

    @property
    def reference(self) -> str:
        """`cells@v1`; empty after a dry run."""
        return (
            f"{self.version.dataset_name or self.report.dataset_name}@v{self.version.number}"
            if self.version.number
            else ""
        )


Report = Callable[[ImportProgress], None]
Announce = Callable[[Sequence[HashedFile]], Awaitable[list[import_pb2.Upload]]]
"""Announces files to the platform; returns upload URLs for those that it does not have."""


class _UploadFailedError(Exception):
    """This attempt to upload failed; another one may succeed."""


class Transfer:
    """One import."""

    def __init__(self, channel: Channel, spec: ImportSpec, report: Report) -> None:
        self._channel = channel
        self._spec = spec
        self._report = report
        self._sent: set[str] = set()
        self._sent_bytes = 0
        self._done = 0
        self._total = 0

    async def run(self) -> ImportResult:
        """Imports to the end. Running it again with the same folder resumes it, or returns its result.

        Raises UsageError for a folder that cannot be sent, RefusedError, UnreachableError, and ImportFailedError when
        the import fails.
        """
        source, files = await read(functools.partial(scan, self._spec.folder), self._report)
        spec, imports = self._spec, self._channel.imports
        identity = _identity(files, spec.task)
        current = await self._open(identity)
        if (
            current.state == import_pb2.IMPORT_STATE_SUCCEEDED
            and not spec.dry_run
            and current.version.number != (latest := await self._latest())
        ):
            # The dataset has a newer version since: importing this source again may create another one.
            current = await self._open(f"{identity} after {latest}")
        import_id, ended_before = current.import_id, current.state == import_pb2.IMPORT_STATE_SUCCEEDED
        if current.state == import_pb2.IMPORT_STATE_OPEN:
            await self._send(import_id, source, files)
            start = import_service_pb2.StartImportRequest(import_id=import_id, strict=spec.strict, dry_run=spec.dry_run)
            await self._channel.call(imports.StartImport, start, seconds=LONG_DEADLINE_SECONDS)
        async for current in watch_import(self._channel, import_id):
            self._report(ImportProgress("processing", current.processed_count, current.image_count))
        if current.state == import_pb2.IMPORT_STATE_CANCELLED:
            raise ImportFailedError("the import was cancelled", current)
        if current.state == import_pb2.IMPORT_STATE_FAILED:
            raise ImportFailedError(current.failure or "the import failed", current)
        return ImportResult(current, len(self._sent), self._sent_bytes, ended_before)

    async def _open(self, identity: str) -> import_pb2.Import:
        """The import of the source with this identity: a new one, or the one that was created before."""
        spec = self._spec
        request = import_service_pb2.CreateImportRequest(
            project_id=spec.project,
            dataset_name=spec.dataset,
            request_id=import_request_id(
                spec.project, spec.dataset, identity, strict=spec.strict, dry_run=spec.dry_run
            ),
            task=spec.task,
        )
        return (await self._channel.call(self._channel.imports.CreateImport, request)).dataset_import

    async def _latest(self) -> int:
        """The number of the dataset's newest version, 0 when there is none."""
        request = dataset_service_pb2.ListDatasetsRequest(project_id=self._spec.project, name=self._spec.dataset)
        found = await self._channel.call(self._channel.datasets.ListDatasets, request)
        return next((item.latest_version for item in found.datasets if item.name == self._spec.dataset), 0)

    async def _send(self, import_id: str, source: Source, files: Sequence[HashedFile]) -> None:
        """Announces all files page by page and uploads the missing ones of each page. Equal files are sent once."""
        self._total = len(files)
        async with httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS, mounts=NO_PROXY) as http:
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
    """The source that `scanning` returns, with the hashes of its files. Raises UsageError for files that cannot be
    read.
    """
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
    """Sends those of `files` that `uploads` names, several at once; `sent` is called for each. Raises the first
    SplitrailError.
    """
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
        error = first_error(errors)
        raise (error if isinstance(error, SplitrailError) else UsageError(f"a file cannot be read: {error}")) from None


async def _upload(http: httpx.AsyncClient, root: Path, item: HashedFile, url: str, announce: Announce) -> None:
    """One PUT, repeated while the store fails: safe, since the same bytes go to the same key."""
    try:
        async for attempt in stamina.retry_context(
            on=(httpx.TransportError, _UploadFailedError),
            attempts=_TRIES,
            timeout=None,
            wait_initial=0.2,
            wait_max=10.0,
            wait_jitter=0.5,
        ):
            with attempt:
                if attempt.num > 1:  # the URL may have expired, or the bytes may have arrived after all
                    fresh = await announce([item])
                    if not fresh:
                        break
                    url = fresh[0].url
                await _put(http, root, item, url)
    except (httpx.TransportError, _UploadFailedError) as error:
        place = urlsplit(url).netloc
        raise UnreachableError(
            f"the object store at {place} did not accept {item.path}: {error or type(error).__name__}"
        ) from error


def _identity(files: Sequence[HashedFile], task: dataset_pb2.Task.ValueType) -> str:
    """Identifies what is imported: the files and the task."""
    digest = manifest_digest(files)
    if is_listing(files[0].path):  # the listed objects may have changed since the last import
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
    """The entry of a file for AddFiles, with its content when that is sent inline. Blocking. Raises UsageError when the
    file has changed.
    """
    announced = import_pb2.SourceFile(path=item.path, sha256=item.sha256, size_bytes=item.size_bytes)
    if item.is_inline:
        try:
            with open(root / item.path, "rb") as file:
                announced.content = file.read(item.size_bytes + 1)
        except OSError as error:
            raise UsageError(f"a file cannot be read: {error}") from error
        if hashlib.sha256(announced.content).hexdigest() != item.sha256:
            raise _changed(item)
    return announced


def _changed(item: HashedFile) -> UsageError:
    return UsageError(f"{item.path} changed while it was being sent: run the import again")


async def _put(http: httpx.AsyncClient, root: Path, item: HashedFile, url: str) -> None:
    headers = {"content-length": str(item.size_bytes), "content-type": "application/octet-stream"}
    answer = await http.put(url, content=_pieces(root, item), headers=headers)
    if answer.status_code in (403, 408, 429) or answer.status_code >= 500:
        raise _UploadFailedError(f"HTTP {answer.status_code}")
    if not answer.is_success:
        raise SplitrailError(f"the object store refuses {item.path}: HTTP {answer.status_code}")


async def _pieces(root: Path, item: HashedFile) -> AsyncIterator[bytes]:
    """The file's bytes. Raises UsageError before the last of them when the file has changed since it was hashed."""
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
