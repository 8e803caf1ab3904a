"""Progress within an epoch, as it travels over core NATS."""

from google.protobuf.message import DecodeError
from splitrail.events.v1 import event_pb2

from ..domain import BatchProgress


def progress(data: bytes) -> BatchProgress | None:
    """The progress in these bytes, or None."""
    try:
        found = event_pb2.BatchProgress.FromString(data)
    except DecodeError:
        return None
    remaining = found.remaining_seconds if found.HasField("remaining_seconds") else None
    return BatchProgress(
        found.attempt, found.epoch, found.epochs, found.batch, found.batches, dict(found.losses), remaining
    )
