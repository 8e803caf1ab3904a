"""What the manifest of a split says, checked entry by entry and, at its end, against the split's digests."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from splitrail.internal.split.v1 import staging_service_pb2
from splitrail.split.v1 import dataset_pb2
from splitrail_common import digest
from splitrail_common.annotations import to_yolo_rows

from splitrail_pod.exchange.messages import Part
from splitrail_pod.supervisor.failures import AttemptFailedError, FailureCause

Entry = staging_service_pb2.ManifestEntry
PART_NAMES: dict[dataset_pb2.Part.ValueType, Part] = {
    dataset_pb2.PART_TRAIN: "train",
    dataset_pb2.PART_VAL: "val",
    dataset_pb2.PART_TEST: "test",
}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EXTENSION = re.compile(r"\.[a-z0-9]{1,8}")


@dataclass
class _PartSoFar:
    """What the manifest has listed of one part so far."""

    assets: list[bytes] = field(default_factory=list)
    annotations: list[bytes] = field(default_factory=list)

    def digest(self) -> str:
        return digest.part_digest(digest.hashes_from_bytes(self.assets), digest.hashes_from_bytes(self.annotations))


def check_entry(entry: Entry, allowed: Sequence[dataset_pb2.Part.ValueType], after: int | None) -> None:
    """Refuses what must never be staged, before a byte of it is fetched: another part, an invalid hash or extension, an
    ordinal out of order.

    Raises AttemptFailedError (DATA).
    """
    if entry.part not in allowed:
        raise _invalid(
            f"image {entry.ordinal} is of part {PART_NAMES.get(entry.part, str(entry.part))}, which this job may not see"
        )
    if not _SHA256.fullmatch(entry.sha256) or not _EXTENSION.fullmatch(entry.extension):
        raise _invalid(f"image {entry.ordinal} has hash {entry.sha256!r} and extension {entry.extension!r}")
    if after is not None and entry.ordinal <= after:
        raise _invalid(f"image {entry.ordinal} comes after image {after}")


def label_rows(entry: Entry) -> str:
    """What Ultralytics reads, made here from the very bytes that the digest covers. Raises AttemptFailedError (DATA)."""
    try:
        return to_yolo_rows(entry.packed_annotations)
    except ValueError as error:
        raise _invalid(f"image {entry.ordinal}: {error}") from error


def _invalid(message: str) -> AttemptFailedError:
    return AttemptFailedError(FailureCause.FAILURE_CAUSE_DATA, f"the manifest is invalid: {message}")


class Ledger:
    """What the manifest has listed so far, to be compared with its end."""

    def __init__(self, parts: Sequence[dataset_pb2.Part.ValueType]) -> None:
        self._parts = {part: _PartSoFar() for part in parts}
        self.last_ordinal: int | None = None
        self.count = 0

    def add(self, entry: Entry) -> None:
        """Takes the next entry. Raises AttemptFailedError (DATA)."""
        check_entry(entry, list(self._parts), self.last_ordinal)
        so_far = self._parts[entry.part]
        so_far.assets.append(bytes.fromhex(entry.sha256))
        so_far.annotations.append(digest.annotation_sha256(entry.packed_annotations))
        self.last_ordinal = entry.ordinal
        self.count += 1

    def images(self) -> dict[Part, int]:
        """Number of images by part."""
        return {PART_NAMES[part]: len(so_far.assets) for part, so_far in self._parts.items()}

    def verify(self, end: staging_service_pb2.ManifestEnd) -> None:
        """Compares number and digests with what the revision says. Raises AttemptFailedError (DATA)."""
        if end.image_count != self.count:
            raise _invalid(f"it announces {end.image_count} images and sent {self.count}")
        for part, so_far in self._parts.items():
            name = PART_NAMES[part]
            promised, found = getattr(end.part_digests, name), so_far.digest()
            if found != promised:
                raise AttemptFailedError(
                    FailureCause.FAILURE_CAUSE_DATA,
                    f"the {name} part that was staged has digest {found}, the split revision has {promised}: the data is not what was split",
                )
