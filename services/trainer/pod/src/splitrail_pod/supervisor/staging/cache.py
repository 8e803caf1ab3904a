"""A content-addressed cache of images: files named by their SHA-256, with a limit in bytes; the least recently used are
removed first.

Training and evaluation have separate caches, so that bytes of a test set never lie where a training job stages from.
"""

import asyncio
import hashlib
import os
import shutil
from collections import OrderedDict
from pathlib import Path
from uuid import uuid4

from splitrail_common import log

_log = log.get(__name__)
_HEX = 64
_READ_ONLY = 0o444


class ContentCache:
    """One cache directory. Used from the event loop; what touches many bytes runs on a thread."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        """Takes over what an earlier pod left in `directory`, the least recently used first; removes unfinished
        downloads. Raises OSError.
        """
        self._directory = directory
        self._limit = limit_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        directory.mkdir(parents=True, exist_ok=True)
        found: list[tuple[float, str, int]] = []
        for entry in os.scandir(directory):
            if len(entry.name) == _HEX:
                status = entry.stat()
                found.append((status.st_mtime, entry.name, status.st_size))
            else:
                os.unlink(entry.path)
        for _, name, size in sorted(found):
            self._sizes[name] = size
        self.total_bytes = sum(self._sizes.values())
        self._evict()

    def partial(self) -> Path:
        """A new name for a download on the cache's file system."""
        return self._directory / f"{uuid4().hex}.partial"

    async def place(self, sha256: str, target: Path) -> bool:
        """Puts the cached file at `target` (a hard link where possible), read-only. False when it is not cached.

        Checks the content: a process that runs as root can write to read-only files, and Ultralytics repairs some JPEGs
        in place.
        """
        if sha256 not in self._sizes:
            return False
        self._sizes.move_to_end(sha256)
        if await asyncio.to_thread(_place, self._directory / sha256, target, sha256):
            return True
        _log.warning("a cached file was damaged or gone; fetching it again", sha256=sha256)
        self._drop(sha256)
        return False

    def insert(self, partial: Path, sha256: str, target: Path) -> None:
        """Takes over a verified download, and puts it at `target`. Then makes room, which never touches what is already
        placed.
        """
        path = self._directory / sha256
        size = partial.stat().st_size
        partial.chmod(_READ_ONLY)
        partial.rename(path)
        self.total_bytes += size - self._sizes.pop(sha256, 0)
        self._sizes[sha256] = size
        _link(path, target)
        self._evict()

    def _evict(self) -> None:
        while self.total_bytes > self._limit and self._sizes:
            self._drop(next(iter(self._sizes)))

    def _drop(self, sha256: str) -> None:
        self.total_bytes -= self._sizes.pop(sha256, 0)
        (self._directory / sha256).unlink(missing_ok=True)


def _place(path: Path, target: Path, sha256: str) -> bool:
    """Links `path` to `target` if its content has that hash; also marks it as used."""
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return False
        os.utime(path)
        _link(path, target)
    except FileNotFoundError:
        return False
    return True


def _link(path: Path, target: Path) -> None:
    """A hard link, or a read-only copy where the file system or a limit on links refuses one."""
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(path, target)
        target.chmod(_READ_ONLY)
