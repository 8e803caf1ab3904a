"""A packed checkpoint: what a run needs to go on in another pod, in one file. Imports no torch.

An uncompressed zip (``.ckpt``) with

    manifest.json   {"format": 1, "epoch": k, "last": bool, "best": "last.pt" | "best.pt" | null, "history": [epoch record, ...]}
    last.pt         Ultralytics' resumable checkpoint after epoch k
    best.pt         the best weights so far without optimizer state, only when they are not those of last.pt

`history` holds the `epoch` records 1 .. k of the effective timeline. `last` says that training was complete: only the final validation is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from splitrail_pod.exchange.spool import Record, sync_directory

_FORMAT = 1
_MANIFEST = "manifest.json"
_WEIGHTS = ("last.pt", "best.pt")
_MAX_MANIFEST_BYTES = 64 << 20  # 100,000 epochs of 20 values are about 60 MB
_MAX_WEIGHTS_BYTES = 16 << 30
_CHUNK = 1 << 20


class CheckpointError(Exception):
    """The file is no packed checkpoint, or a damaged one."""


@dataclass(frozen=True)
class Manifest:
    """What a packed checkpoint says about itself."""

    epoch: int
    last: bool
    best: str | None
    history: list[Record]


@dataclass(frozen=True)
class Packed:
    """A packed checkpoint on the disk."""

    path: Path
    sha256: str
    size_bytes: int


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


def pack(target: Path, *, last: Path, best: Path | None, best_is_last: bool, history: list[Record], final: bool) -> Packed:
    """Copy the weights and the history into `target`; it appears under its name only when it is complete and on the disk.

    A copy, never a link: Ultralytics overwrites last.pt in place. Raises OSError.
    """
    manifest = {
        "format": _FORMAT,
        "epoch": history[-1]["epoch"],
        "last": final,
        "best": "last.pt" if best_is_last else "best.pt" if best else None,
        "history": history,
    }
    partial = target.with_suffix(".partial")
    with partial.open("wb") as file:
        hashing = _HashingFile(file)
        with zipfile.ZipFile(hashing, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.writestr(_MANIFEST, json.dumps(manifest))
            archive.write(last, "last.pt")
            if best is not None and not best_is_last:
                archive.write(best, "best.pt")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(target)
    sync_directory(target.parent)
    return Packed(target, hashing.hexdigest(), hashing.size)


def read_manifest(path: Path) -> Manifest:
    """The manifest alone, checked. Raises CheckpointError."""
    with _open(path) as archive:
        return _manifest(archive, path)


def unpack(path: Path, directory: Path) -> Manifest:
    """Write last.pt and best.pt (also when it equals last.pt) into `directory`, and return the manifest. Raises CheckpointError, OSError.

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


def _manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    try:
        info = archive.getinfo(_MANIFEST)
        if info.file_size > _MAX_MANIFEST_BYTES:
            raise ValueError(f"its manifest has {info.file_size} bytes")
        raw = json.loads(archive.read(info))
        if raw["format"] != _FORMAT:
            raise ValueError(f"its format is {raw['format']!r}, this version reads {_FORMAT}")
        manifest = Manifest(int(raw["epoch"]), bool(raw["last"]), raw["best"], list(raw["history"]))
        if [record["epoch"] for record in manifest.history] != list(range(1, manifest.epoch + 1)):
            raise ValueError(f"its history does not hold each of the epochs 1 to {manifest.epoch} once")
        if manifest.best not in (None, *_WEIGHTS):
            raise ValueError(f"its best weights are called {manifest.best!r}")
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        zipfile.BadZipFile,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise CheckpointError(f"{path.name} is not a valid checkpoint: {error}") from error
    return manifest


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
