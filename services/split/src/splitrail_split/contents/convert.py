"""Points in time, and addresses for uploads, as protos."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from splitrail.split.v1 import import_pb2

from splitrail_split.contents.staging import PresignedUpload


def timestamp(moment: datetime | None) -> Timestamp | None:
    """A point in time; None stays absent."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def upload(found: PresignedUpload) -> import_pb2.Upload:
    """Where to put a content."""
    return import_pb2.Upload(sha256=found.sha256.hex(), url=found.url, expire_time=timestamp(found.expire_time))
