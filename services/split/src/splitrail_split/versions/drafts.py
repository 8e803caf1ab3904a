"""What callers change of a version, image by image, and the columns that result: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
from splitrail_common.annotations import LabelState, labels_csr, pack

from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Version, VersionState
from splitrail_split.versions import columns
from splitrail_split.versions.classes import DraftClasses
from splitrail_split.versions.columns import Columns

UNANNOTATED = pack([])

Ordinals = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Draft:
    """A version in the making; counts are those of its images as they stand, class counts by position."""

    version_id: str
    dataset_id: str
    project_id: str
    dataset_name: str
    task: int
    base_version_id: str | None
    class_names: list[str]
    class_ids: list[int]
    class_targets: list[int]
    image_count: int
    object_count: int
    empty_count: int
    unlabelled_count: int
    class_images: list[int]
    class_objects: list[int]
    change_count: int
    next_position: int
    create_time: datetime
    committed_version_id: str | None

    @property
    def classes(self) -> DraftClasses:
        """Its classes by position."""
        return DraftClasses(self.class_names, self.class_ids, self.class_targets)

    def as_version(self) -> Version:
        """As a version that has no number yet."""
        return Version(
            version_id=self.version_id,
            dataset_id=self.dataset_id,
            project_id=self.project_id,
            dataset_name=self.dataset_name,
            number=0,
            state=VersionState.DRAFT,
            class_names=self.class_names,
            image_count=self.image_count,
            object_count=self.object_count,
            empty_count=self.empty_count,
            unlabelled_count=self.unlabelled_count,
            problem_count=0,
            class_images=self.class_images,
            class_objects=self.class_objects,
            digest="",
            commit_time=None,
            current_split_id=None,
            class_ids=self.class_ids,
            base_version_id=self.base_version_id,
        )


@dataclass(frozen=True, slots=True)
class DraftAsset:
    """One image of a draft.

    base_ordinal: the image of the base that it stands for. position: of its row among the draft's own; None when it is
    still as the base has it.
    """

    base_ordinal: int | None
    position: int | None
    external_id: str
    path: str
    sha256: bytes
    label_state: int
    annotations: bytes
    metadata: dict[str, str]

    @property
    def shown(self) -> str:
        """What to call it in messages."""
        return repr(self.external_id or self.path)


@dataclass(frozen=True, slots=True)
class Upsert:
    """What a caller says of one image; empty or None: nothing, so it stays. `default_path` is that of a new image
    without path.

    With annotations comes the label state that fits them; a label state alone is LABELLED, and then the image must have
    objects already.
    """

    external_id: str
    path: str
    sha256: bytes | None
    annotations: bytes | None
    label_state: int | None
    metadata: dict[str, str] | None
    default_path: str = ""


@dataclass(frozen=True, slots=True)
class Wrong:
    """An entry of a batch that cannot be kept: its field, and why."""

    index: int
    field: str
    message: str


@dataclass(slots=True)
class Batch:
    """What a batch does: each image before (None: it is new) and after. Nothing of it counts when something is wrong."""

    changes: list[tuple[DraftAsset | None, DraftAsset]] = field(default_factory=list)
    unchanged: int = 0
    wrong: list[Wrong] = field(default_factory=list)

    @property
    def added(self) -> int:
        """New images."""
        return sum(before is None for before, _ in self.changes)


def upserted(found: Sequence[DraftAsset], upserts: Sequence[Upsert]) -> Batch:
    """A batch applied to a draft. `found`: at least those images of the draft that have an external_id, a path or a
    content of the batch.
    """
    by_id = {one.external_id: one for one in found if one.external_id}
    by_path = {one.path: one for one in found}
    batch = Batch()
    touched: dict[tuple[int | None, int | None], int] = {}
    made: dict[int, DraftAsset] = {}
    for index, upsert in enumerate(upserts):
        before = _named(upsert, by_id, by_path)
        if before is not None:
            key = (before.base_ordinal, before.position)
            if (first := touched.setdefault(key, index)) != index:
                batch.wrong.append(
                    Wrong(
                        index,
                        "external_id" if upsert.external_id else "path",
                        f"is the same image as that of assets[{first}]",
                    )
                )
                continue
        after, wrong = _after(index, upsert, before)
        batch.wrong += wrong
        if after is None or wrong:
            continue
        made[index] = after
        if after == before:
            batch.unchanged += 1
        else:
            batch.changes.append((before, after))
    standing = [one for one in found if (one.base_ordinal, one.position) not in touched]
    batch.wrong += _clashes(standing, made)
    batch.wrong.sort(key=lambda one: one.index)
    return batch


def _named(upsert: Upsert, by_id: Mapping[str, DraftAsset], by_path: Mapping[str, DraftAsset]) -> DraftAsset | None:
    if not upsert.external_id:
        return by_path.get(upsert.path)
    if (found := by_id.get(upsert.external_id)) is not None:
        return found
    at_path = by_path.get(upsert.path)
    return at_path if at_path is not None and not at_path.external_id else None


def _after(index: int, upsert: Upsert, before: DraftAsset | None) -> tuple[DraftAsset | None, list[Wrong]]:
    if before is None and upsert.sha256 is None:
        return None, [
            Wrong(index, "sha256", "is needed to add an image: the draft has none with this external_id or path")
        ]
    if before is None:
        path = upsert.path or upsert.default_path
        before = DraftAsset(
            None, None, upsert.external_id, path, upsert.sha256 or b"", LabelState.UNLABELLED, UNANNOTATED, {}
        )
    if upsert.annotations is None and upsert.label_state == LabelState.LABELLED != before.label_state:
        return None, [Wrong(index, "annotations", "are needed: the image has no objects, so it cannot be LABELLED")]
    after = replace(
        before,
        external_id=upsert.external_id or before.external_id,
        path=upsert.path or before.path,
        sha256=upsert.sha256 or before.sha256,
        annotations=before.annotations if upsert.annotations is None else upsert.annotations,
        label_state=before.label_state if upsert.label_state is None else upsert.label_state,
        metadata=before.metadata if upsert.metadata is None else upsert.metadata,
    )
    return after, []


def _clashes(standing: Sequence[DraftAsset], made: Mapping[int, DraftAsset]) -> list[Wrong]:
    """What two images of a draft may not share; the first such field of each entry."""
    wrong: dict[int, Wrong] = {}
    for name in ("external_id", "sha256", "path"):
        # An empty external_id is none.
        holders = {value: f"the image {one.shown} of the draft" for one in standing if (value := getattr(one, name))}
        for index, one in made.items():
            value = getattr(one, name)
            if value and (holder := holders.setdefault(value, f"assets[{index}]")) != f"assets[{index}]":
                wrong.setdefault(
                    index, Wrong(index, name, f"is that of {holder} too: no two images of a version share it")
                )
    return list(wrong.values())


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over images; class counts by position."""

    images: int
    objects: int
    empty: int
    unlabelled: int
    class_images: npt.NDArray[np.int64]
    class_objects: npt.NDArray[np.int64]

    def __sub__(self, other: Tally) -> Tally:
        return Tally(
            self.images - other.images,
            self.objects - other.objects,
            self.empty - other.empty,
            self.unlabelled - other.unlabelled,
            self.class_images - other.class_images,
            self.class_objects - other.class_objects,
        )


def tally(assets: Sequence[DraftAsset], n_classes: int) -> Tally:
    """Counts over some images of a draft."""
    labels = arrays.Labels(*labels_csr([one.annotations for one in assets]))
    class_images, class_objects = arrays.class_counts(labels, n_classes)
    states = [one.label_state for one in assets]
    return Tally(
        images=len(assets),
        objects=len(labels.class_ids),
        empty=states.count(LabelState.EMPTY),
        unlabelled=states.count(LabelState.UNLABELLED),
        class_images=np.array(class_images, dtype=np.int64),
        class_objects=np.array(class_objects, dtype=np.int64),
    )


@dataclass(frozen=True, slots=True)
class BaseChanges:
    """What a draft does to its base. `rows` are first those that stand for `replaced` images of the base, in that
    order, then the new ones.

    removed, replaced: ordinals of the base.
    """

    removed: Ordinals
    replaced: Ordinals
    rows: Columns

    def source(self, n: int) -> Ordinals:
        """Where each image of the version to be is among the `n` of the base and then `rows`: what stays of the base,
        in place, then the new ones.
        """
        source = np.arange(n)
        source[self.replaced] = n + np.arange(len(self.replaced))
        keep = np.ones(n, dtype=np.bool_)
        keep[self.removed] = False
        return np.concatenate([source[keep], np.arange(n + len(self.replaced), n + self.rows.size)])


def committed(base: Columns, changes: BaseChanges) -> Columns:
    """The columns of the version that a draft becomes."""
    return columns.joined([base, changes.rows]).at(changes.source(base.size))
