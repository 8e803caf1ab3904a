"""What may be announced as a file of a source: names are untrusted, and are checked before anything is uploaded."""

from collections.abc import Sequence
from posixpath import basename, splitext

from splitrail_split.contents.verify import MAX_IMAGE_BYTES
from splitrail_split.domain.paths import extension, name_problem
from splitrail_split.formats.images import is_image
from splitrail_split.imports.domain import SourceFile

ANNOTATION_EXTENSIONS = frozenset({".txt", ".xml", ".json", ".yaml", ".yml", ".names", ".labels"})
ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
"""What may be announced as the one file of a source, to be expanded here."""
LISTING_EXTENSION = ".csv"
"""What may be announced as the one file of a source that lists objects of a bucket; beside other files it is ignored.
"""
IGNORED_EXTENSIONS = frozenset({".md", ".rst", ".html"})
IGNORED_NAMES = frozenset(
    {
        "split.lock.json",
        "license",
        "licence",
        "readme",
        "notice",
        "copying",
        "citation",
        ".gitignore",
        ".gitkeep",
        ".ds_store",
    }
)

MAX_ANNOTATION_BYTES = 512 * 1024 * 1024
MAX_LISTING_BYTES = 64 * 1024 * 1024
"""About a million rows: they are in memory at once, at some twenty times their size."""
MAX_ARCHIVE_BYTES = 4 * 1024 * 1024 * 1024


def path_problem(path: str) -> str | None:
    """Why a path may not be announced, or None."""
    if (problem := name_problem(path)) is not None:
        return problem
    if not (is_archive(path) or is_listing(path) or is_wanted(path) or is_ignored(path)):
        return (
            f"{kind_of(path)!r} is not a kind of file that a dataset of images and annotations is made of: leave it out"
        )
    return None


def kind_of(path: str) -> str:
    """A file's kind for people: its extension, or its name when it has none."""
    return splitext(path)[1] or basename(path)


def is_archive(path: str) -> bool:
    """True when the name says that it holds a whole source."""
    return path.lower().endswith(ARCHIVE_ENDINGS)


def is_listing(path: str) -> bool:
    """True when the name says that it lists objects of a bucket."""
    return extension(path) == LISTING_EXTENSION


def is_wanted(path: str) -> bool:
    """True for images and annotations."""
    return is_image(path) or is_annotation(path)


def is_annotation(path: str) -> bool:
    """True when the name says that it may hold annotations or class names."""
    return extension(path) in ANNOTATION_EXTENSIONS


def is_ignored(path: str) -> bool:
    """True for files that come with datasets and say nothing of images: they are neither uploaded nor parsed."""
    return extension(path) in IGNORED_EXTENSIONS or basename(path).lower() in IGNORED_NAMES


def max_bytes(path: str) -> int:
    """The most that a file of this name may hold."""
    if is_archive(path):
        return MAX_ARCHIVE_BYTES
    if is_listing(path):
        return MAX_LISTING_BYTES
    return MAX_IMAGE_BYTES if is_image(path) else MAX_ANNOTATION_BYTES


def meant(files: Sequence[SourceFile]) -> list[SourceFile]:
    """Announced files without lists of objects that came beside others: many datasets have some .csv, and clients
    announce page by page.
    """
    others = [file for file in files if not is_listing(file.path)]
    return others or list(files)
