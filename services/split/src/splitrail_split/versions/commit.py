"""A draft becomes a version: one transaction, in which rows are copied within Postgres and columns are put together as arrays."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from psycopg.types.json import Jsonb
from splitrail_common.access import Scope
from splitrail_common.database import Connection

from splitrail_split import arrays, columns
from splitrail_split.columns import Columns
from splitrail_split.domain import Version
from splitrail_split.frames import SEQUENCE
from splitrail_split.store import DatasetStore, Row, Tables
from splitrail_split.versions import classes, drafts
from splitrail_split.versions.drafts import Draft
from splitrail_split.versions.store import VersionStore

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
class _Made:
    """What a draft comes to."""

    images: Columns
    digest: str
    class_names: list[str]
    class_ids: list[int]


class Commits:
    """The commit of drafts."""

    def __init__(self, tables: Tables, store: VersionStore, datasets: DatasetStore) -> None:
        self._tables = tables
        self._store = store
        self._datasets = datasets

    async def commit(self, scope: Scope, draft: Draft, expected: str | None) -> str:
        """The id of the version that the draft becomes, or has become. expected: the dataset's newest version, as the caller knows it.

        Raises BaseMovedError, NoImagesError, NOT_FOUND.
        """
        # Before the transaction: the base of a draft never changes, and a connection that waits for another one could wait for ever.
        base = await self._base(draft.base_version_id)
        async with self._tables.pool.connection() as connection, connection.transaction():
            dataset = await self._store.lock_dataset(connection, scope, draft.dataset_id)
            draft = await self._store.lock(connection, scope, draft.version_id)
            if draft.committed_version_id is not None:
                return draft.committed_version_id
            row = await self._tables.one_in(connection, "find_version", {"dataset_id": draft.dataset_id, "number": 0})
            newest = Version(**row) if row else None
            if (newest.version_id if newest else None) != expected:
                raise BaseMovedError(expected, newest)
            if draft.image_count == 0:
                raise NoImagesError
            await self._recode(connection, draft, base)
            rows = await self._tables.rows_in(connection, "list_draft_rows", {"version_id": draft.version_id, "project_id": draft.project_id})
            made = await asyncio.to_thread(_made, draft, base, rows)
            if newest is not None and await self._equal(connection, draft, made, newest):
                version_id = newest.version_id
            else:
                version_id = draft.version_id
                await self._insert(connection, dataset, draft, made)
            await self._tables.run_in(connection, "end_draft", {"version_id": draft.version_id, "committed_version_id": version_id})
            return version_id

    async def _base(self, version_id: str | None) -> Columns:
        if version_id is None:
            return columns.of_images([], [], [], [])

        async def array(name: str) -> arrays.Array:
            return await self._datasets.array(version_id, name)

        return Columns(
            content=await array(arrays.CONTENT),
            annotation=await array(arrays.ANNOTATION),
            label_state=await array(arrays.LABEL_STATE),
            labels=await self._datasets.labels(version_id),
            perceptual_hash=(await array(arrays.PERCEPTUAL_HASH)).astype(np.uint64, copy=False),
        )

    async def _recode(self, connection: Connection, draft: Draft, base: Columns) -> None:
        """Writes the class positions of the version into the draft's annotations; images of the base that this concerns become changed ones."""
        positions = classes.committed_positions(draft.classes)
        moved = positions != np.arange(len(positions))
        if not moved.any():
            return
        after = -1
        while rows := await self._tables.rows_in(
            connection, "page_draft_annotations", {"version_id": draft.version_id, "after": after, "limit": _RECODED_AT_ONCE}
        ):
            values = await asyncio.to_thread(_recoded, rows, positions)
            await self._tables.run_in(connection, "recode_draft", {"version_id": draft.version_id, **values})
            after = rows[-1]["place"]
        touched = [row["base_ordinal"] for row in await self._tables.rows_in(connection, "touched_by_draft", {"version_id": draft.version_id})]
        owner = np.repeat(np.arange(base.size), np.diff(base.labels.indptr))
        concerned = np.setdiff1d(owner[moved[base.labels.class_ids]], touched)
        of_base = {"version_id": draft.version_id, "base_version_id": draft.base_version_id}
        for start in range(0, len(concerned), _RECODED_AT_ONCE):
            ordinals = concerned[start : start + _RECODED_AT_ONCE].tolist()
            rows = await self._tables.rows_in(connection, "get_annotations", {"version_id": draft.base_version_id, "ordinals": ordinals})
            values = await asyncio.to_thread(_recoded, rows, positions)
            await self._tables.run_in(connection, "recode_base", {**of_base, "first": draft.next_position + start, **values})

    async def _equal(self, connection: Connection, draft: Draft, made: _Made, newest: Version) -> bool:
        """True when the newest version holds the same, down to what the digest does not cover."""
        if made.digest != newest.digest or made.class_ids != newest.class_ids:
            return False
        within_base = draft.base_version_id == newest.version_id
        found = await self._store.differences(
            draft.version_id, draft.base_version_id, newest.version_id, within_base=within_base, connection=connection
        )
        return len(found) == 0

    async def _insert(self, connection: Connection, dataset: Row, draft: Draft, made: _Made) -> None:
        number = dataset["latest_version"] + 1
        version = {
            "version_id": draft.version_id,
            "dataset_id": draft.dataset_id,
            "project_id": draft.project_id,
            "number": number,
            "class_names": made.class_names,
            "class_ids": made.class_ids,
            "base_version_id": draft.base_version_id,
            **made.images.counts(len(made.class_names)),
            "problem_count": 0,
            "digest": made.digest,
            "report": Jsonb({}),
        }
        await self._datasets.insert_version(connection, version, {}, ())
        named = {"version_id": draft.version_id, "base_version_id": draft.base_version_id, "project_id": draft.project_id}
        inserted = await self._tables.run_in(connection, "insert_committed_assets", named)
        if inserted != made.images.size:
            raise RuntimeError(f"draft {draft.version_id}: {inserted} rows for {made.images.size} images")
        paths = [row["path"] for row in await self._tables.rows_in(connection, "list_paths", named)]
        sequences = [row["value"] for row in await self._tables.rows_in(connection, "list_metadata", {**named, "key": SEQUENCE})]
        stored = await asyncio.to_thread(_stored, made.images, paths, sequences)
        await self._datasets.insert_columns(connection, draft.version_id, stored)
        latest = {"dataset_id": draft.dataset_id, "number": number, "next_class_id": dataset["next_class_id"]}
        await self._tables.run_in(connection, "set_latest_version", latest)


def _recoded(rows: Sequence[Row], positions: npt.NDArray[np.uint16]) -> Row:
    return {"places": [row["place"] for row in rows], "annotations": classes.recoded([row["annotations"] for row in rows], positions)}


def _made(draft: Draft, base: Columns, rows: Sequence[Row]) -> _Made:
    """Pure, seconds for a million images. `rows`: the draft's own, in the order of the query `list_draft_rows`."""
    kept = [row for row in rows if not row["removed"]]
    changes = drafts.Changes(
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
    return _Made(images, images.digest(names), names, [draft.class_ids[position] for position in staying])


def _stored(images: Columns, paths: Sequence[str], sequences: Sequence[str]) -> dict[str, bytes]:
    """All columns as they are stored. Of metadata, they depend on the sequence alone."""
    nothing: dict[str, str] = {}
    metadata = [{SEQUENCE: one} if one else nothing for one in sequences]
    return {name: arrays.encode(name, values) for name, values in columns.of_version(images, paths, metadata).items()}
