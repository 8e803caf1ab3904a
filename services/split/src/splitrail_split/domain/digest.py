"""Content digests of dataset versions and split revisions; `part_digest`, which pods compute too, is in
`splitrail_common.digest`.

All digests are SHA-256, given as 64 hexadecimal digits. Each begins with its own domain string, so that no digest can
pass for one of another kind. Rows are sorted by content, so digests do not depend on the order of assets, on their
names or on their ordinals.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from splitrail_common.digest import Hashes, annotation_sha256, columns, hashes_from_bytes, part_digest, rows_digest

__all__ = ["Hashes", "annotation_sha256", "hashes_from_bytes", "part_digest", "revision_digest", "version_digest"]

_REVISION = b"splitrail/split-revision/v1\0"
_VERSION = b"splitrail/dataset-version/v1\0"


def revision_digest(train: str, val: str, test: str, class_names: Sequence[str]) -> str:
    """Digest of a split revision from its three part digests and the class names in the order of their ids."""
    for name, digest in (("train", train), ("val", val), ("test", test)):
        if len(digest) != 64:
            raise ValueError(f"the {name} digest must have 64 hexadecimal digits: {digest!r}")
    parts = b"".join(bytes.fromhex(digest) for digest in (train, val, test))
    return hashlib.sha256(_REVISION + parts + _names(class_names)).hexdigest()


def version_digest(
    asset_sha256: Hashes, annotation_sha256: Hashes, label_states: npt.NDArray[np.uint8], class_names: Sequence[str]
) -> str:
    """Digest of a dataset version: its images, annotations and label states (N,) and the class names in the order of
    their ids.
    """
    states = np.asarray(label_states, dtype=np.uint8)
    if states.shape != (len(asset_sha256),):
        raise ValueError(f"label states must have shape ({len(asset_sha256)},), not {states.shape}")
    return rows_digest(_VERSION + _names(class_names), columns(asset_sha256, annotation_sha256, states[:, None]))


def _names(class_names: Sequence[str]) -> bytes:
    """Class names, each prefixed by its length, so that no two lists share an encoding."""
    encoded = [name.encode() for name in class_names]
    return struct.pack("<I", len(encoded)) + b"".join(struct.pack("<I", len(name)) + name for name in encoded)
