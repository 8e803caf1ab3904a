"""Content digests that both the split service and the pods compute: what each part of a split holds.

SHA-256, given as 64 hexadecimal digits. Each kind of digest begins with its own domain string, so that none can pass
for one of another kind. Rows are sorted by content, so digests do not depend on the order of assets, on their names or
on their ordinals.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint8]
"""(N, 32) uint8: one SHA-256 a row."""

_PART = b"splitrail/split-part/v1\0"


def annotation_sha256(packed: bytes) -> bytes:
    """SHA-256 (32 bytes) of an image's canonical packed annotations."""
    return hashlib.sha256(packed).digest()


def hashes_from_bytes(digests: Sequence[bytes]) -> Hashes:
    """(N, 32) uint8 from N digests of 32 bytes. Raises ValueError when one has another length."""
    for digest in digests:
        if len(digest) != 32:
            raise ValueError(f"a SHA-256 digest has 32 bytes, this one {len(digest)}")
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), 32)


def part_digest(asset_sha256: Hashes, annotation_sha256: Hashes) -> str:
    """Digest of one part (train, val or test) of a split: its images and their annotations, each row a pair; (N, 32)
    uint8 each."""
    return rows_digest(_PART, columns(asset_sha256, annotation_sha256))


def columns(*parts: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Columns side by side, (N, bytes); the first two must be hashes."""
    for column in parts[:2]:
        if column.dtype != np.uint8 or column.ndim != 2 or column.shape[1] != 32:
            raise ValueError(f"hashes must be uint8 of shape (N, 32), not {column.dtype} of shape {column.shape}")
    if len({len(column) for column in parts}) > 1:
        raise ValueError(
            f"asset and annotation hashes differ in number: {', '.join(str(len(column)) for column in parts)}"
        )
    return np.concatenate(parts, axis=1)


def rows_digest(domain: bytes, rows: npt.NDArray[np.uint8]) -> str:
    """H(domain, number of rows, the rows in ascending byte order)."""
    # Hashes are uniform: their first eight bytes decide nearly always, and only rows that tie there are compared in
    # full.
    first = np.ascontiguousarray(rows[:, :8]).view(">u8").ravel().astype(np.uint64)
    order = np.argsort(first)
    ordered = first[order]
    tied = np.flatnonzero(ordered[1:] == ordered[:-1])
    if tied.size:
        where = np.union1d(tied, tied + 1)
        among = order[where]
        order[where] = among[np.lexsort(rows[among].T[::-1])]
    digest = hashlib.sha256(domain + struct.pack("<Q", len(rows)))
    digest.update(rows[order].data)
    return digest.hexdigest()
