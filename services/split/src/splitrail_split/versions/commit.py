"""A draft becomes a version: one transaction, in which rows are copied within Postgres and columns are put together as
arrays.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from psycopg.types.json import Jsonb
from splitrail_common.access import Scope
from splitrail_common.concurrency import ended
from splitrail_common.database import Connection, Pool, Row, Tables

from splitrail_split.datasets.store import DatasetStore, LockedDataset
from splitrail_split.domain import arrays
from splitrail_split.domain.datasets import Version
from splitrail_split.formats.model import SEQUENCE
from splitrail_split.projects.store import ProjectStore
from splitrail_split.versions import classes, columns, drafts
from splitrail_split.versions.columns import Columns
from splitrail_split.versions.differences import AssetField
from splitrail_split.versions.drafts import Draft
from splitrail_split.versions.frames import next_frames
from splitrail_split.versions.store import DraftStore

_RECODED_AT_ONCE = 10_000


class BaseMovedError(Exception):
    """The dataset's newest version (None: there is none) is not the expected one."""

    def __init__(self, expected: str | None, newest: Version | None) -> None:
        super().__init__(expected, newest)
        self.expected = expected
        self.newest = newest


class NoImagesError(Exception):
    """The draft holds no image."""


@dataclass(frozen=True, slots=True)
class _Base:
    """Columns of what a draft is based on: those of images by themselves, and how they are linked and follow each
    other.
    """

    images: Columns
    linked: dict[str, arrays.Array]
    next_frame: arrays.Array


@dataclass(frozen=True, slots=True)
class _Frames:
    """What tells the frames of videos, by ordinal: of metadata, that is the sequence alone."""

    paths: list[str]
    sequences: list[str]


@dataclass(frozen=True, slots=True)
class _Made:
    """What a draft results in. `rows`: its own, in the order of the query `list_draft_rows`."""

    rows: Sequence[Row]
    changes: drafts.BaseChanges
    images: Columns
    digest: str
    class_names: list[str]
    class_ids: list[int]


class Commits:
    """The commit of drafts."""

    def __init__(self, pool: Pool, projects: ProjectStore, store: DraftStore, datasets: DatasetStore) -> None:
        self._tables = Tables(pool, "splitrail_split.versions")
        self._projects = projects
        self._store = store
        self._datasets = datasets

    async def commit(self, scope: Scope, draft: Draft, expected: str | None) -> str:
        """The id of the version that the draft becomes, or has become. expected: the dataset's newest version, as the
        caller knows it.

        Raises BaseMovedError, NoImagesError, NOT_FOUND, FAILED_PRECONDITION (PROJECT_ARCHIVED).
        """
        # Before the transaction: the base of a draft never changes, and a connection that waits for another one could
        # wait forever.
        base = await self._base(draft.base_version_id)
        async with self._projects.writing(draft.project_id) as connection:
            dataset = await self._datasets.lock_dataset(connection, scope, draft.dataset_id)
            draft = await self._store.lock(connection, scope, draft.version_id)
            if draft.committed_version_id is not None:
                return draft.committed_version_id
            newest = await self._datasets.newest_version(connection, draft.dataset_id)
            if (newest.version_id if newest else None) != expected:
                raise BaseMovedError(expected, newest)
            if draft.image_count == 0:
                raise NoImagesError
            await self._tables.run_in(connection, "create_recoded", {})
            rows = await self._tables.rows_in(connection, "list_draft_rows", {**_named(draft), "sequence": SEQUENCE})
            images = await self._recode(connection, draft, base.images, rows)
            made = await asyncio.to_thread(_made, draft, images, rows)
            if newest is not None and await self._equal(connection, draft, made, newest):
                version_id = newest.version_id
            else:
                version_id = draft.version_id
                await self._insert(connection, dataset, draft, base, made)
            await self._tables.run_in(
                connection, "end_draft", {"version_id": draft.version_id, "committed_version_id": version_id}
            )
            return version_id

    async def _base(self, version_id: str | None) -> _Base:
        if version_id is None:
            return _Base(columns.of_images([], [], [], []), {}, np.zeros(0, dtype=np.int32))

        async def array(name: str) -> arrays.Array:
            return await self._datasets.array(version_id, name)

        images = Columns(
            content=await array(arrays.CONTENT),
            annotation=await array(arrays.ANNOTATION),
            label_state=await array(arrays.LABEL_STATE),
            labels=await self._datasets.labels(version_id),
            perceptual_hash=(await array(arrays.PERCEPTUAL_HASH)).astype(np.uint64, copy=False),
        )
        linked = {name: await array(name) for name in (arrays.LINK_FIRST, arrays.LINK_SECOND, arrays.LINK_DISTANCE)}
        return _Base(images, linked, await array(arrays.NEXT_FRAME))

    async def _recode(self, connection: Connection, draft: Draft, base: Columns, rows: Sequence[Row]) -> Columns:
        """Rewrites annotations where the commit gives classes other positions: those of `rows`, in place, and those of
        the base, whose columns come back.
        """
        positions = classes.committed_positions(draft.classes)
        moved = positions != np.arange(len(positions))
        if not moved.any():
            return base
        kept = [row for row in rows if not row["removed"]]
        for start in range(0, len(kept), _RECODED_AT_ONCE):
            some = kept[start : start + _RECODED_AT_ONCE]
            made = await asyncio.to_thread(classes.recoded, [row["annotations"] for row in some], positions)
            await self._store.put_recoded(connection, [-1 - row["position"] for row in some], made)
            for row, annotations in zip(some, made, strict=True):
                row["annotations"] = annotations
        owner = np.repeat(np.arange(base.size), np.diff(base.labels.indptr))
        touched = [row["base_ordinal"] for row in rows if row["base_ordinal"] is not None]
        concerned = np.setdiff1d(owner[moved[base.labels.class_ids]], touched)
        parts = [base.at(concerned[:0])]
        for start in range(0, len(concerned), _RECODED_AT_ONCE):
            ordinals = concerned[start : start + _RECODED_AT_ONCE]
            packed = await self._store.annotations(connection, ordinals, images_of=draft.base_version_id)
            made = await asyncio.to_thread(classes.recoded, packed, positions)
            await self._store.put_recoded(connection, ordinals.tolist(), made)
            parts.append(await asyncio.to_thread(columns.annotated, base.at(ordinals), made))
        changes = drafts.BaseChanges(removed=concerned[:0], replaced=concerned, rows=columns.joined(parts))
        return await asyncio.to_thread(drafts.committed, base, changes)

    async def _equal(self, connection: Connection, draft: Draft, made: _Made, newest: Version) -> bool:
        """True when the newest version holds the same, down to what the digest does not cover."""
        if made.digest != newest.digest or made.class_ids != newest.class_ids:
            return False
        within_base = draft.base_version_id == newest.version_id
        found = await self._store.differences(
            connection, draft.version_id, draft.base_version_id, newest.version_id, within_base=within_base
        )
        # By the digest, annotations are equal; the draft's may not have been rewritten yet.
        return bool((found.common & (found.rows[:, 2] == AssetField.ANNOTATIONS.bit)).all())

    async def _insert(
        self, connection: Connection, dataset: LockedDataset, draft: Draft, base: _Base, made: _Made
    ) -> None:
        version = {
            "version_id": draft.version_id,
            "dataset_id": draft.dataset_id,
            "project_id": draft.project_id,
            "number": dataset.latest_version + 1,
            "class_names": made.class_names,
            "class_ids": made.class_ids,
            "base_version_id": draft.base_version_id,
            **made.images.counts(len(made.class_names)),
            "problem_count": 0,
            "digest": made.digest,
            "report": Jsonb({}),
        }
        await self._datasets.insert_version(connection, version, next_class_id=dataset.next_class_id)
        # Postgres copies rows while columns are worked out here.
        frames = await self._frames(connection, draft, base, made) if any(row["moves"] for row in made.rows) else None
        stored = asyncio.create_task(asyncio.to_thread(_stored, made.images, base, frames))
        try:
            removed = np.sort(made.changes.removed).tolist()
            kept = base.images.size - len(removed)
            inserted = await self._tables.run_in(
                connection, "insert_own_assets", {**_named(draft), "removed": removed, "kept": kept}
            )
            await self._tables.run_in(connection, "expect_many", {})
            inserted += await self._tables.run_in(
                connection, "insert_kept_assets", {**_named(draft), "removed": removed}
            )
            if inserted != made.images.size:
                raise RuntimeError(f"draft {draft.version_id}: {inserted} rows for {made.images.size} images")
            await self._datasets.insert_columns(connection, draft.version_id, await stored)
        finally:
            await ended(stored)

    async def _frames(self, connection: Connection, draft: Draft, base: _Base, made: _Made) -> _Frames:
        found = (
            await self._tables.one_in(
                connection, "list_frames", {"version_id": draft.base_version_id, "sequence": SEQUENCE}
            )
            or {}
        )
        kept = [row for row in made.rows if not row["removed"]]
        paths = found["paths"] + [row["path"] for row in kept]
        sequences = found["sequences"] + [row["sequence"] for row in kept]
        source = made.changes.source(base.images.size).tolist()
        return _Frames([paths[number] for number in source], [sequences[number] for number in source])


def _named(draft: Draft) -> Row:
    return {"version_id": draft.version_id, "base_version_id": draft.base_version_id, "project_id": draft.project_id}


def _made(draft: Draft, base: Columns, rows: Sequence[Row]) -> _Made:
    """Pure, a second for a million images."""
    kept = [row for row in rows if not row["removed"]]
    changes = drafts.BaseChanges(
        removed=np.array([row["base_ordinal"] for row in rows if row["removed"]], dtype=np.int64),
        replaced=np.array([row["base_ordinal"] for row in kept if row["base_ordinal"] is not None], dtype=np.int64),
        rows=columns.of_images(
            [row["sha256"] for row in kept],
            [row["annotations"] for row in kept],
            [row["label_state"] for row in kept],
            [row["perceptual_hash"] for row in kept],
        ),
    )
    images = drafts.committed(base, changes)
    staying = draft.classes.staying
    names = [draft.class_names[position] for position in staying]
    return _Made(
        rows, changes, images, images.digest(names), names, [draft.class_ids[position] for position in staying]
    )


def _stored(images: Columns, base: _Base, frames: _Frames | None) -> dict[str, bytes]:
    """All columns as they are stored. Links and frames cost the most by far: they are the base's where what they come
    of is. frames None: it is.
    """
    made = columns.by_name(images)
    same = np.array_equal(images.perceptual_hash, base.images.perceptual_hash) and np.array_equal(
        images.placed, base.images.placed
    )
    made.update(base.linked if same else columns.linked(images))
    if frames is None:
        made[arrays.NEXT_FRAME] = base.next_frame
    else:
        nothing: dict[str, str] = {}
        made[arrays.NEXT_FRAME] = next_frames(
            frames.paths, [{SEQUENCE: one} if one else nothing for one in frames.sequences]
        )
    return {name: arrays.encode(name, values) for name, values in made.items()}
