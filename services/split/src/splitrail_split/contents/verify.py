"""Verified bytes: what a client staged is fetched, hashed and decoded on threads; images that pass become assets of the project."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from minio.error import S3Error
from splitrail_common.objects import ObjectStore

from splitrail_split.domain.datasets import Claim, SourceFile, asset_key, staging_key
from splitrail_split.formats import images
from splitrail_split.formats.model import Code
from splitrail_split.imports.places import Location
from splitrail_split.imports.sources import MAX_ANNOTATION_BYTES, MAX_IMAGE_BYTES
from splitrail_split.imports.store import ImportStore, KnownAsset

HASH_MISMATCH = "hash_mismatch"
"""The uploaded bytes are not those that were announced."""
UPLOAD_MISSING = "upload_missing"
"""The uploaded bytes are gone."""

BATCH = 64
"""Contents judged at once."""
_LOOKUP = 10_000
_READ = 1000
"""Contents of at most `MAX_INLINE_BYTES` that are in memory at once."""
_REMOVED = 1000

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


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of images that lay in a bucket. `absent`: why the bytes of a path cannot be had."""

    files: list[SourceFile]
    inspected: Inspected
    absent: dict[str, str]


class Contents:
    """Access to the bytes of an import's files."""

    def __init__(self, store: ImportStore, objects: ObjectStore, executor: Executor, threads: int) -> None:
        """threads: those that `executor` has."""
        self._store = store
        self._objects = objects
        self._executor = executor
        self._threads = threads

    async def images(self, claim: Claim, files: Sequence[SourceFile], local: Local = NOTHING, done: int = 0) -> Inspected:
        """Judges every image content once; `local` are those that need not be fetched. done: images of the import that were judged before.

        Good ones are stored as assets and recorded batch by batch, unless it is a dry run:
        so a process that dies loses one batch, and a source that is refused need not be uploaded again.
        Raises LeaseLostError, and UNAVAILABLE when a store does not answer.
        """
        paths: dict[bytes, int] = {}
        for file in files:
            paths[file.sha256] = paths.get(file.sha256, 0) + 1
        inspected = Inspected()
        for chunk in _chunks(list(paths), _LOOKUP):
            inspected.good.update(await self._store.known(claim.project_id, chunk))
        processed = done + sum(paths[sha256] for sha256 in inspected.good)
        for chunk in _chunks([sha256 for sha256 in paths if sha256 not in inspected.good], BATCH):
            judged = await self.judge(claim.project_id, chunk, keep=not claim.dry_run, local=local)
            inspected.good.update(judged.good)
            inspected.bad.update(judged.bad)
            processed += sum(paths[sha256] for sha256 in chunk)
            await self._store.add_assets(claim, [] if claim.dry_run else list(judged.good.values()), processed)
        return inspected

    async def collect(self, claim: Claim, objects: Mapping[str, Location], folder: Path) -> "Collected":
        """Judges images that lie in a bucket, by path, and takes them in as `images` does. Raises LeaseLostError, UNAVAILABLE."""
        collected = Collected([], Inspected(), {})
        for chunk in _chunks(list(objects.items()), BATCH):
            targets = [folder / f"object{number}" for number in range(len(chunk))]
            results = await self._on_threads(self._object, [(location, target) for (_, location), target in zip(chunk, targets, strict=True)])
            files, local = [], {}
            for (path, _), target, result in zip(chunk, targets, results, strict=True):
                if isinstance(result, str):
                    collected.absent[path] = result
                else:
                    files.append(SourceFile(path, result, target.stat().st_size, is_image=True))
                    local[result] = target.read_bytes
            await self._store.put_members(claim, list(local))
            inspected = await self.images(claim, files, local, done=len(collected.files) + len(collected.absent))
            collected.files.extend(files)
            collected.inspected.good.update(inspected.good)
            collected.inspected.bad.update(inspected.bad)
        return collected

    async def judge(self, project_id: str, contents: Sequence[bytes], *, keep: bool, local: Local = NOTHING) -> Inspected:
        """Judges staged images, a batch at a time; with `keep`, the good ones are stored where assets lie, for the caller to record.

        Raises UNAVAILABLE when the object store does not answer.
        """
        results = await self._on_threads(partial(self._image, project_id, keep, local), contents)
        pairs = list(zip(contents, results, strict=True))
        return Inspected(
            good={sha256: result for sha256, result in pairs if isinstance(result, KnownAsset)},
            bad={sha256: result for sha256, result in pairs if isinstance(result, Fault)},
        )

    async def spool(self, claim: Claim, files: Sequence[SourceFile], folder: Path) -> tuple[dict[str, Path], dict[str, Fault]]:
        """Annotation files, verified, as local files: parsing reads them one by one, and they need not fit into memory.

        Returns the local file by path, and what is wrong with the others.
        """
        contents = {file.sha256: folder / file.sha256.hex() for file in files}
        staged: list[bytes] = []
        for chunk in _chunks(list(contents), _READ):
            came = await self._store.read_contents(claim.import_id, chunk)
            await self.run(partial(_write, [(contents[sha256], data) for sha256, data in came.items()]))
            staged += [sha256 for sha256 in chunk if sha256 not in came]
        faults: dict[bytes, Fault] = {}
        for chunk in _chunks(staged, BATCH):
            results = await self._on_threads(partial(self._annotation, claim, contents), chunk)
            faults.update((sha256, fault) for sha256, fault in zip(chunk, results, strict=True) if fault is not None)
        good = {file.path: contents[file.sha256] for file in files if file.sha256 not in faults}
        return good, {file.path: faults[file.sha256] for file in files if file.sha256 in faults}

    async def fetch(self, claim: Claim, file: SourceFile, target: Path) -> Fault | None:
        """A staged file, verified, as a local one, whatever its size; what is wrong with it, or None. Raises UNAVAILABLE."""
        return await self.run(partial(self._fetched, staging_key(claim.project_id, file.sha256), file, target))

    async def unstage(self) -> bool:
        """Removes the staged bytes of one ended import, except what unfinished imports count on; False when there is none to clean up after."""
        ended = await self._store.next_to_unstage()
        if ended is None:
            return False
        contents = {file.sha256 for file in await self._store.files(ended.import_id)}
        for chunk in _chunks(list(contents), _REMOVED):
            async with self._store.unneeded(ended, chunk) as unneeded:
                await self.run(partial(self._objects.remove, [staging_key(ended.project_id, sha256) for sha256 in unneeded]))
        await self._store.unstaged(ended)
        return True

    async def run(self, function: Callable[[], R]) -> R:
        """Runs something blocking on the import's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def _on_threads(self, function: Callable[[A], R], items: Iterable[A]) -> list[R]:
        """The results in the order of the items, of which each thread takes the next one by itself: waking the event loop for each is what costs."""
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
            waiting.clear()  # when one fails, or nobody waits any more, the other threads end with the item they have
        return [results[number] for number in range(len(results))]

    def _object(self, wanted: tuple[Location, Path]) -> bytes | str:
        """Blocking: writes an object of a bucket into a file; its SHA-256, or why its bytes cannot be had."""
        (bucket, key), target = wanted
        try:
            return self._objects.of(bucket).fetch(key, target, MAX_IMAGE_BYTES)
        except KeyError:
            return f"there is no object {key!r} in the bucket {bucket!r}"
        except ValueError as error:
            return str(error)
        except S3Error as error:
            return f"the object store does not give {key!r} of the bucket {bucket!r}: {error.code}"

    def _image(self, project_id: str, keep: bool, local: Local, sha256: bytes) -> KnownAsset | Fault:
        """Blocking: verifies and decodes one content, and stores what was verified (the staged object could change meanwhile)."""
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

    def _annotation(self, claim: Claim, targets: dict[bytes, Path], sha256: bytes) -> Fault | None:
        data = self._verified(claim.project_id, sha256, MAX_ANNOTATION_BYTES)
        if isinstance(data, Fault):
            return data
        targets[sha256].write_bytes(data)
        return None

    def _fetched(self, key: str, file: SourceFile, target: Path) -> Fault | None:
        try:
            actual = self._objects.fetch(key, target, file.size_bytes)
        except KeyError:
            return _missing()
        except ValueError as error:
            self._objects.remove([key])
            return Fault(HASH_MISMATCH, f"its uploaded bytes are not those announced: {error}")
        if actual == file.sha256:
            return None
        self._objects.remove([key])
        return _mismatch(file.sha256, actual)

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


def _write(files: Iterable[tuple[Path, bytes]]) -> None:
    for path, data in files:
        path.write_bytes(data)


def _missing() -> Fault:
    return Fault(UPLOAD_MISSING, "its uploaded bytes are gone: import the source again")


def _mismatch(announced: bytes, actual: bytes) -> Fault:
    return Fault(HASH_MISMATCH, f"the uploaded bytes have the SHA-256 {actual.hex()}, announced was {announced.hex()}: upload it again")


def _chunks(items: Sequence[A], size: int) -> Iterable[Sequence[A]]:
    return (items[start : start + size] for start in range(0, len(items), size))
