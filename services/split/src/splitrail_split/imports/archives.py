"""A source in one file: what a .zip, .tar or .tar.gz holds, checked before any of it is used. No member becomes a file,
so no name reaches anything.

A member that could do harm, or that makes the archive ambiguous, refuses all of it. Foreign files (`.cache`, `.pt`,
...) are left out and named.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from splitrail_split.domain.paths import MAX_PATH_BYTES, extension, name_problem
from splitrail_split.formats import Code
from splitrail_split.formats.images import is_image
from splitrail_split.imports import sources
from splitrail_split.imports.domain import Finding, SourceFile
from splitrail_split.imports.tar_headers import PLAIN_TYPES, ExtendedHeadersError, headers

BAD_ARCHIVE = "bad_archive"
"""The archive, or a member of it, cannot be read."""
UNSAFE_PATH = "unsafe_path"
"""A member's name leads out of the archive, or cannot be stored."""
LINK = "link"
"""A member is a link, or something else that is not a file."""
NESTED_ARCHIVE = "nested_archive"
DUPLICATE_PATH = "duplicate_path"
"""Two members have the same name, or names that differ in case only."""
ARCHIVE_LIMIT = "archive_limit"
"""More members or bytes than are expanded."""

_NESTED = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".jar"})
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 0x1
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_MAX_COMMENT = 0xFFFF
_ELSEWHERE = 0xFFFFFFFF
_ENTRY_BYTES = 512
_PIECE_BYTES = 1 << 20
_MAX_FINDINGS = 100
_MAX_NOTES = 1000
_HIDDEN = "__MACOSX"
_LISTS = frozenset({".yaml", ".yml", ".txt"})
_MAX_LIST_BYTES = 1 << 20
_LISTED = rb"(?m)(?:^|[\s\"'\[{,:])(?:\.{1,2}[/\\])*%b[/\\]"
"""A path in a text that begins with this folder."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is expanded at most."""

    members: int = 1_000_000
    total_bytes: int = 64 << 30
    ratio: int = 100
    """Expanded bytes for each byte of the archive; images hardly compress, and label files about tenfold."""
    tar_bytes: int = sources.MAX_ARCHIVE_BYTES
    """Of the .tar within a .tar.gz, which lies on disk meanwhile: as many as it might have had by itself."""
    free_bytes: int = 64 << 20
    """Up to here the ratio does not count: a small archive of labels may compress better."""


@dataclass(frozen=True, slots=True)
class Expanded:
    """A source as its archive holds it. `read` gives the bytes of a content by hash while the archive's file is there;
    safe on threads.
    """

    files: list[SourceFile]
    read: dict[bytes, Callable[[], bytes]]
    notes: list[Finding]


class ArchiveError(Exception):
    """An archive that is refused, with what is wrong in it."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(str(findings[0]))
        self.findings = findings


@dataclass(frozen=True, slots=True)
class _Member:
    """One file of an archive. open: its bytes, from the start; callers read at most `size` of them."""

    path: str
    size: int
    open: Callable[[], BinaryIO]


@dataclass(slots=True)
class _Checks:
    """Gathers members and what is wrong with them."""

    limits: Limits
    archive_bytes: int
    members: list[_Member] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    _seen: dict[str, str] = field(default_factory=dict)
    _total: int = 0
    _hidden: int = 0
    _unnamed: int = 0

    def refuse(self, path: str, code: str, message: str) -> None:
        if len(self.refused) < _MAX_FINDINGS:
            self.refused.append(Finding(_shown(path), None, code, message, image_excluded=False, note=False))

    def add(self, member: _Member) -> None:
        """A regular file."""
        path = member.path
        if (problem := name_problem(path)) is not None:
            return self.refuse(path, UNSAFE_PATH, f"its name {problem}")
        self._total += member.size
        limits = self.limits
        if self._total > limits.total_bytes:
            raise ArchiveError([_whole(ARCHIVE_LIMIT, f"expands to more than {limits.total_bytes} bytes")])
        if self._total > max(limits.free_bytes, limits.ratio * self.archive_bytes):
            raise ArchiveError(
                [_whole(ARCHIVE_LIMIT, f"expands to more than {limits.ratio} times its {self.archive_bytes} bytes")]
            )
        if any(part == _HIDDEN or part.startswith(".") for part in path.split("/")):
            self._hidden += 1
            return None
        folded = unicodedata.normalize("NFC", path).casefold()
        if (before := self._seen.setdefault(folded, path)) is not path:
            same = "occurs twice" if before == path else f"is {before!r} but for its case"
            return self.refuse(path, DUPLICATE_PATH, f"the name {same}: which of them is meant cannot be told")
        if extension(path) in _NESTED:
            return self.refuse(path, NESTED_ARCHIVE, "is an archive within the archive: put its files in directly")
        if sources.is_ignored(path) or sources.is_listing(path):
            return None
        if not sources.is_wanted(path):
            return self._note(path)
        if member.size > sources.max_bytes(path):
            return self.refuse(path, ARCHIVE_LIMIT, f"has {member.size} bytes: at most {sources.max_bytes(path)}")
        self.members.append(member)
        return None

    def end(self) -> None:
        """After the last member. Raises ArchiveError."""
        if self.refused:
            raise ArchiveError(self.refused)
        if self._hidden:
            self.notes.append(_note("", f"{self._hidden} hidden files (.*, {_HIDDEN}) in the archive are left out"))
        if self._unnamed:
            self.notes.append(_note("", f"{self._unnamed} more files are neither images nor annotations: left out"))

    def _note(self, path: str) -> None:
        if len(self.notes) < _MAX_NOTES:
            self.notes.append(_note(path, f"left out: {sources.kind_of(path)!r} files are not part of a dataset"))
        else:
            self._unnamed += 1


def expand(path: Path, name: str, limits: Limits = Limits()) -> Expanded:
    """What an archive holds, every member read once and hashed; blocking. name: as it was announced, which tells .zip
    from .tar and .tar.gz.

    What a .tar.gz holds is put in its place. When all of cells.zip lies in its folder cells, that folder is the source,
    unless a file at the top of it gives paths that begin with cells/. Raises ArchiveError, and OSError when there is no
    room for that.
    """
    checks = _Checks(limits, path.stat().st_size)
    kind = next(ending for ending in sources.ARCHIVE_ENDINGS if name.lower().endswith(ending))
    if kind in (".tar.gz", ".tgz"):
        path = _unzipped(path, limits)
    try:
        for member in _zipped(path, checks) if kind == ".zip" else _tarred(path, checks):
            checks.add(member)
    except ExtendedHeadersError as error:
        raise ArchiveError([_whole(ARCHIVE_LIMIT, str(error))]) from error
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        struct.error,
        OSError,
        EOFError,
        ValueError,
        NotImplementedError,
        OverflowError,
    ) as error:
        # zipfile and tarfile raise all of these on hostile bytes.
        raise ArchiveError([_whole(BAD_ARCHIVE, f"cannot be read as {kind}: {_reason(error)}")]) from error
    checks.end()
    folder = f"{PurePosixPath(name).name[: -len(kind)]}/"
    packed = all(member.path.startswith(folder) for member in checks.members)
    listed = re.compile(_LISTED % re.escape(folder.rstrip("/").encode()))
    files: list[SourceFile] = []
    read: dict[bytes, Callable[[], bytes]] = {}
    for member in checks.members:
        try:
            sha256 = hashlib.sha256()
            for piece in _pieces(member):
                sha256.update(piece)
            if packed and _may_list(member, folder) and listed.search(_bytes(member)):
                packed = False
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            ValueError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            finding = Finding(
                _shown(member.path),
                None,
                BAD_ARCHIVE,
                f"cannot be read from the archive: {_reason(error)}",
                False,
                note=False,
            )
            raise ArchiveError([finding]) from error
        files.append(SourceFile(member.path, sha256.digest(), member.size, is_image(member.path)))
        read[sha256.digest()] = partial(_bytes, member)
    if packed:
        files = [replace(file, path=file.path.removeprefix(folder)) for file in files]
    return Expanded(sorted(files, key=lambda file: file.path), read, checks.notes)


def _may_list(member: _Member, folder: str) -> bool:
    """True for what names folders or images of a YOLO dataset: a .yaml or .txt at the top of the folder."""
    within = member.path.removeprefix(folder)
    return "/" not in within and extension(within) in _LISTS and member.size <= _MAX_LIST_BYTES


def _bytes(member: _Member) -> bytes:
    return b"".join(_pieces(member))


def _pieces(member: _Member) -> Iterator[bytes]:
    """The bytes of a member. Raises EOFError when there are fewer than it says; more are never read."""
    left = member.size
    with member.open() as file:
        while left and (piece := file.read(min(left, _PIECE_BYTES))):
            left -= len(piece)
            yield piece
        file.read(1)  # zipfile checks the CRC when it finds the end
    if left:
        raise EOFError(f"it ends {left} bytes early")


def _zipped(path: Path, checks: _Checks) -> Iterator[_Member]:
    with path.open("rb") as file:
        _check_directory(file, checks.archive_bytes, checks.limits)
    try:
        archive = zipfile.ZipFile(path)
    except UnicodeDecodeError as error:
        raise ArchiveError([_whole(Code.NOT_UTF8, f"a name in it is not UTF-8: {error.reason}")]) from error
    if len(archive.filelist) > checks.limits.members:
        raise ArchiveError([_whole(ARCHIVE_LIMIT, f"has more than {checks.limits.members} members")])
    for info in archive.filelist:
        name = info.orig_filename
        if not info.flag_bits & _UTF8_FLAG:
            try:
                name = name.encode("cp437").decode()
            except UnicodeError:
                checks.refuse(name, Code.NOT_UTF8, "its name is not UTF-8")
                continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            checks.refuse(name, LINK, "is a link or another special file")
        elif name.endswith("/") and not info.file_size:
            if (problem := name_problem(name.rstrip("/") or "/")) is not None:
                checks.refuse(name, UNSAFE_PATH, f"its name {problem}")
        elif info.flag_bits & _ENCRYPTED_FLAG:
            checks.refuse(name, BAD_ARCHIVE, "is encrypted")
        elif info.compress_type not in _METHODS:
            checks.refuse(name, BAD_ARCHIVE, "is compressed in another way than deflate")
        else:
            yield _Member(name, info.file_size, partial(_open_zipped, archive, info))


def _open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    return archive.open(info)  # type: ignore[return-value]  # an IO[bytes], which is all that is needed


def _check_directory(file: BinaryIO, size: int, limits: Limits) -> None:
    """Refuses a directory that would fill memory: zipfile reads all of it. Its size stands at the end of the archive
    (PKWARE's APPNOTE, 4.3.16).
    """
    start = max(0, size - _END.size - _MAX_COMMENT)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise zipfile.BadZipFile("it has no end record")
    count, length = _END.unpack_from(tail, at)[4:6]
    length = 0 if length == _ELSEWHERE else length
    locator = start + at - _END64_LOCATOR.size
    if locator >= 0:
        file.seek(locator)
        signature, _, offset, _ = _END64_LOCATOR.unpack(file.read(_END64_LOCATOR.size))
        if signature == b"PK\x06\x07":
            for place in {offset, locator - _END64.size}:  # as written, and where zipfile looks for it
                if 0 <= place <= size - _END64.size:
                    file.seek(place)
                    fields = _END64.unpack(file.read(_END64.size))
                    if fields[0] == b"PK\x06\x06":
                        count, length = max(count, fields[7]), max(length, fields[8])
    if length > size or length > limits.members * _ENTRY_BYTES or count > limits.members:
        raise ArchiveError([_whole(ARCHIVE_LIMIT, f"has more than {limits.members} members, or a directory to match")])


def _unzipped(path: Path, limits: Limits) -> Path:
    """The .tar within a .tar.gz, in place of it: members are read from it at any place and time.

    By zlib and one member, unlike Python's gzip: that goes on through members and padding without end that yield
    nothing.
    """
    target = path.with_name(f"{path.name}.tar")
    limit = min(limits.tar_bytes, max(limits.free_bytes, limits.ratio * path.stat().st_size))
    left = limit
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    with path.open("rb") as source, target.open("wb") as file:
        while not unzip.eof and (data := unzip.unconsumed_tail or source.read(_PIECE_BYTES)):
            try:
                piece = unzip.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise ArchiveError([_whole(BAD_ARCHIVE, f"cannot be read as .tar.gz: {_reason(error)}")]) from error
            left -= len(piece)
            if left < 0:
                raise ArchiveError([_whole(ARCHIVE_LIMIT, f"expands to more than {limit} bytes")])
            file.write(piece)
        rest = unzip.unused_data + source.read(_PIECE_BYTES)
    if not unzip.eof:
        raise ArchiveError([_whole(BAD_ARCHIVE, "cannot be read as .tar.gz: it ends early")])
    if rest.strip(b"\0"):
        raise ArchiveError([_whole(BAD_ARCHIVE, "goes on behind the end of its .tar.gz: make it anew in one piece")])
    path.unlink()
    return target


def _tarred(path: Path, checks: _Checks) -> Iterator[_Member]:
    """Members of an uncompressed tar: their bytes lie in it as they are."""
    for count, (info, offset) in enumerate(headers(path, checks.limits.members), start=1):
        if count > checks.limits.members:
            raise ArchiveError([_whole(ARCHIVE_LIMIT, f"has more than {checks.limits.members} members")])
        name = info.name.removeprefix("./")
        if not _is_text(name):
            checks.refuse(name, Code.NOT_UTF8, "its name is not UTF-8")
        elif info.isdir():
            if name not in ("", ".") and (problem := name_problem(name.rstrip("/"))) is not None:
                checks.refuse(name, UNSAFE_PATH, f"its name {problem}")
        elif info.type not in PLAIN_TYPES:
            checks.refuse(name, LINK, "is a link or another special file")
        else:
            yield _Member(name, info.size, partial(_open_tarred, path, offset))


def _open_tarred(path: Path, offset: int) -> BinaryIO:
    file = path.open("rb")
    file.seek(offset, os.SEEK_SET)
    return file


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: str) -> str:
    """A name from an archive as it can be stored: no NUL, no bytes that are not text."""
    return path.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()[:MAX_PATH_BYTES]


def _reason(error: Exception) -> str:
    return _shown(str(error) or type(error).__name__)


def _whole(code: str, message: str) -> Finding:
    return Finding("", None, code, f"the archive {message}", image_excluded=False, note=False)


def _note(path: str, message: str) -> Finding:
    return Finding(_shown(path), None, Code.FILE_IGNORED, message, image_excluded=False, note=True)


def image_count(files: Iterable[SourceFile]) -> int:
    """Images among the files of a source."""
    return sum(file.is_image for file in files)
