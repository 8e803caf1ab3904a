"""A local folder of images and annotations: which files are sent, and their hashes."""

import csv
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .errors import UsageError
from .text import plain

IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Files that the import reads as images."""
ANNOTATION_EXTENSIONS = frozenset({".txt", ".xml", ".json", ".yaml", ".yml", ".names", ".labels"})
"""Files with annotations or class names."""
ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
"""Archives, which are sent as they are; the service unpacks them."""
LISTING_EXTENSION = ".csv"
"""A list of images that are in a bucket already."""
MAX_INLINE_BYTES = 16 * 1024
"""Annotation files up to this size are sent inside AddFiles instead of being uploaded."""
_BATCH = 32  # files that a thread hashes before it reports progress


@dataclass(frozen=True)
class LocalFile:
    """A file to send."""

    path: str
    """Relative to the folder, with '/'."""
    size_bytes: int

    @property
    def is_image(self) -> bool:
        """Decided by the extension, as the import does."""
        return _extension(self.path) in IMAGE_EXTENSIONS


@dataclass(frozen=True)
class Source:
    """The files of a folder, or one archive or list. The service finds out in which format the annotations are."""

    root: Path
    """The folder; that of an archive or list."""
    files: tuple[LocalFile, ...]
    kind: str
    """For display: `folder`, `.zip archive`, ..."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Files that are not sent, by extension or reason."""

    @property
    def image_count(self) -> int:
        """Number of images."""
        return sum(item.is_image for item in self.files)

    @property
    def size_bytes(self) -> int:
        """Of all files that are sent."""
        return sum(item.size_bytes for item in self.files)


@dataclass(frozen=True)
class HashedFile:
    """A file to send, with the hex SHA-256 of its bytes."""

    path: str
    size_bytes: int
    sha256: str

    @property
    def is_inline(self) -> bool:
        """True when it is sent inside AddFiles, because an upload would cost more than so small a file."""
        return self.size_bytes <= MAX_INLINE_BYTES and _extension(self.path) in {
            *ANNOTATION_EXTENSIONS,
            LISTING_EXTENSION,
        }


def scan(root: Path) -> Source:
    """Walks a folder; blocking. Hidden files are left out, and so are files that no import reads (`.cache`, `.pt`,
    archives, ...). Symbolic links are followed to files inside the folder only. A .zip, .tar, .tar.gz or .csv is a
    source of one file, which the service checks.

    Raises UsageError when it is missing, cannot be read, or holds no image, and for a .csv that does not name its
    columns.
    """
    if not root.exists():
        raise UsageError(f"{plain(str(root))} does not exist")
    if is_one_file(root):
        if is_listing(root.name) and not _names_objects(root):
            raise UsageError(
                f"{plain(str(root))}: the first row must name the columns, one of them 'object' (the key of the image in the bucket)"
            )
        kind = (
            "CSV list of objects"
            if is_listing(root.name)
            else f"{root.name.removeprefix(without_ending(root.name))} archive"
        )
        return Source(root.parent, (LocalFile(root.name, root.stat().st_size),), kind)
    if not root.is_dir():
        raise UsageError(
            f"{plain(str(root))} is neither a folder nor a .zip, .tar, .tar.gz or .csv: give one that has the images and their annotations"
        )
    left_out: Counter[str] = Counter()
    try:
        files = tuple(sorted(_walk(root, os.path.realpath(root), left_out), key=lambda item: item.path))
    except OSError as error:
        raise UsageError(f"{plain(str(error.filename or root))} cannot be read: {error.strerror}") from error
    if not files and not left_out:
        raise UsageError(f"{plain(str(root))} is an empty folder: there are no images to import")
    if not any(item.is_image for item in files):
        kinds = ", ".join(sorted(IMAGE_EXTENSIONS))
        raise UsageError(f"{plain(str(root))} has no images (looked for {kinds}, in sub-folders too)")
    return Source(root, files, "folder", left_out)


def is_one_file(path: Path) -> bool:
    """True for a source of one file: an archive, or a list of objects in a bucket."""
    return path.is_file() and path.name.lower().endswith((*ARCHIVE_ENDINGS, LISTING_EXTENSION))


def without_ending(name: str) -> str:
    """The name of an archive or list without its extension."""
    ending = next(item for item in (*ARCHIVE_ENDINGS, LISTING_EXTENSION) if name.lower().endswith(item))
    return name[: -len(ending)]


def is_listing(path: str) -> bool:
    """True for a list of images in a bucket."""
    return _extension(path) == LISTING_EXTENSION


def _names_objects(path: Path) -> bool:
    """False when the first row has no column `object`. True also for a file that is not CSV: the service reports that."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return "object" in [cell.strip() for cell in next(csv.reader(file, strict=True), [])]
    except (csv.Error, UnicodeDecodeError):
        return True
    except OSError as error:
        raise UsageError(f"{plain(str(path))} cannot be read: {error.strerror}") from error


def _walk(root: Path, real_root: str, left_out: Counter[str]) -> Iterator[LocalFile]:
    folders = [(str(root), "")]
    while folders:
        folder, prefix = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                path = prefix + entry.name
                if entry.name.startswith("."):
                    continue
                if not _is_unicode(path):
                    left_out["name that is not UTF-8"] += 1
                elif entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, path + "/"))
                elif entry.is_symlink() and not _points_to_file_inside(entry.path, real_root):
                    left_out["link to a folder or out of the folder"] += 1
                elif not stat.S_ISREG((status := entry.stat()).st_mode):
                    left_out["neither file nor folder"] += 1
                elif (extension := _extension(path)) in IMAGE_EXTENSIONS or extension in ANNOTATION_EXTENSIONS:
                    yield LocalFile(path, status.st_size)
                else:
                    left_out[extension or "without extension"] += 1


def _is_unicode(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8, which a protobuf string cannot hold
        return False
    return True


def _points_to_file_inside(path: str, real_root: str) -> bool:
    target = os.path.realpath(path)
    return target.startswith(real_root.rstrip(os.sep) + os.sep) and os.path.isfile(target)


def _extension(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def hash_files(source: Source, report: Callable[[int], None]) -> list[HashedFile]:
    """The SHA-256 of every file, on as many threads as there are cores; blocking. `report` gets the number of files
    done, from one thread.

    Raises UsageError when a file cannot be read.
    """
    batches = [source.files[start : start + _BATCH] for start in range(0, len(source.files), _BATCH)]
    hashed: list[HashedFile] = []
    with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool:
        for batch in pool.map(lambda files: [_hash(source.root, item) for item in files], batches):
            hashed.extend(batch)
            report(len(hashed))
    return hashed


def _hash(root: Path, item: LocalFile) -> HashedFile:
    try:
        with open(root / item.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return HashedFile(item.path, file.tell(), digest)
    except OSError as error:
        raise UsageError(f"{plain(str(root / item.path))} cannot be read: {error.strerror}") from error


def manifest_digest(files: Sequence[HashedFile]) -> str:
    """Hex SHA-256 over the sorted (path, content hash): changes with any name and any byte."""
    digest = hashlib.sha256()
    for item in sorted(files, key=lambda item: item.path):
        digest.update(f"{item.path}\0{item.sha256}\n".encode())
    return digest.hexdigest()
