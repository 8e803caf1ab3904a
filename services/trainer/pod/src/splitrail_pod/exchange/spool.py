"""The spool: an append-only file between the training process (one writer) and the supervisor (readers).

A record is one line, ``crc32 of the JSON as 8 hex digits, a space, the JSON, a newline``. JSON escapes newlines, so a
line is a record and the file can be read with `less`. What the JSON holds stands in `messages`.

What a kill -9 or a power cut can leave is a torn last line: without its newline, or with a checksum that does not
match. The next writer truncates it; a reader never returns it. A damaged line with good lines after it is not a torn
tail, and raises `SpoolCorruptError`. A sound line that is not a valid record raises `UnknownRecordError`.
"""

from __future__ import annotations

import fcntl
import os
import threading
import zlib
from pathlib import Path
from types import TracebackType
from typing import Self

from splitrail_pod.exchange.messages import MessageError, Record, decode_record

_PREFIX = 9  # eight hex digits and a space


class SpoolError(Exception):
    """The spool cannot be used; the text says where and why."""


class SpoolCorruptError(SpoolError):
    """A record in the middle of a spool is damaged; the file cannot be trusted after it."""


class UnknownRecordError(SpoolError):
    """A sound line holds a record that this version does not know; the text names the kind or field."""


class SpoolLockedError(SpoolError):
    """Another process has the spool open for writing."""


def encode_line(body: bytes) -> bytes:
    """The line that holds `body`, which has no newline."""
    return b"%08x " % zlib.crc32(body) + body + b"\n"


def decode_line(line: bytes) -> bytes | None:
    """What a line (without its newline) holds, or None when it is damaged."""
    body = line[_PREFIX:]
    try:
        sound = int(line[: _PREFIX - 1], 16) == zlib.crc32(body) and line[_PREFIX - 1 : _PREFIX] == b" "
    except ValueError:
        return None
    return body if sound else None


def _sound_lines(data: bytes, *, path: Path, base: int) -> tuple[list[bytes], int]:
    """What the complete, sound lines in `data` hold, and how many bytes they take.

    `base` is the file offset of `data`, for messages. A damaged line is a torn tail when nothing sound follows it.
    Raises SpoolCorruptError.
    """
    bodies: list[bytes] = []
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        body = decode_line(data[position:end])
        if body is None:
            if any(decode_line(line) is not None for line in data[end + 1 :].split(b"\n")):
                raise SpoolCorruptError(
                    f"{path}: the record at byte {base + position} is damaged, and others follow it"
                )
            break
        bodies.append(body)
        position = end + 1
    return bodies, position


class SpoolWriter:
    """Appends records, from any thread; the only writer of its file (an advisory lock refuses a second one)."""

    def __init__(self, path: Path) -> None:
        """Open or create `path`, truncating a torn tail. Raises SpoolLockedError, SpoolCorruptError, OSError."""
        self.path = path
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SpoolLockedError(f"{path} is already open for writing by another process") from error
            data = path.read_bytes()
            bodies, sound = _sound_lines(data, path=path, base=0)
            self.count = len(bodies)
            if sound < len(data):
                os.ftruncate(self._descriptor, sound)
            os.fsync(self._descriptor)
            sync_directory(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, record: Record, *, sync: bool = True) -> None:
        """Write one record. With `sync` it is on the disk when this returns; without, it is in the file but a power cut
        may take it (it survives a kill).
        """
        data = memoryview(encode_line(record.encode()))
        with self._lock:
            while data:  # a short write is possible when the disk fills up; the next one then raises
                data = data[os.write(self._descriptor, data) :]
            self.count += 1
        if sync:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Sync and close. The lock goes with the descriptor."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SpoolReader:
    """Follows a spool from its beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def read_new(self) -> list[Record]:
        """The records appended since the last call, in order; empty when there are none or no file yet.

        Reads without blocking on the writer. Raises SpoolCorruptError, UnknownRecordError.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        bodies, consumed = _sound_lines(data, path=self.path, base=self._offset)
        try:
            records = [decode_record(body) for body in bodies]
        except MessageError as error:
            raise UnknownRecordError(f"{self.path}: a line is not a record that this version knows: {error}") from error
        self._offset += consumed
        return records


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable (a new or renamed file is not, until its directory is synced)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
