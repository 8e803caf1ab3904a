"""The files of an import, verified: images become assets of the project, annotation files become local files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minio.error import S3Error
from splitrail_common.objects import ObjectStore

from splitrail_split.contents.store import ContentStore
from splitrail_split.contents.verify import BATCH, MAX_IMAGE_BYTES, NOTHING, Contents, Fault, Inspected, Local, chunks
from splitrail_split.imports.domain import Claim, SourceFile
from splitrail_split.imports.places import Location
from splitrail_split.imports.sources import MAX_ANNOTATION_BYTES
from splitrail_split.imports.store import ImportStore

_LOOKUP = 10_000
_READ = 1000
"""Contents that came with their announcement (16 KiB at most) and are in memory at once."""
_REMOVED = 1000


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of images that lay in a bucket. `absent`: why the bytes of a path cannot be had."""

    files: list[SourceFile]
    inspected: Inspected
    absent: dict[str, str]


class ImportFiles:
    """Access to the bytes of an import's files."""

    def __init__(
        self, store: ImportStore, content_store: ContentStore, contents: Contents, objects: ObjectStore
    ) -> None:
        self._store = store
        self._content_store = content_store
        self._contents = contents
        self._objects = objects

    async def images(
        self, claim: Claim, files: Sequence[SourceFile], local: Local = NOTHING, done: int = 0
    ) -> Inspected:
        """Inspects every image content once; `local` are those that need not be fetched. done: images of the import
        that were inspected before.

        Good ones are stored as assets and recorded batch by batch, unless it is a dry run:
        so a process that dies loses one batch, and a source that is refused need not be uploaded again.
        Raises LeaseLostError, and UNAVAILABLE when a store does not answer.
        """
        paths: dict[bytes, int] = {}
        for file in files:
            paths[file.sha256] = paths.get(file.sha256, 0) + 1
        inspected = Inspected()
        for chunk in chunks(list(paths), _LOOKUP):
            inspected.good.update(await self._content_store.known(claim.project_id, chunk))
        processed = done + sum(paths[sha256] for sha256 in inspected.good)
        for chunk in chunks([sha256 for sha256 in paths if sha256 not in inspected.good], BATCH):
            checked = await self._contents.inspect(claim.project_id, chunk, keep=not claim.dry_run, local=local)
            inspected.good.update(checked.good)
            inspected.bad.update(checked.bad)
            processed += sum(paths[sha256] for sha256 in chunk)
            await self._store.add_assets(claim, [] if claim.dry_run else list(checked.good.values()), processed)
        return inspected

    async def collect(self, claim: Claim, objects: Mapping[str, Location], folder: Path) -> Collected:
        """Inspects images that lie in a bucket, by path, and takes them in as `images` does. Raises LeaseLostError,
        UNAVAILABLE.
        """
        collected = Collected([], Inspected(), {})
        for chunk in chunks(list(objects.items()), BATCH):
            targets = [folder / f"object{number}" for number in range(len(chunk))]
            wanted = [(location, target) for (_, location), target in zip(chunk, targets, strict=True)]
            results = await self._contents.on_threads(self._object, wanted)
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

    async def spool(
        self, claim: Claim, files: Sequence[SourceFile], folder: Path
    ) -> tuple[dict[str, Path], dict[str, Fault]]:
        """Annotation files, verified, as local files: parsing reads them one by one, and they need not fit into memory.

        Returns the local file by path, and what is wrong with the others.
        """
        targets = {file.sha256: folder / file.sha256.hex() for file in files}
        staged: dict[bytes, Path] = {}
        for chunk in chunks(list(targets), _READ):
            inline = await self._store.inline_contents(claim.import_id, chunk)
            await self._contents.run(partial(_write, {targets[sha256]: data for sha256, data in inline.items()}))
            staged.update((sha256, targets[sha256]) for sha256 in chunk if sha256 not in inline)
        faults = await self._contents.spool(claim.project_id, staged, at_most=MAX_ANNOTATION_BYTES)
        good = {file.path: targets[file.sha256] for file in files if file.sha256 not in faults}
        return good, {file.path: faults[file.sha256] for file in files if file.sha256 in faults}

    async def unstage(self) -> bool:
        """Removes the staged bytes of one ended import to which nothing else refers; False when there is none to clean
        up after.
        """
        ended = await self._store.next_to_unstage()
        if ended is None:
            return False
        contents = {file.sha256 for file in await self._store.files(ended.import_id)}
        for chunk in chunks(list(contents), _REMOVED):
            async with self._content_store.unneeded(ended.project_id, chunk) as unneeded:
                await self._contents.unstage(ended.project_id, unneeded)
        await self._store.unstaged(ended)
        return True

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


def _write(files: Mapping[Path, bytes]) -> None:
    for path, data in files.items():
        path.write_bytes(data)
