"""What a version's packed columns (see arrays.py) hold, from its images: pure. Imports and commits of drafts share it,
so that they give the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from splitrail_common.annotations import LabelState, labels_csr

from splitrail_split.domain import arrays, digest
from splitrail_split.versions.frames import next_frames
from splitrail_split.versions.near import links


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns that hold something of each image by itself, in the order of ordinals."""

    content: arrays.Array
    annotation: arrays.Array
    label_state: arrays.Array
    labels: arrays.Labels
    perceptual_hash: npt.NDArray[np.uint64]

    @property
    def size(self) -> int:
        """Images."""
        return len(self.label_state)

    @property
    def placed(self) -> npt.NDArray[np.bool_]:
        """(N,) which images a split can place: those that somebody has looked at."""
        looked_at: npt.NDArray[np.bool_] = self.label_state != LabelState.UNLABELLED
        return looked_at

    def at(self, ordinals: npt.NDArray[np.int64]) -> Columns:
        """The columns of the images with these ordinals, in this order. No loop over images."""
        counts = np.diff(self.labels.indptr)[ordinals]
        indptr = np.zeros(len(ordinals) + 1, dtype=np.int64)
        np.cumsum(counts, out=indptr[1:])
        objects = np.arange(indptr[-1]) + np.repeat(self.labels.indptr[:-1][ordinals] - indptr[:-1], counts)
        return Columns(
            content=self.content[ordinals],
            annotation=self.annotation[ordinals],
            label_state=self.label_state[ordinals],
            labels=arrays.Labels(indptr, self.labels.class_ids[objects]),
            perceptual_hash=self.perceptual_hash[ordinals],
        )

    def digest(self, class_names: Sequence[str]) -> str:
        """Of the version."""
        content, annotation, state = (
            one.astype(np.uint8, copy=False) for one in (self.content, self.annotation, self.label_state)
        )
        return digest.version_digest(content, annotation, state, class_names)

    def counts(self, n_classes: int) -> dict[str, Any]:
        """Of the version, by the names of its fields."""
        class_images, class_objects = arrays.class_counts(self.labels, n_classes)
        return {
            "image_count": self.size,
            "object_count": len(self.labels.class_ids),
            "empty_count": int((self.label_state == LabelState.EMPTY).sum()),
            "unlabelled_count": int((self.label_state == LabelState.UNLABELLED).sum()),
            "class_images": class_images,
            "class_objects": class_objects,
        }


def of_images(
    contents: Sequence[bytes], annotations: Sequence[bytes], states: Sequence[int], hashes: Sequence[int]
) -> Columns:
    """Columns of some images. `hashes` are signed, as Postgres has them."""
    return Columns(
        content=digest.hashes_from_bytes(contents),
        annotation=digest.hashes_from_bytes([digest.annotation_sha256(one) for one in annotations]),
        label_state=np.array(states, dtype=np.uint8),
        labels=arrays.Labels(*labels_csr(annotations)),
        perceptual_hash=np.array(hashes, dtype=np.int64).view(np.uint64),
    )


def annotated(images: Columns, annotations: Sequence[bytes]) -> Columns:
    """Columns of the same images with these annotations."""
    return replace(
        images,
        annotation=digest.hashes_from_bytes([digest.annotation_sha256(one) for one in annotations]),
        labels=arrays.Labels(*labels_csr(annotations)),
    )


def joined(parts: Sequence[Columns]) -> Columns:
    """The columns of all these images, one part behind the other."""
    counts = np.concatenate([np.diff(one.labels.indptr) for one in parts])
    return Columns(
        content=np.concatenate([one.content for one in parts]),
        annotation=np.concatenate([one.annotation for one in parts]),
        label_state=np.concatenate([one.label_state for one in parts]),
        labels=arrays.labels(counts, np.concatenate([one.labels.class_ids for one in parts])),
        perceptual_hash=np.concatenate([one.perceptual_hash for one in parts]),
    )


def of_version(
    images: Columns, paths: Sequence[str], metadata: Sequence[Mapping[str, str]]
) -> dict[str, npt.NDArray[Any]]:
    """All columns of a version by their names, with what images have to do with each other."""
    return {**by_name(images), **linked(images), arrays.NEXT_FRAME: next_frames(paths, metadata)}


def by_name(images: Columns) -> dict[str, npt.NDArray[Any]]:
    """Columns as they are called in a version."""
    return {
        arrays.CONTENT: images.content,
        arrays.ANNOTATION: images.annotation,
        arrays.LABEL_STATE: images.label_state,
        arrays.OBJECTS: np.diff(images.labels.indptr),
        arrays.CLASS_IDS: images.labels.class_ids,
        arrays.PERCEPTUAL_HASH: images.perceptual_hash,
    }


def linked(images: Columns) -> dict[str, npt.NDArray[Any]]:
    """The columns of near-duplicates."""
    alike = links(images.perceptual_hash, images.placed)
    return {arrays.LINK_FIRST: alike.first, arrays.LINK_SECOND: alike.second, arrays.LINK_DISTANCE: alike.distance}
