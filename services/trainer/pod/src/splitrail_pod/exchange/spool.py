"""The spool: an append-only file between the training process (one writer) and the supervisor (readers).

A record is one line, ``crc32 of the JSON as 8 hex digits, a space, the JSON, a newline``. JSON escapes newlines, so a line is a record and the file
can be read with `less`. NaN and infinities are written as Python's json does (``NaN``, ``Infinity``) and come back as floats.

What a kill -9 or a power cut can leave is a torn last line: without its newline, or with a checksum that does not match. The next writer
truncates it; a reader never returns it. A damaged line with good lines after it is not a torn tail, and raises `SpoolCorruptError`.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Record = dict[str, Any]

_PREFIX = 9  # eight hex digits and a space


class SpoolCorruptError(Exception):
    """A record in the middle of a spool is damaged; the file cannot be trusted after it."""


class SpoolLockedError(Exception):
    """Another process has the spool open for writing."""


def encode(record: Record) -> bytes:
    """One line of the spool. Raises TypeError when the record holds something that JSON cannot carry."""
    body = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return b"%08x " % zlib.crc32(body) + body + b"\n"


def decode(line: bytes) -> Record | None:
    """The record of one line (without its newline), or None when the line is damaged."""
    body = line[_PREFIX:]
    try:
        if int(line[: _PREFIX - 1], 16) != zlib.crc32(body) or line[_PREFIX - 1 : _PREFIX] != b" ":
            return None
        record = json.loads(body.decode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _parse(data: bytes, *, path: Path, base: int) -> tuple[list[Record], int]:
    """The records of the complete, sound lines in `data` and how many bytes they take.

    `base` is the file offset of `data`, for messages. A damaged line is a torn tail when nothing sound follows it.
    """
    records: list[Record] = []
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        record = decode(data[position:end])
        if record is None:
            if any(decode(line) is not None for line in data[end + 1 :].split(b"\n")):
                raise SpoolCorruptError(f"{path}: the record at byte {base + position} is damaged, and others follow it")
            break
        records.append(record)
        position = end + 1
    return records, position


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
            records, sound = _parse(data, path=path, base=0)
            self.count = len(records)
            if sound < len(data):
                os.ftruncate(self._descriptor, sound)
            os.fsync(self._descriptor)
            sync_directory(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, record: Record, *, sync: bool = True) -> None:
        """Write one record, stamped with `time` (Unix seconds). With `sync` it is on the disk when this returns;
        without, it is in the file but a power cut may take it (it survives a kill)."""
        data = memoryview(encode({**record, "time": time.time()}))
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

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class SpoolReader:
    """Follows a spool from its beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def read_new(self) -> list[Record]:
        """The records appended since the last call, in order; empty when there are none or no file yet.

        Reads without blocking on the writer. Raises SpoolCorruptError.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        records, consumed = _parse(data, path=self.path, base=self._offset)
        self._offset += consumed
        return records


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable (a new or renamed file is not, until its directory is synced)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
