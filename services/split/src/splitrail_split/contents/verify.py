"""Verified bytes: what a client staged is fetched, hashed and decoded on threads; images that pass are stored where
assets lie.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from splitrail_common.objects import ObjectStore

from splitrail_split.contents.keys import asset_key, staging_key
from splitrail_split.contents.store import KnownAsset
from splitrail_split.formats import images
from splitrail_split.formats.model import Code

MAX_IMAGE_BYTES = 256 * 1024 * 1024

HASH_MISMATCH = "hash_mismatch"
"""The uploaded bytes are not those that were announced."""
UPLOAD_MISSING = "upload_missing"
"""The uploaded bytes are gone."""

BATCH = 64
"""Contents inspected at once."""

Local = Mapping[bytes, Callable[[], bytes]]
"""How to read contents that are on this machine already, by hash: what an archive holds."""
NOTHING: Local = {}

A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a content cannot be used."""

    code: str
    message: str


@dataclass(slots=True)
class Inspected:
    """What became of each content that was announced as an image."""

    good: dict[bytes, KnownAsset] = field(default_factory=dict)
    bad: dict[bytes, Fault] = field(default_factory=dict)


class Contents:
    """Access to staged bytes, on a number of threads that all share."""

    def __init__(self, objects: ObjectStore, executor: Executor, threads: int) -> None:
        """threads: those that `executor` has."""
        self._objects = objects
        self._executor = executor
        self._threads = threads

    async def inspect(
        self, project_id: str, contents: Sequence[bytes], *, keep: bool, local: Local = NOTHING
    ) -> Inspected:
        """Inspects staged images, a batch at a time; with `keep`, the good ones are stored where assets lie, for the
        caller to record.

        Raises UNAVAILABLE when the object store does not answer.
        """
        results = await self.on_threads(partial(self._image, project_id, keep, local), contents)
        pairs = list(zip(contents, results, strict=True))
        return Inspected(
            good={sha256: result for sha256, result in pairs if isinstance(result, KnownAsset)},
            bad={sha256: result for sha256, result in pairs if isinstance(result, Fault)},
        )

    async def spool(self, project_id: str, targets: Mapping[bytes, Path], *, at_most: int) -> dict[bytes, Fault]:
        """Writes staged contents of at most so many bytes, verified, into local files; what is wrong with the others.
        Raises UNAVAILABLE.
        """
        faults: dict[bytes, Fault] = {}
        for chunk in chunks(list(targets), BATCH):
            results = await self.on_threads(partial(self._spooled, project_id, targets, at_most), chunk)
            faults.update((sha256, fault) for sha256, fault in zip(chunk, results, strict=True) if fault is not None)
        return faults

    async def fetch(self, project_id: str, sha256: bytes, size_bytes: int, target: Path) -> Fault | None:
        """A staged file, verified, as a local one, whatever its size; what is wrong with it, or None. Raises
        UNAVAILABLE.
        """
        return await self.run(partial(self._fetched, staging_key(project_id, sha256), sha256, size_bytes, target))

    async def unstage(self, project_id: str, contents: Sequence[bytes]) -> None:
        """Removes the staged bytes of these contents. Raises UNAVAILABLE."""
        await self.run(partial(self._objects.remove, [staging_key(project_id, sha256) for sha256 in contents]))

    async def run(self, function: Callable[[], R]) -> R:
        """Runs something blocking on the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def on_threads(self, function: Callable[[A], R], items: Iterable[A]) -> list[R]:
        """The results in the order of the items, of which each thread takes the next one by itself: waking the event
        loop for each is what costs.
        """
        waiting = deque(enumerate(items))
        results: dict[int, R] = {}

        def work() -> None:
            while True:
                try:
                    number, item = waiting.popleft()
                except IndexError:
                    return
                results[number] = function(item)

        try:
            await asyncio.gather(*(self.run(work) for _ in range(min(self._threads, len(waiting)))))
        finally:
            waiting.clear()  # when one fails, or this call is cancelled, the other threads stop after their present item
        return [results[number] for number in range(len(results))]

    def _image(self, project_id: str, keep: bool, local: Local, sha256: bytes) -> KnownAsset | Fault:
        """Blocking: verifies and decodes one content, and stores what was verified (the staged object could change
        meanwhile).
        """
        data = local[sha256]() if sha256 in local else self._verified(project_id, sha256, MAX_IMAGE_BYTES)
        if isinstance(data, Fault):
            return data
        try:
            info = images.inspect(data)
        except images.ImageError as problem:
            return Fault(Code.BAD_IMAGE, str(problem))
        if keep:
            self._objects.write(asset_key(project_id, sha256), data, f"image/{info.format.lower()}")
        return KnownAsset(sha256, info.width, info.height, len(data), info.format, info.perceptual_hash)

    def _spooled(self, project_id: str, targets: Mapping[bytes, Path], at_most: int, sha256: bytes) -> Fault | None:
        data = self._verified(project_id, sha256, at_most)
        if isinstance(data, Fault):
            return data
        targets[sha256].write_bytes(data)
        return None

    def _fetched(self, key: str, sha256: bytes, size_bytes: int, target: Path) -> Fault | None:
        try:
            actual = self._objects.fetch(key, target, size_bytes)
        except KeyError:
            return _missing()
        except ValueError as error:
            self._objects.remove([key])
            return Fault(HASH_MISMATCH, f"its uploaded bytes are not those announced: {error}")
        if actual == sha256:
            return None
        self._objects.remove([key])
        return _mismatch(sha256, actual)

    def _verified(self, project_id: str, sha256: bytes, at_most: int) -> bytes | Fault:
        """Blocking: staged bytes that have this hash. Others are removed, so that the right ones can be uploaded."""
        key = staging_key(project_id, sha256)
        try:
            data = self._objects.read(key, at_most)
        except KeyError:
            return _missing()
        except ValueError as error:
            self._objects.remove([key])
            return Fault(HASH_MISMATCH, f"its uploaded bytes are not those announced: {error}")
        actual = hashlib.sha256(data).digest()
        if actual == sha256:
            return data
        self._objects.remove([key])
        return _mismatch(sha256, actual)


def chunks(items: Sequence[A], size: int) -> Iterable[Sequence[A]]:
    """The items, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _missing() -> Fault:
    return Fault(UPLOAD_MISSING, "its uploaded bytes are gone: import the source again")


def _mismatch(announced: bytes, actual: bytes) -> Fault:
    return Fault(
        HASH_MISMATCH,
        f"the uploaded bytes have the SHA-256 {actual.hex()}, announced was {announced.hex()}: upload it again",
    )
