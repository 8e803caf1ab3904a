"""Exports as the messages of a stream, packed up to a bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from splitrail.split.v1 import export_service_pb2 as pb

from splitrail_split.exports.domain import ExportEnd, ExportItem, ExportStart, File, Flush, ImageFiles
from splitrail_split.splits.convert import part_digests

MESSAGE_BYTES = 512 * 1024


class Messages:
    """Collects the items of an export into messages; each carries the cursor that its files lead up to."""

    def __init__(self) -> None:
        self._ready: list[pb.ExportVersionResponse] = []
        self._open = pb.ExportVersionResponse()
        self._held = 0
        self._cursor: int | None = None

    def take(self, items: Iterable[ExportItem]) -> list[pb.ExportVersionResponse]:
        """Further items; gives messages that are full. Packing takes a moment: on a thread."""
        for item in items:
            match item:
                case File():
                    self._put([_file(item)])
                case ImageFiles():
                    self._put_image(item)
                case Flush():
                    self._close()
                case ExportStart():
                    self._ready.append(pb.ExportVersionResponse(start=_start(item)))
                case ExportEnd():
                    self._close()
                    self._ready.append(pb.ExportVersionResponse(end=_end(item)))
        ready, self._ready = self._ready, []
        return ready

    def _put_image(self, image: ImageFiles) -> None:
        """All files of an image, in one message if they fit: its cursor then covers everything in it."""
        files = [_file(one) for one in image.files]
        if self._held + sum(file.ByteSize() for file in files) > MESSAGE_BYTES:
            self._close()
        self._put(files)
        self._cursor = image.ordinal

    def _put(self, files: Sequence[pb.ExportFile]) -> None:
        for file in files:
            size = file.ByteSize()
            if self._held + size > MESSAGE_BYTES:
                self._close()
            self._open.files.append(file)
            self._held += size

    def _close(self) -> None:
        if not self._held:
            return
        if self._cursor is not None:
            self._open.cursor = self._cursor
        self._ready.append(self._open)
        self._open = pb.ExportVersionResponse()
        self._held = 0


def _start(found: ExportStart) -> pb.ExportStart:
    return pb.ExportStart(
        reference=found.reference, version_id=found.version_id, split_id=found.split_id, image_count=found.image_count
    )


def _file(found: File) -> pb.ExportFile:
    file = pb.ExportFile(path=found.path, sha256=found.sha256, size_bytes=found.size_bytes, more=found.more)
    if found.data is None:
        file.url = found.url
    else:
        file.data = found.data
    return file


def _end(found: ExportEnd) -> pb.ExportEnd:
    return pb.ExportEnd(
        file_count=found.file_count,
        image_count=found.image_count,
        version_digest=found.version_digest,
        split_digest=found.split_digest,
        part_digests=part_digests(found.part_digests),
    )
