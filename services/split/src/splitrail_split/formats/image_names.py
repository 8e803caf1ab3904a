"""Which image of a source an annotation file means by a name, and what the folders of a source say."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import PurePosixPath
from typing import NamedTuple

from splitrail_split.formats.model import Code, Problems, SourceSplit
from splitrail_split.formats.reading import shown

_SPLIT_NAMES: dict[str, SourceSplit] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test",
}  # fmt: skip
_PLAIN_FOLDERS = frozenset(
    {
        *(
            "images",
            "image",
            "imgs",
            "img",
            "jpegimages",
            "jpg",
            "jpgs",
            "data",
            "obj_train_data",
            "obj_valid_data",
            "obj_test_data",
        ),
        *("annotations", "annotation", "labels", "xml", "xmls"),
    }
)
"""Folders that every dataset has: like those of splits, they do not tell its images apart."""
_YEAR = re.compile(r"(?:19|20)\d\d")
_FEW = 16
"""Images of one name that are looked through one by one."""


def folder_split(path: str) -> SourceSplit | None:
    """The split that a folder of the path names, the innermost if several do."""
    for part in reversed(PurePosixPath(path).parts[:-1]):
        if (split := _plain(part)[1]) is not None:
            return split
    return None


def is_plain(folder: str) -> bool:
    """True for a folder that every dataset may have, which tells nothing of its images."""
    return _plain(folder)[0]


@lru_cache(maxsize=1 << 14)
def _plain(folder: str) -> tuple[bool, SourceSplit | None]:
    """Whether every dataset may have a folder of this name (`images`, `train2017`, `Annotations_trainval`), and the one
    split that it names.
    """
    name = folder.lower()
    if name in _PLAIN_FOLDERS:
        return True, None
    words = [word for word in re.split(r"[\W_]+", _YEAR.sub("", name)) if word]
    if not words or any(
        word not in _PLAIN_FOLDERS and word not in _SPLIT_NAMES and word != "trainval" for word in words
    ):
        return False, None
    splits = {_SPLIT_NAMES[word] for word in words if word in _SPLIT_NAMES}
    return True, splits.pop() if len(splits) == 1 else None


def split_of_word(word: str) -> SourceSplit | None:
    """The split that a word names: train, val, valid, validation, test and the like."""
    return _SPLIT_NAMES.get(word.lower())


class ImagesByName:
    """Images of a source by the names under which annotation files refer to them.

    The folders of a name and those of an image must agree: but for folders that every dataset has (`images`, `train`),
    the fewer are the end of the others, and they do not name two splits. A name that starts with / was given on another
    machine, or beside the images: there, what holds all of them may be called otherwise. So it may where no name of a
    file is found with its folders: see `learn`. What may mean several images equally well means none.
    """

    def __init__(self, images: Iterable[str]) -> None:
        self._paths = frozenset(images)
        self._in_order = sorted(self._paths)
        self._by_name, self._by_stem = _Index(), _Index()
        for path in self._in_order:
            pure = PurePosixPath(path)
            self._by_name.of.setdefault(pure.name, []).append(path)
            self._by_stem.of.setdefault(pure.stem, []).append(path)
        self._root = common_folders(self._paths)
        self._known = {folder for path in self._in_order for folder in _folders_of(path).telling}
        self._above: dict[str, int] = {}
        self._seen: dict[tuple[int, str, str, SourceSplit | None], list[str]] = {}

    def under(self, folder: str) -> list[str]:
        """The images in a folder or below it, sorted; all of them for the root ("" or ".")."""
        if folder in ("", "."):
            return self._in_order
        prefix = folder.rstrip("/")
        return self._in_order[
            bisect_left(self._in_order, f"{prefix}/") : bisect_left(self._in_order, f"{prefix}0")
        ]  # 0 follows /

    def learn(self, names: Sequence[str], nears: Sequence[str], problems: Problems, *, stems: bool = False) -> None:
        """Looks at all names that the files `nears` will ask for. When none is found with its folders, and no image
        knows those that all of them begin with, these are called otherwise here: they are not looked at, and a problem
        of the first file says so.
        """
        find = self.by_stem if stems else self.by_file_name
        telling = [_folders_of(name.replace("\\", "/")).telling for name in names]
        least, most = min(telling, default=()), max(telling, default=())
        common = [*takewhile(lambda folder: folder not in self._known, least[: _alike(least, most)])]
        if common and all(find(name, nears[0]) is None for name in names):
            self._above.update(dict.fromkeys(nears, len(common)))
            self._seen.clear()
            if any(find(name, nears[0]) is not None for name in names):
                folders = shown("/".join(common))
                message = (
                    f"all names begin with {folders}, which no folder here is called: images are taken by what follows"
                )
                problems.add(nears[0], None, Code.NAME_MISMATCH, message)

    def by_file_name(self, name: str, near: str, split: SourceSplit | None = None) -> str | None:
        """The image that `name`, perhaps with folders, means in the file `near`: relative to it, to the root, else the
        closest that agrees.
        """
        name = name.replace("\\", "/")
        inner = PurePosixPath(name.lstrip("/"))
        for path in (str(PurePosixPath(near).parent / inner), str(inner)):
            if path in self._paths:
                return path
        return _only(self._meant(self._by_name, name, near, split))

    def by_stem(self, name: str, near: str, file_name: str = "") -> str | None:
        """The image with this name, perhaps with folders, but for its extension, the closest to the file `near`; of
        equals the one called `file_name`.
        """
        meant = self._meant(self._by_stem, name, near, None)
        called = [path for path in meant if PurePosixPath(path).name == PurePosixPath(file_name).name]
        return _only(called or meant)

    def why_none(self, name: str, near: str) -> str:
        """Why a name, with or without extension, means no image: the end of a sentence that has named it."""
        name = name.replace("\\", "/")
        known = self._by_name if PurePosixPath(name).name in self._by_name.of else self._by_stem
        if len(meant := self._meant(known, name, near, None)) > 1:
            return f"which may be any of {len(meant)} images, such as {meant[0]} and {meant[1]}"
        others = known.of.get(PurePosixPath(name).name)
        return (
            f"which is not among the files: {others[0]} lies in another folder"
            if others
            else "which is not among the files"
        )

    def _meant(self, known: _Index, name: str, near: str, split: SourceSplit | None) -> list[str]:
        """The images whose folders agree best with a name's, then the closest to `near`; several when nothing tells
        them apart.
        """
        key = (id(known), name, near, split)  # a hostile file may say the same name often, and many images may have it
        if key not in self._seen:
            self._seen[key] = self._ranked(known, name, near, split)
        return self._seen[key]

    def _ranked(self, known: _Index, name: str, near: str, split: SourceSplit | None) -> list[str]:
        given, here, above = _folders_of(name), _folders_of(near).parts, self._above.get(near, 0)
        given = given._replace(telling=given.telling[above:])
        foreign = above > 0 or name.startswith("/") or name[1:2] == ":"
        root = self._root if foreign else ()
        ranked: dict[tuple[int, ...], list[str]] = {}
        for path in known.sharing(PurePosixPath(name).name, given.telling, root):
            own = _folders_of(path)
            contradicts = given.split is not None and own.split is not None and given.split != own.split
            if contradicts or not (
                _end_alike(given.telling, own.telling) or _end_alike(given.telling, own.telling[len(root) :])
            ):
                continue
            alike = (_alike(given.telling[::-1], own.telling[::-1]), _alike(given.parts[::-1], own.parts[::-1]))
            rank = (-alike[0], -alike[1], split not in (None, own.split), -_alike(here, own.parts), len(own.telling))
            ranked.setdefault(rank, []).append(path)
        return ranked[min(ranked)] if ranked else []


class _Index:
    """Paths by their names; where many have one name, as the frames of videos do, also by the last folder that tells
    them apart.
    """

    def __init__(self) -> None:
        self.of: dict[str, list[str]] = {}
        self._by_folder: dict[str, dict[str, list[str]]] = {}

    def sharing(self, name: str, given: Sequence[str], root: Sequence[str]) -> list[str]:
        """The paths of that name, but for some whose folders cannot agree with those given."""
        paths = self.of.get(name, [])
        if len(paths) <= _FEW or not given:
            return paths
        by_folder = self._by_folder.get(name)
        if by_folder is None:
            by_folder = self._by_folder[name] = {}
            for path in paths:
                by_folder.setdefault("".join(_folders_of(path).telling[-1:]), []).append(path)
        return [path for folder in sorted({"", given[-1], *root[-1:]}) for path in by_folder.get(folder, ())]


class _Folders(NamedTuple):
    """Of a path: all its folders, those that tell one image from another of its name, and the split that they name."""

    parts: tuple[str, ...]
    telling: tuple[str, ...]
    split: SourceSplit | None


def _folders_of(path: str) -> _Folders:
    return _read_folders(path.rpartition("/")[0])


@lru_cache(maxsize=1 << 14)
def _read_folders(folder: str) -> _Folders:
    parts = PurePosixPath(folder).parts
    telling = tuple(one for one in parts if one not in ("/", "..") and not is_plain(one))
    return _Folders(parts, telling, folder_split(f"{folder}/_"))


def common_folders(paths: Iterable[str]) -> tuple[str, ...]:
    """The folders in which all paths lie, above the first that every dataset has: what a dataset is called on this
    machine.
    """
    found = {path.rpartition("/")[0] for path in paths} or {""}
    ways = [_read_folders(folder) for folder in found]
    first, last = min(way.parts for way in ways), max(way.parts for way in ways)
    return tuple(takewhile(lambda folder: bool(_read_folders(folder).telling), first[: _alike(first, last)]))


def _alike(some: Sequence[str], others: Sequence[str]) -> int:
    """How many equal words two sequences begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(some, others, strict=False)))


def _end_alike(some: Sequence[str], others: Sequence[str]) -> bool:
    """True when the shorter sequence is the end of the longer."""
    return _alike(some[::-1], others[::-1]) == min(len(some), len(others))


def _only(paths: Sequence[str]) -> str | None:
    return paths[0] if len(paths) == 1 else None
