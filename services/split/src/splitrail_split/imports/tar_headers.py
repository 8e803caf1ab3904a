"""The headers of an untrusted tar.

tarfile reads extended headers (those of pax, GNU long names) whole whatever they claim, calls itself for each, looks
through them in quadratic time and walks backwards when a size is negative (CVE-2024-6232 and CVE-2025-8194 of CPython).
So the walk is ours; single headers are its to read.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

PLAIN_TYPES = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})
"""Members that are files as they are."""

_BLOCK = 512
_ENCODING, _ERRORS = "utf-8", "surrogateescape"
_EXTENDED_TYPES = frozenset(
    {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK},
)
_MAX_EXTENDED_BYTES = 1 << 20
_EXTENDED_BYTES = 2 * _BLOCK  # for each member that there may be: a header and a block of what it says
_LENGTH_DIGITS = 8  # of a record in a pax header, the space included
_SPARSE = b"GNU.sparse."


class ExtendedHeadersError(Exception):
    """Extended headers are longer, or more, than is read."""


def headers(path: Path, members: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Each member's header, with what extended headers before it say of it, and where its bytes start.

    members: as many as there may be; what extended headers may take goes by that. Raises tarfile.TarError,
    ExtendedHeadersError.
    """
    said: dict[bytes, bytes] = {}
    left = members * _EXTENDED_BYTES
    with path.open("rb") as file:
        while (block := file.read(_BLOCK)) != bytes(_BLOCK):
            if len(block) < _BLOCK:
                raise tarfile.ReadError("it is damaged or ends early")
            info = tarfile.TarInfo.frombuf(block, _ENCODING, _ERRORS)
            if info.size < 0:
                raise tarfile.ReadError("a member has less than no bytes")
            if info.type in _EXTENDED_TYPES:
                left -= _BLOCK + _padded(info.size)
                if info.size > _MAX_EXTENDED_BYTES or left < 0:
                    raise ExtendedHeadersError(
                        "has extended headers (pax, or GNU's long names) that are too long, or too many"
                    )
                more = _extension(info.type, file.read(_padded(info.size))[: info.size])
                if more.keys() & said.keys():
                    raise tarfile.ReadError("a member is described twice")
                said |= more
                continue
            _apply(said, info)
            said = {}
            offset = file.tell()
            yield info, offset
            if info.type == tarfile.GNUTYPE_SPARSE:
                return  # refused; its header may go on where bytes begin otherwise
            if info.type in PLAIN_TYPES or info.type not in tarfile.SUPPORTED_TYPES:
                file.seek(offset + _padded(info.size))
        if said:
            raise tarfile.ReadError("it ends with the description of a member")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _extension(kind: bytes, data: bytes) -> dict[bytes, bytes]:
    """What an extended header says of the next member, by pax's keys: its `path` and `size`, if anything."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {b"path": data.partition(b"\0")[0]}
    if kind == tarfile.GNUTYPE_LONGLINK:
        return {}  # a link is refused, wherever it leads
    records = _pax_records(data)
    said = {key: value for key, value in records.items() if key in (b"path", b"size")}
    if sparse := next((key for key in records if key.startswith(_SPARSE)), None):
        said[_SPARSE] = sparse
    if said and kind == tarfile.XGLTYPE:
        raise tarfile.ReadError("a header for all members gives their name or size")
    return said


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """Records `length key=value\\n`, the length being that of the record (POSIX, pax: "pax Header Block"). The last of
    equal keys counts.
    """
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        digits = data[at : at + _LENGTH_DIGITS].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = data[at + len(digits) + 1 : at + length].partition(b"=")
        if not equals or not value.endswith(b"\n") or at + length > len(data):
            raise tarfile.ReadError("a pax header in it is damaged")
        records[key] = value[:-1]
        at += length
    return records


def _apply(said: dict[bytes, bytes], info: tarfile.TarInfo) -> None:
    if b"path" in said:
        info.name = said[b"path"].decode(_ENCODING, _ERRORS)
    if b"size" in said:
        if not said[b"size"].isdigit():
            raise tarfile.ReadError("a pax header in it gives no whole number as size")
        info.size = int(said[b"size"])
    if _SPARSE in said:
        info.type = tarfile.GNUTYPE_SPARSE
