"""Exporting a version to a folder: the service lists the files; those that exist with the right bytes are kept."""

import asyncio
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import grpc
import httpx
import stamina
from splitrail.split.v1 import export_service_pb2
from splitrail.split.v1.export_service_pb2 import ExportFile, ExportVersionRequest, ExportVersionResponse

from .channel import Channel
from .errors import SplitrailError, UnreachableError, UsageError, first_error
from .text import plain
from .transfer import NO_PROXY, TIMEOUT
from .watching import Interruptions, OnInterruption, RetryPolicy, with_silence_limit

LOCK_FILE = "split.lock.json"
"""The first file of every export; it identifies the export."""
DOWNLOADS_AT_ONCE = 8
_TEMPORARY = ".splitrail-export"
_PIECE_BYTES = 256 * 1024
_TRIES = 6
_LIMITS = httpx.Limits(max_connections=DOWNLOADS_AT_ONCE, max_keepalive_connections=DOWNLOADS_AT_ONCE)
# The service may need a while before the first message of an export of millions of images.
_POLICY = RetryPolicy(silence=180.0)


@dataclass(frozen=True)
class ExportProgress:
    """Progress of an export, in images."""

    done: int
    total: int


@dataclass(frozen=True)
class ExportResult:
    """A complete export."""

    folder: Path
    reference: str
    """`cells@v3#2`, or `cells@v3` for a version without split."""
    end: export_service_pb2.ExportEnd
    """Counts of files and images, and the digests."""
    written_files: int
    """Files that did not exist or had other bytes."""
    written_bytes: int
    left_out: int = 0
    """Images of the version that are in no part of the split; 0 when only some parts were exported."""


Report = Callable[[ExportProgress], None]


class _DownloadFailedError(Exception):
    """This attempt to download failed; another one may succeed."""


class Export:
    """One export."""

    def __init__(
        self,
        channel: Channel,
        request: ExportVersionRequest,
        folder: Path,
        report: Report,
        on_interruption: OnInterruption | None = None,
    ) -> None:
        self._channel = channel
        self._request = request
        self._folder = folder
        self._temporary = folder / _TEMPORARY
        self._names = itertools.count()
        self._report = report
        self._interruptions = Interruptions(_POLICY, on_interruption)
        self._start = export_service_pb2.ExportStart()
        self._lock = b""
        self._opened: BufferedRandom | None = None  # the file whose chunks are arriving
        self._files = self._files_since = 0  # complete up to the cursor, and after it
        self._images = self._images_since = 0
        self._written = self._written_bytes = 0

    async def run(self) -> ExportResult:
        """Exports to the end. Running it again completes the folder.

        Raises UsageError for a folder that has other content or cannot be written, RefusedError, UnreachableError.
        """
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, limits=_LIMITS, mounts=NO_PROXY) as http:
                while True:
                    try:
                        end = await self._follow(http)
                    except UsageError:
                        raise
                    except SplitrailError as error:
                        await self._interruptions.pause(error)
                    else:
                        return ExportResult(
                            self._folder, self._start.reference, end, self._written, self._written_bytes
                        )
        except OSError as error:
            raise UsageError(
                f"{plain(str(error.filename or self._folder))} cannot be written: {error.strerror}"
            ) from error
        finally:
            self._close()
            shutil.rmtree(self._temporary, ignore_errors=True)

    async def _follow(self, http: httpx.AsyncClient) -> export_service_pb2.ExportEnd:
        """The stream from the cursor to its end."""
        self._close()
        self._files_since = self._images_since = 0
        lock: list[ExportFile] = []
        async with (
            aclosing(self._channel.stream(self._channel.exports.ExportVersion, self._request)) as stream,
            aclosing(with_silence_limit(stream, _POLICY.silence)) as messages,
        ):
            async for message in messages:
                if message.HasField("start"):
                    self._begin(message.start)
                files = list(message.files)
                while files and (not lock or lock[-1].more):
                    lock.append(files.pop(0))
                    if not lock[-1].more:
                        await asyncio.to_thread(self._claim, lock)
                await self._take(http, files)
                self._advance(message, len([file for file in files if not file.more]))
                if message.HasField("end"):
                    return self._checked(message.end)
        raise UnreachableError("the stream ended before the export did", code=grpc.StatusCode.UNAVAILABLE)

    def _begin(self, start: export_service_pb2.ExportStart) -> None:
        if self._start.version_id and self._start != start:
            raise UsageError(
                f"{start.reference} became the current split during the export: export again and name the split"
            )
        self._start = start

    def _claim(self, lock: Sequence[ExportFile]) -> None:
        """Creates the folder, or checks that it belongs to this export. Blocking. Raises UsageError when it has other
        content.
        """
        data = b"".join(file.data for file in lock)
        if lock[-1].path != LOCK_FILE or (self._lock and self._lock != data):
            raise _defect(f"the service sent {plain(lock[-1].path)!r} instead of the {LOCK_FILE} of this export")
        there = plain(str(self._folder))
        if not self._lock:
            if self._folder.exists() and not self._folder.is_dir():
                raise UsageError(f"{there} is not a folder")
            found = (
                sorted(path.name for path in self._folder.iterdir() if path.name != _TEMPORARY)
                if self._folder.exists()
                else []
            )
            if found and LOCK_FILE not in found:
                raise UsageError(f"{there} is not empty and is not an export: name a new folder")
            if found and (self._folder / LOCK_FILE).read_bytes() != data:
                raise UsageError(f"{there} is another export (see its {LOCK_FILE}): name a new folder")
            shutil.rmtree(self._temporary, ignore_errors=True)  # left by an export that was killed
            self._temporary.mkdir(parents=True)
            self._lock = data
        self._write(self._folder / LOCK_FILE, data)

    async def _take(self, http: httpx.AsyncClient, files: Sequence[ExportFile]) -> None:
        """Downloads images concurrently, then writes the other files in order: no label before its image, data.yaml
        last.
        """
        slots = anyio.CapacityLimiter(DOWNLOADS_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                for file in files:
                    if file.HasField("url"):
                        group.create_task(self._image(http, file, slots))
        except* (SplitrailError, OSError) as errors:
            raise first_error(errors) from None
        here = [file for file in files if not file.HasField("url")]
        if here:
            await asyncio.to_thread(self._put, here)

    def _advance(self, message: ExportVersionResponse, files: int) -> None:
        self._files_since += files
        if message.HasField("cursor") and (
            not self._request.HasField("after_ordinal") or message.cursor > self._request.after_ordinal
        ):
            self._request.after_ordinal = message.cursor
            self._files += self._files_since
            self._images += self._images_since
            self._files_since = self._images_since = 0
            self._interruptions.message_came()

    def _checked(self, end: export_service_pb2.ExportEnd) -> export_service_pb2.ExportEnd:
        if (sent := 1 + self._files + self._files_since) != end.file_count:
            raise _defect(f"the service sent {sent} files but counts {end.file_count}: export again")
        return end

    async def _image(self, http: httpx.AsyncClient, file: ExportFile, slots: anyio.CapacityLimiter) -> None:
        """Downloads one image unless it exists. When its URL has expired, the stream is opened again, which gives a new
        URL.
        """
        target = self._target(file.path)
        async with slots:
            if not await asyncio.to_thread(_holds, target, file):
                await self._fetch(http, file, target)
        self._interruptions.message_came()
        self._images_since += 1
        self._report(ExportProgress(self._images + self._images_since, self._start.image_count))

    async def _fetch(self, http: httpx.AsyncClient, file: ExportFile, target: Path) -> None:
        """One GET, repeated while the store fails: safe, since it only reads."""
        temporary = self._temporary / f"{next(self._names)}"
        try:
            async for attempt in stamina.retry_context(
                on=(httpx.TransportError, _DownloadFailedError),
                attempts=_TRIES,
                timeout=None,
                wait_initial=0.2,
                wait_max=10.0,
                wait_jitter=0.5,
            ):
                with attempt:
                    await _get(http, file, temporary)
        except (httpx.TransportError, _DownloadFailedError) as error:
            place = urlsplit(file.url).netloc
            raise UnreachableError(
                f"the object store at {place} did not return {plain(file.path)}: {error or type(error).__name__}"
            ) from error
        await asyncio.to_thread(_move, temporary, target)
        self._count(file.size_bytes)

    def _put(self, files: Sequence[ExportFile]) -> None:
        """Writes files, or chunks of them, in order. Blocking."""
        for file in files:
            target = self._target(file.path)
            if self._opened is None and not file.more:
                if hashlib.sha256(file.data).hexdigest() != file.sha256:
                    raise _wrong_hash(file)
                self._write(target, file.data)
                continue
            if self._opened is None:
                self._opened = open(self._temporary / f"{next(self._names)}", "w+b")  # noqa: SIM115 - its chunks arrive in several messages
            self._opened.write(file.data)
            if not file.more:
                opened, self._opened = self._opened, None
                with opened:
                    opened.seek(0)
                    same = hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
                if not same:
                    raise _wrong_hash(file)
                if not _holds(target, file):
                    _move(Path(opened.name), target)
                    self._count(file.size_bytes)

    def _write(self, target: Path, data: bytes) -> None:
        try:
            if target.stat().st_size == len(data) and target.read_bytes() == data:
                return
        except FileNotFoundError:
            pass
        temporary = self._temporary / f"{next(self._names)}"
        temporary.write_bytes(data)
        _move(temporary, target)
        self._count(len(data))

    def _count(self, size: int) -> None:
        self._written += 1
        self._written_bytes += size

    def _target(self, path: str) -> Path:
        """Where a file is written. Raises SplitrailError for a path that would leave the folder."""
        parts = path.split("/")
        if any(part in ("", ".", "..") or set(part) & set("\\:\0") for part in parts) or parts[0] == _TEMPORARY:
            raise _defect(f"the service sent {plain(path)!r}, which is not a path within the folder")
        return self._folder.joinpath(*parts)

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def _defect(message: str) -> SplitrailError:
    """An error that a retry would not fix."""
    return SplitrailError(message, code=grpc.StatusCode.DATA_LOSS)


def _wrong_hash(file: ExportFile) -> SplitrailError:
    return _defect(f"{plain(file.path)} does not have the hash that the service sent: export again")


def _holds(target: Path, file: ExportFile) -> bool:
    """True when the file is there with the right bytes. Blocking."""
    try:
        if target.stat().st_size != file.size_bytes:
            return False
        with open(target, "rb") as there:
            return hashlib.file_digest(there, "sha256").hexdigest() == file.sha256
    except FileNotFoundError:
        return False


def _move(temporary: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, target)


async def _get(http: httpx.AsyncClient, file: ExportFile, target: Path) -> None:
    digest = hashlib.sha256()
    async with http.stream("GET", file.url) as answer, await anyio.open_file(target, "wb") as out:
        if answer.status_code == httpx.codes.FORBIDDEN:
            raise UnreachableError(f"the URL of {plain(file.path)} has expired", code=grpc.StatusCode.ABORTED)
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise _DownloadFailedError(f"HTTP {answer.status_code}")
        if not answer.is_success:
            raise _defect(f"the object store refuses {plain(file.path)}: HTTP {answer.status_code}")
        async for piece in answer.aiter_raw(_PIECE_BYTES):
            digest.update(piece)
            await out.write(piece)
    if digest.hexdigest() != file.sha256:
        raise _DownloadFailedError("its bytes do not have the hash that the service sent")
