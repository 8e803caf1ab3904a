"""What an export holds: which images, each in which folder, and how one export is told from another. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from splitrail_common.annotations import Kind, LabelState

from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import EXTENSIONS, Asset, Version
from splitrail_split.domain.parts import PART_NAMES, PARTS
from splitrail_split.exports import names
from splitrail_split.splits.domain import Revision

LOCK_FILE = "split.lock.json"
PLACEHOLDER = ".gitkeep"
"""An empty file in a class' folder without image. Imports do not read it."""
UNASSIGNED = 0
ALL = len(PART_NAMES) + 1
FOLDERS = ("unassigned", *PART_NAMES, "all")
"""Name of a folder by its number: a split vector's values, and one more for versions without split."""
_TREE_FOLDERS = (*FOLDERS[:ALL], PART_NAMES[0])
"""The same in a tree of classes, where Ultralytics wants to find train."""

Ordinals = int | npt.NDArray[np.intp]


class Layout(StrEnum):
    """How a folder is laid out."""

    YOLO = "yolo"
    COCO = "coco"


@dataclass(frozen=True, slots=True)
class Writer:
    """What a layout holds. `refused`: shapes of annotations that it has no place for: why, and what to do instead."""

    label_files: bool
    """Each annotated image has a text file for its objects; otherwise documents list those of all images of a part."""
    refused: Mapping[Kind, str] = field(default_factory=dict)


WRITERS: Mapping[Layout, Writer] = {
    Layout.YOLO: Writer(label_files=True),
    Layout.COCO: Writer(
        label_files=False,
        refused={
            Kind.CLASS: "COCO does not hold classes of whole images: export them as YOLO, a folder for each class"
        },
    ),
}


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What a caller asks for. Empty identifiers and parts as in ExportVersionRequest; `after` -1: from the start."""

    dataset_id: str
    version_id: str
    split_id: str
    parts: tuple[int, ...]
    layout: Layout
    include_unlabelled: bool
    after: int


@dataclass(frozen=True, slots=True)
class ClassTree:
    """Classes of whole images: in each part a folder for each class. folders: of each class; class_of (N,): the class
    of each image, -1 for none.
    """

    folders: Sequence[str]
    class_of: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Plan:
    """An export, decided. folder_of (N,): number of each image's folder; labelled (N,): somebody has looked at it;
    chosen: ordinals, ascending; class_tree: for classes of whole images, which are folders; images without class lie as
    in other exports.
    """

    version: Version
    revision: Revision | None
    layout: Layout
    include_unlabelled: bool
    folder_of: npt.NDArray[np.uint8]
    labelled: npt.NDArray[np.bool_]
    chosen: npt.NDArray[np.intp]
    class_tree: ClassTree | None = None

    @property
    def writer(self) -> Writer:
        """What its layout holds."""
        return WRITERS[self.layout]

    @property
    def reference(self) -> str:
        """`cells@v3#2`, or `cells@v3` without split."""
        return self.revision.reference if self.revision else self.version.reference

    @property
    def counts(self) -> dict[int, int]:
        """Images by folder, those without left out."""
        counted = np.bincount(self.folder_of[self.chosen], minlength=len(FOLDERS)).tolist()
        return {folder: count for folder, count in enumerate(counted) if count}

    @property
    def part_digests(self) -> list[str]:
        """Of train, val and test; empty for parts that are not exported."""
        digests = self.revision.part_digests if self.revision else [""] * len(PART_NAMES)
        return [one if number in self.counts else "" for number, one in zip(PARTS.values(), digests, strict=True)]

    @property
    def image_folders(self) -> dict[str, str]:
        """`train`, `val`, `test` -> the folder of its images, for those that are exported; all images of a version
        without split count as train.
        """
        named = {name: f"images/{name}" for name, number in PARTS.items() if number in self.counts}
        return {"train": f"images/{FOLDERS[ALL]}", **named} if ALL in self.counts else named

    def documents(self) -> list[tuple[str, npt.NDArray[np.intp]]]:
        """COCO files: path, and the ordinals that it lists. Images that have not been annotated are in none.

        There is at least one file, for its categories.
        """
        listed = self.chosen[self.labelled[self.chosen]]
        folders = self.folder_of[listed]
        numbers = np.unique(folders).tolist() or [ALL]
        return [(f"annotations/instances_{FOLDERS[number]}.json", listed[folders == number]) for number in numbers]

    @property
    def file_count(self) -> int:
        """Files of the whole export."""
        images = len(self.chosen)
        if not self.writer.label_files:
            return 1 + images + len(self.documents())
        return 2 + images + int(np.count_nonzero(self._has_label_file(self.chosen))) + len(self.placeholders())

    def stems(self, paths: Sequence[str]) -> Iterator[str]:
        """What the images of the version are called in their folders, by ordinal, from their paths; several may be
        called the same.
        """
        return (self.stem(ordinal, path) for ordinal, path in enumerate(paths))

    def stem(self, ordinal: int, path: str) -> str:
        """What an image is called: its path in its folder, without extension. In a tree of classes that begins with its
        class, once.
        """
        stem, of_class = names.stem(path), self._class_folder(ordinal)
        return f"{of_class}/{stem.removeprefix(f'{of_class}/')}" if of_class else stem

    def image_path(self, asset: Asset, stem: str) -> str:
        """Where an image goes; the extension tells what its bytes are."""
        name, number = f"{stem}{EXTENSIONS[asset.format]}", int(self.folder_of[asset.ordinal])
        if self._class_folder(asset.ordinal):
            return f"{_TREE_FOLDERS[number]}/{name}"
        return f"images/{FOLDERS[number]}/{name}"

    def label_path(self, asset: Asset, stem: str) -> str | None:
        """Where its label file goes; None for none."""
        return (
            f"labels/{FOLDERS[int(self.folder_of[asset.ordinal])]}/{stem}.txt"
            if self._has_label_file(asset.ordinal)
            else None
        )

    def placeholders(self) -> list[str]:
        """Empty files that make folders of classes without image, so that classes have the same numbers in every part.
        Train and val always have them: without these folders, Ultralytics would divide other parts anew, or choose the
        best epoch by test.
        """
        if self.class_tree is None:
            return []
        held = {
            (_TREE_FOLDERS[folder], class_id)
            for folder, class_id in zip(
                self.folder_of[self.chosen].tolist(), self.class_tree.class_of[self.chosen].tolist(), strict=True
            )
        }
        parts = {"train": None, "val": None} | dict.fromkeys(
            name for name, number in PARTS.items() if number in self.counts
        )
        return [
            f"{part}/{folder}/{PLACEHOLDER}"
            for part in parts
            for class_id, folder in enumerate(self.class_tree.folders)
            if (part, class_id) not in held
        ]

    def _class_folder(self, ordinal: int) -> str:
        class_id = -1 if self.class_tree is None else int(self.class_tree.class_of[ordinal])
        return "" if self.class_tree is None or class_id < 0 else self.class_tree.folders[class_id]

    def _has_label_file(self, ordinals: Ordinals) -> npt.NDArray[np.bool_]:
        labelled: npt.NDArray[np.bool_] = self.labelled[ordinals] & self.writer.label_files
        return labelled if self.class_tree is None else labelled & (self.class_tree.class_of[ordinals] < 0)


def plan(
    version: Version,
    revision: Revision | None,
    vector: npt.NDArray[np.uint8] | None,
    label_states: npt.NDArray[np.integer],
    request: ExportRequest,
    *,
    class_tree: ClassTree | None = None,
) -> Plan:
    """Chooses images and folders. vector (N,): the part of each image, None without split; label_states (N,)."""
    labelled = label_states != LabelState.UNLABELLED
    folder_of = np.where(labelled, np.uint8(ALL), np.uint8(UNASSIGNED)) if vector is None else vector
    wanted: Sequence[int] = request.parts or (*PARTS.values(), ALL)
    chosen = np.flatnonzero(np.isin(folder_of, [*wanted, UNASSIGNED] if request.include_unlabelled else wanted))
    return Plan(version, revision, request.layout, request.include_unlabelled, folder_of, labelled, chosen, class_tree)


def tree_of(class_names: Sequence[str], labels: arrays.Labels) -> ClassTree:
    """Folders of the classes, and the one class that each image has at most."""
    class_of = np.full(len(labels.indptr) - 1, -1, dtype=np.int64)
    having = np.flatnonzero(np.diff(labels.indptr))
    class_of[having] = labels.class_ids[labels.indptr[having]]
    return ClassTree(names.class_folders(class_names), class_of)


def class_list(made: ClassTree, class_names: Sequence[str]) -> str:
    """class_folders.json: what the class of each folder is called, in the order of class ids."""
    classes = [{"folder": folder, "name": name} for folder, name in zip(made.folders, class_names, strict=True)]
    return json.dumps({"classes": classes}, indent=2, ensure_ascii=False) + "\n"


def lock(made: Plan) -> str:
    """split.lock.json: what the folder holds, and how it was split. Equal exports have equal locks, byte for byte."""
    version, revision = made.version, made.revision
    digests = {name: one for name, one in zip(PART_NAMES, made.part_digests, strict=True) if one}
    split = {
        "reference": revision.reference,
        "split_id": revision.split_id,
        "digest": revision.digest,
        "part_digests": digests,
        "parameters": revision.parameters.to_json(),
        "algorithm_version": revision.algorithm_version,
    } if revision else None  # fmt: skip
    content = {
        "lock": 1,
        "dataset": version.dataset_name,
        "version": {"reference": version.reference, "version_id": version.version_id, "digest": version.digest},
        "split": split,
        "export": {
            "format": made.layout.value,
            "images": {FOLDERS[folder]: count for folder, count in made.counts.items()},
            "include_unlabelled": made.include_unlabelled,
        },
        "class_names": version.class_names,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
