"""What an export consists of: plain values."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExportStart:
    """What is exported."""

    reference: str
    version_id: str
    split_id: str
    image_count: int


@dataclass(frozen=True, slots=True)
class File:
    """A file of the export: an image at its address, or a file made here, in pieces of which `more` says that another
    one follows.

    sha256 (hex) and size_bytes are of the whole file, and are there once all of it is known.
    """

    path: str
    sha256: str = ""
    size_bytes: int = 0
    url: str = ""
    data: bytes | None = None
    more: bool = False


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """All files of one image: that of the image and, if it has one, that of its labels."""

    ordinal: int
    files: Sequence[File]


@dataclass(frozen=True, slots=True)
class ExportEnd:
    """What must have arrived in all."""

    file_count: int
    image_count: int
    version_digest: str
    split_digest: str
    part_digests: Sequence[str]


@dataclass(frozen=True, slots=True)
class Flush:
    """What comes now is sent again when the export breaks off: it does not share a message with what came before."""


ExportItem = ExportStart | File | ImageFiles | Flush | ExportEnd
