"""Where an image lies in an exported folder: the path that its source gave it, made fit for every file system, without
what named the old layout.

Nothing of a path is trusted, and nothing of it gets lost that needs not: folders and file names are what images are
grouped by.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from splitrail_split.formats.image_names import split_of_word
from splitrail_split.formats.images import EXTENSIONS

MAX_STEM_BYTES = 800
"""Of a whole stem: with folder, number and extension it stays below what an import takes."""
_MAX_SEGMENT_BYTES = 200
_MAX_CLASS_BYTES = 150
_LAYOUT = frozenset({"images", "labels", "jpegimages", "all", "unassigned"})
_WRITTEN = EXTENSIONS | {".txt"}
_NUMBERS = re.compile(r"(?:~\d+|[ .])+$")
_FORBIDDEN = frozenset('<>:"/\\|?*')
_UNSAFE_ASCII = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
# What Windows takes for a device, whatever its extension.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)", re.IGNORECASE)


def stem(path: str) -> str:
    """`train/images/Clip 1/a.JPG` -> `Clip 1/a`: folders and name without extension, relative to the folder of a part.

    Safe: no segment is empty, '.' or '..', hidden, a device, or holds a character that some file system refuses.
    Folders called `images` or like a part go: they are the layout's, and Ultralytics takes the last `images` for it. No
    stem ends in `~<number>`: that is what `numbered` appends.
    """
    *folders, name = path.split("/")
    base, dot, extension = name.rpartition(".")
    if dot and f".{extension.lower()}" in EXTENSIONS:
        name = base
    last = _segment(_NUMBERS.sub("", _writable(name)))
    kept = filter(None, map(_folder, filter(None, folders)))
    whole = "/".join([*kept, last])
    return whole if len(whole.encode()) <= MAX_STEM_BYTES else last


def numbered(base: str, ordinal: int) -> str:
    """The stem of an image whose own stem others have too."""
    return f"{base}~{ordinal}"


def key(base: str) -> int:
    """64 bits that are the same for stems which some file system takes for one: those that differ in case or in how
    letters are composed.
    """
    folded = (
        base.lower()
        if base.isascii()
        else unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", base).casefold())
    )
    return int.from_bytes(hashlib.blake2b(folded.encode(), digest_size=8).digest(), "little")


def keys(stems: Iterable[str]) -> npt.NDArray[np.uint64]:
    """The key of each stem."""
    return np.fromiter(map(key, stems), dtype=np.uint64)


def repeated(of_all: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The keys that several images have, ascending. Should two stems share one by chance, both get a number: that does
    no harm.
    """
    values, counts = np.unique(of_all, return_counts=True)
    return values[counts > 1]


def class_folders(class_names: Sequence[str]) -> list[str]:
    """A folder for each class: its name as far as every file system takes it, with a number where some would take
    several for one.
    """
    plain = [_unlike_a_file(_segment(_NUMBERS.sub("", _writable(name, _MAX_CLASS_BYTES)))) for name in class_names]
    of_all = keys(plain)
    several = np.isin(of_all, repeated(of_all)).tolist()
    return [
        numbered(one, class_id) if again else one
        for class_id, (one, again) in enumerate(zip(plain, several, strict=True))
    ]


@functools.lru_cache(maxsize=4096)  # millions of images lie in few folders
def _folder(segment: str) -> str:
    """Empty for one that goes."""
    made = _segment(_writable(segment))
    return "" if made.lower() in _LAYOUT or split_of_word(made) is not None else _unlike_a_file(made)


def _unlike_a_file(folder: str) -> str:
    """A folder never looks like a file that is written: `a.jpg/b` beside `a.jpg` would be both."""
    return folder.replace(".", "_") if PurePosixPath(folder).suffix.lower() in _WRITTEN else folder


def _writable(text: str, limit: int = _MAX_SEGMENT_BYTES) -> str:
    """At most so many bytes, of characters that every file system takes."""
    if text.isascii():
        return _UNSAFE_ASCII.sub("_", text)[:limit]
    written = "".join("_" if _is_unsafe(one) else one for one in unicodedata.normalize("NFC", text))
    return written.encode()[:limit].decode("utf-8", "ignore")


def _segment(written: str) -> str:
    bare = written.strip(" .")
    return f"_{bare}" if not bare or _DEVICES.match(bare) else bare


def _is_unsafe(character: str) -> bool:
    # Control, format and private characters, lone surrogates, line separators: invisible, or taken differently by
    # different systems.
    return character in _FORBIDDEN or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
