"""Files as messages of the stream: cut into pieces, and packed into messages of bounded size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from splitrail.split.v1.export_service_pb2 import ExportFile, ExportVersionResponse

MESSAGE_BYTES = 512 * 1024
PIECE_BYTES = 256 * 1024


class Pieces:
    """A file that is here, as far as it is known."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[ExportFile]:
        """Takes the next bytes; gives pieces that are full."""
        self._digest.update(data)
        self._size += len(data)
        self._rest += data
        while len(self._rest) > PIECE_BYTES:
            yield ExportFile(path=self._path, data=bytes(self._rest[:PIECE_BYTES]), more=True)
            del self._rest[:PIECE_BYTES]

    def end(self) -> ExportFile:
        """The last piece."""
        return ExportFile(path=self._path, sha256=self._digest.hexdigest(), size_bytes=self._size, data=bytes(self._rest))


def whole(path: str, data: bytes) -> list[ExportFile]:
    """A file that is known."""
    pieces = Pieces(path)
    return [*pieces.feed(data), pieces.end()]


class Messages:
    """Collects files into messages; each carries the cursor that its files lead up to."""

    def __init__(self) -> None:
        self._ready: list[ExportVersionResponse] = []
        self._open = ExportVersionResponse()
        self._held = 0
        self._cursor: int | None = None

    def add(self, files: Iterable[ExportFile]) -> None:
        """More files, or pieces of files."""
        for file in files:
            self._put(file, file.ByteSize())

    def add_image(self, ordinal: int, files: Sequence[ExportFile]) -> None:
        """All files of an image, in one message if they fit: its cursor then covers everything in it."""
        sizes = [file.ByteSize() for file in files]
        if self._held + sum(sizes) > MESSAGE_BYTES:
            self._close()
        for file, size in zip(files, sizes, strict=True):
            self._put(file, size)
        self._cursor = ordinal

    def _put(self, file: ExportFile, size: int) -> None:
        if self._held + size > MESSAGE_BYTES:
            self._close()
        self._open.files.append(file)
        self._held += size

    def full(self) -> list[ExportVersionResponse]:
        """Messages that are full, once."""
        ready, self._ready = self._ready, []
        return ready

    def rest(self) -> list[ExportVersionResponse]:
        """All messages that are left, the last one perhaps small."""
        self._close()
        return self.full()

    def _close(self) -> None:
        if not self._held:
            return
        if self._cursor is not None:
            self._open.cursor = self._cursor
        self._ready.append(self._open)
        self._open = ExportVersionResponse()
        self._held = 0
