"""What an export holds: which images, each in which folder, and how one export is told from another. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from splitrail_common.annotations import LabelState

from splitrail_split.domain import EXTENSIONS, PART_NAMES, PARTS, Asset, Revision, Version

LOCK_FILE = "split.lock.json"
UNASSIGNED = 0
ALL = len(PART_NAMES) + 1
FOLDERS = ("unassigned", *PART_NAMES, "all")
"""Name of a folder by its number: a split vector's values, and one more for versions without split."""


class Layout(IntEnum):
    """How a folder is laid out."""

    YOLO = 1
    COCO = 2


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller asks for. Empty identifiers and parts as in ExportVersionRequest; `after` -1: from the start."""

    dataset_id: str
    version_id: str
    split_id: str
    parts: tuple[int, ...]
    layout: Layout
    include_unlabelled: bool
    after: int


@dataclass(frozen=True, slots=True)
class Plan:
    """An export, decided. folder_of (N,): number of each image's folder; labelled (N,): somebody has looked at it; chosen: ordinals, ascending."""

    version: Version
    revision: Revision | None
    layout: Layout
    include_unlabelled: bool
    folder_of: npt.NDArray[np.uint8]
    labelled: npt.NDArray[np.bool_]
    chosen: npt.NDArray[np.intp]

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
        """`train`, `val`, `test` -> the folder of its images, for those that are exported; all images of a version without split count as train."""
        named = {name: f"images/{name}" for name, number in PARTS.items() if number in self.counts}
        return {"train": f"images/{FOLDERS[ALL]}", **named} if ALL in self.counts else named

    def documents(self) -> list[tuple[str, npt.NDArray[np.intp]]]:
        """COCO files: path, and the ordinals that it lists. What nobody has labelled is in none; one file is there at least, for its categories."""
        listed = self.chosen[self.labelled[self.chosen]]
        folders = self.folder_of[listed]
        numbers = np.unique(folders).tolist() or [ALL]
        return [(f"annotations/instances_{FOLDERS[number]}.json", listed[folders == number]) for number in numbers]

    @property
    def file_count(self) -> int:
        """Files of the whole export."""
        images = len(self.chosen)
        if self.layout is Layout.COCO:
            return 1 + images + len(self.documents())
        return 2 + images + int(self.labelled[self.chosen].sum())

    def image_path(self, asset: Asset, stem: str) -> str:
        """Where an image goes; the extension tells what its bytes are."""
        return f"images/{self._folder(asset)}/{stem}{EXTENSIONS[asset.format]}"

    def label_path(self, asset: Asset, stem: str) -> str:
        """Where its label file goes."""
        return f"labels/{self._folder(asset)}/{stem}.txt"

    def _folder(self, asset: Asset) -> str:
        return FOLDERS[int(self.folder_of[asset.ordinal])]


def plan(
    version: Version,
    revision: Revision | None,
    vector: npt.NDArray[np.uint8] | None,
    label_states: npt.NDArray[np.integer],
    order: Order,
) -> Plan:
    """Chooses images and folders. vector (N,): the part of each image, None without split; label_states (N,)."""
    labelled = label_states != LabelState.UNLABELLED
    folder_of = np.where(labelled, np.uint8(ALL), np.uint8(UNASSIGNED)) if vector is None else vector
    wanted: Sequence[int] = order.parts or (*PARTS.values(), ALL)
    chosen = np.flatnonzero(np.isin(folder_of, [*wanted, UNASSIGNED] if order.include_unlabelled else wanted))
    return Plan(version, revision, order.layout, order.include_unlabelled, folder_of, labelled, chosen)


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
            "format": made.layout.name.lower(),
            "images": {FOLDERS[folder]: count for folder, count in made.counts.items()},
            "include_unlabelled": made.include_unlabelled,
        },
        "class_names": version.class_names,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
