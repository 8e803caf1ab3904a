"""A packed checkpoint: what a run needs to continue in another pod, in one file.

An uncompressed zip (``.ckpt``) with

    manifest.json   a `CheckpointManifest`
    last.pt         Ultralytics' resumable checkpoint after epoch k
    best.pt         the best weights so far without optimizer state, only when they are not those of last.pt
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal, Self

from pydantic import ValidationError, model_validator

from splitrail_pod.exchange.messages import EpochRecord, Message, StoredFile, refusal
from splitrail_pod.exchange.spool import sync_directory

_MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 64 << 20  # 100,000 epochs of 20 values are about 60 MB
_MAX_WEIGHTS_BYTES = 16 << 30
_CHUNK = 1 << 20


class CheckpointError(Exception):
    """The file is not a packed checkpoint, or a damaged one."""


class CheckpointManifest(Message):
    """What a packed checkpoint says about itself."""

    format: Literal[1]
    epoch: int
    """The last complete epoch, 1-based."""
    last: bool
    """Training was complete: only the final validation is missing."""
    best: Literal["last.pt", "best.pt"] | None
    """The member with the best weights."""
    history: tuple[EpochRecord, ...]
    """Epochs 1 .. `epoch` of the effective timeline."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.history) != self.epoch or any(
            record.epoch != number for number, record in enumerate(self.history, 1)
        ):
            raise ValueError(f"its history does not hold each of the epochs 1 to {self.epoch} once")
        return self


class _HashingFile:
    """Writes through to a file and hashes what passes. It cannot seek, so the zip is one pass."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        self._file.write(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """The file belongs to the caller, who syncs it before closing."""

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def pack(
    target: Path, *, last: Path, best: Path | None, best_is_last: bool, history: Sequence[EpochRecord], final: bool
) -> StoredFile:
    """Copy the weights and the history into `target`; it appears under its name only when it is complete and on the
    disk.

    A copy, never a link: Ultralytics overwrites last.pt in place. Raises OSError.
    """
    manifest = CheckpointManifest(
        format=1,
        epoch=history[-1].epoch,
        last=final,
        best="last.pt" if best_is_last else "best.pt" if best else None,
        history=tuple(history),
    )
    partial = target.with_suffix(".partial")
    with partial.open("wb") as file:
        hashing = _HashingFile(file)
        with zipfile.ZipFile(hashing, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.writestr(_MANIFEST, manifest.encode())
            archive.write(last, "last.pt")
            if best is not None and not best_is_last:
                archive.write(best, "best.pt")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(target)
    sync_directory(target.parent)
    return StoredFile(path=target, size_bytes=hashing.size, sha256=hashing.hexdigest())


def read_manifest(path: Path) -> CheckpointManifest:
    """The manifest alone, checked. Raises CheckpointError."""
    with _open(path) as archive:
        return _manifest(archive, path)


def unpack(path: Path, directory: Path) -> CheckpointManifest:
    """Write last.pt and best.pt (also when it equals last.pt) into `directory`, and return the manifest. Raises
    CheckpointError, OSError.

    The `.pt` files are still untrusted: load them with the restricted loader only.
    """
    with _open(path) as archive:
        manifest = _manifest(archive, path)
        _extract(archive, "last.pt", directory / "last.pt", path)
        if manifest.best:
            _extract(archive, manifest.best, directory / "best.pt", path)
    return manifest


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise CheckpointError(f"{path.name} is not a readable checkpoint ({error})") from error


def _manifest(archive: zipfile.ZipFile, path: Path) -> CheckpointManifest:
    try:
        info = archive.getinfo(_MANIFEST)
        if info.file_size > _MAX_MANIFEST_BYTES:
            raise ValueError(f"its manifest has {info.file_size} bytes")
        return CheckpointManifest.model_validate_json(archive.read(info))
    except ValidationError as error:
        raise CheckpointError(f"{path.name} is not a valid checkpoint: {refusal(error)}") from error
    except (KeyError, ValueError, zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{path.name} is not a valid checkpoint: {error}") from error


def _extract(archive: zipfile.ZipFile, member: str, target: Path, path: Path) -> None:
    """Copy one member out; its checksum is verified on the way, its size is capped by what its header claims and by us."""
    try:
        info = archive.getinfo(member)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > _MAX_WEIGHTS_BYTES:
            raise ValueError(f"{member} is compressed or larger than {_MAX_WEIGHTS_BYTES} bytes")
        with archive.open(info) as source, target.open("wb") as sink:
            while chunk := source.read(_CHUNK):
                sink.write(chunk)
    except (KeyError, ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{path.name} is damaged at {member}: {error}") from error
