"""Which rule of grouping a source seems to ask for: frames of videos, names that share a beginning, folders of a site
or a patient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import re2

from splitrail_split.formats import Code, ParsedImage
from splitrail_split.formats.image_names import is_plain
from splitrail_split.formats.model import SEQUENCE
from splitrail_split.imports.domain import Finding

PATTERNS = (r"^(.+)\.rf\.[0-9a-f]+$", r"^(.*[A-Za-z].*?)[^A-Za-z0-9]*[0-9]+$")
"""Copies that Roboflow augmented, by their original; names that end in a number, by what stands before it if that has a
letter.
"""
_COVERED = 0.5


def groups(items: Sequence[ParsedImage], *, folders: bool = True) -> Finding | None:
    """A note with the first rule that gives at least 2 and at most N/2 groups of several images, which hold half of all
    N images or more.

    folders: whether folders can mean something; they do not when they are the classes.
    """
    stems = [PurePosixPath(item.path).stem for item in items]
    named = [("name:" + pattern, _matches(pattern, stems)) for pattern in PATTERNS]
    by_folder = [_folder(item.path) for item in items] if folders else []
    candidates = [
        (f"metadata:{SEQUENCE}", [item.metadata.get(SEQUENCE, "") for item in items]),
        *named,
        ("folder", by_folder),
    ]
    for rule, values in candidates:
        counts = Counter(value for value in values if value)
        several = [count for count in counts.values() if count > 1]
        if 2 <= len(several) <= len(items) / 2 and sum(several) >= _COVERED * len(items):
            largest = counts.most_common(1)[0][0]
            message = (
                f"the images seem to come in {len(several)} groups, of which {largest[:100]!r} is the largest: a split keeps each group together with"
                f" --group-by '{rule}'"
            )
            return Finding("", None, Code.GROUP_SUGGESTED, message, image_excluded=False, note=True)
    return None


def _matches(pattern: str, stems: Iterable[str]) -> list[str]:
    compiled = re2.compile(pattern)
    return ["" if (match := compiled.search(stem)) is None else match[1] for stem in stems]


def _folder(path: str) -> str:
    """The folders of an image but for those that every dataset has."""
    parts = PurePosixPath(path).parts[:-1]
    return "/".join(part for part in parts if not is_plain(part))
