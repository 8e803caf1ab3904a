"""Files that are made here, cut into pieces."""

import hashlib
from collections.abc import Iterator

from splitrail_split.exports.domain import File

PIECE_BYTES = 256 * 1024


class Pieces:
    """A file that is here, as far as it is known."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[File]:
        """Takes the next bytes; gives pieces that are full."""
        self._digest.update(data)
        self._size += len(data)
        self._rest += data
        while len(self._rest) > PIECE_BYTES:
            yield File(self._path, data=bytes(self._rest[:PIECE_BYTES]), more=True)
            del self._rest[:PIECE_BYTES]

    def end(self) -> File:
        """The last piece."""
        return File(self._path, sha256=self._digest.hexdigest(), size_bytes=self._size, data=bytes(self._rest))


def whole(path: str, data: bytes) -> list[File]:
    """A file that is known."""
    pieces = Pieces(path)
    return [*pieces.feed(data), pieces.end()]
